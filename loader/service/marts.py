"""Marts, ledger and rejected lines over HTTP, read by the engine that the command reads by too.

A query runs on a connection that can read and nothing else: in a read-only transaction, as the role
that `labmart roles` makes for reading where it is there, and no longer than a statement may take.
The table is locked against being replaced before the first look at it: in a transaction that began
to look before dbt put a new table in the old one's place, the new one would appear empty.

The rows go into a temporary file first and from there to the client, in memory as long as they are
few. So a client that reads slowly or not at all holds no transaction, which would keep dbt from
putting a new table in the old one's place; a fault in the middle is an error and no shortened
answer; and the length is known.

An ETag of a mart names the build: a mart is a view on a build's tables, or a table that plain dbt
has made anew, so its version is the identity of the tables behind it; no row is read for it. A row
that somebody changes by hand shows in the server's counters of changed rows, up to ten seconds
after its transaction has ended. The header Labmart-Build says which build the rows are of. A page
begins behind so many rows; its cursor names the tables too, lest two pages be of two builds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from loader import __version__
from loader.contract import Contract, ContractColumn, mart_contracts, raw_contract
from loader.database import Database
from loader.engines import Selection
from loader.engines.postgres import Connection, Pool, Postgres, where
from loader.engines.sql import quote
from loader.errors import BadParameter, LabmartError, NotBuilt, UnknownMart
from loader.export import write_columnar, write_xlsx
from loader.project import Project
from loader.publications import COLUMNS, MART_STATUS, PUBLICATIONS
from loader.query import Source, selection_of
from loader.roles import reader_of, set_up_roles
from loader.service.jobs import connect
from loader.service.model import RowQuery
from loader.show import write_json
from loader.sources import LEDGER, REJECTED

_LOG = logging.getLogger("labmart.service")

# Seconds that a statement may take, and that one waits for a table or for a free connection.
STATEMENT_SECONDS = 60.0
LOCK_SECONDS = 5.0
WAIT_SECONDS = 10.0
MOST_CONNECTIONS = 6
# So many rows come as JSON when no limit is given.
PAGE = 100
# So many bytes of an answer stay in memory.
_IN_MEMORY = 1 << 20
_PIECE = 1 << 18
# The reading role, if we may become it, and it may read here. A role is the whole server's: one of
# that name may belong to another database alone.
_ROLE = """
select r.rolname from pg_roles as r, pg_namespace as n
where r.rolname = %s and n.nspname = %s
and pg_has_role(r.oid, 'member') and has_schema_privilege(r.oid, n.oid, 'usage')
"""
# What stands behind a mart, whatever views it is made of.
_IDENTITY = """
with recursive behind (relation) as (
    select %s::regclass::oid
    union
    select d.refobjid
    from behind
    inner join pg_rewrite as r on r.ev_class = behind.relation
    inner join pg_depend as d on d.objid = r.oid and d.classid = 'pg_rewrite'::regclass
    where d.refclassid = 'pg_class'::regclass
)
select c.oid::bigint, pg_relation_filenode(c.oid)::bigint, s.n_tup_ins, s.n_tup_upd, s.n_tup_del
from behind
inner join pg_class as c on c.oid = behind.relation
left join pg_stat_all_tables as s on s.relid = c.oid
order by 1
"""
# The media type of each format, which chooses it by the header Accept.
FORMATS = {
    "json": "application/json",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
# What of a publication is for the next build alone.
_NOT_TOLD = {"seconds", "invocation_id", "code", "ledger", "place", "relations", "can_grow"}
_PUBLICATIONS = Contract(
    PUBLICATIONS,
    "",
    tuple(
        ContractColumn(name, type_, "") for name, type_ in COLUMNS.items() if name not in _NOT_TOLD
    ),
    ("build",),
    has_key=True,
)


class Marts:
    """Marts, ledger and rejected lines of a running server: what is declared, and their rows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._schema = database.profile.schema
        self._where = where(database.profile)
        self._pool = Pool(self._connect, MOST_CONNECTIONS, wait=WAIT_SECONDS)
        self._role = ""
        self.close = self._pool.close

    def begin(self) -> None:
        """Make the reading role on the embedded server, where nobody else would."""
        if self._database.embedded is None:
            return
        try:
            set_up_roles(self._database)
        except LabmartError as error:
            _LOG.warning("Queries run read-only, but with all rights to read: %s", error)

    def contracts(self) -> dict[str, Contract]:
        """The marts by name, in the order of the YAML, as it stands now."""
        file = self._database.project.marts_file
        return _declared(self._database.project, file.stat().st_mtime_ns)

    def mart(self, name: str, request: Request, query: RowQuery) -> Response:
        """Rows of a mart. Raises UnknownMart, and what `answer` raises."""
        contract = self.contracts().get(name)
        if contract is None:
            raise UnknownMart(name, list(self.contracts()))
        return self.answer(Source(self._schema, contract), request, query)

    def publications(self, request: Request, query: RowQuery) -> Response:
        """What has been published, the newest first; nothing where plain dbt builds."""
        source = Source(self._schema, _PUBLICATIONS, swapped=False, default_order="-build")
        return self.answer(source, request, query)

    def loads(self, request: Request, query: RowQuery) -> Response:
        return self._raw(LEDGER, "-load_id", request, query)

    def rejected(self, request: Request, query: RowQuery) -> Response:
        """The lines of loads that could not be split."""
        return self._raw(REJECTED, "", request, query)

    def _raw(self, name: str, order: str, request: Request, query: RowQuery) -> Response:
        schema, contract = self._database.profile.raw_schema, _raw(self._database.project, name)
        source = Source(schema, contract, swapped=False, default_order=order)
        return self.answer(source, request, query)

    def answer(self, source: Source, request: Request, query: RowQuery) -> Response:
        """Answer a request. Raises BadParameter, and what `reading` raises."""
        format_ = query.format or _preferred(request.headers.get("accept", ""))
        # All of it is checked before anything is asked of the database.
        selection = _selection(source, request, query, PAGE if format_ == "json" else None)
        with self.reading(source) as engine:
            version, tables, build = _version(source, engine)
            # It may be kept, by the client alone, and asked about each time.
            headers = {"Cache-Control": "private, no-cache", "Vary": "Accept, Authorization"}
            if build:
                headers["Labmart-Build"] = build
            if version:
                given = format_, query.formulas, query.total, query.after
                tag = _hash(__version__, version, selection, *given)
                # It speaks of the rows; the bytes of a format are its writer's affair.
                headers["ETag"] = f'W/"{tag}"'
                if tag in request.headers.get("if-none-match", ""):
                    return Response(status_code=304, headers=headers)
            same_pages = replace(selection, columns=(), limit=None)
            cursor = _hash(tables, build, same_pages)[:12]
            if query.after is not None:
                known, _, offset = query.after.partition("-")
                if known != cursor:
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
            name = f"{source.contract.name}.{format_}"
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return StreamingResponse(_pieces(body), headers=headers)

    @contextmanager
    def reading(self, source: Source) -> Iterator[Postgres]:
        """The engine, in a transaction on a table that stays in its place meanwhile.

        Raises NotBuilt, TooBusy, QueryTooSlow, DatabaseUnreachable.
        """
        with self._pool.connection() as connection:
            engine = Postgres(connection, self._where, source.schema)
            if not self._role:
                # Where there is none it is looked for anew each time.
                roles = engine.all(_ROLE, (reader_of(self._schema), self._schema))
                self._role = str(roles[0][0]) if roles else ""
                connection.rollback()
            begin = (
                f"set local statement_timeout = {int(STATEMENT_SECONDS * 1000)}; "
                f"set local lock_timeout = {int(LOCK_SECONDS * 1000)}"
                # Whoever has more rights than the reading role gives them up for the query.
                + (f"; set local role {quote(self._role)}" if self._role else "")
            )
            try:
                # It looks at no table, so it fixes no point in time.
                lock = f"{begin}; lock table {source.qualified_name} in access share mode"
                engine.all(lock, relation=source.contract.name)
            except NotBuilt:
                if source.swapped:
                    raise
                engine.all(begin)
                columns = source.contract.columns
                engine = Postgres(connection, self._where, source.schema, absent=columns)
            yield engine

    def _connect(self) -> Connection:
        connection = connect(self._database, "labmart read")
        connection.set_session("REPEATABLE READ", readonly=True)
        return connection


