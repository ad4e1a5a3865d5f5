"""The raw tables and the ledger in a real PostgreSQL: one transaction, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import pytest
from conftest import Database

from loader.destinations import Load, RawStore, open_store
from loader.embedded import Place, start, status, url_of
from loader.errors import DatabaseFault, FileRefused, ProfileError
from loader.profile import Profile
from loader.readers import Batch, RejectedLine
from loader.sources import Input, InputColumn

pytestmark = pytest.mark.slow

PEOPLE = Input(
    "people", tuple(InputColumn(name, True, frozenset({name})) for name in ("id", "né e", 'q"%s'))
)
DAY = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


def profile_of(database: Database, schema: str = "labmart", **values: str) -> Profile:
    entries = {
        "host": database.host,
        "port": database.port,
        "user": database.user,
        "password": database.password,
        "dbname": database.name,
        "schema": schema,
    }
    return Profile(Path("profiles.yml"), "test", "postgres", entries | values)


def batch(load_id: int, first: int, count: int, width: int = 1) -> Batch:
    lines = range(first, first + count)
    text = "".join(f'{line},{load_id},{line},"a,{"é" * width}",\n' for line in lines)
    return Batch(text, count, (), first + count)


def entry_of(load_id: int, **values: object) -> Load:
    load = Load(
        load_id=load_id,
        call_id=load_id,
        input="people",
        file="people.csv",
        sha256="ab",
        bytes=10,
        dialect="csv",
        mode="append",
        status="current",
        records_read=3,
        records_rejected=0,
        started_at=DAY,
        finished_at=DAY,
        loaded_by="ada",
    )
    return replace(load, **values)  # type: ignore[arg-type]


def write_one(store: RawStore, batches: Iterator[Batch] | None = None) -> int:
    store.prepare([PEOPLE])
    load_id = store.next_load_id()
    store.write_records(PEOPLE, PEOPLE.column_names, ",", batches or iter([batch(load_id, 1, 3)]))
    store.add(entry_of(load_id))
    return load_id


def load_one(profile: Profile) -> int:
    with open_store(profile) as store:
        load_id = write_one(store)
        store.commit()
    return load_id


def rows(database: Database, sql: str) -> list[tuple[object, ...]]:
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor) if cursor.description else []


def no_thread_is_left() -> bool:
    return all(thread.name != "labmart-reader" for thread in threading.enumerate())


def test_an_empty_database_has_an_empty_ledger_and_stays_empty(database: Database) -> None:
    with open_store(profile_of(database), write=False) as store:
        assert store.loads() == []
    with open_store(profile_of(database)) as store:
        write_one(store)
    assert rows(database, "select nspname from pg_namespace where nspname = 'labmart_raw'") == []


def test_what_was_committed_is_there_to_the_letter(database: Database) -> None:
    odd = RejectedLine(4, "broken_quoting", 'it\'s "odd"', '\\.\t"\n,é')
    empty = RejectedLine(5, "undecodable", "x", "")
    with open_store(profile_of(database)) as store:
        store.prepare([PEOPLE])
        load_id = store.next_load_id()
        text = f'1,{load_id},1|,"x|""\n\\N",\n2,{load_id},"",\\.,%s\n'.replace(",", "'")
        written = store.write_records(
            PEOPLE, ("id", "né e", 'q"%s'), "'", iter([Batch(text, 2, (), 9)])
        )
        store.write_rejected(load_id, [odd, empty])
        assert (written, store.count(PEOPLE, load_id)) == (2, (2, 2))
        store.add(entry_of(load_id, records_read=4, records_rejected=2))
        store.commit()
    assert rows(database, "select * from labmart_raw.people order by line") == [
        ("1|", 'x|"\n\\N', None, 1, 1),
        ("", "\\.", "%s", 1, 2),
    ]
    assert rows(database, "select * from labmart_raw.rejected_lines order by line") == [
        (1, 4, odd.rule, odd.detail, odd.content),
        (1, 5, empty.rule, empty.detail, ""),
    ]
    with open_store(profile_of(database), write=False) as store:
        assert store.loads() == [entry_of(1, records_read=4, records_rejected=2)]


@pytest.mark.parametrize(
    "schema", ["odd %s \"q\" 'a' ;--", "%", "ü" * 29, 'a"b%%c\\d', "UPPER case"]
)
def test_a_schema_may_have_any_name(database: Database, schema: str) -> None:
    profile = profile_of(database, schema)
    assert [load_one(profile), load_one(profile)] == [1, 2]
    with open_store(profile) as store:
        assert [one.load_id for one in store.loads()] == [1, 2]
        assert store.count(PEOPLE, 2) == (3, 0)
        store.set_status({1: "reverted"})
        store.delete(store.loads()[:1])
        store.commit()
    assert rows(database, "select nspname from pg_namespace where nspname ~ '_raw$'") == [
        (f"{schema}_raw",)
    ]


def test_a_schema_whose_name_would_be_cut_off_is_refused(database: Database) -> None:
    with (
        pytest.raises(ProfileError, match="more than 63 bytes"),
        open_store(profile_of(database, "ü" * 30)),
    ):
        pass


def test_a_load_id_is_never_used_twice(database: Database) -> None:
    profile = profile_of(database)
    assert load_one(profile) == 1
    with open_store(profile) as store:
        write_one(store)
    assert load_one(profile) == 2, "a load that was rolled back leaves no trace"
    with open_store(profile) as store:
        store.delete(store.loads())
        store.commit()
    assert rows(database, "select * from labmart_raw.people") == []
    assert load_one(profile) == 3
    rows(database, "insert into labmart_raw.loads (load_id) values (40)")
    assert load_one(profile) == 41
    rows(database, "delete from labmart_raw.loads")
    assert load_one(profile) == 42


def test_rows_of_the_ledger_written_by_hand_can_be_read(database: Database) -> None:
    load_one(profile_of(database))
    rows(
        database,
        "insert into labmart_raw.loads (load_id, started_at, finished_at) "
        "values (9, 'infinity', '4000-01-01 BC'), (null, null, null)",
    )
    with open_store(profile_of(database)) as store:
        assert [one.load_id for one in store.loads()] == [1, 9]
        assert (store.loads()[1].call_id, store.loads()[1].file) == (9, "")


def test_a_ledger_without_call_id_gets_one(database: Database) -> None:
    profile = profile_of(database)
    load_one(profile)
    rows(database, "alter table labmart_raw.loads drop column call_id")
    with open_store(profile, write=False) as store:
        assert store.loads()[0].call_id == 1
    load_one(profile)
    assert rows(database, "select load_id, call_id from labmart_raw.loads order by 1") == [
        (1, 1),
        (2, 2),
    ]


def test_a_new_declared_column_is_added(database: Database) -> None:
    profile = profile_of(database)
    load_one(profile)
    wider = Input("people", (*PEOPLE.columns, InputColumn("new", False, frozenset({"new"}))))
    with open_store(profile) as store:
        store.prepare([wider])
        store.commit()
    assert rows(database, "select new from labmart_raw.people limit 1") == [(None,)]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("create view labmart_raw.people as select 1 as id", "is a view"),
        ("create table labmart_raw.people (id integer)", "column id of .* has the type integer"),
        ("create table labmart_raw.loads (load_id text)", "type text, and labmart needs bigint"),
    ],
)
def test_a_raw_table_of_another_shape_is_refused(database: Database, made: str, said: str) -> None:
    rows(database, f"create schema labmart_raw; {made}")
    with pytest.raises(DatabaseFault, match=said), open_store(profile_of(database)) as store:
        store.prepare([PEOPLE])


def test_one_load_among_many_is_counted_by_the_index(database: Database) -> None:
    profile = profile_of(database)
    with open_store(profile) as store:
        store.prepare([PEOPLE])
        for load_id in range(1, 6):
            store.write_records(PEOPLE, PEOPLE.column_names, ",", iter([batch(load_id, 1, 40_000)]))
        store.write_records(PEOPLE, PEOPLE.column_names, ",", iter([batch(6, 1, 3)]))
        assert store.count(PEOPLE, 6) == (3, 0)
        store.commit()
    plan = rows(
        database,
        "explain (analyze, buffers, timing off) "
        "select count(*) from labmart_raw.people where load_id = 6",
    )
    text = "\n".join(str(line) for (line,) in plan)
    assert "Bitmap Index Scan" in text
    pages = rows(database, "select pg_relation_size('labmart_raw.people') / 8192")[0][0]
    blocks = next(part for part in text.split() if part.startswith("lossy="))
    assert int(blocks.removeprefix("lossy=")) < int(str(pages)) / 4, (blocks, pages)
    assert rows(database, "select reltuples from pg_class where relname = 'people'") == [
        (200_003.0,)
    ]


class OddError(Exception):
    """What no reader is expected to raise."""


@pytest.mark.parametrize(
    "error", [FileRefused("a.csv", ": no"), KeyboardInterrupt(), OddError(), SystemExit(3)]
)
@pytest.mark.parametrize("after", [0, 30])
def test_what_ends_the_batches_comes_out_as_it_was(
    database: Database, error: BaseException, after: int
) -> None:
    closed = []

    def failing() -> Iterator[Batch]:
        try:
            for number in range(after):
                yield batch(1, number * 1000 + 1, 1000, width=500)
            raise error
        finally:
            closed.append(threading.current_thread().name)

    with pytest.raises(type(error)) as caught, open_store(profile_of(database)) as store:
        write_one(store, failing())
    assert caught.value is error
    assert closed == ["labmart-reader"]
    assert no_thread_is_left()
    assert load_one(profile_of(database)) == 1


def endless(load_id: int = 1, pause: float = 0.0) -> Iterator[Batch]:
    number = 0
    while True:
        yield batch(load_id, number * 1000 + 1, 1000, width=200)
        number += 1
        time.sleep(pause)


def test_a_bad_record_ends_the_load_before_all_is_sent(database: Database) -> None:
    def batches() -> Iterator[Batch]:
        yield Batch("1,1,too,few\n" + "x" * 100 + "\n", 2, (), 1)
        yield from endless()

    with (
        pytest.raises(DatabaseFault, match=r"it refused the work: .*missing data"),
        open_store(profile_of(database)) as store,
    ):
        write_one(store, batches())
    assert no_thread_is_left()


def test_a_large_load_arrives_whole(database: Database) -> None:
    profile = profile_of(database)
    sizes = [300_000] * 50 + [1, 20_000_000, 3] + [100] * 2000

    def batches() -> Iterator[Batch]:
        for number, width in enumerate(sizes):
            yield batch(1, number + 1, 1, width=width)

    with open_store(profile) as store:
        store.prepare([PEOPLE])
        written = store.write_records(PEOPLE, PEOPLE.column_names, ",", batches())
        assert written == len(sizes)
        store.commit()
    found = rows(database, 'select line, length("né e") - 2 from labmart_raw.people order by line')
    assert found == list(enumerate(sizes, start=1))


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
    deadline = time.monotonic() + 10
    while status(place).running and time.monotonic() < deadline:
        time.sleep(0.1)
    start(place)
    with closing(psycopg2.connect(url_of(place))) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from s_raw.people")
        assert cursor.fetchone() == (3,)
    assert load_one(profile) == 2


def process(database: Database, code: str) -> subprocess.Popen[str]:
    script = f"""
