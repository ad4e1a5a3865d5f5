"""DuckDB: opens its file, reads marts, writes the raw tables.

One process can have the file open for writing, or any number for reading. So every labmart process
that opens it locks a file beside it. If we hold the lock and the file is still taken, by a DuckDB
shell or a dbt started by hand, the error names that program.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, Any

import duckdb

from loader.contract import Column
from loader.engines import Engine, Row, Selection, literal, quote
from loader.engines.raw_store import RawStore
from loader.errors import ConfigError, DatabaseFault, DatabaseUnreachable, QueryFailed
from loader.locks import interruptible, locked, wait_until
from loader.project import Profile, expanded

Connection = duckdb.DuckDBPyConnection
# More rows are fetched in portions.
_ROWS_AT_ONCE = 5000
# Numeric columns in raw tables; all others are written as text.
_NUMBERS = ("line", "load_id")
# Their rows carry a line number and need no order; preserving order would cost memory.
IN_ANY_ORDER = "set preserve_insertion_order = false"
# Types that DuckDB names differently from PostgreSQL; it understands both names.
_RENAMED = {
    "TINYINT": "smallint",
    "HUGEINT": "numeric(38,0)",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "VARCHAR": "text",
    "TIMESTAMP": "timestamp without time zone",
}
_SHARED = (
    *("boolean", "smallint", "integer", "bigint", "real", "double precision", "text", "date"),
    *("timestamp without time zone", "timestamp with time zone"),
)
# What to do, by DuckDB's message.
_STEPS = {
    "No space left|disk quota|File too large": "Make room, for example with `labmart prune`, and "
    "call again.",
    "Out of Memory|failed to allocate|could not allocate": "Give it more (`settings: "
    "{memory_limit: …}` in profiles.yml), or close other programs; call again.",
    "TransactionContext": "Call again.",
    "": "Correct that and call again.",
}


def own_type(type_: str) -> str:
    """DuckDB's name for a PostgreSQL type; text where DuckDB has none as wide."""
    numeric = re.fullmatch(r"numeric\((\d+),\d+\)", type_)
    is_known = int(numeric[1]) <= 38 if numeric else type_ in _SHARED
    return type_ if is_known else "text"


# Opening the file as dbt-duckdb would.

# Another program may be about to end.
_PATIENCE_SECONDS = 10.0
_TAKEN = re.compile(r"Could not set lock on file|different configuration")


def path_of(profile: Profile) -> Path:
    """The file of a profile. Raises ConfigError if it names none."""
    path = profile.text("path")
    if not path or path == ":memory:" or re.match(r"[a-z]+:", path):
        raise ConfigError(
            profile.path,
            f"`path` of target {profile.target!r} is {path!r}, and labmart needs a file, such as "
            "`path: labmart.duckdb`.",
        )
    return expanded(path)


@contextmanager
def file_lock(profile: Profile, *, shared: bool = False) -> Iterator[None]:
    """Lock the file exclusively, or share it with other readers."""
    path = path_of(profile)
    with ExitStack() as stack:
        try:
            if not shared:
                path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path.with_name(f"{path.name}.lock"), shared=shared))
        except OSError as error:
            raise DatabaseUnreachable(
                f"{error.filename or path} cannot be locked: {error.strerror}. Correct `path` in "
                f"{profile.path}, or LABMART_DUCKDB_PATH."
            ) from None
        yield


@contextmanager
def opened(profile: Profile, *, write: bool, locks: bool = True) -> Iterator[Connection]:
    """The open file; an empty database if there is none yet and nothing will be written.

    Without `locks` the caller holds the file's lock. Raises DatabaseUnreachable or ConfigError.
    """
    path = path_of(profile)
    with file_lock(profile, shared=not write) if locks else nullcontext():
        was_there = path.exists()
        connection = _connect(profile, path, write=write)
        try:
            yield connection
        finally:
            is_empty = False
            with suppress(duckdb.Error):
                is_empty = not connection.execute("select 1 from duckdb_tables()").fetchall()
            connection.close()
            if write and is_empty and not was_there:
                # Nothing was committed, so nothing stays.
                path.unlink()


def _mapping(profile: Profile, key: str) -> dict[str, str]:
    values = profile.values.get(key) or {}
    if not isinstance(values, Mapping):
        raise ConfigError(profile.path, f"`{key}` is no mapping of names to values.")
    return {str(name): str(value) for name, value in values.items()}


def _connect(profile: Profile, path: Path, *, write: bool) -> Connection:
    # Times are printed and must not depend on the machine.
    settings = {"TimeZone": "UTC", **_mapping(profile, "settings")}
    options = _mapping(profile, "config_options")
    is_there, deadline = path.exists(), time.monotonic() + _PATIENCE_SECONDS
    file = str(path) if write or is_there else ":memory:"

    def attempt() -> Connection | None:
        try:
            made = duckdb.connect(file, read_only=is_there and not write, config={**options})
            for name, value in settings.items():
                made.execute(f"set {name} = {literal(value)}")
            return made
        except duckdb.Error as error:
            message = one_line(error)
            if not _TAKEN.search(message):
                raise DatabaseUnreachable(
                    f"DuckDB cannot open {path}: {message} Correct `path` or `settings` in "
                    f"{profile.path}, or move the file away."
                ) from None
            if time.monotonic() > deadline:
                raise DatabaseUnreachable(
                    f"The database file {path} is open in another program, and DuckDB lets one "
                    f"write, or several read. Close it there and call again. {message}"
                ) from None
            return None

    return wait_until(attempt, waiting=f"{path} is open in another program; waiting …")


