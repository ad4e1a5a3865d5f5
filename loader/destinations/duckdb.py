"""Reading from DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any

import duckdb

from loader.destinations import Column, Row, Selection
from loader.destinations.duckdb_connection import opened, path_of
from loader.destinations.duckdb_driver import interruptible
from loader.destinations.duckdb_faults import one_line
from loader.destinations.duckdb_types import standard_type
from loader.destinations.sql import query_of, quote, source_of
from loader.errors import NotBuilt, QueryFailed
from loader.profile import Profile

_ROWS_AT_ONCE = 5000


class DuckDB:
    """An open connection; see the protocol `Destination`."""

    def __init__(self, profile: Profile) -> None:
        self._open = ExitStack()
        self._connection = self._open.enter_context(opened(profile, write=False))
        self._schema = profile.schema
        self._where = str(path_of(profile))

    def __enter__(self) -> DuckDB:
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def columns(self, relation: str) -> tuple[Column, ...]:
        """See `Destination`; raises NotBuilt."""
        with self._faults():
            rows = self._run(
                "select column_name, data_type from duckdb_columns() "
                "where database_name = current_database() "
                "and lower(schema_name) = lower(?) and table_name = ? order by column_index",
                [self._schema, relation],
            )
        if not rows:
            raise NotBuilt(f"{self._schema}.{relation}", self._where)
        return tuple(Column(name=name, type=standard_type(kind)) for name, kind in rows)

    def rows(self, selection: Selection) -> Iterator[Row]:
        """See `Destination`."""
        listed = ", ".join(f"m.{quote(column.name)}" for column in selection.columns)
        yield from self._stream(self._sql(selection, listed))

    def count(self, selection: Selection) -> int:
        """See `Destination`."""
        with self._faults():
            [(rows,)] = self._run(f"select count(*) from {self._source(selection)}")
        return int(rows)

    def write_csv(self, selection: Selection, file: IO[bytes]) -> None:
        """See `Destination`. The lines are those that COPY of PostgreSQL writes."""
        file.write((",".join(map(_csv_cell, selection.columns)) + "\n").encode())
        cells = " || ',' || ".join(_csv_sql(column) for column in selection.columns)
        for (line,) in self._stream(self._sql(selection, f"{cells} || chr(10)")):
            file.write(str(line).encode())

    def query(self, sql: str, limit: int) -> tuple[tuple[Column, ...], list[Row]]:
        """See `Destination`."""
        with self._faults():
            rows = self._run(f"select * from (\n{sql}\n) as labmart_query limit {limit:d}")
            columns = tuple(
                Column(name=name, type=standard_type(str(kind)))
                for name, kind, *_ in self._connection.description or ()
            )
            return columns, rows

    def _run(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        connection = self._connection
        return interruptible(connection, lambda: connection.execute(sql, list(values)).fetchall())

    def _stream(self, sql: str) -> Iterator[Row]:
        with self._faults():
            # A cursor of its own: the caller may ask something else between two rows.
            cursor = self._connection.cursor()
            cursor.execute("set TimeZone = 'UTC'")
            interruptible(cursor, lambda: cursor.execute(sql))
            while rows := interruptible(cursor, lambda: cursor.fetchmany(_ROWS_AT_ONCE)):
                yield from rows

    def _sql(self, selection: Selection, listed: str) -> str:
        return query_of(selection, listed, self._source(selection), _order_key)

    def _source(self, selection: Selection) -> str:
        with self._faults():
            [(database,)] = self._run("select current_database()")
        # The database may have the name of the schema, so both are always said.
        return source_of(selection, [str(database), self._schema])

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except duckdb.Error as error:
            raise QueryFailed(self._where, one_line(error)) from None


def connect(profile: Profile) -> DuckDB:
    """Open the file for reading. Raises DatabaseUnreachable with what to do next."""
    return DuckDB(profile)


def _order_key(column: Column) -> str:
    # Texts are compared by their bytes, which is by code point.
    return f"m.{quote(column.name)} nulls first"


def _csv_cell(column: Column) -> str:
    name = column.name
    if not any(sign in name for sign in '",\r\n'):
        return name
    return '"' + name.replace('"', '""') + '"'


def _csv_sql(column: Column) -> str:
    """A cell as COPY writes it: quoted if it is empty or has a delimiter, mark or line end."""
    text = f"m.{quote(column.name)}::text"
    if column.type != "text":
        return f"coalesce({text}, '')"
    return (
        f"case when {text} is null then '' "
        f"when {text} = '' or regexp_matches({text}, '[\",\\r\\n]') "
        f"then '\"' || replace({text}, '\"', '\"\"') || '\"' else {text} end"
    )