import sys, time
from test_store_postgres import *
from conftest import Database
profile = profile_of(Database(*{tuple(vars(database).values())!r}))
{textwrap.dedent(code)}
"""
    folder = Path(__file__).parent
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": f"{folder}:{folder.parents[1]}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_first_loads_at_once_take_turns_and_one_says_that_it_waits(
    database: Database,
) -> None:
    code = "with open_store(profile) as s: n = write_one(s); time.sleep(1); s.commit(); print(n)"
    both = [process(database, code) for _ in range(2)]
    said = [one.communicate(timeout=30) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert sorted(out for out, _ in said) == ["1\n", "2\n"]
    assert sorted(err for _, err in said) == ["", "another load is at work; waiting …\n"]
    assert rows(database, "select count(*) from labmart_raw.people") == [(6,)]


def test_who_waits_can_be_interrupted(database: Database) -> None:
    with open_store(profile_of(database)):
        waiting = process(database, "with open_store(profile): pass")
        assert waiting.stderr is not None
        assert "waiting" in waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=10)
    assert "KeyboardInterrupt" in err


@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_an_interrupt_ends_a_load_and_leaves_nothing(database: Database, pause: float) -> None:
    code = f"""
    try:
        with open_store(profile) as store:
            print("go", flush=True)
            write_one(store, endless(1, {pause}))
    except KeyboardInterrupt:
        print("interrupted", no_thread_is_left())
    """
    loading = process(database, code)
    assert loading.stdout is not None
    assert loading.stdout.readline() == "go\n"
    time.sleep(0.7)
    loading.send_signal(signal.SIGINT)
    out, err = loading.communicate(timeout=10)
    assert (out, err) == ("interrupted True\n", "")
    assert load_one(profile_of(database)) == 1


def test_an_interrupt_ends_a_wait_for_a_locked_table(database: Database) -> None:
    load_one(profile_of(database))
    with closing(database.connect()) as other, other.cursor() as cursor:
        cursor.execute("begin; lock table labmart_raw.people")
        loading = process(
            database,
            "with open_store(profile) as s: print('go', flush=True); write_one(s)",
        )
        assert loading.stdout is not None
        assert loading.stdout.readline() == "go\n"
        time.sleep(0.5)
        loading.send_signal(signal.SIGINT)
        _, err = loading.communicate(timeout=10)
        assert "KeyboardInterrupt" in err
        cursor.execute("rollback")


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
        with (
            pytest.raises(DatabaseFault, match="grant insert on all tables"),
            open_store(guest) as store,
        ):
            write_one(store)
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
            settings = store._run(  # type: ignore[attr-defined]
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


def test_a_reader_does_not_wait_for_a_load(database: Database) -> None:
    profile = profile_of(database)
    load_one(profile)
    with open_store(profile) as writing:
        write_one(writing)
        with open_store(profile, write=False) as store:
            assert [one.load_id for one in store.loads()] == [1]
            with pytest.raises(DatabaseFault, match="it takes no writing"):
                store.set_status({1: "reverted"})


def test_a_connection_lost_in_the_commit_says_that_nobody_knows(database: Database) -> None:
    with open_store(profile_of(database)) as store:
        write_one(store)
        rows(
            database,
            "create function pg_temp.f() returns void language sql as ''; "
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and application_name = 'labmart load'",
        )
        store._written.clear()  # type: ignore[attr-defined]
        with pytest.raises(DatabaseFault, match="Either all of it was written or nothing"):
            store.commit()
