"""Engines: an `Engine` is a connection for reading marts, a `RawStore` its raw tables.

    postgres, duckdb, lake   one module per engine: `connect` opens it for reading, `connect_raw`
                             its raw tables; loader/publications publishes with it
    raw_store                the raw tables, and how every engine stores them

Values are Python's own: int, Decimal, float, str, bool, date, datetime, None. A Decimal keeps the
engine's digits (12.500000).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import IO, Any

from loader.contract import Column
from loader.errors import ConfigError, MissingExtra, NotBuilt
from loader.project import Profile

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
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Text as a literal of standard SQL."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Filter:
    """Rows for which `column operator value` holds; the operators are OPERATORS.

    Values are written as the column's type reads them: `12.5`, `2023-01-31`, `true`. With `others`,
    the condition need hold for only one of the columns.
    """

    column: Column
    operator: str
    values: tuple[str, ...] = ()
    others: tuple[Column, ...] = ()


@dataclass(frozen=True)
class Selection:
    """Rows of one relation: columns, filters (all must hold), order and limit.

    `descending` names the order columns that are sorted descending.
    """

    relation: str
    columns: tuple[Column, ...]
    order_by: tuple[Column, ...] = ()
    filters: tuple[Filter, ...] = ()
    limit: int | None = None
    descending: frozenset[str] = frozenset()
    offset: int = 0


class Engine:
    """An open connection to one engine and one of its schemas; every statement goes through it.

    `where` names the database in messages. The driver's errors become DatabaseFault if the engine
    `writes`, which holds for all work on raw tables and publications, else QueryFailed. In the
    latter case PostgreSQL's also raises QueryTooSlow and DatabaseUnreachable, and NotBuilt or
    Outdated where it knows which relation a statement reads.

    NULL sorts as the least value: first in ascending, last in descending order. A comparison with a
    value never holds for NULL.
    """

    # SQL for the columns of a schema, in order: table, name, type. `{schema}` is its literal.
    columns_sql: str
    # Whether its tables can have an index of ranges; see raw_store.create_table.
    has_ranges = False

    def __init__(self, schema: str, where: str, *, writes: bool) -> None:
        self.schema, self.where, self.writes = schema, where, writes
        # The schema as SQL.
        self.home = quote(schema)

    def described(
        self, sql: str, values: Sequence[object] = ()
    ) -> tuple[tuple[Column, ...], list[tuple[Any, ...]]]:
        """The columns of a statement, and all its rows. A signal interrupts it."""
        raise NotImplementedError

    def run(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement, if it has any."""
        return self.described(sql, values)[1]

    def query(self, sql: str, limit: int) -> tuple[tuple[Column, ...], list[Row]]:
        """The columns and the first rows of any query."""
        return self.described(f"select * from (\n{sql}\n) as labmart_query limit {limit:d}")

    def schemas(self) -> list[str]:
        """The names of all schemas."""
        rows = self.run("select distinct nspname from pg_namespace order by nspname")
        return [name for (name,) in rows]

    def tables(self, schema: str = "") -> dict[str, dict[str, str]]:
        """The relations of a schema, by default its own, with the types of their columns."""
        tables: dict[str, dict[str, str]] = defaultdict(dict)
        sql = self.columns_sql.format(schema=self.literal(schema or self.schema))
        for table, name, type_ in self.run(sql):
            tables[table][name] = self.standard_type(type_)
        return tables

    # Reading.

    def rows(self, selection: Selection) -> Iterator[Row]:
        """The rows, in order, in bounded memory."""
        raise NotImplementedError

    def write_csv(self, selection: Selection, file: IO[bytes]) -> None:
        """Header line, `,`, LF, RFC 4180 quoting, NULL empty."""
        raise NotImplementedError

    def columns(self, relation: str) -> tuple[Column, ...]:
        """The columns of a relation. Raises NotBuilt if there is none."""
        columns = self.tables().get(relation)
        if columns is None:
            raise NotBuilt(f"{self.schema}.{relation}", self.where)
        return tuple(Column(*item) for item in columns.items())

    def count(self, selection: Selection) -> int:
        """The number of rows, ignoring the limit."""
        [(rows,)] = self.run(f"select count(*) from {self.source(selection)}")
        return int(rows)

    # Writing.

    def insert(self, table: str, columns: Sequence[str], delimiter: str, chunk: bytes) -> None:
        """Write records, as in `parsers.records.Batch`, into a table, which is given as SQL."""
        raise NotImplementedError

    def analyze(self, table: str) -> None:
        """Let the engine analyze a changed table, if it plans by statistics."""

    def commit(self) -> None:
        raise NotImplementedError

    # How the engine writes SQL.

    def relation(self, name: str) -> str:
        """A relation of the schema."""
        return f"{self.home}.{quote(name)}"

    def literal(self, text: str) -> str:
        return literal(text)

    def json_value(self, column: str, key: str) -> str:
        """The text under a key in a column of JSON objects."""
        raise NotImplementedError

    def key(self, column: Column) -> str:
        """What an order compares: for text, its code points."""
        return f"m.{quote(column.name)}"

    def standard_type(self, type_: str) -> str:
        """A type under PostgreSQL's name."""
        return type_

    def source(self, selection: Selection) -> str:
        """The relation, aliased `m`, with the condition for its rows."""
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
            # `*` matches any text. Uses the database's own collation, which knows capital letters
            # beyond ASCII.
            pattern = filter_.values[0]
            for sign in "\\%_":
                pattern = pattern.replace(sign, f"\\{sign}")
            pattern = self.literal(pattern.replace("*", "%"))
            # DuckDB has no default escape character.
            escape = self.literal("\\")
            return f"m.{quote(filter_.column.name)} {operator} {pattern} escape {escape}"
        return f"{own} {COMPARISONS[operator]} {values[0]}"


def open_engine(profile: Profile) -> AbstractContextManager[Engine]:
    """Connect to the engine of a profile. Raises DatabaseUnreachable or ConfigError."""
    engine: AbstractContextManager[Engine] = module_of(profile).connect(profile)
    return engine


def dbt_session(profile: Profile) -> AbstractContextManager[None]:
    """Provide dbt's compute engine while this is open; a database already runs.

    Raises MissingExtra, and what `loader.spark_server.session` raises.
    """
    if profile.engine == "duckdb" and find_spec("dbt.adapters.duckdb") is None:
        raise MissingExtra(f"The target {profile.target}", "duckdb")
    if profile.engine == "spark":
        from loader.spark_server import session

        return session(profile)
    return nullcontext()


def module_of(profile: Profile) -> ModuleType:
    """The module of the profile's engine; only that engine's driver is imported."""
    if profile.engine not in ENGINES:
        types = ", ".join(ENGINES)
        raise ConfigError(
            profile.path,
            f"target {profile.target!r} has `type: {profile.engine}`; labmart works with {types}.",
        )
    return import_module(f"{__name__}.{ENGINES[profile.engine]}")
