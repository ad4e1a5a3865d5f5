"""Marts, ledger and rejected lines over HTTP, read by the engine that the command reads by too.

A cursor holds the values that the order compares, and for a table without a key how many rows with
just these values have been given. It names its order: with another one it would point nowhere. It
is no secret and needs no signature, since every value in it is checked like any other.

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
after its transaction has ended. The ledger and the rejected lines are changed in place, so they are
digested each time. The header Labmart-Build says which build the rows are of.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, Annotated
from urllib.parse import urlencode

from fastapi import Request
from pydantic import ConfigDict, Field, TypeAdapter

from loader import __version__
from loader.contract import Contract, ContractColumn, mart_contracts, raw_contract
from loader.database import Database
from loader.engines import Filter, Position, Selection
from loader.engines.postgres import Connection, Pool, Postgres, literal, where
from loader.engines.sql import quote
from loader.errors import (
    BadParameter,
    LabmartError,
    NotAcceptable,
    NotBuilt,
    UnknownLoad,
    UnknownMart,
)
from loader.export import write_columnar, write_xlsx
from loader.project import Project
from loader.publications import COLUMNS, MART_STATUS, PUBLICATIONS
from loader.query import Source, selection_of, value_of
from loader.roles import reader_of, set_up_roles
from loader.service.database import connect
from loader.service.model import RowQuery
from loader.show import write_items, write_json
from loader.sources import LEDGER, REJECTED

_LOG = logging.getLogger("labmart.service")

# What a cursor holds: which order it belongs to, how many rows with just these values of what that
# compares have been given, and the values.
_CURSOR = TypeAdapter(
    tuple[str, Annotated[int, Field(ge=1, lt=2**62)], tuple[str | None, ...]],
    config=ConfigDict(strict=True),
)

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
    "arrow": "application/vnd.apache.arrow.stream",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
# What is told of a publication; the rest of its row is for the next build.
_TOLD = (
    *(
        "build",
        "status",
        "published_at",
        "published_by",
        "replaced_at",
        "based_on",
        "loads",
        "models_built",
    ),
    *("newest_load", "rows_rejected", "open_issues", "tests_passed", "tests_warned", "marts"),
    "labmart_version",
)
_PUBLICATIONS = Contract(
    PUBLICATIONS,
    "",
    tuple(ContractColumn(name, COLUMNS[name], "") for name in _TOLD),
    ("build",),
    has_key=True,
)


@dataclass(frozen=True)
class Answer:
    """Status, headers, and the body as a file that whoever sends it closes; None without a body."""

    status: int
    headers: Mapping[str, str]
    body: IO[bytes] | None = None

    def pieces(self) -> Iterator[bytes]:
        if self.body is not None:
            with self.body as body:
                while piece := body.read(_PIECE):
                    yield piece


class Marts:
    """Marts, ledger and rejected lines of a running server: what is declared, and their rows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._schema = database.profile.schema
        self._where = where(database.profile)
        self._pool = Pool(self._connect, MOST_CONNECTIONS, wait=WAIT_SECONDS)
        self._role = ""

    def begin(self) -> None:
        """Make the reading role on the embedded server, where nobody else would."""
        if self._database.embedded is None:
            return
        try:
            set_up_roles(self._database)
        except LabmartError as error:
            _LOG.warning("Queries run read-only, but with all rights to read: %s", error)

    def close(self) -> None:
        self._pool.close()

    def contracts(self) -> dict[str, Contract]:
        """The marts by name, in the order of the YAML, as it stands now."""
        return self._contracts()[0]

    def mart(self, name: str, request: Request, query: RowQuery) -> Answer:
        """Rows of a mart. Raises UnknownMart, and what `answer` raises."""
        contract = self.contracts().get(name)
        if contract is None:
            raise UnknownMart(name, list(self.contracts()))
        return self.answer(Source(self._schema, contract), request, query)

    def publications(self, request: Request, query: RowQuery) -> Answer:
        """What has been published, the newest first; nothing where plain dbt builds."""
        source = Source(
            *(self._schema, _PUBLICATIONS),
            swapped=False,
            equalities=("status",),
            default_order="-build",
        )
        return self.answer(source, request, query)

    def loads(self, request: Request, query: RowQuery) -> Answer:
        return self.answer(self._raw(LEDGER), request, query)

    def load(self, load_id: int) -> bytes:
        """A row of the ledger as a JSON object. Raises UnknownLoad."""
        source = self._raw(LEDGER, load_id)
        selection = selection_of(source, ())
        with self.reading(source) as engine:
            rows = list(engine.rows(selection))
        if not rows:
            raise UnknownLoad(load_id)
        out = BytesIO()
        write_json(selection.columns, rows, out)
        return out.getvalue().strip(b"[] \n")

    def rejected(self, request: Request, query: RowQuery, load_id: int) -> Answer:
        """The lines of a load that could not be split. Raises UnknownLoad."""
        self.load(load_id)
        return self.answer(self._raw(REJECTED, load_id), request, query)

    def answer(self, source: Source, request: Request, query: RowQuery) -> Answer:
        """Answer a request.

        Raises BadParameter, NotAcceptable, and what `reading` raises.
        """
        pairs = request.query_params.multi_items()
        format_ = query.format or _preferred(request.headers.get("accept") or "*/*")
        # All of it, cursor included, is checked before anything is asked of the database.
        selection = _selection(source, pairs, query, PAGE if format_ == "json" else None)
        with self.reading(source) as engine:
            version, build = _version(source, engine)
            tag = _hash(__version__, version, selection, format_, query.formulas, query.total)[:32]
            headers = {
                # The bytes of the columnar formats are their writers' affair: the tag speaks of
                # the rows.
                "ETag": f'"{tag}"' if format_ in ("json", "csv") else f'W/"{tag}"',
                # It may be kept, by the client alone, and asked about each time.
                "Cache-Control": "private, no-cache",
                "Vary": "Accept, Authorization",
                **({"Labmart-Build": build} if build else {}),
            }
            if _matches(tag, request.headers.get("if-none-match", "")):
                return Answer(304, headers)
            following = _cursor_behind(source, selection, engine)
            if following is not None:
                rest = [pair for pair in pairs if pair[0] != "after"]
                address = f"{request.url.path}?{urlencode([*rest, ('after', following)])}"
                headers["Link"] = f'<{address}>; rel="next"'
            csv = "; charset=utf-8; header=present" if format_ == "csv" else ""
            headers["Content-Type"] = FORMATS[format_] + csv
            if format_ != "json":
                load = "".join(f"_of_load_{filter_.values[0]}" for filter_ in source.fixed)
                ending = "arrows" if format_ == "arrow" else format_
                name = f"{source.contract.name}{load}.{ending}"
                headers["Content-Disposition"] = f'attachment; filename="{name}"'
            if request.method == "HEAD":
                return Answer(200, headers)
            body = _written(selection, following, engine, format_, query)
        headers["Content-Length"] = str(body.seek(0, 2))
        body.seek(0)
        return Answer(200, headers, body)

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

    def _raw(self, name: str, load_id: int | None = None) -> Source:
        """The ledger or the rejected lines; with a number what they have of this load."""
        contract = self._contracts()[1][name]
        column = contract.column("load_id")
        assert column is not None
        return Source(
            *(self._database.profile.raw_schema, contract),
            swapped=False,
            fixed=() if load_id is None else (Filter(column, "eq", (str(load_id),)),),
            equalities=("status", "input") if name == LEDGER else (),
            default_order="-load_id" if name == LEDGER else "",
        )

    def _contracts(self) -> tuple[dict[str, Contract], dict[str, Contract]]:
        """The marts and the raw tables that the YAML declares, which may be edited meanwhile."""
        project = self._database.project
        state = []
        for file in (
            project.marts_file,
            project.sources_file,
            *project.root.glob("models/**/*.md"),
        ):
            with suppress(OSError):
                status = file.stat()
                state.append((file, status.st_mtime_ns, status.st_size))
        return _declared(project, tuple(state))


