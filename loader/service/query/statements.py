"""A query as SQL.

The names in it are those of the contract, quoted; every value is a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loader.contract import Contract, ContractColumn
from loader.engines import Value
from loader.engines.sql import quote
from loader.service.query.cursor import Position
from loader.service.query.parameters import (
    AFTER,
    COMPARISONS,
    IN,
    IS_NULL,
    NOT_NULL,
    Filter,
    Query,
    Term,
)
from loader.service.query.values import parse

# A text is compared by so many characters, so that a cursor stays short: a cell can hold megabytes.
# Texts that agree in these are told apart by a digest, in a fixed order that is not the alphabet's.
COMPARED = 100
# What makes a spreadsheet read a cell as a formula when it comes first.
FORMULA_SIGNS = "=+-@\t\r"


@dataclass(frozen=True)
class Sql:
    """A statement, or a part of one, with the values of its `%s`."""

    text: str
    values: tuple[object, ...] = ()


@dataclass(frozen=True)
class Key:
    """One thing that the order compares: an expression of a type, named for the cursor."""

    name: str
    sql: str
    column: ContractColumn
    descending: bool


@dataclass(frozen=True)
class Source:
    """Where the rows are: a table, or, with `absent`, one that nobody has made yet."""

    schema: str
    contract: Contract
    absent: bool = False

    @property
    def sql(self) -> str:
        """What stands behind `from`; the rows are called m."""
        if self.absent:
            columns = (
                f"cast(null as {column.type}) as {name_of(column)}"
                for column in self.contract.columns
            )
            return f"(select {', '.join(columns)} where false) as m"
        table = f"{quote(self.schema)}.{quote(self.contract.name)}"
        return f"{_doubled(table)} as m"


def name_of(column: ContractColumn) -> str:
    """The column as an identifier."""
    return _doubled(quote(column.name))


def keys_of(query: Query) -> tuple[Key, ...]:
    """What the order of a query compares, most important first."""
    return tuple(key for term in query.order for key in _keys(term, query.contract.name))


def _keys(term: Term, table: str) -> list[Key]:
    column, sign = term.column, "-" if term.descending else ""
    name, own = f"{sign}{table}.{column.name}", f"m.{name_of(column)}"
    if column.kind != "text":
        return [Key(name, own, column, term.descending)]
    # Code point order is the same on every server; a server's own collation is not.
    start = f'left({own}, {COMPARED}) collate "C"'
    digest = f'case when length({own}) > {COMPARED} then md5({own}) end collate "C"'
    return [
        Key(name, start, column, term.descending),
        Key(f"{name}#", digest, column, term.descending),
    ]


def rows(query: Query, source: Source, columns: Sequence[str], position: Position | None) -> Sql:
    """The page of a query: these expressions of its rows, in order."""
    keys = keys_of(query)
    conditions = [_condition(one) for one in query.filters]
    offset = Sql("")
    if position is not None:
        values = _position_values(keys, position)
        beyond = _beyond(keys, values)
        if query.contract.has_key:
            conditions.append(beyond)
        else:
            # Rows that agree in everything are given by number; if some of them are gone, the
            # number must not skip others.
            same = _same(keys, values)
            conditions.append(_joined(" or ", [beyond, same]))
            equal = _where([*map(_condition, query.filters), same])
            offset = Sql(
                f" offset least(%s, (select count(*) from {source.sql}{equal.text}))",
                (position.seen, *equal.values),
            )
    where = _where(conditions)
    order = ", ".join(
        f"{key.sql} {'desc nulls last' if key.descending else 'asc nulls first'}" for key in keys
    )
    limit = "" if query.limit is None else f" limit {query.limit:d}"
    return Sql(
        f"select {', '.join(columns)} from {source.sql}{where.text} order by {order}"
        f"{offset.text}{limit}",
        (*where.values, *offset.values),
    )


def where_of(filters: Sequence[Filter]) -> Sql:
    """The clause of these filters; empty without any."""
    return _where([_condition(one) for one in filters])


def plain_columns(query: Query) -> list[str]:
    """The columns of a query as they are."""
    return [f"m.{name_of(column)}" for column in query.columns]


def csv_columns(query: Query, *, keep_formulas: bool) -> list[str]:
    """The columns of a query as COPY shall write them."""
    return [_csv_column(column, keep_formulas) for column in query.columns]


def _csv_column(column: ContractColumn, keep_formulas: bool) -> str:
    own, name = f"m.{name_of(column)}", name_of(column)
    if column.kind == "boolean":
        # COPY writes t and f; as text they are true and false.
        return f"{own}::text as {name}"
    if column.kind != "text" or keep_formulas:
        return own
    signs = FORMULA_SIGNS.replace("\t", r"\t").replace("\r", r"\r")
    dangerous = f"position(left({own}, 1) in E'{signs}') > 0 and {own} <> ''"
    return f"case when {dangerous} then '''' || {own} else {own} end as {name}"


def _condition(one: Filter) -> Sql:
    own, kind = f"m.{name_of(one.column)}", one.column.kind
    if one.operator == IS_NULL:
        return Sql(f"{own} is null")
    if one.operator == NOT_NULL:
        return Sql(f"{own} is not null")
    if one.operator == IN:
        return Sql(f"{own} = any(%s::{kind}[])", (list(one.values),))
    if one.operator in COMPARISONS:
        collation = ' collate "C"' if kind == "text" else ""
        return Sql(f"{own}{collation} {COMPARISONS[one.operator]} %s::{kind}", one.values)
    return Sql(f"{own} {one.operator} %s", (_pattern(str(one.values[0])),))


def _pattern(text: str) -> str:
    r"""`*` is any text; `%`, `_` and `\` are themselves."""
    for sign in "\\%_":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("*", "%")


def _position_values(keys: Sequence[Key], position: Position) -> list[Value]:
    return [
        None if text is None else parse(key.column, text, AFTER)
        for key, text in zip(keys, position.values, strict=True)
    ]


def _beyond(keys: Sequence[Key], values: Sequence[Value]) -> Sql:
    """Rows that come after these values: after the first, or level with it and after the rest."""
    found = Sql("false")
    for key, value in reversed(list(zip(keys, values, strict=True))):
        level = _joined(" and ", [_is(key, value), found])
        found = _joined(" or ", [_after(key, value), level])
    return found


def _after(key: Key, value: Value) -> Sql:
    if value is None:
        return Sql("false" if key.descending else f"{key.sql} is not null")
    if key.descending:
        return Sql(f"({key.sql} < %s::{key.column.kind} or {key.sql} is null)", (value,))
    return Sql(f"{key.sql} > %s::{key.column.kind}", (value,))


def _is(key: Key, value: Value) -> Sql:
    if value is None:
        return Sql(f"{key.sql} is null")
    return Sql(f"{key.sql} = %s::{key.column.kind}", (value,))


def _same(keys: Sequence[Key], values: Sequence[Value]) -> Sql:
    return _joined(" and ", [_is(key, value) for key, value in zip(keys, values, strict=True)])


def _joined(word: str, parts: Sequence[Sql]) -> Sql:
    text = word.join(part.text for part in parts)
    return Sql(f"({text})", tuple(value for part in parts for value in part.values))


def _where(conditions: Sequence[Sql]) -> Sql:
    if not conditions:
        return Sql("")
    joined = _joined(" and ", conditions)
    return Sql(f" where {joined.text}", joined.values)


def _doubled(text: str) -> str:
    """For a statement with parameters, in which the driver reads `%%` as `%`."""
    return text.replace("%", "%%")
