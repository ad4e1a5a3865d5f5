"""SIGKILL of the loader and of the server: all of a load is there, or nothing.

LABMART_KILLS says how often `make prove` kills the loader (default 24); LABMART_KILLS_SEED
repeats the moments of an earlier run.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest
from support import in_process
from support.databases import Database
from support.engines import DuckDB, Engine, Postgres, Rows
from support.load_processes import (
    begin,
    children_of,
    database_of,
    end_of,
    held_at_commit,
    held_in_copy,
    labmart,
    nobody_loads,
    open_files,
    processor_seconds,
    state_of,
    wait_for,
    write_table,
)

from loader.embedded import ServerPaths, start, status

pytestmark = pytest.mark.slow

# Before any test: conftest takes such variables away.
KILLS = int(os.environ.get("LABMART_KILLS", "24"))
SEED = os.environ.get("LABMART_KILLS_SEED") or str(random.randrange(10**9))


def content(engine: Engine, schema: str) -> dict[str, Rows]:
    """All of the raw tables; of the ledger without what a clock has written."""
    tables = engine.everything(schema)
    ledger = "load_id, call_id, status, file, records_read, records_rejected"
    tables["loads"] = engine.rows(f"select {ledger} from {schema}.loads order by 1")
    return tables


@pytest.mark.prove("two dozen kills at random moments; chosen ones are tried always")
def test_a_loader_that_is_killed_leaves_all_or_nothing(
    engine: Engine, loading_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.enter(monkeypatch)
    old = write_table(tmp_path / "old.csv", "users", range(500), broken_every=50)
    new = tmp_path / "new"
    write_table(new / "users.csv", "users", range(400, 10_000), broken_every=300)
    write_table(new / "runs.csv", "user_experiments", range(80_000), broken_every=999)
    chance = random.Random(SEED)
    landed: list[bool] = []
    seconds = 0.0
    for number in range(KILLS + 1):
        told = f"seed {SEED}: kill {number}"
        schema = f"k{number}_raw"
        monkeypatch.setenv("LABMART_RAW_SCHEMA", schema)
        assert in_process.labmart(loading_copy, "load", str(old)).code == 0
        before = content(engine, schema)
        begun = time.monotonic()
        loading = begin(engine, "load", "--replace", new, project=loading_copy)
        if number:
            # Most of the first third passes before Python has started.
            time.sleep(seconds * (0.3 + 0.8 * (number - chance.random()) / KILLS))
            loading.kill()
        loading.communicate()
        # The first is not killed, and tells how long it takes.
        seconds = seconds or time.monotonic() - begun
        if isinstance(engine, Postgres):
            nobody_loads(engine.database)
        found = content(engine, schema)
        again = in_process.labmart(loading_copy, "load", "--replace", str(new))
        assert again.code == 0, f"{told}: {again}"
        after = content(engine, schema)
        assert found in (before, after), f"{told}: half of it is there"
        assert ("already loaded" in again.err) == (found == after), told
        assert len(after["users"]) == 10_100, told
        if loading.returncode == -signal.SIGKILL:
            landed.append(found == after)
    # The kills are worth something only if some met the load before its commit.
    assert False in landed, landed


def test_a_loader_that_is_killed_once_it_has_the_file(loading_copy: Path, tmp_path: Path) -> None:
    engine = DuckDB(tmp_path / "test.duckdb")
    files = [
        write_table(tmp_path / f"{number}.csv", "users", range(number, 80_000, 2), padding=50)
        for number in range(2)
    ]
    assert end_of(begin(engine, "load", files[0], project=loading_copy)).code == 0
    before = content(engine, "labmart_raw")
    loading = begin(engine, "load", "--replace", files[1], project=loading_copy)
    wait_for(lambda: str(engine.path) in open_files(loading.pid))
    until = processor_seconds(loading.pid) + 0.05
    wait_for(lambda: loading.poll() is not None or processor_seconds(loading.pid) >= until)
    loading.kill()
    loading.communicate()
    assert loading.returncode == -signal.SIGKILL
    assert content(engine, "labmart_raw") == before
    again = end_of(begin(engine, "load", "--replace", files[1], project=loading_copy))
    assert (again.code, "already loaded" in again.err) == (0, False)
    assert engine.rows("select status, count(*) from labmart_raw.loads group by 1 order by 1") == [
        ("current", 1),
        ("superseded", 1),
    ]


def load_again(database: Database, new: Sequence[Path], *, known: int, **counts: int) -> None:
    """A second call brings what the first one did not; of each table so many rows are new."""
    again = labmart(database, "load", "--replace", *new)
    assert (again.code, again.err.count("already loaded")) == (0, known), again
    loads = database.rows("select load_id, status from labmart_raw.loads order by load_id")
    assert loads == [(1, "superseded"), (2, "current"), (3, "current")]
    for table, count in counts.items():
        rows = database.rows(f"select count(*) from labmart_raw.{table} where load_id > 1")
        assert rows == [(count,)], table


@pytest.mark.parametrize(("held", "is_done"), [("copy", False), ("commit", True)])
def test_a_loader_that_is_killed_in_its_copy_or_its_commit(
    database: Database, tmp_path: Path, held: str, is_done: bool
) -> None:
    old = write_table(tmp_path / "old.csv", "users", range(1, 500), broken_every=50)
    new = [
        write_table(tmp_path / "compounds.csv", "compounds", range(10_000), broken_every=999),
        write_table(tmp_path / "users.csv", "users", range(400, 5_000), broken_every=300),
    ]
    assert labmart(database, "load", old).code == 0
    before = state_of(database)
    holding = held_in_copy(database, "users") if held == "copy" else held_at_commit(database)
    with holding as wait_until_held:
        loading = begin(database, "load", "--replace", *new)
        wait_until_held()
        loading.kill()
        loading.communicate()
    nobody_loads(database)
    # A server that was told to commit does so without whoever told it.
    found = state_of(database)
    assert (found == before) == (not is_done)
    database.rows("drop trigger hold on labmart_raw." + ("users" if held == "copy" else "loads"))
    load_again(database, new, known=2 if is_done else 0, users=4_600, compounds=10_000)


def kill_server(place: ServerPaths) -> None:
    """Kill the postmaster and every process of its own at once, as a power cut does."""
    postmaster = status(place).pid
    assert postmaster is not None
    os.kill(postmaster, signal.SIGSTOP)
    for child in children_of(postmaster):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    os.kill(postmaster, signal.SIGKILL)
    wait_for(lambda: status(place).pid is None)


def test_a_server_that_is_killed_ends_the_load_and_loses_nothing(
    place: ServerPaths, tmp_path: Path
) -> None:
    start(place)
    database = database_of(place)
    old = write_table(tmp_path / "old.csv", "compounds", range(1_000), broken_every=99)
    assert labmart(database, "load", old).code == 0
    before = state_of(database)
    new = tmp_path / "new"
    write_table(new / "compounds.csv", "compounds", range(30_000), broken_every=999)
    write_table(new / "users.csv", "users", range(30_000))
    with (
        suppress(psycopg2.OperationalError),
        held_in_copy(database, "compounds") as wait_until_held,
    ):
        loading = begin(database, "load", "--replace", new, temporary=tmp_path)
        wait_until_held()
        kill_server(place)
    ended = end_of(loading)
    assert ended.code == 4, ended
    assert "Nothing was written. See that the server runs, and call again." in ended.err
    start(place)
    assert state_of(database) == before
    load_again(database, [new], known=0, users=30_000, compounds=30_000)


def test_a_server_that_is_gone_is_told_before_anything_is_read(
    empty_place: ServerPaths, tmp_path: Path
) -> None:
    users = write_table(tmp_path / "users.csv", "users", range(3))
    ended = labmart(database_of(empty_place), "load", users)
    assert ended.code == 4
    assert ended.err.startswith("labmart: No way into PostgreSQL at "), ended
