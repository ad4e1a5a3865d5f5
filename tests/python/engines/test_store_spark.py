"""Raw tables and the ledger on Spark: what is written is there, and nobody sees half of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.raw_store import PEOPLE, batch, entry_of, load_one, write_one

from loader.engines import open_store
from loader.engines.spark_session import open_session
from loader.errors import DatabaseFault
from loader.parsers.records import Batch, RejectedLine
from loader.profile import Profile
from loader.sources import Input, InputColumn

pytestmark = pytest.mark.slow

Rows = list[tuple[object, ...]]


@pytest.fixture
def profile(spark: Profile, request: pytest.FixtureRequest) -> Profile:
    """A schema for each test."""
    name = "t_" + "".join(c for c in request.node.name if c.isalnum())
    return replace(
        spark,
        values={**spark.values, "schema": name.lower()},
        raw_schema=f"{name.lower()}_raw",
    )


def rows(profile: Profile, sql: str) -> Rows:
    with open_session(profile) as session:
        return [tuple(row) for row in session.sql(sql.format(raw=profile.raw_schema)).collect()]


def folders(profile: Profile, table: str) -> list[str]:
    place = profile.path.parent / "spark" / "warehouse" / f"{profile.raw_schema}.db" / table
    return sorted(path.name.rpartition("-")[0] for path in place.glob("part-*"))


def test_what_was_committed_is_there_to_the_letter(profile: Profile) -> None:
    odd = RejectedLine(4, "broken_quoting", 'it\'s "odd"', '\\.\t"\n,é')
    empty = RejectedLine(5, "undecodable", "x", "")
    with open_store(profile) as store:
        assert store.loads() == []
        store.prepare([PEOPLE])
        load_id = store.next_load_id()
        text = f'1,{load_id},1|,"x|""\n\\N",\n2,{load_id},"",\\.,%s\n'.replace(",", "'")
        names = ("id", "né e", 'q"%s')
        written = store.write_records(PEOPLE, names, "'", iter([Batch(text, 2, (), 9)]))
        store.write_rejected(load_id, [odd, empty])
        assert (written, store.count(PEOPLE, load_id)) == (2, (2, 2))
        store.add(entry_of(load_id, records_read=4, records_rejected=2))
        store.commit()
    assert rows(profile, "select * from {raw}.people order by line") == [
        ("1|", 'x|"\n\\N', None, 1, 1),
        ("", "\\.", "%s", 2, 1),
    ]
    assert rows(profile, "select * from {raw}.rejected_lines order by line") == [
        (4, odd.rule, odd.detail, odd.content, 1),
        (5, empty.rule, empty.detail, "", 1),
    ]
    with open_store(profile, write=False) as store:
        assert store.loads() == [entry_of(1, records_read=4, records_rejected=2)]


def test_a_load_that_was_given_up_leaves_nothing_not_even_its_number(profile: Profile) -> None:
    with open_store(profile) as store:
        assert write_one(store) == 1
    assert rows(profile, "select * from {raw}.people") == []
    assert folders(profile, "people") == []
    assert load_one(profile) == 1


def test_a_number_is_never_given_to_two_loads(profile: Profile) -> None:
    assert [load_one(profile), load_one(profile)] == [1, 2]
    with open_store(profile) as store:
        store.delete(store.loads())
        store.commit()
    assert rows(profile, "select * from {raw}.people") == []
    assert folders(profile, "people") == []
    with open_store(profile) as one, open_store(profile) as other:
        assert (one.next_load_id(), other.next_load_id()) == (3, 4)
    assert load_one(profile) == 3


def test_of_two_loads_at_once_the_later_one_is_told_to_call_again(profile: Profile) -> None:
    load_one(profile)
    said = r"another load was committed meanwhile\. Nothing was written\. Call again\."
    with open_store(profile) as slow:
        load_id = write_one(slow)
        assert load_one(profile) == 3
        with pytest.raises(DatabaseFault, match=said):
            slow.commit()
    assert load_id == 2
    with open_store(profile, write=False) as store:
        assert [load.load_id for load in store.loads()] == [1, 3]
    assert rows(profile, "select distinct load_id from {raw}.people order by 1") == [(1,), (3,)]


def test_nobody_sees_a_call_before_it_is_committed(profile: Profile) -> None:
    load_one(profile)
    with open_store(profile) as store:
        for _ in range(2):
            load_id = store.next_load_id()
            store.write_records(PEOPLE, PEOPLE.column_names, ",", iter([batch(load_id, 1, 3)]))
            store.add(entry_of(load_id, mode="replace"))
        store.set_status({1: "superseded"})
        assert rows(profile, "select load_id, status from {raw}.loads") == [(1, "current")]
        store.commit()
    assert rows(profile, "select load_id, status from {raw}.loads order by 1") == [
        (1, "superseded"),
        (2, "current"),
        (3, "current"),
    ]


def test_prune_removes_what_a_killed_load_has_left(profile: Profile) -> None:
    load_one(profile)
    with open_store(profile) as store:
        write_one(store)
        # A kill: nothing that was added is taken away.
        store._added.clear()  # type: ignore[attr-defined]
        store._folders.clear()  # type: ignore[attr-defined]
    assert rows(profile, "select count(*) from {raw}.people") == [(6,)]
    assert load_one(profile) == 3
    with open_store(profile) as store:
        store.delete([])
        store.commit()
    assert rows(profile, "select distinct load_id from {raw}.people order by 1") == [(1,), (3,)]
    assert folders(profile, "people") == ["part-1", "part-3"]
    assert len(folders(profile, "loads_history")) == 1
    assert load_one(profile) == 4


def test_a_new_declared_column_is_added(profile: Profile) -> None:
    load_one(profile)
    wider = Input("people", (*PEOPLE.columns, InputColumn("new", False, frozenset({"new"}))))
    with open_store(profile) as store:
        store.prepare([wider])
        store.commit()
    assert rows(profile, "select new from {raw}.people limit 1") == [(None,)]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("view {raw}.people as select 1 as id", "is a view"),
        ("table {raw}.people (id int) using parquet", "column id of .* has the type int"),
        ("table {raw}.people (id string) using parquet", "not partitioned by load_id"),
    ],
)
def test_a_raw_table_of_another_shape_is_refused(profile: Profile, made: str, said: str) -> None:
    rows(profile, "create schema {raw}")
    rows(profile, f"create {made}")
    with pytest.raises(DatabaseFault, match=said), open_store(profile) as store:
        store.prepare([PEOPLE])
