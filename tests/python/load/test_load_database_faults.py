"""A database that is full, closed, read-only or busy: the load says so, or waits its turn."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.databases import Database
from support.load_processes import (
    Ended,
    begin,
    database_of,
    end_of,
    held_in_copy,
    labmart,
    nobody_loads,
    rows,
    state_of,
    table_text,
    wait_for,
    write_table,
)

from loader.embedded import place_of, start, stop

pytestmark = pytest.mark.slow

_WITHOUT_ROOTS_RIGHTS = "-dac_override,-dac_read_search"


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own in memory; skips the test where none can be mounted."""
    with tempfile.TemporaryDirectory(prefix="labmart-test-") as name:
        folder = Path(name).resolve()
        options = ("-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(folder))
        program = shutil.which("mount")
        done = program and subprocess.run([program, *options], capture_output=True, check=False)
        if not done or done.returncode:
            pytest.skip("no file system can be mounted here")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path, leaving: int) -> None:
    """A file that takes all space but so many bytes."""
    with path.open("wb", buffering=0) as file:
        left = shutil.disk_usage(path.parent).free - leaving
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 20)))


@pytest.mark.parametrize("leaving", [0, 12_000_000], ids=["at once", "in the middle"])
def test_a_full_disk_ends_the_load_and_loses_nothing(tmp_path: Path, leaving: int) -> None:
    old = write_table(tmp_path / "old.csv", "compounds", range(1_000), broken_every=99)
    # Longer cells would be compressed.
    new = write_table(tmp_path / "new.csv", "compounds", range(20_000), padding=1_500)
    with small_disk(300) as disk:
        place = place_of(disk)
        start(place)
        try:
            database = database_of(place)
            assert labmart(database, "load", old).code == 0
            before = state_of(database)
            rows(database, "checkpoint")
            fill(disk / "filler", leaving)
            ended = labmart(database, "load", new)
            assert ended.code == 4, ended
            assert "Nothing was written." in ended.err
            assert "its disk is full" in ended.err or "connection was lost" in ended.err, ended
            (disk / "filler").unlink()
            # With no room for its log the server ends itself; then it has to be started again.
            start(place)
            assert state_of(database) == before
            assert labmart(database, "load", new).code == 0
            assert rows(database, "select count(*) from labmart_raw.compounds") == [(21_000,)]
        finally:
            stop(place)


def test_a_full_disk_for_temporary_files_is_told(database: Database, tmp_path: Path) -> None:
    users = write_table(tmp_path / "users.csv", "users", range(30))
    assert labmart(database, "load", users).code == 0
    before = state_of(database)
    with small_disk(2) as disk:
        loading = begin(database, "load", "-", stdin=subprocess.PIPE, temporary=disk)
        assert loading.stdin is not None
        # Whoever writes to a loader that has given up gets an error then.
        with pytest.raises(BrokenPipeError):
            loading.stdin.write(table_text("compounds", range(1_000_000)))
        spooled = end_of_refused(loading)
        assert "-: the disk with" in spooled.err
        assert not list(disk.iterdir())
        damaged = write_table(tmp_path / "d.csv", "users", range(40_000), broken_every=1)
        with damaged.open("a", encoding="utf-8") as file:
            file.writelines(f"{'x' * 300}\n" for _ in range(40_000))
        rejected = labmart(
            database, "load", "--max-rejected", "90%", damaged, tmp_path / "no.csv", temporary=disk
        )
        assert rejected.code == 2
        rejected = labmart(database, "load", "--max-rejected", "90%", damaged, temporary=disk)
        assert rejected.code == 3, rejected
        assert f"{damaged}: its rejected lines cannot be kept" in rejected.err
        assert not list(disk.iterdir())
    assert state_of(database) == before


def end_of_refused(loading: subprocess.Popen[str]) -> Ended:
    # Closing flushes what the loader does not want any more.
    assert loading.stdin is not None
    loading.stdin = None
    ended = end_of(loading)
    assert ended.code == 3, ended
    return ended


