"""Marts, ledger and rejected lines over HTTP, read by the engine that the command reads by too.

    select=a,b              these columns, in this order
    col=op.value            rows for which it holds; several must all hold
    order=-a,b              by these columns, with `-` from the greatest down
    limit=50&after=…        a page, and the one after a cursor

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
import binascii
import hashlib
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import IO
from urllib.parse import urlencode

from loader import __version__
from loader.columnar import write_columnar
from loader.contract import Contract, mart_contracts, raw_contract
from loader.database import Database
from loader.engines import Column, Filter, Position, Selection
from loader.engines.postgres import Connection, Pool, Postgres, literal, where
from loader.engines.sql import IN, IS_NULL, NOT_NULL, OPERATORS, PATTERNS, quote
from loader.errors import (
    BadParameter,
    LabmartError,
    NotAcceptable,
    NotBuilt,
    UnknownColumn,
    UnknownMart,
)
from loader.publications import MART_STATUS
from loader.roles import reader_of, set_up_roles
from loader.service.database import connect
from loader.show import write_json
from loader.sources import LEDGER, REJECTED

_LOG = logging.getLogger("labmart.service")

# The parameters of a request; every other one is a column.
SELECT, ORDER, LIMIT, AFTER = "select", "order", "limit", "after"
FORMAT, FORMULAS = "format", "formulas"
PARAMETERS = (SELECT, ORDER, LIMIT, AFTER, FORMAT, FORMULAS)
FORMULA_CHOICES = ("escape", "keep")
_MOST_FILTERS = 50
_MOST_IN_LIST = 1000
_MOST_ROWS = 2**62
_LONGEST_SHOWN = 60
_LONGEST_CURSOR = 20_000
_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,"]*)', re.DOTALL)

# Seconds that a statement may take, and that one waits for a table or for a free connection.
STATEMENT_SECONDS = 60.0
LOCK_SECONDS = 5.0
WAIT_SECONDS = 10.0
MOST_CONNECTIONS = 6
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
    pairs: tuple[tuple[str, str], ...] = ()
    accept: str | None = None
    if_none_match: str | None = None
    head: bool = False


@dataclass(frozen=True)
class Source:
    """A table that can be asked for.

    A table that is `swapped` is made anew by each build; another one may not be there yet, and is
    empty. `fixed` are filters that the path sets; `equalities` names columns whose parameter is
    also understood without an operator.
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

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that the contract names."""
        return tuple(Column(column.name, column.type) for column in self.contract.columns)

    def column(self, parameter: str, name: str) -> Column:
        """The column of that name. Raises BadParameter."""
        for column in self.columns:
            if column.name == name:
                return column
        known = [column.name for column in self.columns]
        raise BadParameter(parameter, str(UnknownColumn(self.contract.name, name, known)))


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
        self._where = where(database.profile)
        self._pool = Pool(self._connect, MOST_CONNECTIONS, wait=WAIT_SECONDS)
        self._role = ""
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
        self._pool.close()

    def contracts(self) -> dict[str, Contract]:
        """The marts by name, in the order of the YAML, as it stands now."""
        return self._contracts()[0]

    def mart(self, name: str, request: Request) -> Answer:
        """Rows of a mart. Raises UnknownMart, and what `answer` raises."""
        contract = self.contracts().get(name)
        if contract is None:
            raise UnknownMart(name, list(self.contracts()))
        return self.answer(Source(self._database.profile.schema, contract), request)

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

        Raises BadParameter, NotAcceptable, and what `reading` raises.
        """
        given = _single(request.pairs)
        format_ = _format_of(given, request.accept)
        escape = _choice(FORMULAS, given.get(FORMULAS, "escape"), FORMULA_CHOICES) == "escape"
        # All of it, cursor included, is checked before anything is asked of the database.
        selection = selection_of(source, request.pairs, given, default_limit=format_.page)
        with self.reading(source) as engine:
            tag = _etag(self._version(source, engine), selection, format_, escape)
            headers = {
                "ETag": tag,
                # It may be kept, by the client alone, and asked about each time.
                "Cache-Control": "private, no-cache",
                "Vary": "Accept, Authorization",
            }
            if build := self._build(source, engine):
                headers["Labmart-Build"] = build
            if _matches(tag, request.if_none_match):
                return Answer(304, headers, None)
            following = _cursor_behind(source, selection, engine)
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
            body = _written(selection, following, engine, format_, escape_formulas=escape)
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
                schema = self._database.profile.schema
                roles = engine.all(_ROLE, (reader_of(schema), schema))
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
                engine = Postgres(connection, self._where, source.schema, absent=source.columns)
            yield engine

    def _connect(self) -> Connection:
        connection = connect(self._database, "labmart read")
        connection.set_session("REPEATABLE READ", readonly=True)
        return connection

    def _version(self, source: Source, engine: Postgres) -> str:
        """What changes whenever the rows do."""
        if not source.swapped:
            return _digest(source, engine)
        return repr(engine.all(_IDENTITY, (source.qualified_name,)))

    def _build(self, source: Source, engine: Postgres) -> str:
        """The number of the build that the rows are of; '' where labmart has not published it."""
        status = f"{quote(source.schema)}.{quote(MART_STATUS)}"
        if not source.swapped or engine.all("select to_regclass(%s)", (status,)) == [(None,)]:
            return ""
        sql = f"select build from {status} where mart = %s"
        return "".join(str(build) for (build,) in engine.all(sql, (source.contract.name,)))

    def _raw(self, name: str, load_id: int | None) -> Source:
        source = Source(self._database.profile.raw_schema, self._contracts()[1][name], False)
        if load_id is None:
            return source
        column = source.column("load_id", "load_id")
        return replace(source, fixed=(Filter(column, "eq", (str(load_id),)),))

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