@lru_cache(maxsize=1)
def _declared(project: Project, _: object) -> tuple[dict[str, Contract], dict[str, Contract]]:
    return mart_contracts(project), {
        name: raw_contract(project, name) for name in (LEDGER, REJECTED)
    }


def _version(source: Source, engine: Postgres) -> tuple[str, str]:
    """What changes whenever the rows do; and the number of their build, where labmart has
    published them."""
    if not source.swapped:
        # Whatever the order of the rows.
        rows = Selection(source.contract.name, (), filters=source.fixed)
        hashed = "hashtextextended(m::text, {})"
        sums = f"count(*), sum({hashed.format(0)}), sum({hashed.format(1)})"
        return _hash(engine.all(engine.sql(rows, sums)), source.contract.columns), ""
    status, build = f"{quote(source.schema)}.{quote(MART_STATUS)}", ""
    if engine.all("select to_regclass(%s)", (status,)) != [(None,)]:
        sql = f"select build from {status} where mart = %s"
        build = "".join(str(number) for (number,) in engine.all(sql, (source.contract.name,)))
    return repr(engine.all(_IDENTITY, (source.qualified_name,))), build


def _hash(*described: object) -> str:
    return hashlib.sha256(repr(described).encode()).hexdigest()


def _matches(tag: str, header: str) -> bool:
    """Whether If-None-Match has this tag; it is compared weakly (RFC 9110, 13.1.2)."""
    tags = [known.strip().removeprefix("W/").strip('"') for known in header.split(",")]
    return "*" in tags or tag in tags


