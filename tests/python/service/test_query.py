"""Marts asked as the service asks them, without HTTP: rows, pages, formats, tags, connections."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import random
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import duckdb
import openpyxl
import pytest
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.databases import Database
from support.project import loading_project

from loader.contract import mart_contract
from loader.database import find_database
from loader.engines.postgres import Postgres
from loader.errors import BadParameter, DatabaseUnreachable, QueryTooSlow, TooBusy
from loader.project import Project
from loader.service import marts
from loader.service.marts import Marts, RowQuery

pytestmark = pytest.mark.slow

Row = tuple[Any, ...]
MARTS = """
models:
  - &things
    name: accepted_things
    config: {alias: things, meta: {order_by: [id]}}
    data_tests:
      - unique_combination_of_columns:
          arguments: {combination_of_columns: [id]}
    columns:
      - {name: id, data_type: bigint}
      - {name: name, data_type: text}
      - {name: amount, data_type: "numeric(18,6)"}
      - {name: day, data_type: date}
      - {name: is_good, data_type: boolean}
  - {<<: *things, name: others, config: {meta: {order_by: [id]}}}
  - name: notes
    config: {meta: {order_by: [name]}}
    columns:
      - {name: name, data_type: text}
      - {name: amount, data_type: "numeric(18,6)"}
"""


def content(answer: Response) -> bytes:
    """The body of an answer."""
    assert isinstance(answer, StreamingResponse)

    async def read() -> bytes:
        pieces = [piece async for piece in answer.body_iterator]
        return b"".join(piece for piece in pieces if isinstance(piece, bytes))

    return asyncio.run(read())


@dataclass
class Asker:
    """Asks one mart as a client does, without HTTP between."""

    database: Database
    project: Project
    schema: str
    marts: Marts = field(init=False)

    def __post_init__(self) -> None:
        self.marts = Marts(find_database(self.project, None))

    def reading(self, name: str) -> AbstractContextManager[Postgres]:
        """The engine on a connection as requests have it."""
        return self.marts.reading(self.schema, mart_contract(self.project, name))

    def sql(self, *statements: str, rows: Sequence[Row] = ()) -> None:
        """Run statements in the schema of the marts; `rows` go into the table `fresh`."""
        with closing(self.database.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f'create schema if not exists "{self.schema}"')
            cursor.execute(f'set search_path to "{self.schema}"')
            for statement in statements:
                cursor.execute(statement)
            for row in rows:
                cursor.execute(f"insert into fresh values ({', '.join(['%s'] * len(row))})", row)

    def fill(self, table: str, rows: Sequence[Row]) -> None:
        """Put a new table with these rows into the old one's place, as dbt does."""
        columns = mart_contract(self.project, table).columns
        declared = ", ".join(f"{column.name} {column.type}" for column in columns)
        self.sql(f"create table fresh ({declared})", rows=rows)
        self.sql(
            f"begin; drop table if exists {table}; alter table fresh rename to {table}; commit"
        )

    def ask(self, mart: str, *pairs: tuple[str, object], **headers: str) -> Response:
        """The answer to a request; a header `if_none_match` is If-None-Match."""
        sent = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
        query = urlencode(pairs).encode()
        scope = {"type": "http", "method": "GET", "query_string": query, "headers": sent}
        request = Request({**scope, "path": f"/v1/marts/{mart}"})
        asked = RowQuery.model_validate({name: value for name, value in pairs if value != ""})
        return self.marts.answer(self.schema, mart_contract(self.project, mart), request, asked)

    def body(self, mart: str, *pairs: tuple[str, object]) -> bytes:
        return content(self.ask(mart, *pairs))

    def items(self, mart: str, *pairs: tuple[str, object]) -> list[dict[str, object]]:
        """The rows of one page."""
        found: list[dict[str, object]] = json.loads(self.body(mart, *pairs))["items"]
        return found

    def pages(self, mart: str, *pairs: tuple[str, object]) -> Iterator[list[dict[str, object]]]:
        """Page after page, by the cursor of each."""
        after: tuple[tuple[str, object], ...] = ()
        while True:
            page = json.loads(self.body(mart, *pairs, *after))
            yield page["items"]
            if page["next"] is None:
                return
            after = (("after", page["next"]),)