def test_a_file_that_may_not_be_read_is_told(database: Database, tmp_path: Path) -> None:
    good = write_table(tmp_path / "good.csv", "users", range(30))
    closed = write_table(tmp_path / "closed.csv", "users", range(30, 40))
    inside = write_table(tmp_path / "closed folder" / "users.csv", "users", range(40, 50))
    prefix: list[str] = []
    if os.geteuid() == 0:
        # Root reads everything, unless it gives up the right to.
        program = shutil.which("setpriv")
        if program is None:
            pytest.skip("there is no setpriv, and root reads everything")
        prefix = [program, f"--bounding-set={_WITHOUT_ROOTS_RIGHTS}"]
        prefix.append(f"--inh-caps={_WITHOUT_ROOTS_RIGHTS}")
        os.chown(closed, 65534, 65534)
        os.chown(inside.parent, 65534, 65534)
    closed.chmod(0o000)
    inside.parent.chmod(0o000)
    try:
        ended = labmart(database, "load", tmp_path, prefix=prefix)
    finally:
        inside.parent.chmod(0o700)
    assert ended.code == 3, ended
    problems = ended.err.rpartition("Nothing was loaded")[2].splitlines()[1:]
    assert [line.split(": ")[0].strip() for line in problems] == [
        str(closed),
        str(inside.parent),
    ], ended
    assert "you are not allowed to read it" in problems[0]
    assert "Permission denied" in problems[1]
    assert state_of(database).exact["relations"] == ()
    assert good.exists()


def test_a_role_without_rights_and_a_read_only_database_are_told(
    database: Database, tmp_path: Path
) -> None:
    old = write_table(tmp_path / "old.csv", "users", range(30))
    new = write_table(tmp_path / "new.csv", "users", range(30, 60))
    assert labmart(database, "load", old).code == 0
    before = state_of(database)
    role = f"guest_{database.name}"
    rows(database, f"create role {role} login")
    try:
        guest = Database(database.host, database.port, role, database.name, database.password)
        ended = labmart(guest, "load", new)
        assert ended.code == 4
        assert "a right is missing" in ended.err
        assert "grant " in ended.err
        assert state_of(database) == before
    finally:
        rows(database, f"drop role {role}")
    only = f"alter database {database.name} set default_transaction_read_only"
    rows(database, f"{only} = on")
    ended = labmart(database, "load", new)
    assert (ended.code, "it takes no writing" in ended.err) == (4, True), ended
    assert state_of(database) == before
    checked = labmart(database, "load", "--check", new)
    assert (checked.code, "The rows cannot be judged." in checked.err) == (0, True), checked
    rows(database, f"begin read write; {only} = off; commit")
    assert labmart(database, "load", new).code == 0


def test_loads_at_once_bring_every_file_once(database: Database, tmp_path: Path) -> None:
    files = [
        write_table(tmp_path / f"{number}.csv", "users", range(number, 9_000, 5), broken_every=99)
        for number in range(5)
    ]
    calls = [files[:3], files[:3], files[2:], files[4:]]
    loading = [begin(database, "load", *call) for call in calls]
    ended = [end_of(process) for process in loading]
    assert [one.code for one in ended] == [0] * len(calls), ended
    loads = rows(database, "select load_id, file, status from labmart_raw.loads order by load_id")
    assert sorted(str(file) for _, file, _ in loads) == [str(file) for file in files]
    assert [load_id for load_id, _, _ in loads] == [1, 2, 3, 4, 5]
    assert {status for _, _, status in loads} == {"current"}
    assert rows(database, "select count(*), count(distinct user_id) from labmart_raw.users") == [
        (9_000, 9_000)
    ]


def test_who_waits_for_another_load_is_told(database: Database, tmp_path: Path) -> None:
    files = [write_table(tmp_path / f"{n}.csv", "users", range(n, 50, 3)) for n in range(3)]
    assert labmart(database, "load", files[0]).code == 0
    with held_in_copy(database, "users") as wait_until_held:
        first = begin(database, "load", files[1])
        wait_until_held()
        second = begin(database, "load", files[1], files[2])
        lock = "select count(*) from pg_stat_activity where query like '%pg_try_advisory%'"
        wait_for(lambda: rows(database, f"{lock} and application_name like 'labmart%'") == [(1,)])
    ended = [end_of(first), end_of(second)]
    assert [one.code for one in ended] == [0, 0], ended
    assert "another load is at work; waiting" in ended[1].err
    assert ended[1].err.count("already loaded") == 1
    assert rows(database, "select count(*) from labmart_raw.loads") == [(3,)]


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
    wait_for(lambda: rows(database, made) > [(2,)], patience=90)
    assert building.poll() is None
    loaded = labmart(database, "load", new)
    assert loaded.code == 0, loaded
    assert building.poll() is None, "the load was to come in the middle of the build"
    built = end_of(building)
    assert built.code == 0, built
    seen = rows(
        database, "select distinct load_id from labmart.input_reconciliation order by load_id"
    )
    assert seen in ([(1,), (2,), (3,)], [(n,) for n in range(1, 7)]), seen
    nobody_loads(database)
