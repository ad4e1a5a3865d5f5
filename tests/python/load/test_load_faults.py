"""What can go wrong around a load: it ends with a clear message, and nothing half is left."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import openpyxl
import pytest
from support.databases import Database
from support.load_processes import (
    State,
    begin,
    children_of,
    end_of,
    held_in_copy,
    labmart,
    nobody_loads,
    processor_seconds,
    rows,
    session_of,
    state_of,
    table_text,
    wait_for,
    write_table,
)

pytestmark = pytest.mark.slow

# Some 60 MB: while COPY is held at the first rows, most of it has not been read.
LONG = 30_000
PADDING = 2_000


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the loader puts temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def before(database: Database, tmp_path: Path) -> State:
    """The database with something in it."""
    old = [
        write_table(tmp_path / f"old_{kind}.csv", kind, range(1, 100), broken_every=20)
        for kind in ("users", "compounds", "user_experiments")
    ]
    assert labmart(database, "load", *old).code == 0
    return state_of(database)


def test_every_problem_of_every_file_is_told_and_nothing_is_written(
    database: Database, before: State, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    write_table(folder / "a good.csv", "users", range(50_000))
    write_table(folder / "b bad.csv", "users", range(1, 100), broken_every=2)
    (folder / "c unknown.csv").write_text("colour,size\nred,4\n", encoding="utf-8")
    (folder / "d empty.csv").touch()
    whole = gzip.compress(table_text("compounds", range(20_000)).encode())
    (folder / "e cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "f picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    write_table(folder / "g good.csv", "compounds", range(100, 200))
    ended = labmart(database, "load", folder)
    assert ended.code == 3, ended
    said = ended.err.rpartition("Nothing was loaded")[2].splitlines()[1:]
    names = [line.strip().removeprefix(f"{folder}/")[:5] for line in said]
    assert sorted(names) == ["b bad", "c unk", "d emp", "e cut", "f pic"], ended.err
    assert state_of(database) == before
    good = labmart(database, "load", folder / "a good.csv", folder / "g good.csv")
    assert good.code == 0, good


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "after 5 MB"])
def test_a_file_that_is_cut_short_is_refused(
    database: Database, before: State, tmp_path: Path, is_late: bool
) -> None:
    count = 60_000 if is_late else 100
    whole = gzip.compress(table_text("users", range(count), padding=100).encode(), 1)
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(whole[:-9])
    good = write_table(tmp_path / "good.csv", "users", range(100, 200))
    ended = labmart(database, "load", good, cut)
    assert ended.code == 3
    assert f"{cut}" in ended.err.rpartition("Nothing was loaded")[2]
    assert "cut short" in ended.err
    assert state_of(database) == before


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: ["nothing.csv"], "no such file"),
        (lambda folder: [folder / "nothing.csv"], "no such file"),
        (lambda folder: [folder / "*.csv"], "no file matches this pattern"),
        (lambda folder: [folder], "there is no file in this folder"),
        (lambda folder: [folder.parent / "good.csv", folder], "there is no file in this folder"),
        (lambda _: [""], "this PATH is empty"),
    ],
)
def test_a_path_that_means_no_file_is_a_wrong_call(
    database: Database,
    before: State,
    tmp_path: Path,
    make: Callable[[Path], list[str | Path]],
    said: str,
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    write_table(tmp_path / "good.csv", "users", range(5))
    ended = labmart(database, "load", *make(folder))
    assert (ended.code, ended.out) == (2, ""), ended
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1, ended.err
    assert state_of(database) == before


def grow(path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("7,One more,x\n")


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5_000_000)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def replace(path: Path) -> None:
    other = path.with_suffix(".other")
    shutil.copy(path, other)
    other.replace(path)


def rewrite(path: Path) -> None:
    """The same size, other content, near the end."""
    with path.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"Q")


@pytest.mark.parametrize("change", [grow, shrink, empty, replace, rewrite, Path.unlink])
def test_a_file_that_changes_while_it_is_read_is_refused(
    database: Database,
    before: State,
    tmp_path: Path,
    temporary: Path,
    change: Callable[[Path], None],
) -> None:
    path = write_table(tmp_path / "long.csv", "compounds", range(LONG), padding=PADDING)
    later = tmp_path / "unknown.csv"
    write_table(later, "users", range(1, 100), broken_every=2)
    with held_in_copy(database, "compounds") as wait_until_held:
        loading = begin(database, "load", "--replace", path, later, temporary=temporary)
        wait_until_held()
        change(path)
    ended = end_of(loading)
    assert ended.code == 3, ended
    problems = ended.err.rpartition("Nothing was loaded")[2].splitlines()[1:]
    assert len(problems) == 2, ended.err
    assert problems[0].startswith(f"  {path}: it ")
    assert "while it was read" in problems[0] or "gone" in problems[0], problems
    assert state_of(database) == before
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "gzip"])
def test_a_file_that_is_still_being_written_is_refused(
    database: Database, before: State, tmp_path: Path, is_packed: bool
) -> None:
    text = table_text("compounds", range(LONG), padding=PADDING).encode()
    path = tmp_path / "long.csv"
    whole = gzip.compress(text, 0) if is_packed else text
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with held_in_copy(database, "compounds") as wait_until_held:
        loading = begin(database, "load", path)
        wait_until_held()
        with path.open("ab") as file:
            file.write(whole[len(whole) * 2 // 3 :])
    ended = end_of(loading)
    assert ended.code == 3, ended
    assert "while it was read" in ended.err
    assert state_of(database) == before
    assert labmart(database, "load", path).code == 0


@contextmanager
def in_standard_input(
    database: Database, folder: Path, temporary: Path
) -> Iterator[subprocess.Popen[str]]:
    del folder
    loading = begin(database, "load", "-", stdin=subprocess.PIPE, temporary=temporary)
    assert loading.stdin is not None
    loading.stdin.write(table_text("users", range(100_000)))
    wait_for(lambda: any(path.stat().st_size for path in temporary.rglob("0*")))
    yield loading
    # Nothing more comes, and no end; it has to end by itself.
    wait_for(lambda: loading.poll() is not None)


@contextmanager
def in_copy(database: Database, folder: Path, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    path = write_table(folder / "long.csv", "compounds", range(LONG), padding=PADDING)
    with held_in_copy(database, "compounds") as wait_until_held:
        loading = begin(database, "load", path, temporary=temporary)
        wait_until_held()
        yield loading


@pytest.fixture(scope="module")
def workbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workbook that takes long to read."""
    path = tmp_path_factory.mktemp("workbook") / "long.xlsx"
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for line in table_text("users", range(40_000)).splitlines():
        sheet.append(line.split(","))
    book.save(path)
    return path


