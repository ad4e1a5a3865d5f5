"""Marts, ledger and rejected lines over HTTP, all by one machinery.

A query runs on a connection that can read and nothing else: in a read-only transaction, as the role
that `labmart roles` makes for reading where it is there, and no longer than a statement may take.
The table is locked against being replaced before the first look at it: in a transaction that began
to look before dbt put a new table in the old one's place, the new one would appear empty.

The rows go into a temporary file first and from there to the client, in memory as long as they are
few. So a client that reads slowly or not at all holds no transaction, which would keep dbt from
putting a new table in the old one's place; a fault in the middle is an error and no shortened
answer; and the length is known.

An ETag is a digest of the rows, the same after a build that changed nothing. dbt makes each mart
anew and puts it in the old one's place, so a mart's rows are digested once per table and remembered
by the table's identity. A row that somebody changes by hand inside a mart shows in the server's
counters of changed rows, up to ten seconds after its transaction has ended. The ledger and the
rejected lines are changed in place, so they are digested each time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

import psycopg2
import psycopg2.errors
from sqlalchemy import Connection, Executable, Select, Text, cast, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.sql import FromClause, literal_column

from loader import __version__
from loader.columnar import engine_in, rows_of, write_parquet
from loader.contract import Contract, mart_contracts, raw_contract
from loader.database import Database
from loader.engines import Column, Row
from loader.engines.postgres import one_line, where
from loader.engines.sql import quote
from loader.errors import (
    BadParameter,
    DatabaseUnreachable,
    LabmartError,
    NotAcceptable,
    NotBuilt,
    Outdated,
    QueryFailed,
    QueryTooSlow,
    TooBusy,
    UnknownMart,
)
from loader.roles import reader_of, set_up_roles
from loader.service.database import make_engine, run_plainly
from loader.service.query import (
    AFTER,
    FORMAT,
    FORMULAS,
    Filter,
    Position,
    Query,
    condition,
    csv_columns,
    encode_cursor,
    key_columns,
    parse_query,
    plain_columns,
    rows,
    table_of,
)
from loader.show import write_json
from loader.sources import LEDGER, REJECTED

_LOG = logging.getLogger("labmart.service")
# Seconds that a statement may take, that one may take which is needed once after each build, and
# that one waits for a table or for a free connection.
STATEMENT_SECONDS = 60.0
PATIENT_SECONDS = 600.0
LOCK_SECONDS = 5.0
WAIT_SECONDS = 10.0
MOST_CONNECTIONS = 6
# Rows that the server is asked for at a time.
_ROWS_AT_ONCE = 2000
# So many bytes of an answer stay in memory.
_IN_MEMORY = 1 << 20
_PIECE = 1 << 18


@dataclass(frozen=True)
class Format:
    """A format by its name in `?format=`; `page` is how many rows come when no limit is given."""

    name: str
    media_type: str
    ending: str
    page: int | None = None

    @property
    def content_type(self) -> str:
        """The header of an answer in this format."""
        is_csv = self.media_type == "text/csv"
        return f"{self.media_type}; charset=utf-8; header=present" if is_csv else self.media_type


JSON = Format("json", "application/json", ".json", page=100)
CSV = Format("csv", "text/csv", ".csv")
PARQUET = Format("parquet", "application/vnd.apache.parquet", ".parquet")
ARROW = Format("arrow", "application/vnd.apache.arrow.stream", ".arrows")
FORMATS = (JSON, CSV, PARQUET, ARROW)


@dataclass(frozen=True)
class Request:
    """What a client sent: the path, the query's pairs in order, and the headers that matter."""

    path: str
    pairs: tuple[tuple[str, str], ...]
    accept: str | None = None
    if_none_match: str | None = None
    head: bool = False


@dataclass(frozen=True)
class Source:
    """A table that can be asked for.

    `fixed`, `equalities` and `default_order` are as in `parse_query`. A table that is `swapped` is
    made anew by each build; another one may not be there yet, and is empty.
    """

    schema: str
    contract: Contract
    swapped: bool = True
    fixed: tuple[Filter, ...] = ()
    equalities: tuple[str, ...] = ()
    default_order: str = ""
    file_name: str = ""

    @property
    def qualified_name(self) -> str:
        """Schema and table as SQL."""
        return f"{quote(self.schema)}.{quote(self.contract.name)}"


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


