"""A query answered: all of it together.

The rows go into a temporary file first and from there to the client, in memory as long as they are
few. So a client that reads slowly or not at all holds no transaction, which would keep dbt from
putting a new table in the old one's place; a fault in the middle is an error and no shortened
answer; and the length is known.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import IO
from urllib.parse import urlencode

from loader import __version__
from loader.contract import Contract
from loader.engines import Column, Row
from loader.service.query import cursor, statements
from loader.service.query.formats import (
    CSV,
    JSON,
    Format,
    format_of,
    keep_formulas,
    write_columnar,
)
from loader.service.query.parameters import AFTER, Filter, Query, parse_query
from loader.service.query.readers import Readers, Reading
from loader.service.query.statements import Source, Sql
from loader.service.query.version import Versions, digest
from loader.show import write_json

# So many bytes of an answer stay in memory.
_IN_MEMORY = 1 << 20
_PIECE = 1 << 18


@dataclass(frozen=True)
class Request:
    """What a client sent: the path, the query's pairs in order, and the headers that matter."""

    path: str
    pairs: tuple[tuple[str, str], ...]
    accept: str | None = None
    if_none_match: str | None = None
    head: bool = False


@dataclass(frozen=True)
class Table:
    """A table that can be asked for.

    `fixed` is a filter that the path sets, `plain` and `default_order` as in `parse_query`. A table
    that is `swapped` is made anew by each build; another one may not be there yet, and is empty.
    """

    schema: str
    contract: Contract
    swapped: bool = True
    fixed: tuple[Filter, ...] = ()
    plain: tuple[str, ...] = ()
    default_order: str = ""
    file_name: str = ""


@dataclass(frozen=True)
class Answer:
    """Status, headers, and the body as a file that whoever sends it closes; None without a body."""

    status: int
    headers: Mapping[str, str]
    body: IO[bytes] | None

    def pieces(self) -> Iterator[bytes]:
        """The body, piece by piece."""
        if self.body is not None:
            with self.body as body:
                while piece := body.read(_PIECE):
                    yield piece


def answer(table: Table, request: Request, readers: Readers, versions: Versions) -> Answer:
    """Answer a request. Raises BadParameter, NotAcceptable, and what `Readers.reading` raises."""
    given = dict(request.pairs)
    format_ = format_of(given, request.accept)
    keep = keep_formulas(given)
    query = parse_query(
        table.contract,
        request.pairs,
        default_limit=format_.page,
        default_order=table.default_order,
        plain=table.plain,
    )
    query = replace(query, filters=(*table.fixed, *query.filters))
    # A cursor is checked before anything is asked of the database.
    position = _position(query)
    source = Source(table.schema, table.contract)
    with readers.reading(source, may_be_absent=not table.swapped) as reading:
        tag = _etag(_version(table, reading, versions), query, format_, keep)
        headers = {
            "ETag": tag,
            # It may be kept, by the client alone, and asked about each time.
            "Cache-Control": "private, no-cache",
            "Vary": "Accept, Authorization",
        }
        if _matches(tag, request.if_none_match):
            return Answer(304, headers, None)
        end = _following(query, position, reading)
        following = None if end is None else cursor.encode(end, _names(query))
        if following is not None:
            headers["Link"] = f'<{_address_of(request, following)}>; rel="next"'
        headers["Content-Type"] = format_.content_type
        if format_ is not JSON:
            name = (table.file_name or table.contract.name) + format_.ending
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        if request.head:
            return Answer(200, headers, None)
        body = _written(query, position, following, reading, format_, keep=keep)
    headers["Content-Length"] = str(_size(body))
    return Answer(200, headers, body)


def _position(query: Query) -> cursor.Position | None:
    if query.after is None:
        return None
    position = cursor.decode(query.after, _names(query))
    # Makes SQL of it, and so parses the values in it.
    statements.rows(query, Source("", query.contract), ["1"], position)
    return position


def _names(query: Query) -> list[str]:
    return [key.name for key in statements.keys_of(query)]


