"""DuckDB: opening its file, reading marts, writing the raw tables.

One process at a time can have the file open for writing, or any number for reading. So whoever
belongs to labmart holds a lock file beside it; when the lock is ours and the file is still taken,
by a DuckDB shell or a dbt that was called by hand, that program is named.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import duckdb

from loader.engines import Column, Engine, Row, Selection
from loader.engines.feeding import Pipes
from loader.engines.raw_store import RawStore
from loader.engines.sql import literal, quote
from loader.errors import ConfigError, DatabaseFault, DatabaseUnreachable, QueryFailed
from loader.locks import locked, wait_until
from loader.parsers.records import Batch, csv_cell
from loader.profile import Profile
from loader.project import expanded

Connection = duckdb.DuckDBPyConnection
_T = TypeVar("_T")


# DuckDB's types in PostgreSQL's words, which DuckDB understands as well.
_TYPES = {
    "BOOLEAN": "boolean",
    "TINYINT": "smallint",
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "HUGEINT": "numeric(38,0)",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "VARCHAR": "text",
    "DATE": "date",
    "TIMESTAMP": "timestamp without time zone",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
}


def _standard_type(type_: str) -> str:
    if decimal := re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", type_):
        return f"numeric({decimal[1]},{decimal[2]})"
    return _TYPES.get(type_, type_.lower())


def own_type(type_: str) -> str:
    """A type of PostgreSQL; text where DuckDB has none as wide."""
    numeric = re.fullmatch(r"numeric\((\d+),\d+\)", type_)
    is_known = int(numeric[1]) <= 38 if numeric else type_ in _TYPES.values()
    return type_ if is_known else "text"


# Opening the file, as dbt-duckdb would.

# Another program may be just about to end.
_PATIENCE_SECONDS = 10.0
_TAKEN = re.compile(r"Could not set lock on file|different configuration")
_HOLDER = re.compile(r"Conflicting lock is held in (.+?) \(PID (\d+)\)")


def path_of(profile: Profile) -> Path:
    """The file of a profile. Raises ConfigError if it means none."""
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
    """Keep the file to oneself, or share it with others who read."""
    path = path_of(profile)
    try:
        if not shared:
            path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f"{path.name}.lock"), shared=shared):
            yield
    except OSError as error:
        if error.filename is None:
            raise
        raise DatabaseUnreachable(
            f"{error.filename} cannot be written: {error.strerror}. Correct `path` in "
            f"{profile.path}, or LABMART_DUCKDB_PATH."
        ) from None


@contextmanager
def opened(profile: Profile, *, write: bool, locks: bool = True) -> Iterator[Connection]:
    """The file, open; an empty database if there is none yet and nothing is to be written.

    Without `locks` the caller holds the file's lock. Raises DatabaseUnreachable or ConfigError.
    """
    path = path_of(profile)
    with file_lock(profile, shared=not write) if locks else nullcontext():
        was_there = path.exists()
        connection = _connect(profile, path, write=write)
        try:
            # Times are printed; they must not depend on the machine.
            connection.execute("set TimeZone = 'UTC'")
            for name, value in _settings(profile, "settings").items():
                try:
                    connection.execute(f"set {name} = {literal(value)}")
                except duckdb.Error as error:
                    problem = f"`settings`: {name}: {one_line(error)}"
                    raise ConfigError(profile.path, problem) from None
            yield connection
        finally:
            is_empty = False
            with suppress(duckdb.Error):
                is_empty = not connection.execute("select 1 from duckdb_tables()").fetchall()
            connection.close()
            if write and is_empty and not was_there:
                # Nothing was committed, so nothing stays.
                path.unlink()


def _connect(profile: Profile, path: Path, *, write: bool) -> Connection:
    # A dict is invariant in its values, and DuckDB takes more than texts.
    config: dict[str, str | bool | int | float | list[str]] = {}
    config.update(_settings(profile, "config_options"))
    if not write and not path.exists():
        return duckdb.connect(":memory:", config=config)
    deadline = time.monotonic() + _PATIENCE_SECONDS

    def connection() -> Connection | None:
        try:
            return duckdb.connect(str(path), read_only=not write, config=config)
        except duckdb.Error as error:
            message = one_line(error)
            if not _TAKEN.search(message):
                raise DatabaseUnreachable(
                    f"DuckDB cannot open {path}: {message} Correct `path` in {profile.path}, or "
                    "move the file away."
                ) from None
            if time.monotonic() > deadline:
                held = _HOLDER.search(message)
                holder = f"{Path(held[1]).name}, process {held[2]}" if held else "another program"
                raise DatabaseUnreachable(
                    f"The database file {path} is open in {holder}, and DuckDB lets one program "
                    "write, or several read. Close it there and call again."
                ) from None
            return None

    return wait_until(connection, waiting=f"{path} is open in another program; waiting …")


def _settings(profile: Profile, key: str) -> dict[str, str]:
    """A mapping of the profile, whose values DuckDB turns into what they mean."""
    values = profile.values.get(key) or {}
    if not isinstance(values, Mapping):
        raise ConfigError(profile.path, f"`{key}` is no mapping of names to values.")
    return {str(name): str(value) for name, value in values.items()}


def _interruptible(
    connection: Connection, call: Callable[[], _T], stop: Callable[[], None] = lambda: None
) -> _T:
    """Call in a thread, so that a signal ends the statement and is raised as what it means.

    By itself the driver makes a RuntimeError of a signal, or sees it when the statement is done.
    `stop` is called besides, more than once, if the statement may wait for something else.
    """
    results: list[_T] = []
    failures: list[BaseException] = []
    # Whoever takes it first decides: the thread that begins, or a signal before it did.
    turn = threading.Lock()
    # Thread.join takes a thread for ended when a signal comes (bpo-45274).
    is_done = threading.Event()

    def work() -> None:
        if turn.acquire(blocking=False):
            try:
                results.append(call())
            except BaseException as error:
                failures.append(error)
            finally:
                is_done.set()

    try:
        # The signal may come while the thread starts.
        threading.Thread(target=work, name="labmart-duckdb", daemon=True).start()
        is_done.wait()
    except BaseException:
        has_begun = not turn.acquire(blocking=False)
        while has_begun and not is_done.is_set():
            # A statement that is only about to begin does not see the first.
            stop()
            connection.interrupt()
            is_done.wait(0.05)
        raise
    if failures:
        raise failures.pop()
    return results[0]


# Reading marts.

_ROWS_AT_ONCE = 5000


def connect(profile: Profile) -> DuckDB:
    """Open the file for reading. Raises DatabaseUnreachable with what to do next."""
    return DuckDB(opened(profile, write=False), profile.schema, str(path_of(profile)))


class DuckDB(Engine):
    """An open connection."""

    columns_sql = """
        select column_name, data_type from duckdb_columns()
        where database_name = current_database() and lower(schema_name) = lower(?)
            and table_name = ?
        order by column_index
    """

    def __init__(
        self, connection: AbstractContextManager[Connection], schema: str, where: str
    ) -> None:
        super().__init__(schema, where)
        self._open = ExitStack()
        self._connection = self._open.enter_context(connection)
        self._database = _database_of(self._connection)

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def all(
        self,
        sql: str,
        values: Sequence[object] = (),
        *,
        relation: str = "",  # noqa: ARG002 -- the driver's sentence says all
    ) -> list[tuple[Any, ...]]:
        with self._faults():
            connection = self._connection
            return _interruptible(
                connection, lambda: connection.execute(sql, list(values)).fetchall()
            )

    def stream(self, sql: str, relation: str = "") -> Iterator[Row]:  # noqa: ARG002 -- see `all`
        with self._faults():
            # A cursor of its own: the caller may ask something else between two rows.
            cursor = self._connection.cursor()
            cursor.execute("set TimeZone = 'UTC'")
            _interruptible(cursor, lambda: cursor.execute(sql))
            while rows := _interruptible(cursor, lambda: cursor.fetchmany(_ROWS_AT_ONCE)):
                yield from rows

    def write_csv(self, selection: Selection, file: IO[bytes]) -> None:
        """The lines are those that COPY of PostgreSQL writes."""
        names = ",".join(csv_cell(column.name) for column in selection.columns)
        file.write(f"{names}\n".encode())
        cells = " || ',' || ".join(_csv_sql(column) for column in selection.columns)
        for (line,) in self.stream(self.sql(selection, f"{cells} || chr(10)")):
            file.write(str(line).encode())

    def query(self, sql: str, limit: int) -> tuple[tuple[Column, ...], list[Row]]:
        rows = self.all(f"select * from (\n{sql}\n) as labmart_query limit {limit:d}")
        columns = tuple(
            Column(name=name, type=_standard_type(str(type_)))
            for name, type_, *_ in self._connection.description or ()
        )
        return columns, rows

    def relation(self, name: str) -> str:
        # The database may have the name of the schema, so both are always said.
        return f"{self._database}.{super().relation(name)}"

    standard_type = staticmethod(_standard_type)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except duckdb.Error as error:
            raise QueryFailed(self._where, one_line(error)) from None


def _database_of(connection: Connection) -> str:
    [(name,)] = connection.execute("select current_database()").fetchall()
    return quote(str(name))


def _csv_sql(column: Column) -> str:
    """A cell as COPY writes it: quoted if it is empty or has a delimiter, quote or line end."""
    text = f"m.{quote(column.name)}::text"
    if column.type != "text":
        return f"coalesce({text}, '')"
    return (
        f"case when {text} is null then '' "
        f"when {text} = '' or regexp_matches({text}, '[\",\\r\\n]') "
        f"then '\"' || replace({text}, '\"', '\"\"') || '\"' else {text} end"
    )


# Writing the raw tables.

# DuckDB takes at least so much memory for each pipe; longer records are read one by one.
_LONGEST_RECORD = 8 << 20
# Our own side fills no more than these.
_PIPES = 4
# Columns of numbers; all others that are written are texts.
_NUMBERS = ("line", "load_id")


@contextmanager
def connect_raw(profile: Profile, *, write: bool) -> Iterator[DuckDBRaw]:
    with opened(profile, write=write) as connection:
        try:
            store = DuckDBRaw(connection, profile.raw_schema, str(path_of(profile)))
            store.run("begin transaction")
            yield store
        finally:
            # There is nothing to roll back after a commit.
            with suppress(duckdb.Error):
                connection.rollback()


class DuckDBRaw(RawStore):
    """An open transaction on the raw tables."""

    relations_sql = """
        select c.table_name, case when v.view_oid is null then 'table' else 'view' end, '',
            c.column_name, c.data_type
        from duckdb_columns() as c
        left join duckdb_views() as v
            on v.database_oid = c.database_oid and v.view_oid = c.table_oid
                and v.schema_oid = c.schema_oid
        where c.database_name = current_database() and lower(c.schema_name) = lower(?)
        order by c.table_name, c.column_index
    """
    schemas_sql = """
        select 1 from duckdb_schemas()
        where database_name = current_database() and lower(schema_name) = lower(?)
    """

    def __init__(self, connection: Connection, schema: str, where: str) -> None:
        # The database may have the name of the schema, so both are always said.
        super().__init__(schema, f"{_database_of(connection)}.{quote(schema)}", where)
        self._connection = connection
        # Rows have a line and need no order; keeping one would cost memory.
        self.run("set preserve_insertion_order = false")

    def run(
        self,
        sql: str,
        values: Sequence[object] = (),
        *,
        right: str = "",  # noqa: ARG002 -- a file's tables know no rights
        stop: Callable[[], None] = lambda: None,
    ) -> list[tuple[Any, ...]]:
        """See `RawStore`; `stop` ends what the statement may wait for."""
        connection = self._connection
        try:
            return _interruptible(
                connection, lambda: connection.execute(sql, list(values)).fetchall(), stop
            )
        except duckdb.Error as error:
            raise fault(error, self.where) from None

    def json_value(self, column: str, key: str) -> str:
        # A pointer: a key that begins with $ would be a path.
        pointer = "/" + key.replace("~", "~0").replace("/", "~1")
        return f"json_extract_string({quote(column)}, {literal(pointer)})"

    standard_type = staticmethod(_standard_type)

    def copy(
        self, name: str, columns: Sequence[str], delimiter: str, batches: Iterator[Batch]
    ) -> int:
        """Insert batches, which are made in a thread of their own."""
        [(threads,)] = self.run("select current_setting('threads')")
        written = 0
        while True:
            pipes = Pipes(batches, min(threads, _PIPES), _LONGEST_RECORD)
            written += self._copied(name, columns, delimiter, pipes, _LONGEST_RECORD)
            if pipes.left is None:
                return written
            # DuckDB fills a buffer of the longest record's size before it reads any, so a
            # record that needs a huge one is read by itself.
            size = len(pipes.left) + 1
            alone = Pipes(iter([Batch(pipes.left.decode(), 0, (), 0)]), 1, size)
            written += self._copied(name, columns, delimiter, alone, size)

    def _copied(
        self, name: str, columns: Sequence[str], delimiter: str, pipes: Pipes, longest: int
    ) -> int:
        """Write the records that pipes give, of at most so many bytes each; how many."""
        types = ", ".join(
            f"{literal(column)}: '{'bigint' if column in _NUMBERS else 'text'}'"
            for column in columns
        )
        rows = (
            f"select * from read_csv([{', '.join(map(literal, pipes.paths))}], "
            f"auto_detect = false, header = false, delim = {literal(delimiter)}, quote = '\"', "
            f"escape = '\"', nullstr = '', allow_quoted_nulls = false, new_line = '\\n', "
            f"encoding = 'utf-8', max_line_size = {longest}, buffer_size = {2 * longest}, "
            f"columns = {{{types}}})"
        )
        with pipes.running():
            return self.insert(name, rows, pipes)

    def insert(self, name: str, rows: str, pipes: Pipes) -> int:
        """Write the rows of a query, which reads the pipes, into a table; how many there were."""
        [(written,)] = self.run(f"insert into {self.table(name)} by name {rows}", stop=pipes.stop)
        return int(written)

    def end(self) -> None:
        self.run("commit")


# Faults as sentences.

# By what DuckDB says: what is wrong, and what to do.
_KNOWN = (
    (
        "No space left|disk quota|File too large",
        "its disk is full",
        "Make room, for example with `labmart prune`, and call again.",
    ),
    (
        "Out of Memory|failed to allocate|could not allocate",
        "it is out of memory",
        "Give it more (`settings: {memory_limit: …}` in profiles.yml), or close other programs; "
        "call again.",
    ),
    ("read-only", "it takes no writing", "See who owns the file and its folder, and call again."),
    (
        "IO Error|Serialization Error|FATAL|INTERNAL",
        "it cannot read or write its file",
        "Look at the disk, then call again.",
    ),
    ("TransactionContext", "the work collided with somebody else's", "Call again."),
)


def fault(error: duckdb.Error, where: str) -> DatabaseFault:
    message = one_line(error)
    for pattern, problem, step in _KNOWN:
        if re.search(pattern, message, re.IGNORECASE):
            return DatabaseFault(where, f"{problem}: {message}", step)
    return DatabaseFault(where, f"it refused the work: {message}", "Correct that and call again.")


def one_line(error: Exception) -> str:
    """DuckDB's message without the picture of the statement, ending with a full stop."""
    text = " ".join(str(error).split("\n\nLINE ")[0].split())
    return text if text.endswith((".", "?", "!")) else f"{text}."