NAMES = ["id", "name", "amount", "day", "is_good"]
LONG = "x" * 150
ROWS: list[Row] = [
    (1, "B", Decimal("123456789012.123456"), date(1, 1, 1), False),
    (2, "b", Decimal("12.5"), date(2023, 1, 2), True),
    (3, "", Decimal("0"), date(9999, 12, 31), True),
    (4, 'a "quoted", one\nof two lines', Decimal("0.005"), None, None),
    (5, "ä", Decimal("0.1"), None, None),
    (6, "=1+1", Decimal("-1"), None, None),
    (7, "100%_\\", None, None, None),
    (8, None, None, None, None),
    (9, LONG + "1", None, None, None),
    (10, LONG + "0", None, None, None),
    (2**63 - 1, "'; drop table things; --", None, None, None),
]


def ids(items: list[dict[str, object]]) -> list[object]:
    """The keys of things."""
    return [item["id"] for item in items]


@pytest.fixture(scope="module")
def asker(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    """Asks marts of a small project; the mart `things` has its rows."""
    root = loading_project(tmp_path_factory.mktemp("query"))
    (root / "models" / "marts").mkdir(parents=True)
    (root / "models" / "marts" / "_marts.yml").write_text(MARTS)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shared_database.environment.items():
            patch.setenv(name, value)
        schema = f"q{uuid.uuid4().hex[:10]}"
        patch.setenv("LABMART_SCHEMA", schema)
        found = Asker(shared_database, Project(root, root), schema)
        found.fill("things", ROWS)
        yield found
        found.marts.close()


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
        ([("id", "in.(1,3,99)")], [1, 3]),
        ([("name", 'in.(B,"a ""quoted"", one\nof two lines",)')], [1, 3, 4]),
        ([("name", "like.*quoted*")], [4]),
        ([("id", "in.()")], []),
        ([("name", "like.100%_\\")], [7]),
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
        ("id", "eq.١", "no whole number"),
        ("id", "5", "an operator and a point"),
        ("id", "like.1*", "for texts"),
        ("id", "is.true", "only null"),
        ("id", "in.(1,2", "a list is written"),
        ("name", 'in.("a"b)', "quotation marks"),
        ("amount", "eq.1e5", "no number"),
        ("amount", "eq.NaN", "no number"),
        ("day", "eq.2023-02-30", "no date"),
        ("is_good", "eq.t", "no truth value"),
        ("name", "eq.a\0b", "no text"),
        ("naem", "eq.a", "Did you mean 'name'?"),
        ("oid", "eq.1", "no such column"),
        ("select", "id,ctid", "no column 'ctid'"),
        ("select", "id,id", "more than once"),
        ("select", '"id"', "no column"),
        ("order", "-id,id", "more than once"),
        ("after", "0123456789ab-3", "another table, order or filter"),
    ],
)
def test_a_bad_parameter_is_named(asker: Asker, name: str, value: str, said: str) -> None:
    with pytest.raises(BadParameter, match=said.replace("(", "\\(")) as caught:
        asker.ask("things", (name, value))
    assert caught.value.parameter == name


def rank(column: int, row: Row) -> tuple[bool, Any]:
    """NULL is least, text goes by code points."""
    return row[column] is not None, row[column]


def in_order(rows: list[Row], order: list[tuple[int, bool]]) -> list[Row]:
    for column, falls in reversed(order):
        rows = sorted(rows, key=partial(rank, column), reverse=falls)
    return rows


TRIES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
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


@TRIES
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
    asker.fill("others", things)
    names = ",".join(f"{'-' if down else ''}{NAMES[column]}" for column, down in order)
    pairs: list[tuple[str, object]] = [("order", names), ("id", f"gte.{least}")]
    pages = list(asker.pages("others", *pairs, ("limit", limit)))
    kept = [row for row in things if row[0] >= least]
    expected = [row[0] for row in in_order(kept, [*order, (0, False)])]
    assert [id_ for page in pages for id_ in ids(page)] == expected
    assert all(len(page) == limit for page in pages[:-1])
    assert ids(asker.items("others", *pairs, ("limit", 0))) == expected


