"""Writing raw tables and the ledger into DuckDB; see the protocol `RawStore`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from loader.destinations import Load
from loader.destinations.duckdb_connection import opened, path_of
from loader.destinations.duckdb_driver import interruptible
from loader.destinations.duckdb_faults import fault
from loader.destinations.duckdb_types import standard_type
from loader.destinations.pipe import Pipes, piped
from loader.destinations.raw_tables import (
    LAST_LOAD,
    LEDGER,
    LEDGER_COLUMNS,
    REJECTED,
    REJECTED_COLUMNS,
    TIMESTAMP,
    Found,
    check_move,
    gaps,
    ids_by_status,
    ids_by_table,
    is_ledger,
    next_id,
    readable,
    rejected_batches,
    wanted,
)
from loader.destinations.sql import literal, quote
from loader.errors import DatabaseFault
from loader.files import LocalFile
from loader.profile import Profile
from loader.readers import Batch, Reader, RejectedLine
from loader.sources import Input

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# DuckDB takes at least so much memory for each pipe; longer records are read one by one.
_LONGEST_RECORD = 8 << 20
# Our own side fills no more than these.
_PIPES = 4
_NUMBERS = ("line", "load_id")
# A relation's columns, one a row. Parameter: schema.
_FIND_TABLES = """
select c.table_name, case when v.view_oid is null then 'table' else 'view' end,
    c.column_name, c.data_type
from duckdb_columns() as c
left join duckdb_views() as v
    on v.database_oid = c.database_oid and v.view_oid = c.table_oid and v.schema_oid = c.schema_oid
where c.database_name = current_database() and lower(c.schema_name) = lower(?)
order by c.table_name, c.column_index
"""


class DuckDBRaw:
    """An open transaction on the raw tables."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, schema: str, where: str) -> None:
        self._connection = connection
        self._where = where
        # Rows have a line and need no order; keeping one would cost memory.
        self._run("set preserve_insertion_order = false")
        # The database may have the name of the schema, so both are always said.
        [(database,)] = self._run("select current_database()")
        self._schema = f"{quote(str(database))}.{quote(schema)}"
        self._schema_name = schema

    def begin(self) -> None:
        """Begin the transaction."""
        self._run("begin transaction")

    def exists(self) -> bool:
        """Whether the schema is there, whatever it holds."""
        return bool(
            self._run(
                "select 1 from duckdb_schemas() where database_name = current_database() "
                "and lower(schema_name) = lower(?)",
                (self._schema_name,),
            )
        )

    def has_ledger(self) -> bool:
        """Whether it holds raw tables."""
        return is_ledger(self._find().get(LEDGER))

    def move_to(self, new: DuckDBRaw) -> None:
        """Move all tables; DuckDB cannot give a schema another name."""
        self._run(f"create schema {new._schema}")
        for table in self._find():
            self._run(f"create table {new._table(table)} as from {self._table(table)}")
            self._run(f"drop table {self._table(table)}")
        self._run(f"drop schema {self._schema}")

    def loads(self) -> list[Load]:
        """See `RawStore`."""
        found = self._find().get(LEDGER)
        if found is None or "load_id" not in found.columns:
            return []
        rows = self._run(
            f"select {', '.join(_read(item.name, found) for item in fields(Load))} "
            f"from {self._table(LEDGER)} where load_id is not null order by load_id"
        )
        return [Load(*map(_value, LEDGER_TYPES, row)) for row in rows]

    def prepare(self, inputs: Sequence[Input]) -> None:
        """See `RawStore`."""
        self._run(f"create schema if not exists {self._schema}")
        for gap in gaps(wanted(inputs), self._find(), self._schema_name, self._refuse):
            table = self._table(gap.table)
            columns = [f"{quote(column)} {type_}" for column, type_ in gap.columns.items()]
            if gap.is_new:
                self._run(f"create table {table} ({', '.join(columns)})")
            else:
                for column in columns:
                    self._run(f"alter table {table} add column {column}")
        self._run(f"update {self._table(LEDGER)} set call_id = load_id where call_id is null")

    def next_load_id(self) -> int:
        """See `RawStore`."""
        last = self._table(LAST_LOAD)
        [(load_id,)] = self._run(next_id(self._table(LEDGER), last))
        self._run(f"delete from {last}")
        self._run(f"insert into {last} values (?)", (load_id,))
        return int(load_id)

    def write_records(
        self, entry: Input, columns: tuple[str, ...], delimiter: str, batches: Iterator[Batch]
    ) -> int:
        """See `RawStore`. The batches are made in a thread of their own."""
        return self._insert(entry.name, ("line", "load_id", *columns), delimiter, batches)

    def read_file(self, file: LocalFile, reader: Reader, load_id: int) -> None:
        """See `RawStore`; every file is read here."""

    def write_rejected(self, load_id: int, lines: Iterable[RejectedLine]) -> None:
        """See `RawStore`."""
        self._insert(REJECTED, REJECTED_COLUMNS, ",", rejected_batches(load_id, lines))

    def count(self, entry: Input, load_id: int) -> tuple[int, int]:
        """See `RawStore`."""
        return self._rows(entry.name, load_id), self._rows(REJECTED, load_id)

    def add(self, load: Load) -> None:
        """See `RawStore`."""
        names = [item.name for item in fields(Load)]
        self._run(
            f"insert into {self._table(LEDGER)} ({', '.join(map(quote, names))}) "
            f"values ({', '.join('?' * len(names))})",
            astuple(load),
        )

    def set_status(self, changes: Mapping[int, str]) -> None:
        """See `RawStore`."""
        for status, ids in ids_by_status(changes).items():
            self._run(
                f"update {self._table(LEDGER)} set status = ? where load_id in {_listed(ids)}",
                (status,),
            )

    def delete(self, loads: Sequence[Load]) -> None:
        """See `RawStore`."""
        of_table = ids_by_table(loads)
        found = self._find()
        for table, ids in of_table.items():
            if table in found:
                self._run(f"delete from {self._table(table)} where load_id in {_listed(ids)}")

    def commit(self) -> None:
        """See `RawStore`."""
        self._run("commit")

    def _insert(
        self, name: str, columns: Sequence[str], delimiter: str, batches: Iterator[Batch]
    ) -> int:
        [(threads,)] = self._run("select current_setting('threads')")
        written = 0
        while True:
            with piped(batches, count=min(threads, _PIPES), limit=_LONGEST_RECORD) as pipes:
                written += self._copy(name, columns, delimiter, pipes, _LONGEST_RECORD)
            if pipes.left is None:
                return written
            # DuckDB fills a buffer of the longest record's size before it reads any, so a
            # record that needs a huge one is read by itself.
            alone = iter([Batch(pipes.left.decode(), 0, (), 0)])
            size = len(pipes.left) + 1
            with piped(alone, count=1, limit=size) as pipes:
                written += self._copy(name, columns, delimiter, pipes, size)

    def _copy(
        self, name: str, columns: Sequence[str], delimiter: str, pipes: Pipes, longest: int
    ) -> int:
        listed = ", ".join(map(quote, columns))
        types = ", ".join(
            f"{literal(column)}: '{'bigint' if column in _NUMBERS else 'text'}'"
            for column in columns
        )
        [(written,)] = self._run(
            f"insert into {self._table(name)} ({listed}) select * from read_csv("
            f"[{', '.join(map(literal, pipes.paths))}], auto_detect = false, header = false, "
            f"delim = {literal(delimiter)}, quote = '\"', escape = '\"', nullstr = '', "
            f"allow_quoted_nulls = false, new_line = '\\n', encoding = 'utf-8', "
            f"max_line_size = {longest}, buffer_size = {2 * longest}, columns = {{{types}}})",
            stop=pipes.stop,
        )
        return int(written)

    def _rows(self, table: str, load_id: int) -> int:
        [(rows,)] = self._run(
            f"select count(*) from {self._table(table)} where load_id = ?", (load_id,)
        )
        return int(rows)

    def _find(self) -> dict[str, Found]:
        found: dict[str, Found] = {}
        for name, kind, column, type_ in self._run(_FIND_TABLES, (self._schema_name,)):
            before = found[str(name)].columns if name in found else {}
            columns = {**before, str(column): standard_type(str(type_))}
            found[str(name)] = Found(str(kind), "", columns)
        return found

    def _run(
        self, sql: str, values: Sequence[object] = (), *, stop: Callable[[], None] = lambda: None
    ) -> list[tuple[Any, ...]]:
        """Run a statement, all of its rows. `stop` ends what it may wait for."""
        connection = self._connection
        try:
            return interruptible(
                connection, lambda: connection.execute(sql, list(values)).fetchall(), stop
            )
        except duckdb.Error as error:
            raise fault(error, self._where) from None

    def _table(self, name: str) -> str:
        return f"{self._schema}.{quote(name)}"

    def _refuse(self, problem: str, next_step: str) -> DatabaseFault:
        return DatabaseFault(self._where, problem, next_step)


