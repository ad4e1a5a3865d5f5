"""Formats and tags of the service's answers, from a real database."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import duckdb
import nanoarrow
import psycopg2
import pytest
from support.query_tables import NAMES, ROWS, THINGS, Asker

from loader.errors import (
    NotAcceptable,
)

pytestmark = pytest.mark.slow


def test_csv_is_safe_for_a_spreadsheet_unless_asked_for_as_it_is(asker: Asker) -> None:
    signs = ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "a=1", "'=1", "", "%s%%"]
    asker.fill("things", THINGS, [(n, text, -1, None, True) for n, text in enumerate(signs)])
    try:
        rows = list(csv.reader(io.StringIO(asker.body("things", ("format", "csv")).decode(), "")))
        assert rows[0] == NAMES
        safe = ["'=1", "'+1", "'-1", "'@a", "'\t=1", "'\r=1", "a=1", "'=1", "", "%s%%"]
        assert [row[1] for row in rows[1:]] == safe
        assert {(row[2], row[4]) for row in rows[1:]} == {("-1.000000", "true")}
        kept = asker.body("things", ("format", "csv"), ("formulas", "keep")).decode()
        assert [row[1] for row in csv.reader(io.StringIO(kept, ""))][1:] == signs
    finally:
        asker.fill("things", THINGS, ROWS)


def test_each_format_has_the_same_rows_with_their_types(asker: Asker, tmp_path: Path) -> None:
    pairs = [("order", "-id"), ("id", "lt.9")]
    expected = [row for row in reversed(ROWS) if int(str(row[0])) < 9]
    file = tmp_path / "things.parquet"
    file.write_bytes(asker.body("things", ("format", "parquet"), *pairs))
    with duckdb.connect() as engine:
        read = engine.execute(f"select * from '{file}'")
        kinds, rows = [str(one[1]) for one in read.description or ()], read.fetchall()
    assert kinds == [
        "BIGINT",
        "VARCHAR",
        "DECIMAL(18,6)",
        "DATE",
        "BOOLEAN",
    ]
    assert rows == expected
    stream = nanoarrow.ArrayStream.from_readable(asker.body("things", ("format", "arrow"), *pairs))
    # Not by nanoarrow's own to_pylist, which takes the sign of a decimal for a digit.
    with duckdb.connect() as engine:
        assert engine.from_arrow(stream).fetchall() == expected


def test_a_table_without_rows_has_its_columns_in_every_format(asker: Asker) -> None:
    none = ("id", "eq.-1")
    assert asker.items("things", none) == []
    assert asker.body("things", none, ("format", "csv")).decode() == ",".join(NAMES) + "\n"
    stream = nanoarrow.ArrayStream.from_readable(asker.body("things", none, ("format", "arrow")))
    assert [field.name for field in stream.schema.fields] == NAMES


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv; charset=utf-8; header=present"),
        ("text/*;q=0.5, application/json;q=0.4", "text/csv; charset=utf-8; header=present"),
        ("text/html, */*;q=0.1", "application/json"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
        ("application/json;q=0, */*", "text/csv; charset=utf-8; header=present"),
    ],
)
def test_the_accept_header_chooses(asker: Asker, accept: str | None, expected: str) -> None:
    headers = {"accept": accept} if accept else {}
    assert asker.ask("things", **headers).headers["Content-Type"] == expected


def test_what_no_format_serves_is_refused(asker: Asker) -> None:
    for accept in ("text/html", "application/json;q=0", ";;;"):
        with pytest.raises(NotAcceptable):
            asker.ask("things", accept=accept)


def tag(asker: Asker, *pairs: tuple[str, object]) -> str:
    found = asker.ask("things", *pairs)
    b"".join(found.pieces())
    return found.headers["ETag"]


def test_the_tag_names_the_build(asker: Asker) -> None:
    """A table that is made anew is another one, and so is the one that a view reads."""
    tags = [tag(asker)]
    asker.fill("things", THINGS, ROWS)
    tags.append(tag(asker))
    try:
        asker.sql("create table first as table things; create table second as table things")
        asker.sql("drop table things; create view things as select * from first")
        tags.append(tag(asker))
        asker.sql("create or replace view things as select * from second")
        tags.append(tag(asker))
        assert len({*tags}) == 4
        asker.sql("create or replace view things as select * from first")
        assert tag(asker) == tags[2]
        status = "create table mart_status as select 'things' as mart, 7 as build"
        asker.sql(status)
        assert asker.ask("things").headers["Labmart-Build"] == "7"
    finally:
        asker.sql("drop view things; drop table first, second; drop table if exists mart_status")
        asker.fill("things", THINGS, ROWS)
    before = tag(asker)
    other = [
        tag(asker, pair)
        for pair in [("limit", 3), ("order", "-id"), ("select", "id"), ("format", "csv")]
    ]
    assert len({before, *other, tag(asker, ("format", "csv"), ("formulas", "keep"))}) == 6


def test_a_change_by_hand_shows_in_the_tag(asker: Asker) -> None:
    before = tag(asker)
    try:
        # The session that changed it tells the server's counters when it ends.
        asker.sql("update things set name = 'other' where id = 1")
        from support.load_processes import wait_for

        wait_for(lambda: tag(asker) != before)
    finally:
        asker.fill("things", THINGS, ROWS)


def test_not_modified_has_no_body(asker: Asker) -> None:
    current = tag(asker, ("format", "parquet"))
    assert current.startswith("W/")
    for header in (current, current.removeprefix("W/"), f'"x", {current}', "*"):
        found = asker.ask("things", ("format", "parquet"), if_none_match=header)
        assert (found.status, found.body) == (304, None)
    assert asker.ask("things", if_none_match='"x"').status == 200


def test_head_has_the_link_and_no_body(asker: Asker) -> None:
    found = asker.ask("things", ("limit", 2), method="HEAD")
    assert found.body is None
    assert found.headers["Link"].startswith("</v1/marts/things?limit=2&after=")


def test_what_is_large_goes_through_a_file(asker: Asker) -> None:
    asker.sql(
        "drop table if exists notes",
        "create table notes as select lpad(n::text, 60, 'x') as name, "
        "n::numeric(18,6) as amount from generate_series(1, 60000) as n",
    )
    found = asker.ask("notes", ("format", "csv"))
    assert found.body is not None
    assert found.body._rolled  # type: ignore[attr-defined]
    text = b"".join(found.pieces())
    assert int(found.headers["Content-Length"]) == len(text)
    assert text.count(b"\n") == 60001
    assert found.body.closed


def test_the_driver_is_not_used_outside_its_errors(asker: Asker) -> None:
    """What the driver raises never reaches a client as it is."""
    try:
        asker.ask("things", ("name", "like." + "\\" * 50))
    except psycopg2.Error as error:
        pytest.fail(str(error))