@TRIES
@given(
    rows=st.lists(st.tuples(st.sampled_from([None, "a", LONG + "1", LONG + "0"]), st.just(1))),
    limit=st.integers(1, 4),
    order=st.sampled_from(["name", "-name", "amount", "-amount,-name"]),
)
def test_rows_that_are_equal_come_as_often_as_they_are_there(
    asker: Asker, rows: list[Row], limit: int, order: str
) -> None:
    asker.fill("notes", rows)
    pages = [
        item["name"]
        for page in asker.pages("notes", ("limit", limit), ("order", order))
        for item in page
    ]
    assert sorted(pages, key=str) == sorted((row[0] for row in rows), key=str)
    whole = asker.items("notes", ("limit", 0), ("order", order))
    assert pages == [item["name"] for item in whole]


def test_csv_is_safe_for_a_spreadsheet_unless_asked_for_as_it_is(asker: Asker) -> None:
    signs = ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "a=1", "'=1", "", "%s%%"]
    asker.fill("others", [(n, text, -1, None, True) for n, text in enumerate(signs)])
    rows = list(csv.reader(io.StringIO(asker.body("others", ("format", "csv")).decode(), "")))
    assert rows[0] == NAMES
    safe = ["'=1", "'+1", "'-1", "'@a", "'\t=1", "'\r=1", "a=1", "'=1", "", "%s%%"]
    assert [row[1] for row in rows[1:]] == safe
    assert {(row[2], row[4]) for row in rows[1:]} == {("-1.000000", "true")}
    kept = asker.body("others", ("format", "csv"), ("formulas", "keep")).decode()
    assert [row[1] for row in csv.reader(io.StringIO(kept, ""))][1:] == signs


def test_each_format_has_the_same_rows_with_their_types(asker: Asker, tmp_path: Path) -> None:
    pairs = [("order", "-id"), ("id", "lt.9")]
    expected = [row for row in reversed(ROWS) if row[0] < 9]
    file = tmp_path / "things.parquet"
    file.write_bytes(asker.body("things", ("format", "parquet"), *pairs))
    with duckdb.connect() as engine:
        read = engine.execute(f"select * from '{file}'")
        kinds, rows = [str(one[1]) for one in read.description or ()], read.fetchall()
    assert kinds == ["BIGINT", "VARCHAR", "DECIMAL(18,6)", "DATE", "BOOLEAN"]
    assert rows == expected
    content = asker.body("things", ("format", "xlsx"), ("select", "id,name"), ("id", "lte.2"))
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    assert list(sheet.values) == [("id", "name"), (1, "B"), (2, "b")]
    # Without rows, too, there are the columns.
    none = ("id", "eq.-1")
    assert asker.items("things", none) == []
    assert asker.body("things", none, ("format", "csv")).decode() == ",".join(NAMES) + "\n"


@pytest.mark.parametrize(
    ("search", "found"), [("B", [1, 2, 2**63 - 1]), ("=*1", [6]), ("%", [7]), ("'", [2**63 - 1])]
)
def test_texts_are_searched_and_rows_counted(asker: Asker, search: str, found: list[int]) -> None:
    pairs = (("search", search), ("total", "true"), ("limit", 1))
    answer = json.loads(asker.body("things", *pairs))
    assert (ids(answer["items"]), answer["total"]) == (found[:1], len(found))


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("text/csv, application/json;q=0.4", "text/csv; charset=utf-8; header=present"),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
    ],
)
def test_the_accept_header_chooses(asker: Asker, accept: str, expected: str) -> None:
    assert asker.ask("things", accept=accept).headers["Content-Type"] == expected


