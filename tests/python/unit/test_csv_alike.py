"""Marts read from every engine: the same bytes as csv, the same values, the same order."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from support.engines import Engine

from loader.contract import Contract
from loader.engines import Engine as Source
from loader.engines import open_engine
from loader.errors import NotBuilt, QueryFailed
from loader.query import select

pytestmark = pytest.mark.slow

MART = Contract("odd", "", (), order_by=("name", "id"), has_key=False)
CSV = (
    'id,amount,name,"a ""b"", c",day,known\n'
    "2,-0.500000,,,,\n"
    '6,1.000000,"",\\.,,\n'
    "7,0.000000, x ,NULL,,\n"
    '5,,"""q""","\n",0001-02-03,false\n'
    '4,3.000000,"A,b","x\ry",,true\n'
    "3,12.500000,B;c,'z',,true\n"
    "1,123456789012.123456,a,b,2023-01-01,true\n"
    "8,0.000001,é\t,#,,\n"
    "9,,😀,\ufeff,9999-12-31,\n"
)


@pytest.fixture
def odd(engine: Engine) -> Engine:
    """A mart with every kind of cell."""
    values = (
        "(1, 123456789012.123456, 'a', 'b', date '2023-01-01', true), "
        "(2, -0.5, null, null, null, null), (3, 12.5, 'B;c', '''z''', null, true), "
        "(4, 3, 'A,b', 'x' || chr(13) || 'y', null, true), "
        "(5, null, '\"q\"', chr(10), date '0001-02-03', false), "
        "(6, 1, '', '\\.', null, null), (7, 0, ' x ', 'NULL', null, null), "
        "(8, 0.000001, 'é' || chr(9), '#', null, null), "
        "(9, null, '😀', '\ufeff', date '9999-12-31', null)"
    )
    engine.rows(
        "create schema labmart; create table labmart.odd (id bigint, amount numeric(18, 6), "
        f'name text, "a ""b"", c" text, day date, known boolean); '
        f"insert into labmart.odd values {values}"
    )
    return engine


def csv_of(source: Source, mart: Contract = MART, **wanted: str) -> bytes:
    out = io.BytesIO()
    source.write_csv(select(mart, source, equal=tuple(wanted.items())), out)
    return out.getvalue()


def test_csv_is_the_same_to_the_byte(odd: Engine) -> None:
    with open_engine(odd.profile()) as source:
        # DuckDB puts quotation marks around a # as well.
        assert csv_of(source).decode().replace('"#"', "#") == CSV
        assert csv_of(source, name="a").decode().splitlines()[1:] == [CSV.splitlines()[-3]]
        assert [column.type for column in source.columns("odd")] == [
            *("bigint", "numeric(18,6)", "text", "text", "date", "boolean")
        ]


def test_values_are_pythons_own_and_come_in_order(odd: Engine) -> None:
    with open_engine(odd.profile()) as source:
        selection = select(MART, source, columns=("id", "amount", "day", "known"))
        rows = list(source.rows(replace(selection, limit=4)))
        assert rows == [
            (2, Decimal("-0.500000"), None, None),
            (6, Decimal("1.000000"), None, None),
            (7, Decimal("0.000000"), None, None),
            (5, None, date(1, 2, 3), False),
        ]
        assert str(rows[0][1]) == "-0.500000"
        assert source.count(selection) == 9
        columns, found = source.query("select id, amount from labmart.odd order by id", 2)
        assert found[0] == (1, Decimal("123456789012.123456"))
        assert [column.name for column in columns] == ["id", "amount"]


def test_what_cannot_be_read_is_told(odd: Engine) -> None:
    with open_engine(odd.profile()) as source:
        with pytest.raises(NotBuilt, match=r"labmart\.users"):
            source.columns("users")
        with pytest.raises(QueryFailed, match="no_such"):
            source.query("select no_such from labmart.odd", 1)
        assert source.query("select 1 as one", 1)[1] == [(1,)]