def _preferred(accept: str) -> str:
    """The format that a header Accept likes best (RFC 9110, 12.5.1). Raises NotAcceptable."""
    qualities = {}
    for item in accept.lower().split(","):
        media, *parameters = (part.strip() for part in item.split(";"))
        weights = [re.fullmatch(r"q\s*=\s*([01](?:\.\d{0,3})?)", text) for text in parameters]
        qualities[media] = min((float(weight[1]) for weight in weights if weight), default=1.0)

    def quality(format_: str) -> float:
        media = FORMATS[format_]
        ranges = (media, f"{media.partition('/')[0]}/*", "*/*")
        return next((qualities[name] for name in ranges if name in qualities), 0.0)

    best = max(FORMATS, key=quality)
    if quality(best) <= 0:
        raise NotAcceptable(list(FORMATS.values()))
    return best


def _cursor_behind(source: Source, selection: Selection, engine: Postgres) -> str | None:
    """The cursor of the page that follows, if there is one."""
    if selection.limit is None:
        return None
    keys = [f"{engine.key(column, paged=True)}::text" for column in selection.order_by]
    listed = ", ".join(f"{key} as k{number}" for number, key in enumerate(keys))
    page = engine.sql(replace(selection, limit=selection.limit + 1), listed)
    last = engine.all(f"select * from ({page}) as page offset {selection.limit - 1:d}")
    if len(last) < 2:
        return None
    values, seen = last[0], 1
    if not source.contract.has_key:
        page = engine.sql(selection, listed)
        level = " and ".join(
            f"k{number} is not distinct from {'null' if value is None else literal(value)}"
            for number, value in enumerate(values)
        )
        [(seen,)] = engine.all(f"select count(*) from ({page}) as page where {level}")
        before = selection.after
        seen += before.seen if before and before.values == values else 0
    cursor = json.dumps([_order_of(source, selection), seen, values])
    return base64.urlsafe_b64encode(cursor.encode()).decode().rstrip("=")


def _written(
    selection: Selection,
    following: str | None,
    engine: Postgres,
    format_: str,
    query: RowQuery,
) -> IO[bytes]:
    """The body of an answer, as a file that is read from the start."""
    out = tempfile.SpooledTemporaryFile(  # noqa: SIM115 -- it outlives this function
        max_size=_IN_MEMORY, prefix="labmart-"
    )
    try:
        if format_ == "json":
            total = {"total": engine.count(selection)} if query.total else {}
            write_items(selection.columns, engine.rows(selection), out, next=following, **total)
        elif format_ == "csv":
            engine.write_csv(selection, out, escape_formulas=query.formulas == "escape")
        else:
            with tempfile.TemporaryDirectory(prefix="labmart-") as folder:
                target = Path(folder) / f"{selection.relation}.{format_}"
                if format_ == "xlsx":
                    write_xlsx(selection, engine, target, Path(target.name))
                else:
                    is_arrow = format_ == "arrow"
                    write_columnar(engine, selection, Path(folder), target, arrow=is_arrow)
                with target.open("rb") as file:
                    shutil.copyfileobj(file, out, _PIECE)
    except BaseException:
        out.close()
        raise
    return out


def _selection(
    source: Source, pairs: Sequence[tuple[str, str]], query: RowQuery, page: int | None
) -> Selection:
    """The parameters of a request as a selection. Raises BadParameter.

    `pairs` are all parameters in order; those that `query` does not have are filters. `page` is how
    many rows come when no limit is given.
    """
    own = [name for name, _ in pairs if name in RowQuery.model_fields]
    if twice := next((name for name in own if own.count(name) > 1), None):
        raise BadParameter(twice, "it is given more than once.")
    selection = selection_of(
        source,
        [pair for pair in pairs if pair[0] not in own],
        select=query.select,
        order=query.order,
        search=query.search,
        limit=page if query.limit is None else query.limit,
        parameters=list(RowQuery.model_fields),
    )
    selection = replace(selection, paged=True)
    if query.after is None:
        return selection
    return replace(selection, after=_position(source, selection, query.after))


def _position(source: Source, selection: Selection, text: str) -> Position:
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        order, seen, texts = _CURSOR.validate_json(decoded)
        if order == _order_of(source, selection):
            values = tuple(
                None if value is None else value_of(column, value, "after")
                for column, value in zip(selection.order_by, texts, strict=True)
            )
            return Position(values, 0 if source.contract.has_key else seen)
    except ValueError:
        raise BadParameter("after", "this is no cursor. Take it from `next`.") from None
    raise BadParameter(
        "after",
        "this cursor belongs to another order or table. Page on with the `order` that it came "
        "with, or leave it out to begin anew.",
    )


def _order_of(source: Source, selection: Selection) -> str:
    order = [(column.name, column.name in selection.descending) for column in selection.order_by]
    return _hash(source.contract.name, order)[:12]
