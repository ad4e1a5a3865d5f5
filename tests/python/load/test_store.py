"""The raw tables and the ledger on every engine: what is written is there, or nothing is.

Whatever ends a load early leaves nothing; loads take turns, dbt waits where it must, readers never.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from support.databases import Database
from support.dbt_project import DbtProject
from support.engines import Engine
from support.in_process import labmart
from support.load_processes import begin, end_of, wait_for
from support.project import copy_of_project
from support.raw_store import (
    PEOPLE,
    batch,
    endless,
    entry_of,
    load_one,
    no_thread_is_left,
    process,
    profile_of,
    write_one,
)

from loader.dbt import one_build_at_a_time
from loader.engines import Engine as Connected
from loader.engines.raw_store import RawStore, open_store, raw_tables
from loader.errors import DatabaseFault, FileRefused, UsageError
from loader.parsers.records import Batch, RejectedLine
from loader.project import open_project
from loader.sources import LAST_LOAD, read_inputs

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("engine", ["postgres", "duckdb", "lake"], indirect=True)
def test_what_was_committed_is_there_to_the_letter(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABMART_LAKE", engine.environment.get("LABMART_LAKE", ""))
    odd = RejectedLine(4, "broken_quoting", 'it\'s "odd"', '\\.\t"\n,é')
    empty = RejectedLine(5, "undecodable", "x", "")
    told = {"file": 'it\'s "\\odd\\", é\n', "header": "", "loaded_by": "50% of us"}
    with open_store(engine.profile()) as store:
        assert store.loads() == []
        store.prepare([PEOPLE])
        load_id = store.next_load_id()
        text = f'1,{load_id},1|,"x|""\n\\N",\n2,{load_id},"",\\.,%s\n'.replace(",", "'")
        written = store.write_records(
            PEOPLE, ("id", "né e", 'q"%s'), "'", iter([Batch(text, 2, (), 9)])
        )
        store.write_rejected(load_id, [odd, empty])
        assert (written, store.count(PEOPLE, load_id)) == (2, (2, 2))
        store.add(entry_of(load_id, records_read=4, records_rejected=2, **told))
        store.commit()
    listed = 'id, "né e", "q""%s", load_id, line'
    assert engine.rows(f"select {listed} from labmart_raw.people order by line") == [
        ("1|", 'x|"\n\\N', None, 1, 1),
        ("", "\\.", "%s", 1, 2),
    ]
    listed = "load_id, line, rule, detail, content"
    assert engine.rows(f"select {listed} from labmart_raw.rejected_lines order by line") == [
        (1, 4, odd.rule, odd.detail, odd.content),
        (1, 5, empty.rule, empty.detail, ""),
    ]
    with open_store(engine.profile(), write=False) as store:
        assert store.loads() == [entry_of(1, records_read=4, records_rejected=2, **told)]


@pytest.mark.parametrize("schema", ["UPPER odd %s \"q\" 'a' ;-- b%%c\\d", "ü" * 29])
def test_a_schema_may_have_any_name(engine: Engine, schema: str) -> None:
    profile = engine.profile(schema)
    assert [load_one(profile), load_one(profile)] == [1, 2]
    with open_store(profile) as store:
        assert [one.load_id for one in store.loads()] == [1, 2]
        assert store.count(PEOPLE, 2) == (3, 0)
        store.set_status({1: "reverted"})
        store.delete(store.loads()[:1])
        store.commit()
    assert engine.schemas("_raw") == [f"{schema}_raw"]


def test_a_load_that_was_given_up_leaves_nothing_and_no_number_is_used_twice(
    engine: Engine,
) -> None:
    profile = engine.profile()
    with open_store(profile, write=False) as store:
        assert store.loads() == []
    with open_store(profile) as store:
        assert write_one(store) == 1
    assert engine.schemas("_raw") == []
    assert [load_one(profile), load_one(profile)] == [1, 2]
    with open_store(profile) as store:
        store.delete(store.loads())
        store.commit()
    assert engine.rows("select * from labmart_raw.people") == []
    assert load_one(profile) == 3
    engine.rows("insert into labmart_raw.loads (load_id) values (40)")
    assert load_one(profile) == 41
    engine.rows("delete from labmart_raw.loads")
    assert load_one(profile) == 42


def test_a_ledger_without_the_newest_column_can_be_read_and_gets_it(engine: Engine) -> None:
    load_one(engine.profile())
    engine.rows("alter table labmart_raw.loads drop column header")
    with open_store(engine.profile(), write=False) as store:
        assert store.loads() == [entry_of(1)]
    load_one(engine.profile())
    assert engine.rows("select header from labmart_raw.loads") == [(None,), (None,)]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("create view labmart_raw.people as select '1' as id", "it refused the work: .*view"),
        ("create table labmart_raw.people (id integer)", "column id of .* has the type integer"),
        ("create table labmart_raw.loads (load_id text)", "type text, and labmart needs bigint"),
    ],
)
def test_a_raw_table_of_another_shape_is_refused(engine: Engine, made: str, said: str) -> None:
    engine.rows(f"create schema labmart_raw; {made}")
    with pytest.raises(DatabaseFault, match=said), open_store(engine.profile()) as store:
        store.prepare([PEOPLE])


def test_a_large_load_arrives_whole(engine: Engine) -> None:
    profile = engine.profile()
    sizes = [300_000] * 50 + [1, 20_000_000, 3] + [100] * 2000

    def batches() -> Iterator[Batch]:
        for number, width in enumerate(sizes):
            yield batch(1, number + 1, 1, width=width)

    with open_store(profile) as store:
        store.prepare([PEOPLE])
        written = store.write_records(PEOPLE, PEOPLE.column_names, ",", batches())
        assert written == len(sizes)
        store.commit()
    found = engine.rows('select line, length("né e") - 2 from labmart_raw.people order by line')
    assert found == list(enumerate(sizes, start=1))


def test_small_files_are_written_together(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    with open_store(engine.profile()) as store:
        insert = store.insert

        def counted(name: str, *rest: Any) -> None:
            copied.append(name)
            insert(name, *rest)

        monkeypatch.setattr(store, "insert", counted)
        for number in range(1, 51):
            assert write_one(store, iter([batch(number, 1, number), batch(number, 99, 1)]))
            store.write_rejected(number, [RejectedLine(7, "undecodable", "x", "y")] * (number % 2))
        assert copied == []
        assert store.count(PEOPLE, 50) == (51, 0)
        assert store.count(PEOPLE, 1) == (2, 1)
        # What is large is written at once.
        large = iter([batch(51, 1, 9, width=300_000)])
        store.write_records(PEOPLE, PEOPLE.column_names, ",", large)
        assert copied == ["people", "loads", "rejected_lines", "people"]
        assert store.count(PEOPLE, 51) == (9, 0)
        store.commit()
    assert copied == ["people", "loads", "rejected_lines", "people"]
    assert len(engine.rows("select load_id from labmart_raw.loads")) == 50
    with open_store(engine.profile(), write=False) as store:
        assert store.count(PEOPLE, 49) == (50, 1)


class Slow(RawStore):
    """It takes its time, and notes how many records had been made when it was given some."""

    chunk, kept_back = 1_000_000, 0

    def __init__(self) -> None:
        super().__init__(Connected("raw", "nowhere", writes=True))
        self.made = self.written = 0
        self.ahead: list[int] = []

    def insert(self, name: str, columns: Sequence[str], delimiter: str, chunk: bytes) -> None:
        del name, columns, delimiter
        time.sleep(0.05)
        self.written += chunk.count(b"\n")
        self.ahead.append(self.made - self.written)


def test_memory_is_bounded_while_the_engine_is_slow() -> None:
    store = Slow()

    def batches() -> Iterator[Batch]:
        for store.made in range(1, 101):
            yield batch(2, store.made, 1, width=100_000)

    assert store.write_records(PEOPLE, PEOPLE.column_names, ",", batches()) == 100
    # Each record is 0.2 MB: one chunk of five is being made while one is written.
    assert len(store.ahead) == 20
    assert max(store.ahead) <= 5


@pytest.mark.parametrize("kind", [FileRefused, KeyboardInterrupt])
@pytest.mark.parametrize("after", [0, 30])
def test_what_ends_the_batches_comes_out_as_it_was(kind: type[BaseException], after: int) -> None:
    error, store = kind("a.csv", ": no"), Slow()

    def failing() -> Iterator[Batch]:
        yield from (batch(1, number + 1, 1, width=100_000) for number in range(after))
        raise error

    with pytest.raises(kind) as caught:
        store.write_records(PEOPLE, PEOPLE.column_names, ",", failing())
    assert caught.value is error
    assert store.written == after
    assert no_thread_is_left()


def test_what_ends_the_writing_lets_go_of_the_file() -> None:
    store, closed = Slow(), []
    store.insert = Mock(side_effect=KeyboardInterrupt)  # type: ignore[method-assign]

    def batches() -> Iterator[Batch]:
        try:
            yield from endless()
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        store.write_records(PEOPLE, PEOPLE.column_names, ",", batches())
    assert (closed, no_thread_is_left()) == ([True], True)


def test_a_bad_record_ends_the_load_before_all_is_sent(engine: Engine) -> None:
    def batches() -> Iterator[Batch]:
        yield Batch("1,1,too,few\n" + "x" * 100 + "\n", 2, (), 1)
        yield from endless()

    with (
        pytest.raises(DatabaseFault, match=r"it refused the work: .*(missing data|CSV Error)"),
        open_store(engine.profile()) as store,
    ):
        write_one(store, batches())
    assert no_thread_is_left()


def test_loads_take_turns_and_who_waits_is_told_and_can_be_interrupted(engine: Engine) -> None:
    with open_store(engine.profile()) as first:
        waiting = [process(engine.profile(), "print(load_one(profile))") for _ in range(3)]
        for loading in waiting:
            assert loading.stderr is not None
            assert loading.stderr.readline() == "another load is at work; waiting …\n"
        interrupted = waiting.pop()
        interrupted.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in interrupted.communicate(timeout=120)[1]
        assert write_one(first) == 1
        first.commit()
    assert {loading.communicate(timeout=120) for loading in waiting} == {("2\n", ""), ("3\n", "")}
    assert engine.rows("select count(*) from labmart_raw.people") == [(9,)]


@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_an_interrupt_ends_a_load_and_leaves_nothing(engine: Engine, pause: float) -> None:
    code = f"""
    def batches():
        for number, one in enumerate(endless(1, {pause})):
            yield one
            if number == 1:
                print("amid the load", flush=True)

    try:
        with open_store(profile) as store:
            write_one(store, batches())
    except KeyboardInterrupt:
        print("interrupted", no_thread_is_left())
    """
    loading = process(engine.profile(), code)
    assert loading.stdout is not None
    assert loading.stdout.readline() == "amid the load\n"
    loading.send_signal(signal.SIGINT)
    out, err = loading.communicate(timeout=120)
    assert (out, err) == ("interrupted True\n", "")
    assert load_one(engine.profile()) == 1


# What PostgreSQL does alone.

END_THE_LOAD = (
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where datname = current_database() and application_name = 'labmart load'"
)


def test_a_schema_whose_name_would_be_cut_off_is_refused(database: Database) -> None:
    with (
        pytest.raises(UsageError, match="more than 63 bytes"),
        open_store(profile_of(database, "ü" * 30)),
    ):
        pass


def test_a_server_that_ends_the_connection_is_told(
    database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    def batches() -> Iterator[Batch]:
        for number, one in enumerate(endless()):
            if number == 40:
                database.rows(END_THE_LOAD)
            yield one

    with (
        pytest.raises(DatabaseFault, match="connection was lost"),
        open_store(profile_of(database)) as store,
    ):
        write_one(store, batches())
    assert no_thread_is_left()
    assert capfd.readouterr().err == ""
    assert load_one(profile_of(database)) == 1


@contextmanager
def role(database: Database, rights: str = "") -> Iterator[str]:
    """A role of its own; `rights` is SQL of which {} is its name."""
    name = f"guest_{database.name}"
    database.rows(f"create role {name} login; {rights.format(name)}")
    try:
        yield name
    finally:
        database.rows(f"drop owned by {name}; drop role {name}")


def test_a_role_without_rights_is_told_of_labmart_roles(database: Database) -> None:
    said = "permission denied for {}.*`labmart roles`"
    with role(database) as name:
        guest = profile_of(database, user=name)
        with pytest.raises(DatabaseFault, match=said.format("database")):
            load_one(guest)
        load_one(profile_of(database))
        with pytest.raises(DatabaseFault, match=said.format("schema")), open_store(guest) as store:
            store.loads()
        database.rows(
            f"grant usage on schema labmart_raw to {name}; "
            f"grant select, insert, update, delete on all tables in schema labmart_raw to {name}",
        )
        assert load_one(guest) == 2


def test_limits_of_the_role_do_not_end_a_load(database: Database) -> None:
    rights = (
        f"grant create on database {database.name} to {{0}};"
        "alter role {0} set statement_timeout = '300ms';"
        "alter role {0} set idle_in_transaction_session_timeout = '300ms';"
        "alter role {0} set synchronous_commit = off;"
        "alter role {0} set default_transaction_isolation = 'serializable'"
    )
    with role(database, rights) as name:
        profile = profile_of(database, user=name)
        with open_store(profile) as store:
            time.sleep(0.6)
            write_one(store, (rows for rows, _ in zip(endless(1, 0.2), range(4), strict=False)))
            settings = store.run(
                "select current_setting('synchronous_commit'), "
                "current_setting('transaction_isolation')"
            )
            assert settings == [("on", "read committed")]
            store.commit()
        database.rows(f"alter role {name} set default_transaction_read_only = on")
        with (
            pytest.raises(DatabaseFault, match="in a read-only transaction"),
            open_store(profile) as store,
        ):
            write_one(store)


def test_a_connection_lost_in_the_commit_says_that_nobody_knows(database: Database) -> None:
    with open_store(profile_of(database)) as store:
        write_one(store)
        store.settle()
        database.rows(END_THE_LOAD)
        with pytest.raises(DatabaseFault, match="Either all of it was written or nothing"):
            store.engine.commit()


def test_a_reader_does_not_wait_for_a_load(database: Database) -> None:
    profile = profile_of(database)
    load_one(profile)
    with open_store(profile) as writing:
        write_one(writing)
        with open_store(profile, write=False) as store:
            assert [one.load_id for one in store.loads()] == [1]
            with pytest.raises(DatabaseFault, match="in a read-only transaction"):
                store.set_status({1: "reverted"})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, which dbt parses whole but once."""
    return copy_of_project(tmp_path_factory.mktemp("turns"))