def test_the_tag_names_the_published_build(asker: Asker) -> None:
    """What plain dbt has made has none, and no build."""
    assert {"etag", "labmart-build"}.isdisjoint(asker.ask("things").headers)

    def published(build: int) -> None:
        asker.sql(
            "drop table if exists mart_status",
            f"create table mart_status as select 'things' as mart, {build} as build, "
            f"timestamptz '2024-01-31' as published_at",
        )

    def tag(*pairs: tuple[str, object]) -> str:
        answer = asker.ask("things", *pairs)
        assert answer.headers["Labmart-Build"] == str(build)
        return answer.headers["ETag"]

    others = [("limit", 3), ("order", "-id"), ("select", "id"), ("format", "csv")]
    tags = set()
    try:
        for build in (7, 8):
            published(build)
            tags |= {tag(), *map(tag, others), tag(("format", "csv"), ("formulas", "keep"))}
        assert len(tags) == 12
        current = tag()
        for header in (current, current.removeprefix("W/"), f'"x", {current}'):
            found = asker.ask("things", if_none_match=header)
            assert (found.status_code, found.body) == (304, b"")
        assert asker.ask("things", if_none_match='"x"').status_code == 200
        after = json.loads(asker.body("things", ("limit", 1)))["next"]
        assert ids(asker.items("things", ("after", after), ("limit", 1))) == [2]
        for other in (("order", "-id"), ("id", "gt.1")):
            with pytest.raises(BadParameter, match="another table, order or filter"):
                asker.ask("things", ("after", after), other)
        published(9)
        with pytest.raises(BadParameter, match="built anew since"):
            asker.ask("things", ("after", after))
    finally:
        asker.sql("drop table mart_status")


def test_what_is_large_goes_through_a_file(asker: Asker) -> None:
    asker.sql(
        "drop table if exists notes",
        "create table notes as select lpad(n::text, 60, 'x') as name, "
        "n::numeric(18,6) as amount from generate_series(1, 60000) as n",
    )
    found = asker.ask("notes", ("format", "csv"))
    text = content(found)
    assert int(found.headers["Content-Length"]) == len(text)
    assert text.count(b"\n") == 60001


@pytest.fixture
def other(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asker]:
    """Another client of the same marts, with one connection of its own, and in a hurry."""
    monkeypatch.setattr(marts, "MOST_CONNECTIONS", 1)
    for name in ("STATEMENT_SECONDS", "LOCK_SECONDS", "WAIT_SECONDS"):
        monkeypatch.setattr(marts, name, 0.1)
    for name, value in asker.database.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LABMART_SCHEMA", asker.schema)
    made = Asker(asker.database, asker.project, asker.schema)
    yield made
    made.marts.close()


def test_nothing_can_be_written_and_nobody_waits_long(asker: Asker, other: Asker) -> None:
    with pytest.raises(Exception, match="read-only"), asker.reading("things") as engine:
        engine.run(f'delete from "{asker.schema}".things returning 1')
    with pytest.raises(QueryTooSlow), other.reading("things") as engine:
        engine.run("select pg_sleep(60)")
    with other.reading("things"), pytest.raises(TooBusy):
        other.ask("things")
    with closing(asker.database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f'begin; lock table "{asker.schema}".things')
        with pytest.raises(QueryTooSlow):
            other.ask("things")


def test_a_swap_while_a_query_runs_is_seen_by_the_next(asker: Asker) -> None:
    """In a transaction that had looked before the swap, the new table would have no rows."""
    with asker.reading("things") as engine:
        swap = threading.Thread(target=asker.fill, args=("things", ROWS))
        swap.start()
        [(count,)] = engine.run(f'select count(*) from "{asker.schema}".things')
        assert count == len(ROWS)
    swap.join()
    assert len(asker.items("things")) == len(ROWS)


def test_a_connection_that_broke_is_replaced(asker: Asker) -> None:
    asker.items("things")
    with closing(asker.database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where datname = current_database() and application_name in ('labmart', 'labmart read')"
        )
    assert len(asker.items("things")) == len(ROWS)


def test_a_server_that_is_gone_is_told(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**asker.database.environment, "PGPORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DatabaseUnreachable):
        Asker(asker.database, asker.project, asker.schema).ask("things")
