"""The query of a request: checked against the contract of its table, and as SQL.

    select=a,b              these columns, in this order
    col=op.value            rows for which it holds; several must all hold
    order=-a,b              by these columns, with `-` from the greatest down
    limit=50&after=…        a page, and the one after a cursor

NULL is less than every value: it comes first, and last in the descending order. A comparison with a
value never holds for NULL, as in SQL; `is.null` and `not.null` ask for it.

A cursor holds the values that the order compares, and for a table without a key how many rows with
just these values have been given. It names its order: with another one it would point nowhere. It
is no secret and needs no signature, since every value in it is checked like any other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Date,
    FromClause,
    Integer,
    MetaData,
    Numeric,
    Select,
    Table,
    Text,
    and_,
    case,
    cast,
    collate,
    false,
    func,
    literal,
    null,
    or_,
    select,
)
from sqlalchemy.types import TypeEngine

from loader.contract import Contract, ContractColumn
from loader.engines import Value
from loader.errors import BadParameter, UnknownColumn

SELECT, ORDER, LIMIT, AFTER = "select", "order", "limit", "after"
FORMAT, FORMULAS = "format", "formulas"
PARAMETERS = (SELECT, ORDER, LIMIT, AFTER, FORMAT, FORMULAS)
_COMPARISONS: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_PATTERNS = ("like", "ilike")
_IS_NULL, _NOT_NULL, _IN = "is", "not", "in"
_OPERATORS = (*_COMPARISONS, _IN, *_PATTERNS, _IS_NULL, _NOT_NULL)

_MOST_FILTERS = 50
_MOST_IN_LIST = 1000
_MOST_ROWS = 2**62
_MOST_DIGITS = 200
_LONGEST_SHOWN = 60
_LONGEST_CURSOR = 20_000
_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,"]*)', re.DOTALL)
# A text is compared by so many characters, so that a cursor stays short: a cell can hold megabytes.
# Texts that agree in these are told apart by a digest, in a fixed order that is not the alphabet's.
_COMPARED = 100
# What makes a spreadsheet read a cell as a formula when it comes first.
_FORMULA_SIGNS = "=+-@\t\r"


@dataclass(frozen=True)
class Filter:
    """Rows for which `column operator values` holds; the values have the column's type."""

    column: ContractColumn
    operator: str
    values: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Term:
    """One column of an order."""

    column: ContractColumn
    descending: bool


@dataclass(frozen=True)
class Position:
    """The values of the last row given, as text or None, and how many rows had these."""

    values: tuple[str | None, ...]
    seen: int


@dataclass(frozen=True)
class Query:
    """Which columns and rows of a table, in which total order; `limit` None means all rows."""

    contract: Contract
    columns: tuple[ContractColumn, ...]
    filters: tuple[Filter, ...]
    order: tuple[Term, ...]
    limit: int | None
    after: Position | None

    @property
    def order_names(self) -> list[str]:
        """What the order compares, by name, as a cursor signs it."""
        return [name for term in self.order for name in _key_names(self.contract, term)]


def parse_query(
    contract: Contract,
    pairs: Iterable[tuple[str, str]],
    *,
    default_limit: int | None,
    default_order: str = "",
    equalities: Sequence[str] = (),
    fixed: tuple[Filter, ...] = (),
) -> Query:
    """Read the parameters of a request.

    `equalities` names columns whose parameter is also understood without an operator; `fixed` are
    filters that the path sets. Raises BadParameter or UnknownColumn.
    """
    single: dict[str, str] = {}
    filters: list[Filter] = []
    for name, value in pairs:
        if name in PARAMETERS:
            if name in single:
                raise BadParameter(name, "it is given more than once.")
            single[name] = value
        else:
            filters.append(_filter(contract, name, value, equalities))
    if len(filters) > _MOST_FILTERS:
        raise BadParameter(filters[0].column.name, f"more than {_MOST_FILTERS} filters are given.")
    selected = single.get(SELECT)
    query = Query(
        contract=contract,
        columns=contract.columns
        if selected is None
        else tuple(_unique(contract, SELECT, selected.split(","))),
        filters=(*fixed, *filters),
        order=_order(contract, single.get(ORDER, default_order)),
        limit=_limit(single.get(LIMIT), default_limit),
        after=None,
    )
    if AFTER not in single:
        return query
    return Query(**{**vars(query), "after": _decode_cursor(query, single[AFTER])})


