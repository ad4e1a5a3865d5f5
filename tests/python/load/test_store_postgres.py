"""What the raw store does on PostgreSQL alone; test_store.py holds what it does on every engine."""

from __future__ import annotations

import pytest
from support.databases import Database
from support.raw_store import PEOPLE, batch, profile_of, rows

from loader.engines import open_store
from loader.errors import UsageError

pytestmark = pytest.mark.slow


def test_a_schema_whose_name_would_be_cut_off_is_refused(database: Database) -> None:
    with (
        pytest.raises(UsageError, match="more than 63 bytes"),
        open_store(profile_of(database, "ü" * 30)),
    ):
        pass


def test_one_load_among_many_is_counted_where_it_stands(database: Database) -> None:
    profile = profile_of(database)
    with open_store(profile) as store:
        store.prepare([PEOPLE])
        for load_id in range(1, 6):
            store.write_records(PEOPLE, PEOPLE.column_names, ",", iter([batch(load_id, 1, 40_000)]))
        store.commit()
    rows(database, "delete from labmart_raw.people where load_id = 2")
    rows(database, "vacuum labmart_raw.people")
    with open_store(profile) as store:
        # These go to the end of the table and into the gap alike.
        for load_id, count in ((6, 3), (7, 20_000), (8, 50_000)):
            batches = iter([batch(load_id, 1, count)])
            store.write_records(PEOPLE, PEOPLE.column_names, ",", batches)
            assert store.count(PEOPLE, load_id) == (count, 0)
        store.commit()
    assert rows(database, "select reltuples from pg_class where relname = 'people'") == [
        (230_003.0,)
    ]
