"""SIGKILL at any moment, of the loader and of the server: all of a load is there, or nothing.

LABMART_KILLS says how often `make prove` kills the loader (default 24); LABMART_KILLS_SEED
repeats the moments of an earlier run.
"""

from __future__ import annotations

import gzip
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import psycopg2
import pytest
from support import in_process
from support.databases import Database
from support.load_processes import (
    State,
    begin,
    children_of,
    database_of,
    end_of,
    held_at_commit,
    held_in_copy,
    labmart,
    nobody_loads,
    rows,
    state_of,
    wait_for,
    write_table,
)
from support.project import ROOT

from loader.embedded import Place, start, status

pytestmark = pytest.mark.slow

# Before any test: conftest takes such variables away.
KILLS = int(os.environ.get("LABMART_KILLS", "24"))
SEED = os.environ.get("LABMART_KILLS_SEED") or str(random.randrange(10**9))
# What the server does for a load, by the words of its statement, in the order of a load.
WAYPOINTS = (
    "begin",
    "pg_advisory",
    "create|copy .*compounds",
    "copy .*user_experiments",
    'copy .*"users"',
    "copy .*rejected",
    "select count",
    "analyze",
    "commit",
    "commit",
)
SCENARIOS = ("first", "append", "replace")


@dataclass(frozen=True)
class Moment:
    """When to kill: `seconds` after the start, or after the server was seen at a statement."""

    waypoint: str
    seconds: float


@dataclass(frozen=True)
class Lab:
    """A database and the files to load; `kept` holds what was loaded before."""

    database: Database
    files: tuple[Path, ...]
    temporary: Path

    def arguments(self, scenario: str) -> list[str | Path]:
        return ["load", *(["--replace"] if scenario == "replace" else []), *self.files]

    def reset(self, scenario: str) -> None:
        """Back to the state before the load."""
        statements = ["drop schema if exists labmart_raw cascade"]
        if scenario != "first":
            statements.append("create schema labmart_raw")
            tables = "select relname from pg_class where relkind = 'r' and relnamespace = "
            for (name,) in rows(self.database, f"{tables} 'kept'::regnamespace"):
                statements += [
                    f"create table labmart_raw.{name} (like kept.{name} including all)",
                    f"insert into labmart_raw.{name} select * from kept.{name}",
                ]
        rows(self.database, "; ".join(statements))