def _version(table: Table, reading: Reading, versions: Versions) -> str:
    if table.swapped:
        return versions.mart(reading.source, reading.run, reading.run_patiently)
    return digest(reading.source, statements.where_of(table.fixed), reading.run)


def _etag(version: str, query: Query, format_: Format, keep: bool) -> str:
    described = (
        __version__,
        version,
        query.contract.name,
        [column.name for column in query.columns],
        [(one.column.name, one.operator, one.values) for one in query.filters],
        _names(query),
        (query.limit, query.after, format_.name, keep),
    )
    value = hashlib.sha256(repr(described).encode()).hexdigest()[:32]
    # The bytes of the columnar formats are their writers' affair: the tag speaks of the rows.
    return f'"{value}"' if format_ in (JSON, CSV) else f'W/"{value}"'


def _matches(tag: str, header: str | None) -> bool:
    """Whether If-None-Match has this tag; it is compared weakly (RFC 9110, 13.1.2)."""
    if header is None:
        return False
    tags = [one.strip().removeprefix("W/") for one in header.split(",")]
    return "*" in tags or tag.removeprefix("W/") in tags


def _following(
    query: Query, position: cursor.Position | None, reading: Reading
) -> cursor.Position | None:
    """Where the page ends, if there are rows after it."""
    if query.limit is None:
        return None
    keys = [f"({key.sql})::text" for key in statements.keys_of(query)]
    one_more = replace(query, limit=query.limit + 1)
    numbered = statements.rows(one_more, reading.source, keys, position)
    names = [f"k{number}" for number in range(len(keys))]
    last = reading.run(
        Sql(
            f"select * from ({numbered.text}) as page ({', '.join(names)}) "
            f"offset {query.limit - 1:d} limit 2",
            numbered.values,
        )
    )
    if len(last) < 2:
        return None
    values = tuple(None if value is None else str(value) for value in last[0])
    if query.contract.has_key:
        return cursor.Position(values, 1)
    page = statements.rows(query, reading.source, keys, position)
    level = " and ".join(f"{name} is not distinct from %s" for name in names)
    [(count,)] = reading.run(
        Sql(
            f"select count(*) from ({page.text}) as page ({', '.join(names)}) where {level}",
            (*page.values, *values),
        )
    )
    earlier = position.seen if position is not None and position.values == values else 0
    return cursor.Position(values, earlier + int(str(count)))


def _written(
    query: Query,
    position: cursor.Position | None,
    following: str | None,
    reading: Reading,
    format_: Format,
    *,
    keep: bool,
) -> IO[bytes]:
    source = reading.source
    columns = [Column(column.name, column.type) for column in query.columns]
    with _spool() as out:
        if format_ is JSON:
            sql = statements.rows(query, source, statements.plain_columns(query), position)
            _write_page(columns, reading.stream(sql), following, out)
        elif format_ is CSV:
            reading.copy(_csv(query, source, position, keep=keep), out)
        else:
            sql = _csv(query, source, position, keep=True)
            write_columnar(partial(reading.copy, sql), columns, format_, out)
        return out


def _csv(query: Query, source: Source, position: cursor.Position | None, *, keep: bool) -> Sql:
    columns = statements.csv_columns(query, keep_formulas=keep)
    return statements.rows(query, source, columns, position)


def _write_page(
    columns: Sequence[Column], rows: Iterator[Row], following: str | None, out: IO[bytes]
) -> None:
    out.write(b'{"items": ')
    write_json(columns, rows, out)
    out.write(b', "next": ' + json.dumps(following).encode() + b"}\n")


def _address_of(request: Request, after: str) -> str:
    pairs = [pair for pair in request.pairs if pair[0] != AFTER]
    return f"{request.path}?{urlencode([*pairs, (AFTER, after)])}"


@contextmanager
def _spool() -> Iterator[IO[bytes]]:
    """A temporary file that is closed if what fills it fails; else it is read from the start."""
    file = tempfile.SpooledTemporaryFile(  # noqa: SIM115 -- it outlives this function
        max_size=_IN_MEMORY, prefix="labmart-"
    )
    try:
        yield file
        file.seek(0)
    except BaseException:
        file.close()
        raise


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size
