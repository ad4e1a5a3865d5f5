"""The repository around the code: its layout, its pins, and what must not stand in it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from support.project import ROOT

LAYOUT = """
    dbt_project.yml profiles.yml.example docker-compose.yml README.md Makefile pyproject.toml
    models/staging/base models/intermediate models/marts models/staging/_sources.yml
    seeds/raw_users.csv seeds/raw_user_experiments.csv seeds/raw_compounds.csv seeds/_seeds.yml
    macros/cross_db macros/parsing macros/integrity
    tests/generic tests/generic/README.md tests/python loader benchmarks
    docs/data_quality.md docs/decisions.md .ci/run .github/workflows/ci.yml
    requirements/run.txt requirements/dev.txt LICENSE
"""
# Characters that fit beside another window.
WIDE = 100
# Pins with hashes, paragraphs and data are as wide as they are; so are the rows of unit tests.
MAY_BE_WIDER = (".md", ".txt", ".csv", ".tsv", ".xlsx", "_unit_tests.yml")

REGISTRY = re.compile(
    r"index-url[= ]+https?:|https?://\S+/simple|pypi\.org|pythonhosted\.org|\"resolved\":|"
    r"registry *= *\"?https?:|^ *deb +https?:"
)
MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:farm|home|root|Users|work)/\w")
PIN = re.compile(r"^([a-z0-9._-]+)(?:\[[a-z0-9,-]+\])?==(\S+)", re.MULTILINE)


def tracked() -> list[Path]:
    """Every file that is in the repository or would be after `git add`."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = {ROOT / name for name in listed.stdout.split("\0") if name}
    return sorted(path for path in paths if path.is_file())


def lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


def places(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked()
        for number, line in enumerate(lines_of(path), start=1)
        if pattern.search(line)
    ]


def pins(file: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / "requirements" / file).read_text()))


def declared(*groups: str) -> dict[str, str]:
    """What pyproject.toml pins: the project's own dependencies and those of the groups."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*document["project"]["dependencies"]]
    for group in groups:
        wanted += document["dependency-groups"][group]
    found = PIN.findall("\n".join(wanted))
    assert len(found) == len(wanted), "every dependency is pinned with =="
    return dict(found)


@pytest.mark.parametrize("path", LAYOUT.split())
def test_the_layout_is_the_documented_one(path: str) -> None:
    assert (ROOT / path).exists()


def test_no_registry_is_named() -> None:
    assert places(REGISTRY) == []


def test_no_path_of_a_machine_is_named() -> None:
    assert places(MACHINE_PATH) == []


def test_lines_are_short() -> None:
    wide = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        if not path.name.endswith(MAY_BE_WIDER) and "fixtures" not in path.parts
        for number, line in enumerate(lines_of(path), start=1)
        # A Jinja expression in YAML cannot be broken without changing what it is.
        if len(line) > WIDE and not line.endswith('}}"')
    ]
    assert wide == []


def test_requirements_are_what_pyproject_declares() -> None:
    run, dev = pins("run.txt"), pins("dev.txt")
    assert declared("build").items() <= run.items()
    assert declared("build", "dev").items() <= dev.items()
    assert run.items() <= dev.items(), "dev.txt includes run.txt"


def test_the_build_backend_is_the_pinned_one() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert document["build-system"]["requires"] == document["dependency-groups"]["build"]


@pytest.mark.parametrize("file", ["run.txt", "dev.txt"])
def test_every_requirement_has_a_hash(file: str) -> None:
    for requirement in re.split(r"\n(?=\S)", (ROOT / "requirements" / file).read_text().strip()):
        assert "--hash=sha256:" in requirement, requirement


def test_what_is_private_is_ignored() -> None:
    private = [
        "profiles.yml",
        ".env",
        "secrets/token",
        ".labmart/data/base",
        ".venv/bin/python",
        "target/x",
    ]
    checked = subprocess.run(
        ["git", "check-ignore", "--no-index", *private],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if checked.returncode == 128:
        pytest.skip("not a git repository")
    assert checked.stdout.split() == private


@pytest.mark.parametrize(
    "target", ["run", "serve", "test", "check", "prove", "docs", "clean", "help"]
)
def test_make_help_tells_each_target(target: str) -> None:
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(rf"^make {target} +\S+", told.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ("x y.csv", ["x y.csv"]),
        ("a.csv b.csv", ["a.csv", "b.csv"]),
        ("'x y.csv' *.tsv", ["x y.csv", "n.tsv"]),
        ("", []),
    ],
)
def test_make_run_hands_on_files(tmp_path: Path, files: str, words: list[str]) -> None:
    for name in ("x y.csv", "a.csv", "b.csv", "n.tsv"):
        (tmp_path / name).touch()
    (tmp_path / "labmart").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tmp_path / "labmart").chmod(0o755)
    call = ["make", "-s", "-f", f"{ROOT}/Makefile", "run", "bin=.", "engine=", f"FILES={files}"]
    told = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["run", *words]


def test_ci_runs_what_a_person_runs() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    assert script.rstrip().endswith("\nmake test")
    jobs = {
        name: job
        for file in ("ci.yml", "nightly.yml")
        for name, job in yaml.safe_load((ROOT / ".github/workflows" / file).read_text())[
            "jobs"
        ].items()
    }
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert all(run == ".ci/run" or run.startswith("make ") for run in runs)
    assert {".ci/run", "make prove"} <= set(runs)
    assert jobs["postgres"]["strategy"]["matrix"]["postgres"] == ["15", "18"]


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.compose-spec", "docker-compose.yml"),
        ("vendor.github-workflows", ".github/workflows/ci.yml"),
        ("vendor.github-workflows", ".github/workflows/nightly.yml"),
    ],
)
def test_the_file_follows_its_published_schema(schema: str, file: str) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
