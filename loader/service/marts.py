"""Marts, ledger and rejected lines over HTTP, read by the same engine as the command uses.

A query runs on a read-only connection: in a read-only transaction, as the reading role of `labmart
roles` if there is one, and with a time limit per statement. The table is locked against replacement
before the first look at it: to a transaction whose snapshot is older than the new table that dbt
puts in its place, that table would appear empty.

The rows go into a temporary file first, in memory if they are few, and from there to the client. So
a slow client holds no transaction, which would keep dbt from replacing the table; a fault midway is
an error and not a shortened answer; and the length is known.

An ETag names the published build of the rows, so no row is read to compute it; what plain dbt has
made since, or was never published, has none. A page begins at an offset; its cursor also names the
build, so that two pages cannot come from two builds.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from loader import __version__
from loader.contract import MART_STATUS, Contract, DeclaredColumn, mart_contracts, raw_contract
from loader.database import Database
from loader.engines import Selection, quote
from loader.engines.postgres import Connection, Pool, Postgres, where
from loader.errors import BadParameter, LabmartError, NotBuilt, UnknownMart
from loader.export import write_columnar, write_xlsx
from loader.project import Project
from loader.publications import COLUMNS, PUBLICATIONS
from loader.query import selection_of
from loader.roles import reader_of, set_up_roles
from loader.service.jobs import connect
from loader.show import write_items
from loader.sources import LEDGER, REJECTED

_LOG = logging.getLogger("labmart.service")

# Seconds a statement may take, and seconds to wait for a table or for a free connection.
STATEMENT_SECONDS = 60.0
LOCK_SECONDS = 5.0
WAIT_SECONDS = 10.0
MOST_CONNECTIONS = 6
# The number of rows in JSON when no limit is given.
PAGE = 100
# Bytes of an answer kept in memory.
_IN_MEMORY = 1 << 20
_PIECE = 1 << 18
# A user with more rights than the reading role switches to it, if allowed and if the role may read
# here. Roles belong to the whole server: one of that name may belong to another database alone.
_BECOME_READER = """
select set_config('role', r.rolname, false) from pg_roles as r, pg_namespace as n
where r.rolname = %s and n.nspname = %s
and pg_has_role(r.oid, 'member') and has_schema_privilege(r.oid, n.oid, 'usage')
"""
# The media type of each format, by which the Accept header chooses it.
FORMATS = {
    "json": "application/json",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
# Columns of a publication that only the next build needs.
_NOT_TOLD = ("seconds", "invocation_id", "code", "ledger", "place", "relations", "can_grow")
_PUBLICATIONS = Contract(
    PUBLICATIONS,
    "",
    tuple(DeclaredColumn(*item) for item in COLUMNS.items() if item[0] not in _NOT_TOLD),
    ("build",),
    has_key=True,
)
# The tables besides marts, and their default order.
_NEWEST_FIRST = {PUBLICATIONS: "-build", LEDGER: "-load_id", REJECTED: ""}


class RowQuery(BaseModel):
    """Which rows of a table, and how they come. Every other parameter is a filter."""

    select: str | None = Field(None, description="The columns wanted, separated by commas.")
    order: str | None = Field(
        None, description="Columns to sort by, separated by commas; `-` before one: falling."
    )
    limit: Annotated[int, Field(ge=0, lt=2**62)] | None = Field(
        None, description="So many rows at most; 0: all. Default: 100 in JSON, else all."
    )
    after: Annotated[str, Field(pattern="^[0-9a-f]{12}-[0-9]{1,18}$")] | None = Field(
        None, description="The cursor `next` of the page before."
    )
    search: Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]+$")] | None = Field(
        None, description="Only rows with this in a text; * is any text, capitals are ignored."
    )
    total: bool = Field(False, description="JSON also has `total`: how many rows fit in all.")
    format: Literal["json", "csv", "parquet", "xlsx"] | None = Field(
        None, description="Goes before the header Accept."
    )
    formulas: Literal["escape", "keep"] = Field(
        "escape",
        description="`keep`: texts in CSV that begin with = + - @ TAB or CR stay as they are. "
        "Else they get a ' before them, so that no spreadsheet runs them.",
    )


class Marts:
    """Marts, ledger and rejected lines of a running server: their declarations and rows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._schema = database.profile.schema
        self._pool = Pool(self._connect, MOST_CONNECTIONS, wait=WAIT_SECONDS)
        self.close = self._pool.close

    def begin(self) -> None:
        """Create the reading role on the embedded server, where nobody else would."""
        if self._database.embedded is None:
            return
        try:
            set_up_roles(self._database)
        except LabmartError as error:
            _LOG.warning("Queries run read-only, but with all rights to read: %s", error)

    def contracts(self) -> dict[str, Contract]:
        """The marts by name, in the order of the YAML, as it is now."""
        file = self._database.project.marts_file
        return _declared(self._database.project, file.stat().st_mtime_ns)

    def mart(self, name: str, request: Request, query: RowQuery) -> Response:
        """Rows of a mart. Raises UnknownMart, and what `answer` raises."""
        contract = self.contracts().get(name)
        if contract is None:
            raise UnknownMart(name, list(self.contracts()))
        return self.answer(self._schema, contract, request, query)

    def table(self, name: str, request: Request, query: RowQuery) -> Response:
        """Rows of ledger, rejected lines or publications; none if the table does not exist yet."""
        schema, contract = self._schema, _PUBLICATIONS
        if name != PUBLICATIONS:
            project = self._database.project
            schema, contract = self._database.profile.raw_schema, _raw(project, name)
        return self.answer(schema, contract, request, query, _NEWEST_FIRST[name])

    def answer(
        self, schema: str, contract: Contract, request: Request, query: RowQuery, order: str = ""
    ) -> Response:
        """Answer a request; `order` applies if it names none.

        Raises BadParameter, and what `reading` raises.
        """
        format_ = query.format or _preferred(request.headers.get("accept", ""))
        # All of it is checked before the database is queried.
        pairs = request.query_params.multi_items()
        own = [name for name, _ in pairs if name in RowQuery.model_fields]
        if twice := next((name for name in own if own.count(name) > 1), None):
            raise BadParameter(twice, "it is given more than once.")
        selection = selection_of(
            contract,
            [pair for pair in pairs if pair[0] not in own],
            select=query.select,
            order=query.order or order,
            search=query.search,
            limit=PAGE if query.limit is None and format_ == "json" else query.limit,
            parameters=list(RowQuery.model_fields),
        )
        # Only the client may cache it, and has to revalidate each time.
        headers = {"Cache-Control": "private, no-cache", "Vary": "Accept, Authorization"}
        with self.reading(schema, contract) as engine:
            build = self._build(engine, contract.name)
            if build:
                headers["Labmart-Build"] = str(build[0])
                form = format_, query.formulas, query.total, query.after
                # It identifies the rows; the bytes of a format depend on its writer.
                headers["ETag"] = f'W/"{_hash(__version__, build, selection, form)}"'
                if headers["ETag"][2:] in request.headers.get("if-none-match", ""):
                    return Response(status_code=304, headers=headers)
            cursor = _hash(build, replace(selection, columns=(), limit=None))[:12]
            if query.after is not None:
                given, _, offset = query.after.partition("-")
                if given != cursor:
                    raise BadParameter(
                        "after",
                        "this cursor is of another table, order or filter, or the table has been "
                        "built anew since. Begin without it.",
                    )
                selection = replace(selection, offset=int(offset))
            body = _written(selection, cursor, engine, format_, query)
        headers["Content-Length"] = str(body.seek(0, 2))
        headers["Content-Type"] = FORMATS[format_]
        if format_ == "csv":
            headers["Content-Type"] += "; charset=utf-8; header=present"
        if format_ != "json":
            name = f"{contract.name}.{format_}"
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return StreamingResponse(_pieces(body), headers=headers)

    @contextmanager
    def reading(self, schema: str, contract: Contract) -> Iterator[Postgres]:
        """The engine, in a transaction on a table that is not replaced meanwhile.

        Raises NotBuilt for a mart, TooBusy, QueryTooSlow, DatabaseUnreachable.
        """
        with self._pool.connection() as connection:
            place = where(self._database.profile)
            engine = Postgres(connection, schema, place, writes=False)
            # Each time: it may have been created meanwhile.
            engine.run(_BECOME_READER, (reader_of(self._schema), self._schema))
            connection.commit()
            try:
                # It reads no table, so it takes no snapshot.
                lock = f"lock table {engine.relation(contract.name)} in access share mode"
                engine.described(lock, relation=contract.name)
            except NotBuilt:
                if contract.name not in _NEWEST_FIRST:
                    raise
                engine = Postgres(connection, schema, place, writes=False, absent=contract.columns)
            yield engine

    def _build(self, engine: Postgres, mart: str) -> tuple[Any, ...]:
        """Number and time of the published build that the rows belong to; () if to none."""
        status = f"{quote(self._schema)}.{quote(MART_STATUS)}"
        if engine.run("select to_regclass(%s)", (status,)) == [(None,)]:
            return ()
        builds = engine.run(f"select build, published_at from {status} where mart = %s", (mart,))
        return builds[0] if builds else ()

    def _connect(self) -> Connection:
        connection = connect(self._database, "labmart read")
        connection.set_session("REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            for name, seconds in (("statement", STATEMENT_SECONDS), ("lock", LOCK_SECONDS)):
                cursor.execute(f"set {name}_timeout = {int(seconds * 1000)}")
        connection.commit()
        return connection


@lru_cache(maxsize=1)
def _declared(project: Project, _changed_at: int) -> dict[str, Contract]:
    return mart_contracts(project)


_raw = lru_cache(raw_contract)


def _preferred(accept: str) -> str:
    """The first format in an Accept header; JSON if it names none."""
    named = {format_: accept.lower().find(media) for format_, media in FORMATS.items()}
    return min((name for name in named if named[name] >= 0), key=named.__getitem__, default="json")


def _hash(*described: object) -> str:
    return hashlib.sha256(repr(described).encode()).hexdigest()[:32]


def _written(
    selection: Selection, cursor: str, engine: Postgres, format_: str, query: RowQuery
) -> IO[bytes]:
    """The body of an answer, as a file positioned at its start."""
    if format_ in ("parquet", "xlsx"):
        with tempfile.TemporaryDirectory(prefix="labmart-") as folder:
            target = Path(folder) / f"{selection.relation}.{format_}"
            write = write_xlsx if format_ == "xlsx" else write_columnar
            write(engine, selection, target, target.name)
            # It stays open without a name until it is closed.
            return target.open("rb")
    out = tempfile.SpooledTemporaryFile(  # noqa: SIM115 -- it outlives this function
        max_size=_IN_MEMORY, prefix="labmart-"
    )
    if format_ == "csv":
        engine.write_csv(selection, out, escape_formulas=query.formulas == "escape")
    else:
        _write_json(selection, cursor, engine, out, total=query.total)
    return out


def _write_json(
    selection: Selection, cursor: str, engine: Postgres, out: IO[bytes], *, total: bool
) -> None:
    limit = selection.limit
    # One extra row shows whether there is another page.
    rows = engine.rows(selection if limit is None else replace(selection, limit=limit + 1))

    def more() -> dict[str, object]:
        goes_on = next(rows, None) is not None
        following = f"{cursor}-{selection.offset + (limit or 0)}" if goes_on else None
        return {"next": following, **({"total": engine.count(selection)} if total else {})}

    write_items(selection.columns, islice(rows, limit), out, more)


def _pieces(body: IO[bytes]) -> Iterator[bytes]:
    with body:
        body.seek(0)
        while piece := body.read(_PIECE):
            yield piece