def _order(contract: Contract, text: str) -> tuple[Term, ...]:
    """The order asked for, made total: by the key, or by all columns where there is none."""
    names = [name.strip() for name in text.split(",")] if text else []
    columns = _unique(contract, ORDER, [name.removeprefix("-") for name in names])
    terms = [
        Term(column, name.startswith("-")) for column, name in zip(columns, names, strict=True)
    ]
    own = [column for name in contract.order_by if (column := contract.column(name))]
    for column in (*own, *(() if contract.has_key else contract.columns)):
        if all(term.column != column for term in terms):
            terms.append(Term(column, descending=False))
    return tuple(terms)


def _unique(contract: Contract, parameter: str, names: Sequence[str]) -> list[ContractColumn]:
    columns: list[ContractColumn] = []
    for name in map(str.strip, names):
        column = contract.column(name)
        if column is None:
            known = [column.name for column in contract.columns]
            raise BadParameter(parameter, str(UnknownColumn(contract.name, name, known)))
        if column in columns:
            raise BadParameter(parameter, f"the column {column.name} is named more than once.")
        columns.append(column)
    return columns


def _limit(text: str | None, default: int | None) -> int | None:
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > _MOST_ROWS:
        raise BadParameter(LIMIT, f"{text[:30]!r} is no number of rows; 0 means all of them.")
    return int(text) or None


def _filter(contract: Contract, name: str, value: str, equalities: Sequence[str]) -> Filter:
    column = contract.column(name)
    if column is None:
        known = [*PARAMETERS, *(column.name for column in contract.columns)]
        near = get_close_matches(name, known, n=1)
        raise BadParameter(
            name[:60],
            f"{contract.name} has no such column, and there is no such parameter."
            + (f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(known)}."),
        )
    word, dot, rest = value.partition(".")
    if word not in _OPERATORS or not dot:
        if name in equalities:
            return Filter(column, "eq", (_parse(column, value, name),))
        raise BadParameter(
            name,
            f"write an operator and a point before the value, such as {name}=eq.…; the operators "
            f"are {', '.join(_OPERATORS)}.",
        )
    if word in (_IS_NULL, _NOT_NULL):
        if rest != "null":
            raise BadParameter(name, f"after `{word}.` only null can stand.")
        return Filter(column, word)
    if word in _PATTERNS and column.kind != "text":
        raise BadParameter(name, f"{word} is for texts, and this is {column.type}.")
    texts = _items(rest, name) if word == _IN else [rest]
    return Filter(column, word, tuple(_parse(column, text, name) for text in texts))


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


