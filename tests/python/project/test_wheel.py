"""The wheel, with which there is no clone: what it holds, and that a laboratory begins with it."""

from __future__ import annotations

import os
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from support.in_process import Done, program
from support.project import ROOT

PARTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["labmart"]["project"]


@pytest.fixture
def packages(project_copy: Path, tmp_path: Path) -> Path:
    """A folder with what the wheel holds, as an installation leaves it."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    done = program(*pip, "wheel", *offline, "--wheel-dir", tmp_path, project_copy)
    assert done.code == 0, done.err
    (wheel,) = tmp_path.glob("labmart-*.whl")
    folder = tmp_path / "packages"
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def labmart(packages: Path, folder: Path, *arguments: str) -> Done:
    """Call the command of the wheel in a folder, as on a machine without a clone."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LABMART_", "DBT_"))}
    script = "import sys; sys.argv[0] = 'labmart'; from loader.cli import main; main()"
    env = kept | {"PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    return program(sys.executable, "-c", script, *arguments, cwd=folder, env=env)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_the_wheel_brings_the_project_and_writes_it(packages: Path, tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    done = labmart(packages, tmp_path, "show")
    assert done.code == 2
    assert "begin one: `labmart init DIR`" in done.err
    done = labmart(packages, tmp_path, "init", "lab")
    assert done.code == 0, done.err
    wanted = {
        name: content
        for part in PARTS
        for name, content in (
            {f"{part}/{inner}": text for inner, text in files(ROOT / part).items()}
            if (ROOT / part).is_dir()
            else {part: (ROOT / part).read_bytes()}
        ).items()
        if "__pycache__" not in name
    }
    assert files(tmp_path / "lab") == wanted
    for data in ("roles.sql", "service/page/index.html"):
        assert (packages / "loader" / data).is_file()
    done = labmart(packages, tmp_path, "init", "lab")
    assert (done.code, "is not empty" in done.err) == (2, True)


@pytest.mark.slow
@pytest.mark.prove("a whole build, which is that of the clone")
def test_the_sample_laboratory_runs_without_a_clone(packages: Path, tmp_path: Path) -> None:
    try:
        done = labmart(packages, tmp_path, "demo")
        assert done.code == 0, done.err
        assert "user_features: 24 rows" in done.err
        assert len(done.out.splitlines()) > 24
        assert labmart(packages, tmp_path / "labmart-demo", "issues").code == 0
    finally:
        labmart(packages, tmp_path / "labmart-demo", "db", "stop")


def test_windows_is_told_where_labmart_runs() -> None:
    done = program(sys.executable, "-c", "import sys; sys.platform = 'win32'; import loader")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "WSL" in done.err