@lru_cache(maxsize=1)
def _declared(project: Project, _changed_at: int) -> dict[str, Contract]:
    return mart_contracts(project)


_raw = lru_cache(raw_contract)


def _preferred(accept: str) -> str:
    """The format that a header Accept names first; JSON if it names none."""
    named = {format_: accept.lower().find(media) for format_, media in FORMATS.items()}
    return min((name for name in named if named[name] >= 0), key=named.__getitem__, default="json")


def _selection(source: Source, request: Request, query: RowQuery, page: int | None) -> Selection:
    """The parameters of a request as a selection; those that are not its own are filters.

    `page` is how many rows come when no limit is given. Raises BadParameter.
    """
    pairs = request.query_params.multi_items()
    own = [name for name, _ in pairs if name in RowQuery.model_fields]
    if twice := next((name for name in own if own.count(name) > 1), None):
        raise BadParameter(twice, "it is given more than once.")
    return selection_of(
        source,
        [pair for pair in pairs if pair[0] not in own],
        select=query.select,
        order=query.order,
        search=query.search,
        limit=page if query.limit is None else query.limit,
        parameters=list(RowQuery.model_fields),
    )


def _version(source: Source, engine: Postgres) -> tuple[str, str, str]:
    """What changes whenever the rows do, and with each build; "" where nothing tells.

    And the number of their build, where labmart has published them.
    """
    if not source.swapped:
        return "", "", ""
    status, build = f"{quote(source.schema)}.{quote(MART_STATUS)}", ""
    if engine.all("select to_regclass(%s)", (status,)) != [(None,)]:
        sql = f"select build from {status} where mart = %s"
        build = "".join(str(number) for (number,) in engine.all(sql, (source.contract.name,)))
    tables = engine.all(_IDENTITY, (source.qualified_name,))
    return f"{build} {tables}", str([table[:2] for table in tables]), build