LEDGER_TYPES = tuple(LEDGER_COLUMNS[item.name] for item in fields(Load))


@contextmanager
def connect_raw(profile: Profile, *, write: bool) -> Iterator[DuckDBRaw]:
    """Open the raw tables; see `open_store`."""
    with opened(profile, write=write) as connection:
        try:
            store = DuckDBRaw(connection, profile.raw_schema, str(path_of(profile)))
            store.begin()
            yield store
        finally:
            # There is nothing to roll back after a commit.
            with suppress(duckdb.Error):
                connection.rollback()


def move_raw(profile: Profile, earlier: str) -> bool:
    """Move the tables of the schema `earlier` to that of the profile; see `adopt_raw`."""

    def stores(connection: duckdb.DuckDBPyConnection) -> tuple[DuckDBRaw, DuckDBRaw]:
        place = str(path_of(profile))
        return DuckDBRaw(connection, earlier, place), DuckDBRaw(
            connection, profile.raw_schema, place
        )

    # To look is allowed while others read the file.
    with opened(profile, write=False) as connection:
        if not stores(connection)[0].has_ledger():
            return False
    with opened(profile, write=True) as connection:
        old, new = stores(connection)
        old.begin()
        if not old.has_ledger():
            return False
        if new.exists():
            if not old.loads():
                return False
            check_move(earlier, profile.raw_schema, holds_loads=bool(new.loads()))
        old.move_to(new)
        old.commit()
        return True


def _read(column: str, found: Found) -> str:
    # The driver needs a further package to make a date of a timestamp with time zone.
    value = readable(column, found)
    return f"epoch_us({value})" if LEDGER_COLUMNS[column] == TIMESTAMP else value


def _value(type_: str, value: Any) -> Any:
    return _EPOCH + timedelta(microseconds=value) if type_ == TIMESTAMP else value


def _listed(ids: Sequence[int]) -> str:
    return f"({', '.join(f'{load_id:d}' for load_id in ids)})"