@pytest.fixture
def lab(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    old = [
        write_table(tmp_path / f"old_{kind}.csv", kind, range(1, 500), broken_every=50)
        for kind in ("users", "user_experiments", "compounds")
    ]
    assert labmart(database, "load", *old).code == 0
    assert labmart(database, "load", "--replace", old[0], *old[1:2]).code == 0
    newer = write_table(tmp_path / "users_2.csv", "users", range(400, 900), broken_every=20)
    assert labmart(database, "load", newer).code == 0
    rows(database, "alter schema labmart_raw rename to kept")
    folder = tmp_path / "new"
    files = [
        write_table(folder / "compounds.csv", "compounds", range(10_000), broken_every=999),
        write_table(folder / "experiments.csv", "user_experiments", range(30_000), broken_every=99),
        write_table(folder / "users.csv", "users", range(5_000), broken_every=300),
    ]
    packed = folder / "users.csv.gz"
    packed.write_bytes(
        gzip.compress(write_table(folder / "u", "users", range(4_000, 20_000)).read_bytes(), 1)
    )
    return Lab(database, (*files, packed), temporary)


def moments(count: int, chance: random.Random) -> Iterator[tuple[str, Moment, float]]:
    """Half of them anywhere in the time of a load, in even strides; half near a waypoint.

    Of the time, most of the first fifth passes before Python has started.
    """
    waypoints = cycle(WAYPOINTS)
    for number in range(count):
        scenario = SCENARIOS[number % len(SCENARIOS)]
        if number // len(SCENARIOS) % 2:
            share = 0.2 + (number + chance.random()) / count * 0.9
            yield scenario, Moment("", 0.0), share
        else:
            yield scenario, Moment(next(waypoints), chance.choice((0, 0, 0.002, 0.01))), 0.0


def wait_for_moment(
    cursor: psycopg2.extensions.cursor, loading: subprocess.Popen[str], moment: Moment
) -> str:
    """What the server was doing for the load when the moment had come."""
    found: list[tuple[str, str]] = []
    while moment.waypoint and loading.poll() is None:
        found = at_work(cursor)
        if found and re.match(moment.waypoint, found[0][1], re.IGNORECASE):
            break
        time.sleep(0.0005)
    time.sleep(moment.seconds)
    found = at_work(cursor)
    return " ".join(found[0]) if found else ""


def at_work(cursor: psycopg2.extensions.cursor) -> list[tuple[str, str]]:
    cursor.execute(
        "select state, ltrim(query) from pg_stat_activity where datname = current_database() "
        "and application_name like 'labmart%' and xact_start is not null"
    )
    return cursor.fetchall()


def undisturbed(lab: Lab, scenario: str) -> tuple[State, State, float]:
    """The states before and after a load, and how long it takes."""
    lab.reset(scenario)
    before = state_of(lab.database)
    begun = time.monotonic()
    done = labmart(lab.database, *lab.arguments(scenario))
    seconds = time.monotonic() - begun
    assert done.code == 0, done
    after = state_of(lab.database)
    assert after.content != before.content
    return before, after, seconds


@pytest.mark.prove(
    "two dozen kills at random moments take a minute; two chosen ones are tried always"
)
def test_a_loader_that_is_killed_leaves_all_or_nothing(lab: Lab) -> None:
    chance = random.Random(SEED)
    expected = {scenario: undisturbed(lab, scenario) for scenario in SCENARIOS}
    landed: list[tuple[bool, str]] = []
    with closing(lab.database.connect()) as connection, connection.cursor() as cursor:
        for scenario, moment, share in moments(KILLS, chance):
            before, after, seconds = expected[scenario]
            moment = Moment(moment.waypoint, moment.seconds + share * seconds)
            told = f"seed {SEED}: {scenario}, {moment}"
            lab.reset(scenario)
            assert state_of(lab.database) == before, told
            loading = begin(lab.database, *lab.arguments(scenario), temporary=lab.temporary)
            doing = wait_for_moment(cursor, loading, moment)
            loading.kill()
            loading.communicate()
            nobody_loads(lab.database)
            found = state_of(lab.database)
            is_done = found.content == after.content
            assert is_done or found == before, f"{told}, {doing}: half of it is there"
            if loading.returncode == -signal.SIGKILL:
                landed.append((is_done, doing))
            again = in_process.labmart(ROOT, *map(str, lab.arguments(scenario)))
            assert again.code == 0, f"{told}: {again}"
            assert ("already loaded" in again.err) == is_done, told
            assert state_of(lab.database).content == after.content, told
    # The kills are worth something only if they met the load at work.
    assert any(doing.startswith("active copy") for is_done, doing in landed if not is_done), landed
    assert {is_done for is_done, _ in landed} == {False, True}, landed
    assert not list(lab.temporary.iterdir())


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
    rows(database, "drop trigger hold on labmart_raw." + ("users" if held == "copy" else "loads"))
    again = labmart(database, "load", "--replace", *new)
    assert again.code == 0, again
    assert again.err.count("already loaded") == (2 if is_done else 0)
    loads = rows(database, "select load_id, status from labmart_raw.loads order by load_id")
    assert loads == [(1, "superseded"), (2, "current"), (3, "current")]
    assert rows(database, "select count(*) from labmart_raw.users where load_id > 1") == [(4_600,)]
    assert rows(database, "select count(*) from labmart_raw.compounds") == [(10_000,)]


def kill_server(place: Place) -> None:
    """Kill the postmaster and every process of its own at once, as a power cut does."""
    postmaster = status(place).pid
    assert postmaster is not None
    os.kill(postmaster, signal.SIGSTOP)
    for child in children_of(postmaster):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    os.kill(postmaster, signal.SIGKILL)
    wait_for(lambda: status(place).pid is None)


@contextmanager
def held_in_analyze(database: Database, table: str) -> Iterator[Callable[[], None]]:
    """Like `held_in_copy`: the lock leaves readers and writers alone."""
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"begin; lock table labmart_raw.{table} in share update exclusive mode")
        waiting = "select 1 from pg_locks where locktype = 'relation' and not granted"
        yield lambda: wait_for(lambda: bool(rows(database, waiting)))
        # The server has gone meanwhile.
        with suppress(psycopg2.OperationalError):
            cursor.execute("rollback")


@pytest.mark.parametrize("hold", [held_in_copy, held_in_analyze])
def test_a_server_that_is_killed_ends_the_load_and_loses_nothing(
    place: Place,
    tmp_path: Path,
    hold: Callable[[Database, str], AbstractContextManager[Callable[[], None]]],
) -> None:
    start(place)
    database = database_of(place)
    old = write_table(tmp_path / "old.csv", "compounds", range(1_000), broken_every=99)
    assert labmart(database, "load", old).code == 0
    before = state_of(database)
    new = tmp_path / "new"
    write_table(new / "compounds.csv", "compounds", range(30_000), broken_every=999)
    write_table(new / "users.csv", "users", range(30_000))
    with suppress(psycopg2.OperationalError), hold(database, "compounds") as wait_until_held:
        loading = begin(database, "load", "--replace", new, temporary=tmp_path)
        wait_until_held()
        kill_server(place)
    ended = end_of(loading)
    assert ended.code == 4, ended
    assert "Nothing was written. See that the server runs, and call again." in ended.err
    start(place)
    assert state_of(database) == before
    again = labmart(database, "load", "--replace", new)
    assert again.code == 0, again
    assert "already loaded" not in again.err
    assert rows(database, "select status from labmart_raw.loads order by load_id") == [
        ("superseded",),
        ("current",),
        ("current",),
    ]
    assert rows(database, "select count(*) from labmart_raw.users") == [(30_000,)]
    assert rows(database, "select count(*) from labmart_raw.compounds") == [(31_000,)]


def test_a_server_that_is_gone_is_told_before_anything_is_read(
    empty_place: Place, tmp_path: Path
) -> None:
    users = write_table(tmp_path / "users.csv", "users", range(3))
    ended = labmart(database_of(empty_place), "load", users)
    assert ended.code == 4
    assert ended.err.startswith("labmart: No PostgreSQL answers at "), ended