def _hash(*described: object) -> str:
    return hashlib.sha256(repr(described).encode()).hexdigest()[:32]


def _written(
    selection: Selection, cursor: str, engine: Postgres, format_: str, query: RowQuery
) -> IO[bytes]:
    """The body of an answer, as a file that is read from the start."""
    out = tempfile.SpooledTemporaryFile(  # noqa: SIM115 -- it outlives this function
        max_size=_IN_MEMORY, prefix="labmart-"
    )
    try:
        if format_ == "json":
            _write_json(selection, cursor, engine, out, total=query.total)
        elif format_ == "csv":
            engine.write_csv(selection, out, escape_formulas=query.formulas == "escape")
        else:
            with tempfile.TemporaryDirectory(prefix="labmart-") as folder:
                target = Path(folder) / f"{selection.relation}.{format_}"
                if format_ == "xlsx":
                    write_xlsx(selection, engine, target, Path(target.name))
                else:
                    write_columnar(engine, selection, Path(folder), target)
                with target.open("rb") as file:
                    shutil.copyfileobj(file, out, _PIECE)
    except BaseException:
        out.close()
        raise
    return out


def _write_json(
    selection: Selection, cursor: str, engine: Postgres, out: IO[bytes], *, total: bool
) -> None:
    limit = selection.limit
    # One row more tells whether there is another page.
    rows = engine.rows(selection if limit is None else replace(selection, limit=limit + 1))
    out.write(b'{"items": ')
    write_json(selection.columns, islice(rows, limit), out)
    goes_on = next(rows, None) is not None
    following = f"{cursor}-{selection.offset + (limit or 0)}" if goes_on else None
    more = {"next": following, **({"total": engine.count(selection)} if total else {})}
    out.write(f", {json.dumps(more)[1:]}\n".encode())


def _pieces(body: IO[bytes]) -> Iterator[bytes]:
    with body:
        body.seek(0)
        while piece := body.read(_PIECE):
            yield piece
