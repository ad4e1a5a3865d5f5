"""Whatever ends a load early: the database is as before, and a person hears why."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg2
import pytest
from support.databases import Database
from support.load_processes import wait_for
from support.raw_store import (
    PEOPLE,
    batch,
    endless,
    load_one,
    no_thread_is_left,
    profile_of,
    rows,
    write_one,
)

from loader.embedded import Place, start, status, url_of
from loader.engines import open_store
from loader.engines.postgres import PostgresRaw
from loader.errors import DatabaseFault
from loader.parsers.records import Batch
from loader.profile import Profile

pytestmark = pytest.mark.slow


def test_memory_is_bounded_while_the_server_is_slow(database: Database) -> None:
    profile = profile_of(database)
    load_one(profile)
    made = 0

    def batches() -> Iterator[Batch]:
        nonlocal made
        for made in range(1, 101):
            yield batch(2, made, 1, width=500_000)

    with closing(database.connect()) as blocker, blocker.cursor() as cursor:
        cursor.execute(
            "create function labmart_raw.slow() returns trigger language plpgsql as "
            "$$ begin perform pg_sleep(0.1); return new; end $$; "
            "create trigger slow before insert on labmart_raw.people "
            "for each row execute function labmart_raw.slow()"
        )
        ahead = []
        with open_store(profile) as store, suppress(RuntimeError):
            finished = threading.Event()

            def watch() -> None:
                time.sleep(1.0)
                ahead.append(made)
                cursor.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and application_name = 'labmart load'"
                )
                finished.set()

            watcher = threading.Thread(target=watch)
            watcher.start()
            with pytest.raises(DatabaseFault):
                store.write_records(PEOPLE, PEOPLE.column_names, ",", batches())
            watcher.join()
    # Each batch is 1 MB; some ten are at the server.
    assert ahead[0] < 60, ahead
    assert no_thread_is_left()


def test_a_server_that_ends_the_connection_is_told(
    database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    def batches() -> Iterator[Batch]:
        for number, one in enumerate(endless()):
            if number == 40:
                rows(
                    database,
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and application_name = 'labmart load'",
                )
            yield one

    with (
        pytest.raises(DatabaseFault, match=r"connection was lost: .*administrator"),
        open_store(profile_of(database)) as store,
    ):
        write_one(store, batches())
    assert no_thread_is_left()
    assert capfd.readouterr().err == ""
    assert load_one(profile_of(database)) == 1


def test_a_server_that_is_killed_leaves_the_database_as_it_was(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    start(place)
    profile = Profile(
        Path("profiles.yml"),
        "test",
        "postgres",
        {"host": str(place.run), "user": "labmart", "dbname": "labmart", "schema": "s"},
    )
    load_one(profile)

    def batches() -> Iterator[Batch]:
        for number, one in enumerate(endless(2)):
            if number == 40:
                pid = status(place).pid
                assert pid is not None
                os.kill(pid, signal.SIGQUIT)
            yield one

    with (
        pytest.raises(DatabaseFault, match=r"connection was lost: .*Nothing was written"),
        open_store(profile) as store,
    ):
        write_one(store, batches())
    assert no_thread_is_left()
    assert capfd.readouterr().err == ""
    wait_for(lambda: status(place).pid is None)
    start(place)
    with closing(psycopg2.connect(url_of(place))) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from labmart_raw.people")
        assert cursor.fetchone() == (3,)
    assert load_one(profile) == 2


def test_a_role_without_rights_learns_which_it_needs(database: Database) -> None:
    name = f"guest_{database.name}"
    rows(database, f"create role {name} login")
    guest = profile_of(database, user=name)
    try:
        with (
            pytest.raises(DatabaseFault, match=f'grant create on database "{database.name}" to'),
            open_store(guest) as store,
        ):
            store.prepare([PEOPLE])
        load_one(profile_of(database))
        with (
            pytest.raises(DatabaseFault, match="grant usage on schema"),
            open_store(guest) as store,
        ):
            store.loads()
        rows(
            database,
            f"grant usage on schema labmart_raw to {name}; "
            f"grant select, insert, update, delete on all tables in schema labmart_raw to {name}",
        )
        assert load_one(guest) == 2
        rows(database, f"revoke insert on labmart_raw.people from {name}")
        with pytest.raises(DatabaseFault, match="grant insert on all tables"):
            load_one(guest)
    finally:
        rows(database, f"drop owned by {name}; drop role {name}")


def test_limits_of_the_role_do_not_end_a_load(database: Database) -> None:
    name = f"hasty_{database.name}"
    rows(
        database,
        f"create role {name} login; grant create on database {database.name} to {name};"
        f"alter role {name} set statement_timeout = '300ms';"
        f"alter role {name} set idle_in_transaction_session_timeout = '300ms';"
        f"alter role {name} set synchronous_commit = off;"
        f"alter role {name} set default_transaction_isolation = 'serializable'",
    )
    try:
        with open_store(profile_of(database, user=name)) as store:
            time.sleep(0.6)
            write_one(store, (one for one, _ in zip(endless(1, 0.2), range(4), strict=False)))
            settings = store.run(
                "select current_setting('synchronous_commit'), "
                "current_setting('transaction_isolation')"
            )
            assert settings == [("on", "read committed")]
            store.commit()
        rows(database, f"alter role {name} set default_transaction_read_only = on")
        with (
            pytest.raises(DatabaseFault, match="it takes no writing"),
            open_store(profile_of(database, user=name)) as store,
        ):
            write_one(store)
    finally:
        rows(database, f"drop owned by {name}; drop role {name}")


def test_a_connection_lost_in_the_commit_says_that_nobody_knows(database: Database) -> None:
    with open_store(profile_of(database)) as store:
        write_one(store)
        assert isinstance(store, PostgresRaw)
        store.settle()
        rows(
            database,
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and application_name = 'labmart load'",
        )
        store.changed.clear()
        with pytest.raises(DatabaseFault, match="Either all of it was written or nothing"):
            store.end()
