"""Writing raw tables and the ledger into PostgreSQL; see the protocol `RawStore`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, fields
from typing import IO, Any, cast

import psycopg2
import psycopg2.extensions

from loader.destinations import Load
from loader.destinations.copy_stream import CHUNK, reading_ahead
from loader.destinations.postgres_connection import open_connection, where
from loader.destinations.postgres_driver import honest_copy, interruptible
from loader.destinations.postgres_faults import commit_fault, fault
from loader.destinations.postgres_tables import FIND_TABLES, gather, statement
from loader.destinations.raw_tables import (
    LAST_LOAD,
    LEDGER,
    REJECTED,
    REJECTED_COLUMNS,
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
from loader.destinations.sql import quote
from loader.destinations.turns import wait_until
from loader.errors import DatabaseFault, UsageError
from loader.files import LocalFile
from loader.profile import RAW_SCHEMA_VARIABLE, Profile
from loader.readers import Batch, Reader, RejectedLine
from loader.sources import Input

# PostgreSQL cuts longer names off in silence.
_LONGEST_NAME = 63
# The macro lock_raw_tables takes the same lock.
_LOCK = "pg_try_advisory_xact_lock(hashtextextended('labmart raw tables ' || %s, 0))"
# A server or role may limit sessions to seconds; a large load takes minutes, and is idle while a
# file is being opened.
# Pages at the end of a table that COPY may have left half full.
_MARGIN = 1024
_NO_LIMIT = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
)


class PostgresRaw:
    """An open transaction on the raw tables."""

    def __init__(
        self, connection: psycopg2.extensions.connection, schema: str, profile: Profile
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._where = where(profile)
        self._user = ""
        self._written: set[str] = set()
        # Of each table: its pages before the last COPY, and the rows that COPY reported.
        self._copied: dict[str, tuple[int, int]] = {}

    def begin(self, *, write: bool) -> None:
        """Begin the transaction; with `write` wait for one's turn."""
        # Read committed: what is read after the lock was taken is what the last load left.
        self._connection.set_session(isolation_level="READ COMMITTED", readonly=not write or None)
        self._run(
            "select set_config(name, '0', true) from pg_settings where name = any(%s)",
            (list(_NO_LIMIT),),
        )
        # A load that was reported as done must survive a crash of the server.
        self._run(
            "select set_config(name, 'on', true) from pg_settings "
            "where name = 'synchronous_commit' and setting = 'off'"
        )
        self._user = str(self._run("select current_user::text")[0][0])
        if write:
            self.wait_for_turn()

    def exists(self) -> bool:
        """Whether the schema is there, whatever it holds."""
        return bool(self._run("select 1 from pg_namespace where nspname = %s", (self._schema,)))

    def has_ledger(self) -> bool:
        """Whether it holds raw tables."""
        return is_ledger(self._find([LEDGER]).get(LEDGER))

    def rename(self, name: str) -> None:
        """Give the schema another name."""
        self._run(
            f"alter schema {_twice(quote(self._schema))} rename to {_twice(quote(name))}",
            need=f"alter schema {quote(self._schema)} rename to {quote(name)}",
        )

    def loads(self) -> list[Load]:
        """See `RawStore`."""
        found = self._find([LEDGER]).get(LEDGER)
        if found is None or "load_id" not in found.columns:
            return []
        rows = self._run(
            f"select {', '.join(readable(item.name, found) for item in fields(Load))} "
            f"from {self._table(LEDGER)} where load_id is not null order by load_id",
            need=self._grant("select"),
        )
        return [Load(*row) for row in rows]

    def prepare(self, inputs: Sequence[Input]) -> None:
        """See `RawStore`."""
        # `if not exists` alone would ask for the right to create what is there already.
        if not self.exists():
            database = quote(self._connection.info.dbname)
            self._run(
                f"create schema if not exists {_twice(quote(self._schema))}",
                need=f"grant create on database {database} to {quote(self._user)}",
            )
        tables = wanted(inputs)
        found = self._find(tables)
        for gap in gaps(tables, found, self._schema, self._refuse):
            made = statement(gap, found, self._schema, self._user)
            self._run(_twice(made.sql), need=made.need)
        self._run(
            f"update {self._table(LEDGER)} set call_id = load_id where call_id is null",
            need=self._grant("update"),
        )

    def next_load_id(self) -> int:
        """See `RawStore`."""
        last = self._table(LAST_LOAD)
        [(load_id,)] = self._run(next_id(self._table(LEDGER), last), need=self._grant("select"))
        self._run(f"delete from {last}", need=self._grant("delete"))
        self._run(f"insert into {last} values (%s)", (load_id,), need=self._grant("insert"))
        return int(load_id)

    def write_records(
        self, entry: Input, columns: tuple[str, ...], delimiter: str, batches: Iterator[Batch]
    ) -> int:
        """See `RawStore`. The batches are made in a thread of their own."""
        return self._copy(entry.name, ("line", "load_id", *columns), delimiter, batches)

    def read_file(self, file: LocalFile, reader: Reader, load_id: int) -> None:
        """See `RawStore`; every file is read here."""

    def write_rejected(self, load_id: int, lines: Iterable[RejectedLine]) -> None:
        """See `RawStore`."""
        self._copy(REJECTED, REJECTED_COLUMNS, ",", rejected_batches(load_id, lines))

    def count(self, entry: Input, load_id: int) -> tuple[int, int]:
        """See `RawStore`."""

        return self._rows(entry.name, load_id), self._rows(REJECTED, load_id)

    def add(self, load: Load) -> None:
        """See `RawStore`."""
        names = [item.name for item in fields(Load)]
        self._run(
            f"insert into {self._table(LEDGER)} ({', '.join(map(quote, names))}) "
            f"values ({', '.join(['%s'] * len(names))})",
            astuple(load),
            need=self._grant("insert"),
        )
        self._written.add(LEDGER)

    def set_status(self, changes: Mapping[int, str]) -> None:
        """See `RawStore`."""
        for status, ids in ids_by_status(changes).items():
            self._run(
                f"update {self._table(LEDGER)} set status = %s where load_id = any(%s)",
                (status, ids),
                need=self._grant("update"),
            )

    def delete(self, loads: Sequence[Load]) -> None:
        """See `RawStore`."""
        of_table = ids_by_table(loads)
        found = self._find(of_table)
        for table, ids in of_table.items():
            if table in found:
                self._run(
                    f"delete from {self._table(table)} where load_id = any(%s)",
                    (ids,),
                    need=self._grant("delete"),
                )
                self._written.add(table)

    def commit(self) -> None:
        """See `RawStore`."""
        # dbt plans its queries right after this, before PostgreSQL would look by itself.
        for table in sorted(self._written):
            self._run(f"analyze {self._table(table)}")
        try:
            self._connection.commit()
        except psycopg2.Error as error:
            raise commit_fault(error, self._where) from None

    def _copy(
        self, name: str, columns: Sequence[str], delimiter: str, batches: Iterator[Batch]
    ) -> int:
        table, need = self._table(name), self._grant("insert")
        # Waiting for a lock inside COPY could not be interrupted.
        self._run(f"lock table {table} in row exclusive mode", need=need)
        before = self._pages(name)
        listed = ", ".join(quote(column) for column in columns)
        sql = (
            f"copy {quote(self._schema)}.{quote(name)} ({listed}) from stdin (format csv, "
            f"delimiter {self._literal(delimiter)}, quote '\"', encoding 'UTF8')"
        )
        written = 0
        with (
            reading_ahead(batches) as stream,
            self._connection.cursor() as cursor,
        ):
            while not stream.exhausted:
                try:
                    with honest_copy():
                        cursor.copy_expert(sql, cast("IO[bytes]", stream), CHUNK)
                except psycopg2.Error as error:
                    if stream.failure is not None:
                        raise stream.failure from None
                    raise fault(error, self._where, need=need) from None
                written += cursor.rowcount
        self._written.add(name)
        self._copied[name] = (before, written)
        return written

    def _rows(self, table: str, load_id: int) -> int:
        """Count the rows of a load.

        Of a table that had rows before, only what was added to its end is read first: the first
        reading of older rows would also write, to note that their transaction has committed. COPY
        also fills gaps that prune has left, so if rows are missing there, all of it is read.
        """
        before, written = self._copied.get(table, (0, 0))
        if before > _MARGIN:
            rows = self._counted(table, load_id, f" and ctid >= '({before - _MARGIN:d},0)'")
            if rows == written:
                return rows
        return self._counted(table, load_id)

    def _counted(self, table: str, load_id: int, condition: str = "") -> int:
        [(rows,)] = self._run(
            f"select count(*) from {self._table(table)} where load_id = %s{condition}",
            (load_id,),
            need=self._grant("select"),
        )
        return int(rows)

    def _pages(self, table: str) -> int:
        [(pages,)] = self._run(
            "select pg_relation_size(%s::regclass) / current_setting('block_size')::bigint",
            (f"{quote(self._schema)}.{quote(table)}",),
        )
        return int(pages)

    def wait_for_turn(self) -> None:
        """Wait until nobody else loads; the turn ends with the transaction."""
        wait_until(lambda: bool(self._run(f"select {_LOCK}", (self._schema,))[0][0]))

    def _find(self, names: Iterable[str]) -> dict[str, Found]:
        return gather(self._run(FIND_TABLES, (self._schema, list(names))))

    def _run(
        self, sql: str, values: Sequence[object] = (), *, need: str = ""
    ) -> list[tuple[Any, ...]]:
        """Run a statement, all of its rows. A `%` of a name stands twice in `sql`."""
        try:
            with interruptible(), self._connection.cursor() as cursor:
                cursor.execute(sql, values)
                return list(cursor) if cursor.description else []
        except psycopg2.Error as error:
            raise fault(error, self._where, need=need) from None

    def _table(self, name: str) -> str:
        return _twice(f"{quote(self._schema)}.{quote(name)}")

    def _grant(self, right: str) -> str:
        schema, user = quote(self._schema), quote(self._user)
        return (
            f"grant usage on schema {schema} to {user}; "
            f"grant {right} on all tables in schema {schema} to {user}"
        )

    def _literal(self, value: str) -> str:
        adapted = psycopg2.extensions.QuotedString(value)
        adapted.prepare(self._connection)
        return adapted.getquoted().decode()

    def _refuse(self, problem: str, next_step: str) -> DatabaseFault:
        return DatabaseFault(self._where, problem, next_step)


