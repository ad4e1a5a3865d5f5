"""The repository around the code: its layout, its pins, and what must not stand in it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from support.in_process import program
from support.project import ROOT

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
    listed = program("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    paths = {ROOT / name for name in listed.out.split("\0") if name}
    assert paths
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


@pytest.mark.parametrize("pattern", [REGISTRY, MACHINE_PATH], ids=["registry", "machine's path"])
def test_nothing_names_a(pattern: re.Pattern[str]) -> None:
    assert places(pattern) == []


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

    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert document["build-system"]["requires"] == document["dependency-groups"]["build"]


def test_every_requirement_has_a_hash() -> None:
    for file in (ROOT / "requirements").glob("*.txt"):
        for requirement in re.split(r"\n(?=\S)", file.read_text().strip()):
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
    checked = program("git", "check-ignore", "--no-index", *private)
    if checked.code == 128:
        pytest.skip("not a git repository")
    assert checked.out.split() == private


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
    call = ("make", "-s", "-f", f"{ROOT}/Makefile", "run", "bin=.", "engine=", f"FILES={files}")
    assert program(*call, cwd=tmp_path).out.splitlines() == ["run", *words]


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
    ("schema", "files"),
    [
        ("vendor.compose-spec", ["docker-compose.yml"]),
        ("vendor.github-workflows", [".github/workflows/ci.yml", ".github/workflows/nightly.yml"]),
    ],
)
def test_files_follow_their_published_schema(schema: str, files: list[str]) -> None:
    checker = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema)
    checked = program(*checker, *files)
    assert checked.code == 0, checked.out + checked.err