@contextmanager
def connect(profile: Profile) -> Iterator[DuckDB]:
    """Open the file for reading. Raises DatabaseUnreachable, which says what to do."""
    with opened(profile, write=False) as connection:
        yield DuckDB(connection, profile.schema, str(path_of(profile)), writes=False)


@contextmanager
def connect_raw(profile: Profile, *, write: bool) -> Iterator[RawStore]:
    """See `raw_store.open_store`."""
    with opened(profile, write=write) as connection:
        engine = DuckDB(connection, profile.raw_schema, str(path_of(profile)), writes=True)
        try:
            engine.run(IN_ANY_ORDER)
            engine.run("begin transaction")
            yield RawStore(engine)
        finally:
            # There is nothing to roll back after a commit.
            with suppress(duckdb.Error):
                connection.rollback()


class DuckDB(Engine):
    """A connection to a file or an in-memory database."""

    columns_sql = """
        select table_name, column_name, data_type from duckdb_columns()
        where database_name = current_database() and lower(schema_name) = lower({schema})
        order by column_index
    """

    def __init__(self, connection: Connection, schema: str, where: str, *, writes: bool) -> None:
        super().__init__(schema, where, writes=writes)
        self._connection = connection
        # The database may have the same name as the schema, so give both.
        [(database,)] = self.run("select current_database()")
        self.home = f"{quote(database)}.{quote(schema)}"

    def described(
        self, sql: str, values: Sequence[object] = ()
    ) -> tuple[tuple[Column, ...], list[tuple[Any, ...]]]:
        def result() -> list[tuple[Any, ...]]:
            return self._connection.execute(sql, values or None).fetchall()

        with self._faults():
            rows = interruptible(result, self._connection.interrupt)
            described = self._connection.description or ()
        return tuple(
            Column(name, self.standard_type(str(kind))) for name, kind, *_ in described
        ), rows

    def rows(self, selection: Selection) -> Iterator[Row]:
        sql = self.sql(selection)
        with self._faults():
            # Its own cursor: the caller may run another query between two rows.
            cursor = self._connection.cursor()
            cursor.execute("set TimeZone = 'UTC'")
            interruptible(lambda: cursor.execute(sql), cursor.interrupt)
            fetch = partial(cursor.fetchmany, _ROWS_AT_ONCE)
            while rows := interruptible(fetch, cursor.interrupt):
                yield from rows

    def write_csv(self, selection: Selection, file: IO[bytes]) -> None:
        """Cells are written as PostgreSQL's COPY writes them."""
        options = "(format csv, header, delimiter ',', nullstr '', use_tmp_file false)"
        with TemporaryFile() as made:
            self.run(f"copy ({self.sql(selection)}) to '/dev/fd/{made.fileno()}' {options}")
            made.seek(0)
            copyfileobj(made, file)

    def standard_type(self, type_: str) -> str:
        return _RENAMED.get(type_, type_.lower().replace("decimal(", "numeric("))

    def json_value(self, column: str, key: str) -> str:
        # A JSON pointer, since a key that begins with $ would be read as a path.
        pointer = "/" + key.replace("~", "~0").replace("/", "~1")
        return f"json_extract_string({quote(column)}, {literal(pointer)})"

    def insert(self, table: str, columns: Sequence[str], delimiter: str, chunk: bytes) -> None:
        with self.records(columns, delimiter, chunk) as rows:
            self.run(f"insert into {table} by name {rows}")

    @contextmanager
    def records(self, columns: Sequence[str], delimiter: str, chunk: bytes) -> Iterator[str]:
        """SQL for the rows passed to `insert`."""
        types = ", ".join(
            f"{literal(column)}: '{'bigint' if column in _NUMBERS else 'text'}'"
            for column in columns
        )
        # One line may fill the chunk, and the buffer has to hold it.
        size = len(chunk) + 1
        with _file() as file:
            file.write(chunk)
            file.flush()
            yield (
                f"select * from read_csv('/dev/fd/{file.fileno()}', auto_detect = false, "
                f"header = false, delim = {literal(delimiter)}, quote = '\"', escape = '\"', "
                "nullstr = '', allow_quoted_nulls = false, new_line = '\\n', encoding = 'utf-8', "
                f"max_line_size = {size}, buffer_size = {size}, columns = {{{types}}})"
            )

    def commit(self) -> None:
        self.run("commit")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn the driver's errors into ours, and chain them."""
        try:
            yield
        except duckdb.Error as error:
            message = one_line(error)
            if not self.writes:
                raise QueryFailed(self.where, message) from error
            signs = (sign for sign in _STEPS if re.search(sign, message, re.IGNORECASE))
            step = _STEPS[next(signs, "")]
            raise DatabaseFault(self.where, f"it refused the work: {message}", step) from error


def _file() -> IO[bytes]:
    """A file in memory, where the system supports it."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("labmart"), "wb")
    return TemporaryFile()


def one_line(error: Exception) -> str:
    """DuckDB's message without its excerpt of the statement, ending with a full stop."""
    text = " ".join(str(error).split("\n\nLINE ")[0].split())
    return text if text.endswith((".", "?", "!")) else f"{text}."