@contextmanager
def connect_raw(profile: Profile, *, write: bool) -> Iterator[PostgresRaw]:
    """Open the raw tables; see `open_store`."""
    schema = profile.raw_schema
    if len(schema.encode()) > _LONGEST_NAME:
        raise UsageError(
            f"{RAW_SCHEMA_VARIABLE} is too long: {schema!r} has more than {_LONGEST_NAME} bytes."
        )
    connection = open_connection(profile, "labmart load")
    try:
        store = PostgresRaw(connection, schema, profile)
        store.begin(write=write)
        yield store
    finally:
        # Rolling back first: the server hears of a connection that is closed only some time later.
        with suppress(psycopg2.Error):
            connection.rollback()
        connection.close()


def move_raw(profile: Profile, earlier: str) -> bool:
    """Rename the schema `earlier` to that of the profile; see `adopt_raw`."""
    with closing(open_connection(profile, "labmart load")) as connection:
        old = PostgresRaw(connection, earlier, profile)
        new = PostgresRaw(connection, profile.raw_schema, profile)
        if not old.has_ledger():
            return False
        connection.rollback()
        # Nobody loads in the meantime, by an earlier version or by this one.
        old.begin(write=True)
        new.wait_for_turn()
        if not old.has_ledger():
            return False
        if new.exists():
            if not old.loads():
                return False
            check_move(earlier, profile.raw_schema, holds_loads=bool(new.loads()))
        old.rename(profile.raw_schema)
        connection.commit()
        return True


def _twice(name: str) -> str:
    """For a statement with parameters, in which the driver reads `%%` as `%`."""
    return name.replace("%", "%%")
