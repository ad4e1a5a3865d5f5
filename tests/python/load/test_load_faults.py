"""What can go wrong around a load, with files or database: it says so, and leaves nothing half."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

import openpyxl
import pytest
from support.databases import Database, small_disk
from support.engines import Rows
from support.load_processes import (
    begin,
    children_of,
    database_of,
    end_of,
    held_in_copy,
    labmart,
    nobody_loads,
    processor_seconds,
    session_of,
    state_of,
    table_text,
    wait_for,
    write_table,
)

from loader.embedded import server_paths, start, stop

pytestmark = pytest.mark.slow

# Some 40 MB: while COPY is held at the first rows, most of it has not been read.
LONG = 20_000
PADDING = 2_000


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the loader puts temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def before(database: Database, tmp_path: Path) -> dict[str, Rows]:
    """The database with something in it."""
    old = [
        write_table(tmp_path / f"old_{kind}.csv", kind, range(1, 100), broken_every=20)
        for kind in ("users", "compounds", "user_experiments")
    ]
    assert labmart(database, "load", *old).code == 0
    return state_of(database)


def test_every_problem_of_every_file_is_told_and_nothing_is_written(
    database: Database, before: dict[str, Rows], tmp_path: Path
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


def grow(path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("7,One more,x\n")


def replace(path: Path) -> None:
    other = path.with_suffix(".other")
    shutil.copy(path, other)
    other.replace(path)


def rewrite(path: Path) -> None:
    """The same size, other content, near the end."""
    with path.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"Q")


@pytest.mark.parametrize("change", [grow, replace, rewrite, Path.unlink])
def test_a_file_that_changes_while_it_is_read_is_refused(
    database: Database,
    before: dict[str, Rows],
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


Situation = Callable[[Database, Path, Path], AbstractContextManager[subprocess.Popen[str]]]


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


@contextmanager
def in_spreadsheet(
    database: Database, folder: Path, temporary: Path
) -> Iterator[subprocess.Popen[str]]:
    """A child process reads a workbook; it is there until its rows have been taken."""
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for line in table_text("users", range(20_000)).splitlines():
        sheet.append(line.split(","))
    book.save(folder / "long.xlsx")
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
        wait_for(lambda: database.rows(waiting) == [(1,)])
        yield loading
        wait_for(lambda: loading.poll() is not None)


SITUATIONS = (in_standard_input, in_copy, in_spreadsheet, in_lock)
ALL = pytest.mark.prove("each signal in each situation; each of both is in make test")


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
    before: dict[str, Rows],
    tmp_path: Path,
    temporary: Path,
    number: signal.Signals,
    situation: Situation,
) -> None:
    with situation(database, tmp_path, temporary) as loading:
        # As Ctrl-C in a terminal does, which reaches all processes of the call.
        os.killpg(loading.pid, number)
        if situation is in_standard_input:
            with suppress(subprocess.TimeoutExpired):
                loading.wait(10)
            # A read that begins in the same moment misses it; a person presses again.
            if loading.poll() is None:
                os.killpg(loading.pid, number)
    ended = end_of(loading)
    assert ended.code == 128 + number, ended
    assert ended.err.strip().splitlines()[-1] == "interrupted", ended
    assert session_of(loading.pid) == []
    assert not list(temporary.iterdir())
    nobody_loads(database)
    assert state_of(database) == before


def test_a_full_disk_ends_the_load_and_loses_nothing(tmp_path: Path) -> None:
    old = write_table(tmp_path / "old.csv", "compounds", range(1_000), broken_every=99)
    # Longer cells would be compressed.
    new = write_table(tmp_path / "new.csv", "compounds", range(20_000), padding=1_500)
    with small_disk("300m") as disk:
        place = server_paths(disk)
        start(place)
        try:
            database = database_of(place)
            assert labmart(database, "load", old).code == 0
            before = state_of(database)
            database.rows("checkpoint")
            # It is full in the middle of the load.
            with (disk / "filler").open("wb") as filler:
                os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(disk).free - 12_000_000)
            ended = labmart(database, "load", new)
            assert ended.code == 4, ended
            assert "Nothing was written." in ended.err
            assert "No space left" in ended.err or "connection was lost" in ended.err, ended
            (disk / "filler").unlink()
            # With no room for its log the server ends itself; then it has to be started again.
            start(place)
            assert state_of(database) == before
            assert labmart(database, "load", new).code == 0
            assert database.rows("select count(*) from labmart_raw.compounds") == [(21_000,)]
        finally:
            stop(place)


def test_a_full_disk_for_temporary_files_is_told(database: Database, tmp_path: Path) -> None:
    users = write_table(tmp_path / "users.csv", "users", range(30))
    assert labmart(database, "load", users).code == 0
    before = state_of(database)
    with small_disk("2m") as disk:
        loading = begin(database, "load", "-", stdin=subprocess.PIPE, temporary=disk)
        assert loading.stdin is not None
        # Whoever writes to a loader that has given up gets an error then.
        with pytest.raises(BrokenPipeError):
            loading.stdin.write(table_text("compounds", range(300_000)))
        # Closing would flush what the loader does not want any more.
        loading.stdin = None
        spooled = end_of(loading)
        assert spooled.code == 3, spooled
        assert "its disk has too little space" in spooled.err
        assert not list(disk.iterdir())
        damaged = write_table(tmp_path / "d.csv", "users", range(20_000), broken_every=1)
        with damaged.open("a", encoding="utf-8") as file:
            file.writelines(f"{'x' * 300}\n" for _ in range(20_000))
        rejected = labmart(database, "load", "--max-rejected", "90%", damaged, temporary=disk)
        assert rejected.code == 3, rejected
        assert f"{damaged}: a temporary file of it cannot be written" in rejected.err
        assert not list(disk.iterdir())
    assert state_of(database) == before


def test_loads_at_once_bring_every_file_once(database: Database, tmp_path: Path) -> None:
    files = [
        write_table(tmp_path / f"{number}.csv", "users", range(number, 9_000, 5), broken_every=99)
        for number in range(5)
    ]
    calls = [files[:3], files[:3], files[2:], files[4:]]
    loading = [begin(database, "load", *call) for call in calls]
    ended = [end_of(process) for process in loading]
    assert [one.code for one in ended] == [0] * len(calls), ended
    loads = database.rows("select load_id, file, status from labmart_raw.loads order by load_id")
    assert sorted(str(file) for _, file, _ in loads) == [str(file) for file in files]
    assert [load_id for load_id, _, _ in loads] == [1, 2, 3, 4, 5]
    assert {status for _, _, status in loads} == {"current"}
    assert database.rows("select count(*), count(distinct user_id) from labmart_raw.users") == [
        (9_000, 9_000)
    ]


@pytest.mark.prove("a build held in its middle")
def test_a_build_shows_all_or_nothing_of_a_load_in_its_middle(
    database: Database, project_copy: Path, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for kind in ("users", "user_experiments", "compounds"):
        write_table(old / f"{kind}.csv", kind, range(1, 200), broken_every=50)
        write_table(new / f"{kind}.csv", kind, range(150, 3_000), broken_every=50)
    assert labmart(database, "load", old).code == 0
    building = begin(database, "build", project=project_copy)
    made = "select count(*) from pg_tables where schemaname ~ '^labmart__next'"
    wait_for(lambda: database.rows(made) > [(2,)], patience=90)
    assert building.poll() is None
    loaded = labmart(database, "load", new)
    assert loaded.code == 0, loaded
    assert building.poll() is None, "the load was to come in the middle of the build"
    built = end_of(building)
    assert built.code == 0, built
    seen = database.rows(
        "select distinct load_id from labmart.input_reconciliation order by load_id"
    )
    assert seen in ([(1,), (2,), (3,)], [(n,) for n in range(1, 7)]), seen
    nobody_loads(database)
