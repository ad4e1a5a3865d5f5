"""Engines: an `Engine` reads marts, a `RawStore` (raw_store) writes raw tables.

    raw_store  what the raw tables look like, the store of all engines, and the way into it
    postgres, duckdb, lake   one module an engine, with `connect` and `connect_raw`

Values come as Python's own: int, Decimal, float, str, bool, date, datetime, None. A Decimal keeps
the digits that the engine has (12.500000).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

import msgspec

from loader.errors import ConfigError, MissingExtra, NotBuilt
from loader.project import Profile

if TYPE_CHECKING:
    from loader.engines.raw_store import RawStore

Value = int | Decimal | float | str | bool | date | datetime | None
Row = tuple[Value, ...]
# The module of each engine, by the `type` of a target in profiles.yml.
ENGINES = {"postgres": "postgres", "duckdb": "duckdb", "spark": "lake"}
# The operators of a Filter.
COMPARISONS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
PATTERNS = ("like", "ilike")
IN, IS_NULL, NOT_NULL = "in", "is", "not"
OPERATORS = (*COMPARISONS, IN, *PATTERNS, IS_NULL, NOT_NULL)


def quote(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a literal of standard SQL."""
    return "'" + text.replace("'", "''") + "'"


class Column(msgspec.Struct, frozen=True):
    """A column; `type` in PostgreSQL's words, such as numeric(18,6)."""

    name: str
    type: str


@dataclass(frozen=True)
class Filter:
    """Rows for which `column operator value` holds; the operators are OPERATORS.

    Values are written as the column's type reads them: `12.5`, `2023-01-31`, `true`. With `others`
    it is enough if it holds for one of the columns.
    """

    column: Column
    operator: str
    values: tuple[str, ...] = ()
    others: tuple[Column, ...] = ()


@dataclass(frozen=True)
class Selection:
    """Rows of one relation: which columns, which rows (all `filters` hold), order, how many.

    `descending` names columns of the order that go from the greatest down.
    """

    relation: str
    columns: tuple[Column, ...]
    order_by: tuple[Column, ...] = ()
    filters: tuple[Filter, ...] = ()
    limit: int | None = None
    descending: frozenset[str] = frozenset()
    offset: int = 0