def test_dbt_waits_for_a_first_load_and_makes_the_tables_that_the_next_one_needs(
    database: Database, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)
    inputs = read_inputs(project / "models" / "staging" / "_sources.yml")
    dbt = DbtProject(project, "postgres")
    creating = threading.Thread(target=dbt.dbt, args=("run-operation", "create_raw_tables"))
    with open_store(profile_of(database)) as store:
        store.prepare(inputs)
        creating.start()
        waits = "select 1 from pg_locks where locktype = 'advisory' and not granted"
        wait_for(lambda: bool(database.rows(waits)), patience=300)
        # The load is given up, so that it is dbt that makes the tables.
    creating.join()
    made = database.rows(
        "select relname, attname, format_type(atttypid, atttypmod) from pg_attribute "
        "inner join pg_class on pg_class.oid = attrelid and relkind = 'r' "
        "inner join pg_namespace on pg_namespace.oid = relnamespace "
        "where nspname = 'labmart_raw' and attnum > 0 order by relname, attnum",
    )
    declared = [
        (name, column, type_)
        for name, columns in sorted(raw_tables(inputs).items())
        for column, type_ in columns.items()
        if name != LAST_LOAD
    ]
    assert made == declared, "the loader's own tables are as the source YAML declares them"


def test_prune_waits_for_a_build_and_deletes_what_does_not_count(
    database: Database, project: Path
) -> None:
    for _ in range(3):
        load_one(profile_of(database))
    database.rows("update labmart_raw.loads set status = 'reverted' where load_id < 3")
    told = "load 1 (people.csv into people), reverted: 3 rows, 0 rejected lines {}\n"
    with one_build_at_a_time(open_project(project)):
        pruning = begin(database, "--project-dir", project, "prune")
        assert pruning.stderr is not None
        assert "waiting for another build" in pruning.stderr.readline()
        check = labmart(project, "prune", "--check", env=database.environment)
        assert check.code == 0
        assert told.format("would be deleted") in check.err
        assert database.rows("select count(*) from labmart_raw.people") == [(9,)]
    pruned = end_of(pruning)
    assert told.format("deleted") in pruned.err
    assert pruned.err.endswith("In all 2 with 6 rows deleted.\n")
    assert database.rows("select distinct load_id from labmart_raw.people") == [(3,)]
    assert database.rows("select load_id from labmart_raw.loads") == [(3,)]
    again = labmart(project, "prune", env=database.environment)
    assert "there is nothing to delete" in again.err