@contextmanager
def in_spreadsheet(
    database: Database, folder: Path, temporary: Path
) -> Iterator[subprocess.Popen[str]]:
    """A child process reads the workbook; it is there until its rows have been taken."""
    loading = begin(database, "load", folder / "long.xlsx", temporary=temporary)
    wait_for(lambda: any(processor_seconds(pid) > 0.2 for pid in children_of(loading.pid)))
    yield loading


@contextmanager
def in_lock(database: Database, folder: Path, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """It waits for a table that somebody else has locked, and goes on waiting."""
    path = write_table(folder / "new.csv", "users", range(100, 200))
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("begin; lock table labmart_raw.users in exclusive mode")
        loading = begin(database, "load", path, temporary=temporary)
        waiting = (
            "select count(*) from pg_locks where not granted "
            "and relation = 'labmart_raw.users'::regclass"
        )
        wait_for(lambda: rows(database, waiting) == [(1,)])
        yield loading
        wait_for(lambda: loading.poll() is not None)


SITUATIONS = (in_standard_input, in_copy, in_spreadsheet, in_lock)
ALL = pytest.mark.prove("each signal in each situation; each of both is in make test")


def ends_soon(loading: subprocess.Popen[str]) -> bool:
    try:
        loading.wait(10)
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.mark.parametrize(
    ("situation", "number"),
    [
        *((situation, signal.SIGINT) for situation in SITUATIONS),
        (in_copy, signal.SIGTERM),
        (in_standard_input, signal.SIGHUP),
        *(
            pytest.param(situation, number, marks=ALL)
            for situation in SITUATIONS
            for number in (signal.SIGTERM, signal.SIGHUP)
        ),
    ],
)
def test_a_signal_ends_a_load_and_leaves_nothing(
    database: Database,
    before: State,
    tmp_path: Path,
    temporary: Path,
    number: signal.Signals,
    situation: Callable[[Database, Path, Path], AbstractContextManager[subprocess.Popen[str]]],
    request: pytest.FixtureRequest,
) -> None:
    if situation is in_spreadsheet:
        (tmp_path / "long.xlsx").hardlink_to(request.getfixturevalue("workbook"))
    with situation(database, tmp_path, temporary) as loading:
        # As Ctrl-C in a terminal does, which reaches all processes of the call.
        os.killpg(loading.pid, number)
        if situation is in_standard_input and not ends_soon(loading):
            # A read that begins in the same moment misses it; a person presses again.
            os.killpg(loading.pid, number)
    ended = end_of(loading)
    assert ended.code == 128 + number, ended
    assert ended.err.strip().splitlines()[-1] == "interrupted", ended
    assert session_of(loading.pid) == []
    assert not list(temporary.iterdir())
    nobody_loads(database)
    assert state_of(database) == before