def _digest(source: Source, engine: Postgres) -> str:
    """A digest of rows and columns that does not depend on the order of the rows."""
    rows = Selection(source.contract.name, (), filters=source.fixed)
    hashed = "hashtextextended(m::text, {})"
    sums = f"count(*), sum({hashed.format(0)}), sum({hashed.format(1)})"
    described = (engine.all(engine.sql(rows, sums)), source.columns)
    return hashlib.sha256(repr(described).encode()).hexdigest()


def _etag(version: str, selection: Selection, format_: Format, escape_formulas: bool) -> str:
    described = (__version__, version, selection, format_.name, escape_formulas)
    value = hashlib.sha256(repr(described).encode()).hexdigest()[:32]
    # The bytes of the columnar formats are their writers' affair: the tag speaks of the rows.
    return f'"{value}"' if format_ in (JSON, CSV) else f'W/"{value}"'


def _matches(tag: str, header: str | None) -> bool:
    """Whether If-None-Match has this tag; it is compared weakly (RFC 9110, 13.1.2)."""
    tags = [known.strip().removeprefix("W/") for known in (header or "").split(",")]
    return "*" in tags or tag.removeprefix("W/") in tags


# What comes out.


def _cursor_behind(source: Source, selection: Selection, engine: Postgres) -> str | None:
    """The cursor of the page that follows, if there is one."""
    if selection.limit is None:
        return None
    keys = [f"{engine.paged_key(column)}::text" for column in selection.order_by]
    listed = ", ".join(f"{key} as k{number}" for number, key in enumerate(keys))
    page = engine.sql(replace(selection, limit=selection.limit + 1), listed)
    last = engine.all(f"select * from ({page}) as page offset {selection.limit - 1:d}")
    if len(last) < 2:
        return None
    position = Position(last[0])
    if not source.contract.has_key:
        page = engine.sql(selection, listed)
        level = " and ".join(
            f"k{number} is not distinct from {'null' if value is None else literal(value)}"
            for number, value in enumerate(last[0])
        )
        [(seen,)] = engine.all(f"select count(*) from ({page}) as page where {level}")
        before = selection.after
        more = before.seen if before and before.values == position.values else 0
        position = Position(position.values, seen + more)
    document = [_signature(source, selection), max(position.seen, 1), *position.values]
    text = json.dumps(document, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _written(
    selection: Selection,
    following: str | None,
    engine: Postgres,
    format_: Format,
    *,
    escape_formulas: bool,
) -> IO[bytes]:
    """The body of an answer, as a file that is read from the start."""
    out = tempfile.SpooledTemporaryFile(  # noqa: SIM115 -- it outlives this function
        max_size=_IN_MEMORY, prefix="labmart-"
    )
    try:
        if format_ is JSON:
            out.write(b'{"items": ')
            write_json(selection.columns, engine.rows(selection), out)
            out.write(b', "next": ' + json.dumps(following).encode() + b"}\n")
        elif format_ is CSV:
            engine.write_csv(selection, out, escape_formulas=escape_formulas)
        else:
            with tempfile.TemporaryDirectory(prefix="labmart-") as folder:
                target = Path(folder) / "rows"
                is_arrow = format_ is ARROW
                write_columnar(engine, selection, Path(folder), target, arrow=is_arrow)
                with target.open("rb") as file:
                    shutil.copyfileobj(file, out, _PIECE)
    except BaseException:
        out.close()
        raise
    return out


# What is asked for.


def selection_of(
    source: Source,
    pairs: Sequence[tuple[str, str]],
    given: Mapping[str, str],
    *,
    default_limit: int | None,
) -> Selection:
    """The parameters of a request as a selection. Raises BadParameter."""
    filters = [_filter(source, *pair) for pair in pairs if pair[0] not in PARAMETERS]
    if len(filters) > _MOST_FILTERS:
        raise BadParameter(filters[0].column.name, f"more than {_MOST_FILTERS} filters are given.")
    columns = source.columns
    if SELECT in given:
        columns = _unique(source, SELECT, given[SELECT].split(","))
    order_by, descending = _order(source, given.get(ORDER, source.default_order))
    selection = Selection(
        relation=source.contract.name,
        columns=columns,
        order_by=order_by,
        filters=(*source.fixed, *filters),
        limit=_limit(given[LIMIT]) if LIMIT in given else default_limit,
        descending=descending,
        paged=True,
    )
    if AFTER not in given:
        return selection
    return replace(selection, after=_position(source, selection, given[AFTER]))


def _single(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The parameters that are no columns; each can come once."""
    single: dict[str, str] = {}
    for name, value in pairs:
        if name in PARAMETERS:
            if name in single:
                raise BadParameter(name, "it is given more than once.")
            single[name] = value
    return single


def _order(source: Source, text: str) -> tuple[tuple[Column, ...], frozenset[str]]:
    """The order asked for, made total: by the key, or by all columns where there is none."""
    names = [name.strip() for name in text.split(",")] if text else []
    asked = _unique(source, ORDER, [name.removeprefix("-") for name in names])
    contract = source.contract
    own = [column for column in source.columns if column.name in contract.order_by]
    own.sort(key=lambda column: contract.order_by.index(column.name))
    rest = () if contract.has_key else source.columns
    total = tuple(dict.fromkeys((*asked, *own, *rest)))
    return total, frozenset(name[1:] for name in names if name.startswith("-"))


def _unique(source: Source, parameter: str, names: Sequence[str]) -> tuple[Column, ...]:
    columns = [source.column(parameter, name.strip()) for name in names]
    for number, column in enumerate(columns):
        if column in columns[:number]:
            raise BadParameter(parameter, f"the column {column.name} is named more than once.")
    return tuple(columns)


def _limit(text: str) -> int | None:
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > _MOST_ROWS:
        raise BadParameter(LIMIT, f"{text[:30]!r} is no number of rows; 0 means all of them.")
    return int(text) or None


def _filter(source: Source, name: str, value: str) -> Filter:
    known = [*PARAMETERS, *(column.name for column in source.columns)]
    if name not in known:
        near = get_close_matches(name, known, n=1)
        raise BadParameter(
            name[:60],
            f"{source.contract.name} has no such column, and there is no such parameter."
            + (f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(known)}."),
        )
    column = source.column(name, name)
    word, dot, rest = value.partition(".")
    if word not in OPERATORS or not dot:
        if name in source.equalities:
            return Filter(column, "eq", (_value(column, value, name),))
        raise BadParameter(
            name,
            f"write an operator and a point before the value, such as {name}=eq.…; the operators "
            f"are {', '.join(OPERATORS)}.",
        )
    if word in (IS_NULL, NOT_NULL):
        if rest != "null":
            raise BadParameter(name, f"after `{word}.` only null can stand.")
        return Filter(column, word)
    if word in PATTERNS and column.type != "text":
        raise BadParameter(name, f"{word} is for texts, and this is {column.type}.")
    texts = _items(rest, name) if word == IN else [rest]
    return Filter(column, word, tuple(_value(column, text, name) for text in texts))


def _items(text: str, name: str) -> list[str]:
    """What is listed in `(a,b)`; an item with a comma stands in quotes: `("a, b",c)`."""
    if not (text.startswith("(") and text.endswith(")")) or len(text) < 2:
        raise BadParameter(name, 'a list is written (a,b), with "…" around an item with a comma.')
    inner, items, start = text[1:-1], [], 0
    while inner and start <= len(inner):
        item = _ITEM.match(inner, start)
        end = item.end() if item else start
        if item is None or (end < len(inner) and inner[end] != ","):
            raise BadParameter(
                name, 'the quotation marks of the list do not match: write ("a","b").'
            )
        quoted = item[1]
        items.append(item[2] if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.S))
        start = end + 1
    if len(items) > _MOST_IN_LIST:
        raise BadParameter(name, f"the list has more than {_MOST_IN_LIST:,} items.")
    return items


def _position(source: Source, selection: Selection, cursor: str) -> Position:
    no_cursor = BadParameter(AFTER, "this is no cursor. Take it from `next`.")
    try:
        if len(cursor) > _LONGEST_CURSOR or not cursor.isascii():
            raise ValueError
        padded = cursor + "=" * (-len(cursor) % 4)
        document = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        signature, seen, *values = document
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise no_cursor from None
    if signature != _signature(source, selection):
        raise BadParameter(
            AFTER,
            "this cursor belongs to another order or table. Page on with the `order` that it came "
            "with, or leave it out to begin anew.",
        )
    well_formed = (
        type(seen) is int
        and 1 <= seen < 2**62
        and len(values) == len(selection.order_by)
        and all(value is None or isinstance(value, str) for value in values)
    )
    if not well_formed:
        raise no_cursor
    checked = [
        None if value is None else _value(column, value, AFTER)
        for column, value in zip(selection.order_by, values, strict=True)
    ]
    return Position(tuple(checked), 0 if source.contract.has_key else seen)


def _signature(source: Source, selection: Selection) -> str:
    """What a cursor names its order by."""
    order = [(column.name, column.name in selection.descending) for column in selection.order_by]
    return hashlib.sha256(repr((source.contract.name, order)).encode()).hexdigest()[:12]


def _whole_number(most: int) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not -most - 1 <= int(text) <= most:
            raise ValueError(text)
        return text

    return read


def _moment(text: str) -> str:
    # A plus sign that a client did not escape has become a space.
    moment = datetime.fromisoformat(re.sub(r" (\d\d(:?\d\d)?)$", r"+\1", text))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _text(text: str) -> str:
    text.encode()  # A lone surrogate is no character: UnicodeEncodeError is a ValueError.
    if "\0" in text:
        raise ValueError(text)
    return text


# Each type by its noun, an example, how a value is written, and a check that gives it as SQL reads
# it: a pattern is not enough for a day, or for how large a number can be.
_KINDS: dict[str, tuple[str, str, str, Callable[[str], str]]] = {
    "bigint": ("whole number", "such as 12", r"-?[0-9]{1,19}", _whole_number(2**63 - 1)),
    "integer": ("whole number", "such as 12", r"-?[0-9]{1,19}", _whole_number(2**31 - 1)),
    "numeric": ("number", "such as 12.5", r"(?=.{1,200}$)-?[0-9]+(\.[0-9]+)?", str),
    "boolean": ("truth value", "true or false", "true|false", str),
    "date": (
        "date",
        "such as 2023-01-31",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}",
        lambda text: date.fromisoformat(text).isoformat(),
    ),
    "timestamp with time zone": ("time", "such as 2023-01-31T12:00:00Z", ".*", _moment),
    "text": ("text", "without NUL", ".*", _text),
}


def _value(column: Column, text: str, parameter: str) -> str:
    """The text of a value of the column. Raises BadParameter, which names the parameter."""
    kind = column.type.split("(", 1)[0]
    noun, example, pattern, read = _KINDS.get(kind, _KINDS["text"])
    try:
        if not re.fullmatch(pattern, text, re.ASCII | re.DOTALL):
            raise ValueError(text)
        return read(text)
    except ValueError:
        shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
        raise BadParameter(
            parameter,
            f"{shown!r} is no {noun}, which the column {column.name} holds ({example}).",
        ) from None


def _choice(parameter: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise BadParameter(parameter, f"{value[:30]!r} is none of {', '.join(known)}.")
    return value


def _format_of(given: Mapping[str, str], accept: str | None) -> Format:
    """What `?format=` says, else the header Accept; JSON if neither prefers another.

    Raises BadParameter or NotAcceptable.
    """
    by_name = {format_.name: format_ for format_ in FORMATS}
    if FORMAT in given:
        return by_name[_choice(FORMAT, given[FORMAT], list(by_name))]
    qualities = _qualities(accept or "*/*")

    def quality(format_: Format) -> float:
        family = format_.media_type.partition("/")[0] + "/*"
        ranges = (format_.media_type, family, "*/*")
        return next((qualities[media] for media in ranges if media in qualities), 0.0)

    best = max(FORMATS, key=quality)
    if quality(best) <= 0:
        raise NotAcceptable([format_.media_type for format_ in FORMATS])
    return best


def _qualities(accept: str) -> dict[str, float]:
    """The media ranges of an Accept header (RFC 9110, 12.5.1); one that is no range is left out."""
    qualities = {}
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            weight = re.fullmatch(r"q\s*=\s*([01](?:\.\d{0,3})?)", parameter)
            quality = float(weight[1]) if weight else quality
        qualities[media] = quality
    return qualities
