"""The raw tables and the ledger on every engine: what is written is there, or nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.engines import Engine
from support.raw_store import PEOPLE, batch, entry_of, load_one, write_one

from loader.engines import open_store
from loader.errors import DatabaseFault
from loader.parsers.records import Batch, RejectedLine
from loader.sources import Input, InputColumn

pytestmark = pytest.mark.slow


def test_an_empty_database_has_an_empty_ledger_and_stays_empty(engine: Engine) -> None:
    with open_store(engine.profile(), write=False) as store:
        assert store.loads() == []
    with open_store(engine.profile()) as store:
        write_one(store)
    assert engine.schemas("_raw") == []


def test_what_was_committed_is_there_to_the_letter(engine: Engine) -> None:
    odd = RejectedLine(4, "broken_quoting", 'it\'s "odd"', '\\.\t"\n,é')
    empty = RejectedLine(5, "undecodable", "x", "")
    with open_store(engine.profile()) as store:
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
    assert engine.rows("select * from labmart_raw.people order by line") == [
        ("1|", 'x|"\n\\N', None, 1, 1, None),
        ("", "\\.", "%s", 1, 2, None),
    ]
    assert engine.rows("select * from labmart_raw.rejected_lines order by line") == [
        (1, 4, odd.rule, odd.detail, odd.content),
        (1, 5, empty.rule, empty.detail, ""),
    ]
    with open_store(engine.profile(), write=False) as store:
        assert store.loads() == [entry_of(1, records_read=4, records_rejected=2)]


@pytest.mark.parametrize(
    "schema", ["odd %s \"q\" 'a' ;--", "%", "ü" * 29, 'a"b%%c\\d', "UPPER case"]
)
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


def test_a_load_id_is_never_used_twice(engine: Engine) -> None:
    profile = engine.profile()
    assert load_one(profile) == 1
    with open_store(profile) as store:
        write_one(store)
    assert load_one(profile) == 2, "a load that was rolled back leaves no trace"
    with open_store(profile) as store:
        store.delete(store.loads())
        store.commit()
    assert engine.rows("select * from labmart_raw.people") == []
    assert load_one(profile) == 3
    engine.rows("insert into labmart_raw.loads (load_id) values (40)")
    assert load_one(profile) == 41
    engine.rows("delete from labmart_raw.loads")
    assert load_one(profile) == 42


def test_rows_of_the_ledger_written_by_hand_can_be_read(engine: Engine) -> None:
    load_one(engine.profile())
    engine.rows(
        "insert into labmart_raw.loads (load_id, started_at, finished_at) "
        "values (9, 'infinity', '-infinity'), (null, null, null)",
    )
    with open_store(engine.profile()) as store:
        assert [one.load_id for one in store.loads()] == [1, 9]
        assert (store.loads()[1].call_id, store.loads()[1].file) == (9, "")


def test_a_ledger_of_an_earlier_version_is_read_and_gets_what_it_lacks(engine: Engine) -> None:
    profile = engine.profile()
    load_one(profile)
    for column in ("call_id", "reading"):
        engine.rows(f"alter table labmart_raw.loads drop column {column}")
    earlier = entry_of(1, reading="")
    with open_store(profile, write=False) as store:
        assert store.loads() == [earlier]
    load_one(profile)
    with open_store(profile, write=False) as store:
        assert store.loads() == [earlier, entry_of(2)]


def test_a_new_declared_column_is_added(engine: Engine) -> None:
    profile = engine.profile()
    load_one(profile)
    wider = Input("people", (*PEOPLE.columns, InputColumn("new", False, frozenset({"new"}))))
    with open_store(profile) as store:
        store.prepare([wider])
        store.commit()
    assert engine.rows("select new from labmart_raw.people limit 1") == [(None,)]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("create view labmart_raw.people as select 1 as id", "is a view"),
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
        copy = store.copy

        def counted(name: str, *rest: Any) -> int:
            copied.append(name)
            return copy(name, *rest)

        monkeypatch.setattr(store, "copy", counted)
        for number in range(1, 51):
            assert write_one(store, iter([batch(number, 1, number), batch(number, 99, 1)]))
            store.write_rejected(number, [RejectedLine(7, "undecodable", "x", "y")] * (number % 2))
        assert copied == []
        assert store.count(PEOPLE, 50) == (51, 0)
        assert store.count(PEOPLE, 1) == (2, 1)
        # What is large is written at once.
        store.write_records(PEOPLE, PEOPLE.column_names, ",", iter([batch(51, 1, 9, width=50_000)]))
        assert store.count(PEOPLE, 51) == (9, 0)
        store.commit()
    assert copied == ["people", "rejected_lines", "people"]
    assert len(engine.rows("select load_id from labmart_raw.loads")) == 50
    with open_store(engine.profile(), write=False) as store:
        assert store.count(PEOPLE, 49) == (50, 1)
