"""Marts asked over HTTP: rows, pages, formats, tags; and the connections that they are read on."""

from __future__ import annotations

import csv
import io
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb
import httpx
import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.serving import Server

from loader.contract import mart_contract
from loader.database import find_database
from loader.engines.postgres import Postgres
from loader.errors import DatabaseUnreachable, QueryTooSlow, TooBusy
from loader.project import Project
from loader.service import marts
from loader.service.marts import Marts

pytestmark = pytest.mark.slow

Row = tuple[Any, ...]
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


@dataclass(frozen=True)
class Asker:
    """Asks for rows of marts, and fills them."""

    server: Server
    client: httpx.Client

    def sql(self, *statements: str, rows: Sequence[Row] = ()) -> None:
        """Run statements in the schema of the marts; `rows` go into the table `fresh`."""
        with closing(self.server.database.connect()) as connection, connection.cursor() as cursor:
            for statement in ("set search_path to labmart", *statements):
                cursor.execute(statement)
            for row in rows:
                cursor.execute(f"insert into fresh values ({', '.join(['%s'] * len(row))})", row)

    def fill(self, table: str, rows: Sequence[Row]) -> None:
        """Put a new table with these rows into the old one's place, as dbt does."""
        columns = mart_contract(project_of(self.server), table).columns
        declared = ", ".join(f"{column.name} {column.type}" for column in columns)
        self.sql(f"create table fresh ({declared})", rows=rows)
        self.sql(f"begin; drop table {table}; alter table fresh rename to {table}; commit")

    def get(self, mart: str, headers: Any = None, **parameters: Any) -> httpx.Response:
        answer = self.client.get(f"/v1/marts/{mart}", params=parameters, headers=headers)
        assert not answer.is_error, answer.text
        return answer

    def items(self, mart: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of one page."""
        items: list[dict[str, Any]] = self.get(mart, **parameters).json()["items"]
        return items

    def ids(self, **parameters: Any) -> list[int]:
        """The keys of the things on one page."""
        return [item["id"] for item in self.items("things", **parameters)]

    def pages(self, mart: str, **parameters: Any) -> Iterator[list[dict[str, Any]]]:
        """Page after page, by the cursor of each."""
        page = self.get(mart, **parameters).json()
        yield page["items"]
        if page["next"] is not None:
            yield from self.pages(mart, **{**parameters, "after": page["next"]})


def project_of(server: Server) -> Project:
    return Project(server.project, server.project)


@pytest.fixture(scope="module")
def asker(filled: Server) -> Iterator[Asker]:
    """The mart `things` has its rows."""
    with filled.client() as client:
        made = Asker(filled, client)
        made.fill("things", ROWS)
        yield made


def test_rows_come_by_the_key_with_all_their_digits(asker: Asker) -> None:
    first = asker.get("things", limit=1)
    assert '"amount": 123456789012.123456' in first.text
    assert first.json()["items"][0]["day"] == "0001-01-01"
    assert asker.ids() == [row[0] for row in ROWS]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"id": "eq.2"}, [2]),
        ({"id": ["neq.2", "lte.3"]}, [1, 3]),
        ({"amount": "gt.12.5"}, [1]),
        ({"amount": "gte.12.50"}, [1, 2]),
        ({"id": "in.(1,3,99)"}, [1, 3]),
        ({"name": 'in.(B,"a ""quoted"", one\nof two lines",)'}, [1, 3, 4]),
        ({"name": "like.*quoted*"}, [4]),
        ({"id": "in.()"}, []),
        ({"name": "like.100%_\\"}, [7]),
        ({"name": "ilike.B"}, [1, 2]),
        ({"name": "is.null"}, [8]),
        ({"day": "not.null"}, [1, 2, 3]),
        ({"day": "gte.2023-01-02"}, [2, 3]),
        ({"is_good": "eq.true"}, [2, 3]),
        ({"name": "eq.'; drop table things; --"}, [2**63 - 1]),
        ({"name": ["gt.B", "lt.c"], "id": "lt.9"}, [2, 4]),
    ],
)
def test_filters(asker: Asker, filters: dict[str, Any], expected: list[int]) -> None:
    assert asker.ids(**filters) == expected


@pytest.mark.parametrize(
    ("address", "kind", "said"),
    [
        ("nothing", "not-found", "Not Found."),
        ("marts/pg_roles", "unknown-mart", "'pg_roles'"),
        ("marts/experiments?search=x", "bad-parameter", "text"),
        ("marts/things?limit=-1", "invalid-request", "limit"),
        ("marts/things?limit=9999999999999999999", "invalid-request", "limit"),
        ("marts/things?after=WzEsMl0=", "invalid-request", "after"),
        ("marts/things?after=0123456789ab-3", "bad-parameter", "another table, order or filter"),
        ("marts/things?limit=1&limit=2", "bad-parameter", "more than once"),
        ("marts/things?id=eq.1.5", "bad-parameter", "no whole number"),
        ("marts/things?id=eq.9223372036854775808", "bad-parameter", "no whole number"),
        ("marts/things?id=eq.١", "bad-parameter", "no whole number"),
        ("marts/things?id=5", "bad-parameter", "an operator and a point"),
        ("marts/things?id=like.1*", "bad-parameter", "for texts"),
        ("marts/things?id=is.true", "bad-parameter", "only null"),
        ("marts/things?id=in.(1,2", "bad-parameter", "a list is written"),
        ('marts/things?name=in.("a"b)', "bad-parameter", "quotation marks"),
        ("marts/things?amount=eq.1e5", "bad-parameter", "no number"),
        ("marts/things?amount=eq.NaN", "bad-parameter", "no number"),
        ("marts/things?day=eq.2023-02-30", "bad-parameter", "no date such as 2023-01-31"),
        ("marts/things?is_good=eq.t", "bad-parameter", "no truth value"),
        ("marts/things?name=eq.a%00b", "bad-parameter", "no text"),
        ("marts/things?naem=eq.a", "bad-parameter", "Did you mean 'name'?"),
        ("marts/things?id%20or%201=eq.1", "bad-parameter", "no such column"),
        ("marts/things?select=id,ctid", "bad-parameter", "no column 'ctid'"),
        ("marts/things?select=id,id", "bad-parameter", "more than once"),
        ('marts/things?select="id"', "bad-parameter", "no column"),
        ("marts/things?order=-id,id", "bad-parameter", "more than once"),
        ("marts/things?order=id;select%20pg_sleep(9)", "bad-parameter", "no column"),
    ],
)
def test_what_is_asked_wrong_is_told(asker: Asker, address: str, kind: str, said: str) -> None:
    answer = asker.client.get(f"/v1/{address}")
    assert answer.status_code == (404 if kind in ("not-found", "unknown-mart") else 422)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:labmart:problem:{kind}"
    assert problem["instance"] == answer.url.path
    assert said in problem["detail"]
    if kind == "bad-parameter":
        assert problem["parameter"] == next(iter(answer.url.params))


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
    max_size=15,
)


@TRIES
@given(
    rows=_THINGS,
    order=st.lists(st.tuples(st.integers(0, 4), st.booleans()), unique_by=itemgetter(0)),
    limit=st.integers(1, 9),
    least=st.integers(-3, 20),
)
def test_all_pages_together_are_the_whole_once_and_in_order(
    asker: Asker, rows: list[Row], order: list[tuple[int, bool]], limit: int, least: int
) -> None:
    things = [(number, *row) for number, row in enumerate(rows)]
    random.Random(0).shuffle(things)
    asker.fill("others", things)
    names = ",".join(f"{'-' if falls else ''}{NAMES[column]}" for column, falls in order)
    asked = {"order": names, "id": f"gte.{least}"}
    pages = list(asker.pages("others", **asked, limit=limit))
    kept = [row for row in things if row[0] >= least]
    expected = [row[0] for row in in_order(kept, [*order, (0, False)])]
    assert [item["id"] for page in pages for item in page] == expected
    assert all(len(page) == limit for page in pages[:-1])
    assert [item["id"] for item in asker.items("others", **asked, limit=0)] == expected


@TRIES
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([None, "a", LONG + "1", LONG + "0"]), st.just(1)), max_size=15
    ),
    limit=st.integers(1, 4),
    order=st.sampled_from(["name", "-name", "amount", "-amount,-name"]),
)
def test_rows_that_are_equal_come_as_often_as_they_are_there(
    asker: Asker, rows: list[Row], limit: int, order: str
) -> None:
    asker.fill("notes", rows)
    pages = asker.pages("notes", limit=limit, order=order)
    names = [item["name"] for page in pages for item in page]
    assert sorted(names, key=str) == sorted((row[0] for row in rows), key=str)
    assert names == [item["name"] for item in asker.items("notes", limit=0, order=order)]


def test_csv_is_safe_for_a_spreadsheet_unless_asked_for_as_it_is(asker: Asker) -> None:
    def read(**parameters: str) -> list[list[str]]:
        text = asker.get("others", format="csv", **parameters).text
        return list(csv.reader(io.StringIO(text, "")))

    signs = ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "a=1", "'=1", "", "%s%%"]
    asker.fill("others", [(n, text, -1, None, True) for n, text in enumerate(signs)])
    header, *rows = read()
    assert header == NAMES
    safe = ["'=1", "'+1", "'-1", "'@a", "'\t=1", "'\r=1", "a=1", "'=1", "", "%s%%"]
    assert [row[1] for row in rows] == safe
    assert {(row[2], row[4]) for row in rows} == {("-1.000000", "true")}
    assert [row[1] for row in read(formulas="keep")][1:] == signs


def test_each_format_has_the_same_rows_with_their_types(asker: Asker, tmp_path: Path) -> None:
    file = tmp_path / "things.parquet"
    file.write_bytes(asker.get("things", format="parquet", order="-id", id="lt.9").content)
    with duckdb.connect() as engine:
        read = engine.execute(f"select * from '{file}'")
        kinds, rows = [str(column[1]) for column in read.description or ()], read.fetchall()
    assert kinds == ["BIGINT", "VARCHAR", "DECIMAL(18,6)", "DATE", "BOOLEAN"]
    assert rows == [row for row in reversed(ROWS) if row[0] < 9]
    workbook = asker.get("things", format="xlsx", select="id,name", id="lte.2")
    assert workbook.headers["Content-Disposition"] == 'attachment; filename="things.xlsx"'
    sheet = openpyxl.load_workbook(io.BytesIO(workbook.content)).active
    assert list(sheet.values) == [("id", "name"), (1, "B"), (2, "b")]
    # Without rows, too, there are the columns.
    assert asker.ids(id="eq.-1") == []
    assert asker.get("things", format="csv", id="eq.-1").text == ",".join(NAMES) + "\n"


@pytest.mark.parametrize(
    ("search", "found"), [("B", [1, 2, 2**63 - 1]), ("=*1", [6]), ("%", [7]), ("'", [2**63 - 1])]
)
def test_texts_are_searched_and_rows_counted(asker: Asker, search: str, found: list[int]) -> None:
    answer = asker.get("things", search=search, total="true", limit=1).json()
    assert ([item["id"] for item in answer["items"]], answer["total"]) == (found[:1], len(found))


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
    assert asker.get("things", {"Accept": accept}).headers["Content-Type"] == expected


def test_the_tag_names_the_published_build(asker: Asker) -> None:
    """What plain dbt has made has none, and no build."""
    assert {"etag", "labmart-build"}.isdisjoint(asker.get("things").headers)

    def published(build: int) -> None:
        asker.sql(
            "drop table if exists mart_status",
            f"create table mart_status as select 'things' as mart, {build} as build, "
            f"timestamptz '2024-01-31' as published_at",
        )

    def tag(**parameters: object) -> str:
        headers = asker.get("things", **parameters).headers
        assert headers["Labmart-Build"] == str(build)
        return headers["ETag"]

    asked: list[dict[str, Any]] = [
        *({}, {"limit": 3}, {"order": "-id"}, {"select": "id"}, {"format": "csv"}),
        {"format": "csv", "formulas": "keep"},
    ]
    tags = set()
    try:
        for build in (7, 8):
            published(build)
            tags |= {tag(**parameters) for parameters in asked}
        assert len(tags) == 12
        current = tag()
        for header in (current, current.removeprefix("W/"), f'"x", {current}'):
            same = asker.get("things", {"If-None-Match": header})
            assert (same.status_code, same.content) == (304, b"")
        assert asker.get("things", {"If-None-Match": '"x"'}).status_code == 200
        after = asker.get("things", limit=1).json()["next"]
        assert asker.ids(after=after, limit=1) == [2]
        published(9)
        for other, said in (
            ({"order": "-id"}, "another table, order or filter"),
            ({"id": "gt.1"}, "another table, order or filter"),
            ({}, "built anew since"),
        ):
            answer = asker.client.get("/v1/marts/things", params={"after": after, **other})
            assert (answer.status_code, said in answer.json()["detail"]) == (422, True)
    finally:
        asker.sql("drop table mart_status")


def test_what_is_large_goes_through_a_file(asker: Asker) -> None:
    asker.sql(
        "truncate notes",
        "insert into notes select lpad(n::text, 60, 'x'), n from generate_series(1, 60000) as n",
    )
    answer = asker.get("notes", format="csv")
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert answer.content.count(b"\n") == 60001


def marts_here(server: Server, patch: pytest.MonkeyPatch, **variables: str) -> Marts:
    """What reads for another server on the same database."""
    for name, value in {**server.database.environment, **variables}.items():
        patch.setenv(name, value)
    return Marts(find_database(project_of(server), None))


def reading(marts: Marts) -> AbstractContextManager[Postgres]:
    """The engine on a connection as requests have it."""
    return marts.reading("labmart", marts.contracts()["things"])


@pytest.fixture
def hurried(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Marts]:
    """One with a single connection, and in a hurry."""
    limits = {"MOST_CONNECTIONS": 1, "STATEMENT_SECONDS": 1.0}
    for name, value in {**limits, "LOCK_SECONDS": 0.1, "WAIT_SECONDS": 0.1}.items():
        monkeypatch.setattr(marts, name, value)
    made = marts_here(asker.server, monkeypatch)
    yield made
    made.close()


def test_nothing_can_be_written_and_nobody_waits_long(asker: Asker, hurried: Marts) -> None:
    with pytest.raises(Exception, match="read-only"), reading(hurried) as engine:
        engine.run("delete from labmart.things returning 1")
    with pytest.raises(QueryTooSlow), reading(hurried) as engine:
        engine.run("select pg_sleep(60)")
    with reading(hurried), pytest.raises(TooBusy), reading(hurried):
        pass
    with closing(asker.server.database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("begin; lock table labmart.things")
        with pytest.raises(QueryTooSlow), reading(hurried):
            pass


def test_a_swap_while_a_query_runs_is_seen_by_the_next(asker: Asker, hurried: Marts) -> None:
    """In a transaction that had looked before the swap, the new table would have no rows."""
    with reading(hurried) as engine:
        swap = threading.Thread(target=asker.fill, args=("things", ROWS))
        swap.start()
        assert engine.run("select count(*) from labmart.things") == [(len(ROWS),)]
    swap.join()
    assert len(asker.ids()) == len(ROWS)


def test_a_connection_that_broke_is_replaced(asker: Asker) -> None:
    asker.ids()
    asker.sql(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        "where datname = current_database() and application_name = 'labmart read'"
    )
    assert len(asker.ids()) == len(ROWS)


def test_a_server_that_is_gone_is_told(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = marts_here(asker.server, monkeypatch, PGPORT="1")
    with pytest.raises(DatabaseUnreachable), reading(gone):
        pass