def encode_cursor(query: Query, position: Position) -> str:
    """The position as text that a client hands back as it is."""
    document = [_signature(query), position.seen, *position.values]
    text = json.dumps(document, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode_cursor(query: Query, text: str) -> Position:
    no_cursor = BadParameter(AFTER, "this is no cursor. Take it from `next`.")
    try:
        if len(text) > _LONGEST_CURSOR or not text.isascii():
            raise ValueError
        padded = text + "=" * (-len(text) % 4)
        document = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        signature, seen, *values = document
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise no_cursor from None
    if signature != _signature(query):
        raise BadParameter(
            AFTER,
            "this cursor belongs to another order or table. Page on with the `order` that it came "
            "with, or leave it out to begin anew.",
        )
    well_formed = (
        type(seen) is int
        and 1 <= seen < 2**62
        and len(values) == len(query.order_names)
        and all(value is None or isinstance(value, str) for value in values)
    )
    if not well_formed:
        raise no_cursor
    position = Position(tuple(values), seen)
    # Whether each has its column's type.
    _position_values(query, position)
    return position


def _signature(query: Query) -> str:
    return hashlib.sha256("\n".join(query.order_names).encode()).hexdigest()[:12]


def _position_values(query: Query, position: Position) -> list[Value]:
    columns = [term.column for term in query.order for _ in _key_names(query.contract, term)]
    return [
        None if text is None else _parse(column, text, AFTER)
        for column, text in zip(columns, position.values, strict=True)
    ]


# The values of a request, as their columns' types have them.


@dataclass(frozen=True)
class _Kind:
    """A type: what its values are called, an example, how one is written and read."""

    noun: str
    example: str
    read: Callable[[str], Value]
    sql: Callable[[], TypeEngine[Any]]
    pattern: str = ".*"


def _integer(text: str) -> int:
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(text)
    return number


def _decimal(text: str) -> Decimal:
    if len(text) > _MOST_DIGITS:
        raise ValueError(text)
    return Decimal(text)


def _moment(text: str) -> datetime:
    # A plus sign that a client did not escape has become a space.
    moment = datetime.fromisoformat(re.sub(r" (\d\d(:?\d\d)?)$", r"+\1", text))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(text: str) -> str:
    text.encode()  # A lone surrogate is no character: UnicodeEncodeError is a ValueError.
    if "\0" in text:
        raise ValueError(text)
    return text


_WHOLE_NUMBER = r"-?[0-9]{1,19}"
_TEXT = _Kind("text", "without NUL", _text, Text)
_KINDS = {
    "bigint": _Kind("whole number", "such as 12", _integer, BigInteger, _WHOLE_NUMBER),
    "integer": _Kind("whole number", "such as 12", _integer, Integer, _WHOLE_NUMBER),
    "numeric": _Kind("number", "such as 12.5", _decimal, Numeric, r"-?[0-9]+(\.[0-9]+)?"),
    "boolean": _Kind("truth value", "true or false", "true".__eq__, Boolean, "true|false"),
    "date": _Kind(
        "date", "such as 2023-01-31", date.fromisoformat, Date, "[0-9]{4}-[0-9]{2}-[0-9]{2}"
    ),
    "timestamp with time zone": _Kind(
        "time", "such as 2023-01-31T12:00:00Z", _moment, lambda: TIMESTAMP(timezone=True)
    ),
    "text": _TEXT,
}


def _parse(column: ContractColumn, text: str, parameter: str) -> Value:
    """The value that the text means. Raises BadParameter, which names the parameter."""
    kind = _KINDS.get(column.kind, _TEXT)
    try:
        if not re.fullmatch(kind.pattern, text, re.ASCII | re.DOTALL):
            raise ValueError(text)
        return kind.read(text)
    except ValueError:
        shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
        raise BadParameter(
            parameter,
            f"{shown!r} is no {kind.noun}, which the column {column.name} holds ({kind.example}).",
        ) from None


# SQL.


@lru_cache(maxsize=64)
def table_of(contract: Contract, schema: str, *, exists: bool = True) -> FromClause:
    """The rows of a table, called m; of one that nobody has made yet there are none.

    It is kept, since SQLAlchemy compiles a query anew for each object that is a table.
    """
    kinds = [_KINDS.get(column.kind, _TEXT).sql() for column in contract.columns]
    if not exists:
        nulls = [
            cast(null(), kind).label(column.name)
            for column, kind in zip(contract.columns, kinds, strict=True)
        ]
        return select(*nulls).where(false()).subquery("m")
    columns = [
        Column(column.name, kind) for column, kind in zip(contract.columns, kinds, strict=True)
    ]
    return Table(contract.name, MetaData(), *columns, schema=schema).alias("m")


def plain_columns(query: Query, table: FromClause) -> list[ColumnElement[Any]]:
    """The columns of a query as they are."""
    return [table.c[column.name] for column in query.columns]


def csv_columns(
    query: Query, table: FromClause, *, keep_formulas: bool
) -> list[ColumnElement[Any]]:
    """The columns of a query as COPY shall write them."""
    return [_csv_column(table, column, keep_formulas) for column in query.columns]


def _csv_column(
    table: FromClause, column: ContractColumn, keep_formulas: bool
) -> ColumnElement[Any]:
    own: ColumnElement[Any] = table.c[column.name]
    if column.kind == "boolean":
        # COPY writes t and f; as text they are true and false.
        return cast(own, Text).label(column.name)
    if column.kind != "text" or keep_formulas:
        return own
    is_formula = and_(own != "", func.strpos(_FORMULA_SIGNS, func.left(own, 1)) > 0)
    return case((is_formula, literal("'").concat(own)), else_=own).label(column.name)


def rows(
    query: Query,
    table: FromClause,
    columns: Sequence[ColumnElement[Any]],
    *,
    one_more: bool = False,
) -> Select[Any]:
    """The page of a query: these expressions of its rows, in order."""
    keys = key_columns(query, table)
    conditions = [condition(filter_, table) for filter_ in query.filters]
    statement = select(*columns).select_from(table)
    if query.after is not None:
        compared = list(
            zip(keys, _descents(query), _position_values(query, query.after), strict=True)
        )
        beyond = _beyond(compared)
        if not query.contract.has_key:
            # Rows that agree in everything are given by number; if some of them are gone, the
            # number must not skip others.
            level = and_(*(_is(key, value) for key, _, value in compared))
            count = select(func.count()).select_from(table).where(*conditions, level)
            statement = statement.offset(func.least(query.after.seen, count.scalar_subquery()))
            beyond = or_(beyond, level)
        conditions.append(beyond)
    order = [
        key.desc().nulls_last() if descending else key.asc().nulls_first()
        for key, descending in zip(keys, _descents(query), strict=True)
    ]
    limit = None if query.limit is None else query.limit + one_more
    return statement.where(*conditions).order_by(*order).limit(limit)


def key_columns(query: Query, table: FromClause) -> list[ColumnElement[Any]]:
    """What the order of a query compares, most important first."""
    keys: list[ColumnElement[Any]] = []
    for term in query.order:
        own: ColumnElement[Any] = table.c[term.column.name]
        if term.column.kind != "text":
            keys.append(own)
            continue
        # Code point order is the same on every server; a server's own collation is not.
        digest = case((func.length(own) > _COMPARED, func.md5(own)))
        keys += [collate(func.left(own, _COMPARED), "C"), collate(digest, "C")]
    return keys


def _key_names(contract: Contract, term: Term) -> list[str]:
    name = f"{'-' if term.descending else ''}{contract.name}.{term.column.name}"
    return [name, f"{name}#"] if term.column.kind == "text" else [name]


def _descents(query: Query) -> list[bool]:
    return [term.descending for term in query.order for _ in _key_names(query.contract, term)]


def condition(filter_: Filter, table: FromClause) -> ColumnElement[bool]:
    """A filter as SQL."""
    own: ColumnElement[Any] = table.c[filter_.column.name]
    if filter_.operator == _IS_NULL:
        return own.is_(None)
    if filter_.operator == _NOT_NULL:
        return own.is_not(None)
    if filter_.operator == _IN:
        return own.in_(filter_.values)
    [value] = filter_.values
    if filter_.operator in _PATTERNS:
        matches = own.ilike if filter_.operator == "ilike" else own.like
        return matches(_pattern(str(value)))
    compared = collate(own, "C") if filter_.column.kind == "text" else own
    return _COMPARISONS[filter_.operator](compared, literal(value, own.type))


def _pattern(text: str) -> str:
    r"""`*` is any text; `%`, `_` and `\` are themselves."""
    for sign in "\\%_":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("*", "%")


_Compared = Sequence[tuple[ColumnElement[Any], bool, Value]]


def _beyond(compared: _Compared) -> ColumnElement[bool]:
    """Rows that come after these values: after the first, or level with it and after the rest."""
    beyond: ColumnElement[bool] = false()
    for key, descending, value in reversed(compared):
        level = and_(_is(key, value), beyond)
        if value is None:
            beyond = level if descending else or_(key.is_not(None), level)
        elif descending:
            beyond = or_(key < value, key.is_(None), level)
        else:
            beyond = or_(key > value, level)
    return beyond


def _is(key: ColumnElement[Any], value: Value) -> ColumnElement[bool]:
    return key.is_(None) if value is None else key == value
