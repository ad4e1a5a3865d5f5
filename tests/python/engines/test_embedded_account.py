"""As whom the embedded PostgreSQL runs: root, its substitutes, an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest
from support.embedded import AS_ROOT, ask, pid_of
from support.project import ROOT

from loader.embedded import ACCOUNT_VARIABLE, place_of, start, stop
from loader.errors import DatabaseUnreachable

pytestmark = pytest.mark.slow


@AS_ROOT
def test_without_user_namespaces_an_account_runs_it(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ACCOUNT_VARIABLE, "nobody")
    place = place_of(open_folder)
    try:
        start(place)
        assert place.data.stat().st_uid == 65534
        assert ask(place, "select 1") == 1
        stop(place)
        # Without the variable the owner of the data tells who runs it.
        monkeypatch.delenv(ACCOUNT_VARIABLE)
        start(place)
        assert Path(f"/proc/{pid_of(place)}").stat().st_uid == 65534
    finally:
        stop(place)


@AS_ROOT
def test_data_made_as_root_can_be_given_to_an_account(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of(open_folder)
    try:
        start(place)
        ask(place, "create table kept as select 7 as x")
        stop(place)
        monkeypatch.setenv(ACCOUNT_VARIABLE, "nobody")
        start(place)
        assert ask(place, "select x from kept") == 7
    finally:
        stop(place)


@AS_ROOT
def test_a_closed_directory_above_is_named_and_stays_closed(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ACCOUNT_VARIABLE, "nobody")
    closed = open_folder / "closed"
    (closed / "project").mkdir(parents=True)
    closed.chmod(0o700)
    with pytest.raises(DatabaseUnreachable, match=f"{closed} is closed to it"):
        start(place_of(closed / "project"))
    assert closed.stat().st_mode & 0o777 == 0o700


@AS_ROOT
def test_a_closed_directory_is_no_hindrance_with_user_namespaces(open_folder: Path) -> None:
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            ["unshare", "--user", "true"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no user namespaces here")
    open_folder.chmod(0o700)
    place = place_of(open_folder)
    try:
        start(place)
        assert place.data.stat().st_uid == 0
        assert ask(place, "select 1") == 1
    finally:
        stop(place)


@AS_ROOT
def test_root_in_a_user_s_closed_project_runs_it_as_that_user(open_folder: Path) -> None:
    os.chown(open_folder, 65534, 65534)
    open_folder.chmod(0o700)
    place = place_of(open_folder)
    try:
        start(place)
        assert place.data.stat().st_uid == 65534
        assert ask(place, "select 1") == 1
    finally:
        stop(place)


@AS_ROOT
def test_an_ordinary_user_can_do_all_of_it(open_folder: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from loader.embedded import place_of, start, stop, status\n"
        "p = place_of(Path(sys.argv[2]))\n"
        "print(start(p), status(p).running, stop(p), status(p).running)\n"
    )
    os.chown(open_folder, 65534, 65534)
    packages = Path(psycopg2.__file__).parents[1]
    # The virtual environment's Python may lie in root's home, closed to others.
    system_python = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, system_python):
        try:
            done = subprocess.run(
                [python, "-c", code, str(ROOT), str(open_folder)],
                user=65534,
                group=65534,
                extra_groups=[],
                cwd="/",
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(packages)},
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError:
            continue
        if "ModuleNotFoundError" not in done.stderr:
            assert done.stdout.split() == ["True", "True", "True", "False"], done.stderr
            return
    pytest.skip("Python or the project is closed to other users")