class Marts:
    """Marts, ledger and rejected lines of a running server: what is declared, and their rows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._schema = database.profile.schema
        self.readings = Readings(database)
        self._digests: dict[str, tuple[object, str]] = {}
        self._digesting = threading.Lock()
        self._declared: tuple[object, dict[str, Contract], dict[str, Contract]] | None = None

    def begin(self) -> None:
        """Make the reading role on the embedded server, where nobody else would."""
        if self._database.embedded is None:
            return
        try:
            set_up_roles(self._database)
        except LabmartError as error:
            _LOG.warning("Queries run read-only, but with all rights to read: %s", error)

    def close(self) -> None:
        """Close the connections."""
        self.readings.close()

    def contracts(self) -> dict[str, Contract]:
        """The marts by name, in the order of the YAML, as it stands now."""
        return self._contracts()[0]

    def mart(self, name: str, request: Request) -> Answer:
        """Rows of a mart. Raises UnknownMart, and what `answer` raises."""
        contract = self.contracts().get(name)
        if contract is None:
            raise UnknownMart(name, list(self.contracts()))
        return self.answer(Source(self._schema, contract), request)

    def loads(self, request: Request, load_id: int | None = None) -> Answer:
        """Rows of the ledger, the newest first; with a number that of this load."""
        source = self._raw(LEDGER, load_id)
        source = replace(source, equalities=("status", "input"), default_order="-load_id")
        return self.answer(source, request)

    def rejected(self, request: Request, load_id: int) -> Answer:
        """The lines of a load that could not be split."""
        source = self._raw(REJECTED, load_id)
        return self.answer(replace(source, file_name=f"{REJECTED}_of_load_{load_id}"), request)

    def answer(self, source: Source, request: Request) -> Answer:
        """Answer a request.

        Raises BadParameter, UnknownColumn, NotAcceptable, and what `Readings.on` raises.
        """
        given = dict(request.pairs)
        format_ = _format_of(given, request.accept)
        keep_formulas = _keeps_formulas(given)
        # All of it, cursor included, is checked before anything is asked of the database.
        query = parse_query(
            source.contract,
            request.pairs,
            default_limit=format_.page,
            default_order=source.default_order,
            equalities=source.equalities,
            fixed=source.fixed,
        )
        with self.readings.on(source) as reading:
            tag = _etag(self._version(source, reading), query, format_, keep_formulas)
            headers = {
                "ETag": tag,
                # It may be kept, by the client alone, and asked about each time.
                "Cache-Control": "private, no-cache",
                "Vary": "Accept, Authorization",
            }
            if _matches(tag, request.if_none_match):
                return Answer(304, headers, None)
            end = _page_end(query, reading)
            following = None if end is None else encode_cursor(query, end)
            if following is not None:
                pairs = [pair for pair in request.pairs if pair[0] != AFTER]
                address = f"{request.path}?{urlencode([*pairs, (AFTER, following)])}"
                headers["Link"] = f'<{address}>; rel="next"'
            headers["Content-Type"] = format_.content_type
            if format_ is not JSON:
                name = (source.file_name or source.contract.name) + format_.ending
                headers["Content-Disposition"] = f'attachment; filename="{name}"'
            if request.head:
                return Answer(200, headers, None)
            body = _written(query, following, reading, format_, keep_formulas=keep_formulas)
        headers["Content-Length"] = str(body.seek(0, 2))
        body.seek(0)
        return Answer(200, headers, body)

    def _version(self, source: Source, reading: Reading) -> str:
        """What changes exactly when the rows do."""
        if not source.swapped:
            return _digest(reading, source)
        identity = reading.all(text(_IDENTITY), {"name": source.qualified_name})
        known = self._digests.get(source.qualified_name)
        if known is None or known[0] != identity:
            # Two that come at once do not read the table twice.
            with self._digesting:
                known = self._digests.get(source.qualified_name)
                if known is None or known[0] != identity:
                    with reading.patiently():
                        known = (identity, _digest(reading, source))
                    self._digests[source.qualified_name] = known
        return known[1]

    def _raw(self, name: str, load_id: int | None) -> Source:
        contract = self._contracts()[1][name]
        column = contract.column("load_id")
        of_load = () if load_id is None or column is None else (Filter(column, "eq", (load_id,)),)
        return Source(self._database.profile.raw_schema, contract, swapped=False, fixed=of_load)

    def _contracts(self) -> tuple[dict[str, Contract], dict[str, Contract]]:
        """What the YAML declares; it is read again when a file has changed."""
        project = self._database.project
        files = (project.marts_file, project.sources_file, *project.root.glob("models/**/*.md"))
        state = tuple(_state(file) for file in files)
        if self._declared is None or self._declared[0] != state:
            raw = {name: raw_contract(project, name) for name in (LEDGER, REJECTED)}
            self._declared = (state, mart_contracts(project), raw)
        return self._declared[1:]


def _state(file: Path) -> tuple[str, int, int]:
    try:
        status = file.stat()
    except OSError:
        return str(file), 0, 0
    return str(file), status.st_mtime_ns, status.st_size


class Readings:
    """A few connections that can read the tables, made when they are needed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._where = where(database.profile)
        self._engine = make_engine(
            database,
            "labmart read",
            connections=MOST_CONNECTIONS,
            wait=WAIT_SECONDS,
            # A statement less for each answer: one that broke is met at once, and replaced.
            ping=False,
            begin=lambda connection: connection.set_session("REPEATABLE READ", readonly=True),
        )

    def close(self) -> None:
        """Close what is idle now, and the others when they come back."""
        self._engine.dispose()

    @contextmanager
    def on(self, source: Source) -> Iterator[Reading]:
        """A transaction on a table. Raises NotBuilt, TooBusy, QueryTooSlow, DatabaseUnreachable.

        A table that no build makes, and that is not there yet, is one without rows.
        """
        with self._faults(source):
            try:
                connection, exists = self._locked(source)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # It broke while it was idle, as the others did then; they are all made anew.
                connection, exists = self._locked(source)
            with connection:
                yield Reading(connection, table_of(source.contract, source.schema, exists=exists))

    def _locked(self, source: Source) -> tuple[Connection, bool]:
        """A connection in a transaction that keeps the table in its place, and whether it is."""
        try:
            connection = self._engine.connect()
        except PoolTimeout:
            raise TooBusy(MOST_CONNECTIONS) from None
        try:
            begin = self._begin(connection)
            try:
                run_plainly(
                    connection, f"{begin}; lock table {source.qualified_name} in access share mode"
                )
            except DBAPIError as error:
                if not isinstance(error.orig, _ABSENT):
                    raise
                if source.swapped:
                    name = f"{source.schema}.{source.contract.name}"
                    raise NotBuilt(name, self._where) from None
                connection.rollback()
                run_plainly(connection, begin)
                return connection, False
        except BaseException:
            connection.close()
            raise
        return connection, True

    def _begin(self, connection: Connection) -> str:
        """What a transaction begins with; it looks at no table, so it fixes no point in time."""
        role = self._role(connection)
        return (
            f"set local statement_timeout = {int(STATEMENT_SECONDS * 1000)}; "
            f"set local lock_timeout = {int(LOCK_SECONDS * 1000)}"
            # Whoever has more rights than the reading role gives them up for the query.
            + (f"; set local role {quote(role)}" if role else "")
        )

    def _role(self, connection: Connection) -> str:
        """The reading role, if we may become it, and it may read here; else ''.

        A role is the whole server's: one of that name may belong to another database alone.
        """
        role: str = connection.info.get("reader", "")
        if not role:
            schema = self._database.profile.schema
            parameters = {"role": reader_of(schema), "schema": schema}
            role = connection.execute(text(_ROLE), parameters).scalar() or ""
            connection.rollback()
            connection.info["reader"] = role
        return role

    @contextmanager
    def _faults(self, source: Source) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            fault, reason = error.orig, one_line(error.orig or error)
            if isinstance(fault, psycopg2.errors.LockNotAvailable):
                raise QueryTooSlow(self._where, LOCK_SECONDS) from None
            if isinstance(fault, psycopg2.errors.QueryCanceled):
                raise QueryTooSlow(self._where, STATEMENT_SECONDS) from None
            if isinstance(fault, psycopg2.errors.UndefinedColumn):
                relation = f"{source.schema}.{source.contract.name}"
                raise Outdated(relation, reason) from None
            if isinstance(fault, psycopg2.OperationalError):
                raise self._lost(error) from None
            raise QueryFailed(self._where, reason) from None

    def _lost(self, error: DBAPIError) -> DatabaseUnreachable:
        reason = one_line(error.orig or error)
        return DatabaseUnreachable(
            f"The connection to {self._where} was lost: {reason} Call again."
        )