class Engine:
    """An open connection to one engine.

    `where` is the database in a person's words. NULL is less than every value: it comes first, and
    last in the descending order. A comparison with a value never holds for NULL.
    """

    # SQL for the columns of a schema, in order: table, name, type. `{schema}` is its literal.
    columns_sql: str

    def __init__(self, schema: str, where: str) -> None:
        self._schema = schema
        self._where = where

    def run(self, sql: str) -> tuple[tuple[Column, ...], list[Row]]:
        """The columns of a statement, and all its rows. Raises QueryFailed.

        PostgreSQL's raises QueryTooSlow and DatabaseUnreachable, too, and where it is told of which
        relation a statement is, NotBuilt or Outdated if that is what it is.
        """
        raise NotImplementedError

    def rows(self, selection: Selection) -> Iterator[Row]:
        """The rows, in order, in bounded memory."""
        raise NotImplementedError

    def write_csv(self, selection: Selection, file: IO[bytes]) -> None:
        """Header line, `,`, LF, RFC 4180 quoting, NULL empty."""
        raise NotImplementedError

    def all(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a statement; see `run`."""
        return self.run(sql)[1]

    def query(self, sql: str, limit: int) -> tuple[tuple[Column, ...], list[Row]]:
        """The columns and the first rows of any query."""
        return self.run(f"select * from (\n{sql}\n) as labmart_query limit {limit:d}")

    def columns(self, relation: str) -> tuple[Column, ...]:
        """The columns of a relation of the mart schema. Raises NotBuilt if there is none."""
        sql = self.columns_sql.format(schema=self.literal(self._schema))
        found = [(name, type_) for table, name, type_ in self.all(sql) if table == relation]
        if not found:
            raise NotBuilt(f"{self._schema}.{relation}", self._where)
        return tuple(Column(name, self.standard_type(type_)) for name, type_ in found)

    def count(self, selection: Selection) -> int:
        """How many rows there are, whatever the limit."""
        [(rows,)] = self.all(f"select count(*) from {self.source(selection)}")
        return int(rows)

    # How an engine writes SQL.

    def relation(self, name: str) -> str:
        """A relation of the mart schema."""
        return f"{quote(self._schema)}.{quote(name)}"

    def literal(self, text: str) -> str:
        return literal(text)

    def key(self, column: Column) -> str:
        """What an order compares: of texts the code points."""
        return f"m.{quote(column.name)}"

    def standard_type(self, type_: str) -> str:
        """A type in PostgreSQL's words."""
        return type_

    def source(self, selection: Selection) -> str:
        """The relation, called `m`, with the condition of its rows."""
        conditions = " and ".join(map(self._condition, selection.filters)) or "true"
        return f"{self.relation(selection.relation)} as m where {conditions}"

    def sql(self, selection: Selection, listed: str = "") -> str:
        """The query of a selection; by default it lists the selection's columns."""
        listed = listed or ", ".join(f"m.{quote(column.name)}" for column in selection.columns)
        sql = f"select {listed} from {self.source(selection)}"
        ways = {False: "nulls first", True: "desc nulls last"}
        order = [
            f"{self.key(column)} {ways[column.name in selection.descending]}"
            for column in selection.order_by
        ]
        if order:
            sql += f" order by {', '.join(order)}"
        if selection.limit is not None:
            sql += f" limit {selection.limit:d}"
        return sql + (f" offset {selection.offset:d}" if selection.offset else "")

    def _condition(self, filter_: Filter) -> str:
        if filter_.others:
            columns = (filter_.column, *filter_.others)
            either = (replace(filter_, column=column, others=()) for column in columns)
            return f"({' or '.join(map(self._condition, either))})"
        own, operator = self.key(filter_.column), filter_.operator
        values = [self.literal(value) for value in filter_.values]
        if operator == IS_NULL:
            return f"{own} is null"
        if operator == NOT_NULL:
            return f"{own} is not null"
        if operator == IN:
            return f"{own} in ({', '.join(values)})" if values else "false"
        if operator in PATTERNS:
            # `*` is any text. By the database's own collation, which knows capital letters beyond
            # ASCII.
            pattern = filter_.values[0]
            for sign in "\\%_":
                pattern = pattern.replace(sign, f"\\{sign}")
            pattern = self.literal(pattern.replace("*", "%"))
            # DuckDB has no escape character of its own accord.
            escape = self.literal("\\")
            return f"m.{quote(filter_.column.name)} {operator} {pattern} escape {escape}"
        return f"{own} {COMPARISONS[operator]} {values[0]}"


@dataclass(frozen=True)
class Load:
    """One row of the ledger: one file, or one sheet of it, in one input.

    `call_id` is the load_id of the first load of the call that brought it. `reading` is a JSON
    object of what was said about how to read the file, and of the `sheet` that was read.
    `arrived_at` is when the file was last changed, or when it came where nothing else is known. The
    next five are what was said of its cells: loader.sources.CellFormats. `columns_ignored` is a
    JSON array of the header's names that mean no declared column; None where there are none.
    `header` is one of all its names as written, empty where the file has none.
    """

    load_id: int
    status: str
    mode: str
    input: str
    file: str
    records_read: int
    records_rejected: int
    bytes: int
    dialect: str
    started_at: datetime
    finished_at: datetime
    loaded_by: str
    sha256: str
    call_id: int
    reading: str
    arrived_at: datetime
    decimal: str | None = None
    dates: str | None = None
    list_separator: str | None = None
    id_prefix: str | None = None
    durations: str | None = None
    columns_ignored: str | None = None
    header: str | None = None


def open_store(profile: Profile, *, write: bool = True) -> AbstractContextManager[RawStore]:
    """Open the raw tables of a profile. With `write` one load at a time has them.

    Raises DatabaseUnreachable, DatabaseFault or ConfigError.
    """
    store: AbstractContextManager[RawStore] = _module(profile).connect_raw(profile, write=write)
    return store


def open_engine(profile: Profile) -> AbstractContextManager[Engine]:
    """Connect to the engine of a profile. Raises DatabaseUnreachable or ConfigError."""
    engine: AbstractContextManager[Engine] = _module(profile).connect(profile)
    return engine


def dbt_session(profile: Profile) -> AbstractContextManager[None]:
    """What dbt computes in, ready while this is open. A database is there already.

    Raises MissingExtra, and what `loader.spark_server.session` raises.
    """
    if profile.engine == "duckdb" and find_spec("dbt.adapters.duckdb") is None:
        raise MissingExtra(f"The target {profile.target}", "duckdb")
    if profile.engine == "spark":
        from loader.spark_server import session

        return session(profile)
    return nullcontext()


def _module(profile: Profile) -> ModuleType:
    """The module of the profile's engine; only that engine's driver is imported."""
    if profile.engine not in ENGINES:
        known = ", ".join(ENGINES)
        raise ConfigError(
            profile.path,
            f"target {profile.target!r} has `type: {profile.engine}`; labmart works with {known}.",
        )
    return import_module(f"{__name__}.{ENGINES[profile.engine]}")
