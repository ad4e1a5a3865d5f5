"""Queries of the service: rows, order, pages, formats and tags, from a real database."""

from __future__ import annotations

import base64
import json
import random
from datetime import date
from decimal import Decimal
from functools import cmp_to_key

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.query_tables import LONG, NAMES, ROWS, THINGS, Asker, Row, ids

from loader.errors import BadParameter
from loader.service.model import RowQuery

pytestmark = pytest.mark.slow


def test_rows_come_by_the_key_with_all_their_digits(asker: Asker) -> None:
    body = asker.body("things", ("limit", 1)).decode()
    assert '"amount": 123456789012.123456' in body
    assert json.loads(body)["items"][0]["day"] == "0001-01-01"
    assert ids(asker.items("things")) == [row[0] for row in ROWS]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("id", "eq.2")], [2]),
        ([("id", "neq.2"), ("id", "lte.3")], [1, 3]),
        ([("amount", "gt.12.5")], [1]),
        ([("amount", "gte.12.50")], [1, 2]),
        ([("amount", "lt.0")], [6]),
        ([("id", "in.(1,3,99)")], [1, 3]),
        ([("id", "in.()")], []),
        ([("name", 'in.(B,"a \\"quoted\\", one\nof two lines",)')], [1, 3, 4]),
        ([("name", "like.*quoted*")], [4]),
        ([("name", "like.100%_\\")], [7]),
        ([("name", "like.%")], []),
        ([("name", "ilike.B")], [1, 2]),
        ([("name", "is.null")], [8]),
        ([("day", "not.null")], [1, 2, 3]),
        ([("day", "gte.2023-01-02")], [2, 3]),
        ([("is_good", "eq.true")], [2, 3]),
        ([("name", "eq.'; drop table things; --")], [2**63 - 1]),
        ([("name", "gt.B"), ("name", "lt.c"), ("id", "lt.9")], [2, 4]),
    ],
)
def test_filters(asker: Asker, pairs: list[tuple[str, object]], expected: list[int]) -> None:
    assert ids(asker.items("things", *pairs)) == expected


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("id", "eq.1.5", "no whole number"),
        ("id", "eq.9223372036854775808", "no whole number"),
        ("id", "eq.1 or 1=1", "no whole number"),
        ("id", "eq.١", "no whole number"),
        ("id", "5", "an operator and a point"),
        ("id", "like.1*", "for texts"),
        ("id", "is.true", "only null"),
        ("id", "in.(1,2", "a list is written"),
        ("name", 'in.("a"b)', "quotation marks"),
        ("id", "in.(1,,2)", "no whole number"),
        ("amount", "eq.1e5", "no number"),
        ("amount", "eq.NaN", "no number"),
        ("day", "eq.2023-02-30", "no date"),
        ("is_good", "eq.t", "no truth value"),
        ("name", "eq.a\0b", "no text"),
        ("naem", "eq.a", "Did you mean 'name'?"),
        ("oid", "eq.1", "no such column"),
        ("1=1;--", "eq.1", "no such column"),
        ("select", "id,ctid", "no column 'ctid'"),
        ("select", "id,id", "more than once"),
        ("select", '"id"', "no column"),
        ("order", "id desc", "no column"),
        ("order", "-id,id", "more than once"),
        ("after", "x", "no cursor"),
        ("after", "bnVsbA", "no cursor"),
    ],
)
def test_a_bad_parameter_is_named(asker: Asker, name: str, value: str, said: str) -> None:
    with pytest.raises(BadParameter, match=said.replace("(", "\\(")) as caught:
        asker.ask("things", (name, value))
    assert caught.value.parameter == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("select", ""),
        ("limit", "-1"),
        ("limit", "1;drop"),
        ("limit", "9" * 19),
        ("after", "WzEsMl0="),
        ("format", "xml"),
        ("formulas", "maybe"),
    ],
)
def test_a_value_that_no_table_takes_is_none(name: str, value: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RowQuery.model_validate({name: value})
    assert caught.value.errors()[0]["loc"] == (name,)


def test_a_parameter_comes_once(asker: Asker) -> None:
    with pytest.raises(BadParameter, match="more than once"):
        asker.ask("things", ("limit", 1), ("limit", 2))


def test_a_cursor_belongs_to_its_order_and_its_values_are_checked(asker: Asker) -> None:
    after = json.loads(asker.body("things", ("limit", 1)))["next"]
    with pytest.raises(BadParameter, match="another order"):
        asker.ask("things", ("limit", 1), ("after", after), ("order", "-id"))
    with pytest.raises(BadParameter, match="another order or table"):
        asker.ask("notes", ("limit", 1), ("after", after))
    order, seen, values = json.loads(base64.urlsafe_b64decode(after + "=="))
    for forged in (
        [order, seen, ["1; drop table things"]],
        [order, seen, []],
        [order, seen, [1]],
        *([order, wrong, values] for wrong in (-1, True, "1", 2**70)),
        [None, seen, values],
        [order, seen, values, 1],
        {"values": values},
    ):
        text = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
        with pytest.raises(BadParameter, match=r"no cursor|no whole number"):
            asker.ask("things", ("after", text))


def model_order(rows: list[Row], order: list[tuple[int, bool]]) -> list[Row]:
    """The rows in order; NULL is least, text by code points."""

    def compare(one: Row, other: Row) -> int:
        for column, descending in order:
            a, b = one[column], other[column]
            if a == b:
                continue
            less = a is None or (b is not None and a < b)  # type: ignore[operator]
            return (-1 if less else 1) * (-1 if descending else 1)
        return 0

    return sorted(rows, key=cmp_to_key(compare))


_TEXTS = st.sampled_from([None, "", "a", "A", "ä", "=1", "a,b", 'q"', "🧪", "\t"])
_THINGS = st.lists(
    st.tuples(
        _TEXTS,
        st.sampled_from([None, Decimal(0), Decimal("-1.5"), Decimal("1.000001")]),
        st.sampled_from([None, date(2020, 1, 1), date(1999, 12, 31)]),
        st.sampled_from([None, True, False]),
    ),
    max_size=25,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=_THINGS,
    order=st.lists(st.tuples(st.integers(0, 4), st.booleans()), unique_by=lambda one: one[0]),
    limit=st.integers(1, 9),
    least=st.integers(-3, 20),
)
def test_all_pages_together_are_the_whole_once_and_in_order(
    asker: Asker, rows: list[Row], order: list[tuple[int, bool]], limit: int, least: int
) -> None:
    things = [(number, *row) for number, row in enumerate(rows)]
    random.Random(0).shuffle(things)
    asker.fill("things", THINGS, things)
    try:
        names = ",".join(f"{'-' if down else ''}{NAMES[column]}" for column, down in order)
        pairs: list[tuple[str, object]] = [("order", names), ("id", f"gte.{least}")]
        pages = list(asker.pages("things", *pairs, ("limit", limit)))
        wanted = model_order(
            [row for row in things if int(str(row[0])) >= least], [*order, (0, False)]
        )
        assert [id_ for page in pages for id_ in ids(page)] == [row[0] for row in wanted]
        assert all(len(page) == limit for page in pages[:-1])
        assert ids(asker.items("things", *pairs, ("limit", 0))) == [row[0] for row in wanted]
    finally:
        asker.fill("things", THINGS, ROWS)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(st.sampled_from([None, "a", LONG + "1", LONG + "0"]), st.just(1))),
    limit=st.integers(1, 4),
    order=st.sampled_from(["name", "-name", "amount", "-amount,-name"]),
)
def test_rows_that_are_equal_come_as_often_as_they_are_there(
    asker: Asker, rows: list[Row], limit: int, order: str
) -> None:
    asker.fill("notes", "name text, amount numeric(18,6)", rows)
    pages = [
        item["name"]
        for page in asker.pages("notes", ("limit", limit), ("order", order))
        for item in page
    ]
    assert sorted(pages, key=str) == sorted((row[0] for row in rows), key=str)
    whole = asker.items("notes", ("limit", 0), ("order", order))
    assert pages == [item["name"] for item in whole]


@pytest.mark.parametrize("order", ["is_good", "-is_good", "day", "-amount"])
def test_pages_go_on_over_values_of_each_type_and_null(asker: Asker, order: str) -> None:
    pages = list(asker.pages("things", ("order", order), ("limit", 2)))
    whole = asker.items("things", ("order", order), ("limit", 0))
    assert [item for page in pages for item in page] == whole


def test_a_page_goes_on_where_the_last_one_ended_although_rows_have_gone(asker: Asker) -> None:
    rows: list[Row] = [("a", 1), ("a", 1), ("a", 1), ("b", 2), ("c", 3)]
    asker.fill("notes", "name text, amount numeric(18,6)", rows)
    after = json.loads(asker.body("notes", ("limit", 3)))["next"]
    asker.fill("notes", "name text, amount numeric(18,6)", [("b", 2), ("c", 3)])
    assert [item["name"] for item in asker.items("notes", ("after", after))] == ["b", "c"]