_ABSENT = (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName)
_ROLE = """
select r.rolname from pg_roles as r, pg_namespace as n
where r.rolname = :role and n.nspname = :schema
and pg_has_role(r.oid, 'member') and has_schema_privilege(r.oid, n.oid, 'usage')
"""
_IDENTITY = """
select c.oid::bigint, pg_relation_filenode(c.oid)::bigint, s.n_tup_ins, s.n_tup_upd, s.n_tup_del
from pg_class as c
left join pg_stat_all_tables as s on s.relid = c.oid
where c.oid = cast(:name as regclass)
"""


class Reading:
    """One transaction on one table, whose rows are `table`."""

    def __init__(self, connection: Connection, table: FromClause) -> None:
        self._connection = connection
        self.table = table

    def all(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """All rows of a statement."""
        return list(self._connection.execute(statement, parameters))

    def stream(self, query: Query, statement: Select[Any]) -> Iterator[Row]:
        """The rows of a query's statement, a portion at a time."""
        connection = self._connection
        if query.limit is None or query.limit > _ROWS_AT_ONCE:
            connection = connection.execution_options(yield_per=_ROWS_AT_ONCE)
        with connection.execute(statement) as result:
            yield from result

    def copy(self, statement: Select[Any], out: IO[bytes]) -> None:
        """The rows of a statement as CSV."""
        compiled = statement.compile(
            dialect=self._connection.dialect, compile_kwargs={"render_postcompile": True}
        )
        driver: Any = self._connection.connection.driver_connection
        try:
            with driver.cursor() as cursor:
                sql = cursor.mogrify(str(compiled), compiled.params).decode()
                cursor.copy_expert(f"copy ({sql}) to stdout (format csv, header)", out)
        except psycopg2.Error as error:
            raise DBAPIError(None, None, error) from None

    @contextmanager
    def patiently(self) -> Iterator[None]:
        """Give what is needed once after each build its time, however large the table is."""
        limit = "set local statement_timeout = {:.0f}"
        run_plainly(self._connection, limit.format(PATIENT_SECONDS * 1000))
        yield
        run_plainly(self._connection, limit.format(STATEMENT_SECONDS * 1000))


def _digest(reading: Reading, source: Source) -> str:
    """A digest of rows and columns that does not depend on the order of the rows."""
    row = cast(literal_column("m"), Text)
    statement = (
        select(
            func.count(),
            func.sum(func.hashtextextended(row, 0)),
            func.sum(func.hashtextextended(row, 1)),
        )
        .select_from(reading.table)
        .where(*(condition(filter_, reading.table) for filter_ in source.fixed))
    )
    [sums] = reading.all(statement)
    columns = [(column.name, column.type) for column in source.contract.columns]
    return hashlib.sha256(repr((sums, columns)).encode()).hexdigest()


def _etag(version: str, query: Query, format_: Format, keep_formulas: bool) -> str:
    described = (
        __version__,
        version,
        query.contract.name,
        [column.name for column in query.columns],
        [(filter_.column.name, filter_.operator, filter_.values) for filter_ in query.filters],
        query.order_names,
        (query.limit, query.after, format_.name, keep_formulas),
    )
    value = hashlib.sha256(repr(described).encode()).hexdigest()[:32]
    # The bytes of the columnar formats are their writers' affair: the tag speaks of the rows.
    return f'"{value}"' if format_ in (JSON, CSV) else f'W/"{value}"'


def _matches(tag: str, header: str | None) -> bool:
    """Whether If-None-Match has this tag; it is compared weakly (RFC 9110, 13.1.2)."""
    if header is None:
        return False
    tags = [known.strip().removeprefix("W/") for known in header.split(",")]
    return "*" in tags or tag.removeprefix("W/") in tags


def _page_end(query: Query, reading: Reading) -> Position | None:
    """Where the page ends, if there are rows after it."""
    if query.limit is None:
        return None
    keys = [
        cast(key, Text).label(f"k{number}")
        for number, key in enumerate(key_columns(query, reading.table))
    ]
    page = rows(query, reading.table, keys, one_more=True).subquery()
    last = reading.all(select(page).offset(query.limit - 1).limit(2))
    if len(last) < 2:
        return None
    values = tuple(None if value is None else str(value) for value in last[0])
    if query.contract.has_key:
        return Position(values, 1)
    page = rows(query, reading.table, keys).subquery()
    level = [
        column.is_not_distinct_from(value) for column, value in zip(page.c, values, strict=True)
    ]
    [(count,)] = reading.all(select(func.count()).select_from(page).where(*level))
    seen_before = query.after.seen if query.after and query.after.values == values else 0
    return Position(values, seen_before + int(str(count)))


def _written(
    query: Query,
    following: str | None,
    reading: Reading,
    format_: Format,
    *,
    keep_formulas: bool,
) -> IO[bytes]:
    """The body of an answer, as a file that is read from the start."""
    table = reading.table
    columns = [Column(column.name, column.type) for column in query.columns]
    out = tempfile.SpooledTemporaryFile(  # noqa: SIM115 -- it outlives this function
        max_size=_IN_MEMORY, prefix="labmart-"
    )
    try:
        if format_ is JSON:
            out.write(b'{"items": ')
            page = rows(query, table, plain_columns(query, table))
            write_json(columns, reading.stream(query, page), out)
            out.write(b', "next": ' + json.dumps(following).encode() + b"}\n")
        else:
            keep = keep_formulas or format_ is not CSV
            statement = rows(query, table, csv_columns(query, table, keep_formulas=keep))
            if format_ is CSV:
                reading.copy(statement, out)
            else:
                _write_columnar(lambda file: reading.copy(statement, file), columns, format_, out)
        out.seek(0)
    except BaseException:
        out.close()
        raise
    return out


def _write_columnar(
    fill: Callable[[IO[bytes]], None], columns: Sequence[Column], format_: Format, out: IO[bytes]
) -> None:
    """Write in one of the columnar formats what `fill` writes as PostgreSQL's CSV."""
    with tempfile.TemporaryDirectory(prefix="labmart-") as name:
        folder = Path(name)
        source, target = folder / "rows.csv", folder / f"rows{format_.ending}"
        with source.open("wb") as file:
            fill(file)
        with engine_in(folder) as engine:
            if format_ is PARQUET:
                write_parquet(engine, rows_of(source, columns), target)
            else:
                _write_arrow(engine.sql(rows_of(source, columns)), target)
        with target.open("rb") as file:
            while piece := file.read(1 << 20):
                out.write(piece)


def _write_arrow(relation: object, file: Path) -> None:
    import nanoarrow
    from nanoarrow.ipc import StreamWriter

    with file.open("wb") as out, StreamWriter.from_writable(out) as writer:
        writer.write_stream(nanoarrow.ArrayStream(relation))


def _format_of(given: Mapping[str, str], accept: str | None) -> Format:
    """What `?format=` says, else the header Accept; JSON if neither prefers another.

    Raises BadParameter or NotAcceptable.
    """
    if FORMAT in given:
        named = next((format_ for format_ in FORMATS if format_.name == given[FORMAT]), None)
        if named is None:
            known = ", ".join(format_.name for format_ in FORMATS)
            raise BadParameter(FORMAT, f"{given[FORMAT][:30]!r} is none of {known}.")
        return named
    ranges = _ranges(accept or "*/*")
    best = max(FORMATS, key=lambda format_: _quality(ranges, format_))
    if _quality(ranges, best) <= 0:
        raise NotAcceptable([format_.media_type for format_ in FORMATS])
    return best


def _ranges(accept: str) -> dict[str, float]:
    """The media ranges of an Accept header (RFC 9110, 12.5.1); one that is no range is left out."""
    ranges = {}
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            weight = re.fullmatch(r"q\s*=\s*([01](?:\.\d{0,3})?)", parameter)
            quality = float(weight[1]) if weight else quality
        ranges[media] = quality
    return ranges


def _quality(ranges: Mapping[str, float], format_: Format) -> float:
    family = format_.media_type.partition("/")[0] + "/*"
    for media in (format_.media_type, family, "*/*"):
        if media in ranges:
            return ranges[media]
    return 0.0


def _keeps_formulas(given: Mapping[str, str]) -> bool:
    """Whether cells of CSV that a spreadsheet takes for formulas shall stay as they are."""
    choice = given.get(FORMULAS, "escape")
    if choice not in ("escape", "keep"):
        raise BadParameter(FORMULAS, f"{choice[:30]!r} is none of escape, keep.")
    return choice == "keep"
