"""Marts read from Spark look as those of PostgreSQL do, to the byte."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from support.spark import shared_session

from loader.engines import Column, Filter, Selection, open_engine
from loader.engines.spark_session import open_session
from loader.errors import NotBuilt, QueryFailed
from loader.profile import Profile

pytestmark = pytest.mark.slow

COLUMNS = (
    Column("id", "bigint"),
    Column("né e", "text"),
    Column("mean", "numeric(18,6)"),
    Column("is_known", "boolean"),
    Column("day", "date"),
    Column("at", "timestamp with time zone"),
    Column("ratio", "double precision"),
)


@pytest.fixture(scope="module")
def built() -> Profile:
    profile = shared_session()
    with open_session(profile) as session:
        session.sql("create schema labmart")
        session.sql(
            "create table labmart.odd (id bigint, `né e` string, mean decimal(18,6), "
            "is_known boolean, day date, at timestamp, ratio double) using parquet"
        )
        session.sql(
            r"""insert into labmart.odd values
            (10, 'a,"b"\n', 12.5, true, date'2024-01-02', timestamp'2024-10-27 00:30:00Z', 0.5),
            (9, '', 0, false, null, timestamp'2024-10-27 01:30:00.25Z', null),
            (null, '\\.', null, null, null, null, 100),
            (2, null, -0.000001, true, date'0999-12-31', null, null),
            (2, '😀', 1, true, null, null, null),
            (2, '\uffee', 1, true, null, null, null)"""
        )
    return profile


def test_rows_come_in_order_with_python_s_own_values(built: Profile) -> None:
    with open_engine(built) as source:
        assert source.columns("odd") == COLUMNS
        order = (COLUMNS[0], COLUMNS[1])
        rows = list(source.rows(Selection("odd", COLUMNS, order_by=order)))
        assert [(row[0], row[1]) for row in rows] == [
            (None, "\\."),
            (2, None),
            (2, "\uffee"),
            (2, "😀"),
            (9, ""),
            (10, 'a,"b"\n'),
        ]
        assert rows[5][2:] == (
            Decimal("12.500000"),
            True,
            date(2024, 1, 2),
            datetime(2024, 10, 27, 0, 30, tzinfo=UTC),
            0.5,
        )
        assert str(rows[5][2]) == "12.500000"
        pairs = (("id", "2"), ("né e", "😀"))
        filters = tuple(Filter(Column(name, "text"), "eq", (value,)) for name, value in pairs)
        chosen = Selection("odd", COLUMNS[:1], filters=filters)
        assert (source.count(chosen), list(source.rows(chosen))) == (1, [(2,)])
        assert source.count(Selection("odd", COLUMNS, limit=1)) == 6
        assert list(source.rows(Selection("odd", COLUMNS[:1], order, limit=2))) == [(None,), (2,)]


def test_csv_is_what_copy_writes(built: Profile) -> None:
    file = io.BytesIO()
    with open_engine(built) as source:
        source.write_csv(Selection("odd", COLUMNS, order_by=COLUMNS[:2]), file)
    assert file.getvalue().decode() == (
        "id,né e,mean,is_known,day,at,ratio\n"
        ",\\.,,,,,100\n"
        "2,,-0.000001,true,0999-12-31,,\n"
        "2,\uffee,1.000000,true,,,\n"
        "2,😀,1.000000,true,,,\n"
        '9,"",0.000000,false,,2024-10-27 01:30:00.25+00,\n'
        '10,"a,""b""\n",12.500000,true,2024-01-02,2024-10-27 00:30:00+00,0.5\n'
    )


def test_any_query_gives_its_first_rows_or_its_fault(built: Profile) -> None:
    with open_engine(built) as source:
        columns, rows = source.query("select id, mean from labmart.odd order by id desc", 1)
        assert columns == (Column("id", "bigint"), Column("mean", "numeric(18,6)"))
        assert rows == [(10, Decimal("12.500000"))]
        with pytest.raises(QueryFailed, match="nothing_of_the_kind"):
            source.query("select * from nothing_of_the_kind", 1)
        with pytest.raises(QueryFailed, match="CAST_INVALID_INPUT"):
            source.query("select cast(`né e` as bigint) from labmart.odd where id = 10", 1)


def test_what_was_not_built_is_told(built: Profile) -> None:
    with open_engine(built) as source, pytest.raises(NotBuilt, match=r"labmart\.users in"):
        source.columns("users")
