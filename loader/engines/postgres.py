"""PostgreSQL: connects, reads marts, writes the raw tables.

Faults are identified by PostgreSQL's codes (postgresql.org, "PostgreSQL Error Codes").
"""

from __future__ import annotations

import re
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from io import BytesIO
from queue import Empty, LifoQueue
from typing import IO, Any

import psycopg2
import psycopg2.extensions
from psycopg2 import errors

from loader.contract import Column
from loader.engines import Engine, Row, Selection, quote
from loader.engines.raw_store import RawStore
from loader.errors import (
    DatabaseFault,
    DatabaseUnreachable,
    LabmartError,
    NotBuilt,
    Outdated,
    QueryFailed,
    QueryTooSlow,
    TooBusy,
    UsageError,
)
from loader.locks import interruptible, wait_until
from loader.project import RAW_SCHEMA_VARIABLE, Profile
from loader.sources import LONGEST_NAME

Connection = psycopg2.extensions.connection


# Connecting.

# Entries of profiles.yml that libpq has too, under libpq's names.
_PASSED_ON = (
    *("host", "port", "user", "keepalives_idle"),
    *("sslmode", "sslcert", "sslkey", "sslrootcert"),
)


def open_connection(profile: Profile, name: str) -> Connection:
    """Connect as dbt would. Raises DatabaseUnreachable, which says what to do.

    `name` appears in pg_stat_activity, unless the profile sets another `application_name`.
    """
    try:
        connection = psycopg2.connect(psycopg2.extensions.make_dsn(**_parameters(profile, name)))
    except psycopg2.OperationalError as error:
        raise _unreachable(error, profile) from None
    try:
        connection.set_client_encoding("UTF8")
        with connection.cursor() as cursor:
            # A server or role may have other defaults; our output must not depend on them.
            cursor.execute("set datestyle = 'ISO, YMD'; set timezone = 'UTC'")
            if profile.text("role"):
                cursor.execute(f"set role {quote(profile.text('role'))}")
        connection.commit()
    except psycopg2.Error as error:
        connection.close()
        raise QueryFailed(where(profile), one_line(error)) from None
    encoding = connection.get_parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        raise DatabaseUnreachable(
            f"The database {profile.database!r} at {where(profile)} has the encoding {encoding}, "
            "and labmart needs UTF8. Make one (`createdb --encoding UTF8 --template template0 "
            "NAME`) and name it with PGDATABASE."
        )
    return connection


def _parameters(profile: Profile, name: str) -> dict[str, str]:
    """What libpq needs to connect as dbt would, under libpq's names."""
    values = {key: profile.text(key) for key in _PASSED_ON} | {
        "password": profile.text("password") or profile.text("pass"),
        "dbname": profile.database,
        "connect_timeout": profile.text("connect_timeout") or "10",
        "application_name": profile.text("application_name") or name,
    }
    # What is not given is left to libpq, which reads PGPASSWORD and ~/.pgpass.
    return {key: value for key, value in values.items() if value not in ("", "0")}


def where(profile: Profile) -> str:
    """The server for messages: host and port, or the socket's directory."""
    host = profile.text("host")
    return host if host.startswith("/") else f"{host}:{profile.text('port') or '5432'}"


def _unreachable(error: psycopg2.OperationalError, profile: Profile) -> DatabaseUnreachable:
    """Why the connection failed. libpq gives no codes here, only its English messages."""
    message = one_line(error)
    steps = {
        "password|no pg_hba.conf entry|authentication failed": "Set PGPASSWORD, or put it into "
        "~/.pgpass; PGUSER names another user.",
        'database ".*" does not exist': f"Create it (`createdb {profile.database}`), or name "
        "another one with PGDATABASE.",
        'role ".*" does not exist': f"Create it (`createuser {profile.text('user')}`), or name "
        "another one with PGUSER.",
        "": "Start the server, or correct host and port (PGHOST, PGPORT, or profiles.yml). Without "
        "PGHOST labmart uses its own PostgreSQL.",
    }
    step = next(step for sign, step in steps.items() if re.search(sign, message))
    return DatabaseUnreachable(f"No way into PostgreSQL at {where(profile)}: {message} {step}")


def one_line(error: Exception) -> str:
    """The driver's message on one line, ending with a full stop."""
    text = " ".join(str(error).split())
    # libpq repeats the address, which our message already has, before each attempt (with and
    # without encryption, for each address of the host). The attempts mostly fail alike.
    attempts = re.split(r"connection to server (?:at|on) .*? failed: ", text)
    messages = dict.fromkeys(part.strip().removeprefix("FATAL: ").strip() for part in attempts)
    text = " ".join(message for message in messages if message)
    return text if text.endswith((".", "?", "!")) else f"{text}."


class Pool:
    """A limited number of connections, opened on demand and shared by threads.

    If none is free within `wait` seconds, the caller gets TooBusy.
    """

    def __init__(self, connect: Callable[[], Connection], most: int, *, wait: float = 10.0) -> None:
        self._connect, self._most, self._wait = connect, most, wait
        # None stands for a connection not yet opened.
        self._free: LifoQueue[Connection | None] = LifoQueue()
        for _ in range(most):
            self._free.put(None)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection, whose transaction is rolled back at the end unless it was committed."""
        try:
            connection = self._free.get(timeout=self._wait)
        except Empty:
            raise TooBusy(self._most) from None
        try:
            if connection is None or _has_left(connection):
                connection = self._connect()
            try:
                yield connection
            finally:
                with suppress(psycopg2.Error):
                    connection.rollback()
        finally:
            self._free.put(None if connection is None or connection.closed else connection)

    def close(self) -> None:
        with suppress(Empty):
            while True:
                if connection := self._free.get_nowait():
                    connection.close()


def _has_left(connection: Connection) -> bool:
    """Whether the server has ended an idle connection: any input means that."""
    ready = select.poll()
    ready.register(connection.fileno(), select.POLLIN)
    if ready.poll(0):
        connection.close()
    return bool(connection.closed)


def literal(text: str) -> str:
    """A literal that means the same whatever standard_conforming_strings is."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


# Text types, whose order would depend on the server's collation.
_TEXT_TYPES = ("text", "character varying", "character", "name", "citext")
# More rows are fetched in portions.
_ROWS_AT_ONCE = 5000
# Leading characters that make a spreadsheet read a cell as a formula.
_FORMULA_SIGNS = "=+-@\t\r"
# A server or role may limit sessions to seconds; a large load takes minutes, and is idle while a
# file is being opened. A load that was reported as done must survive a server crash.
_SETTINGS = """
    select set_config(name, case setting when 'off' then 'on' else '0' end, true)
    from pg_settings
    where
        name in (
            'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
            'transaction_timeout'
        )
        or (name = 'synchronous_commit' and setting = 'off')
"""


@contextmanager
def connect(profile: Profile) -> Iterator[Postgres]:
    """Connect as dbt would, read-only. Raises DatabaseUnreachable."""
    with closing(open_connection(profile, "labmart")) as connection:
        connection.set_session(readonly=True)
        yield Postgres(connection, profile.schema, where(profile), writes=False)


@contextmanager
def connect_raw(profile: Profile, *, write: bool) -> Iterator[RawStore]:
    """See `raw_store.open_store`."""
    schema = profile.raw_schema
    if len(schema.encode()) > LONGEST_NAME:
        raise UsageError(
            f"{RAW_SCHEMA_VARIABLE} is too long: {schema!r} has more than {LONGEST_NAME} bytes."
        )
    with closing(open_connection(profile, "labmart load")) as connection:
        # Read committed: after taking the lock we see what the last load left.
        connection.set_session(isolation_level="READ COMMITTED", readonly=not write or None)
        engine = Postgres(connection, schema, where(profile), writes=True)
        try:
            engine.run(_SETTINGS)
            # The macro lock_raw_tables takes the same lock.
            name = literal(f"labmart raw tables {schema}")
            lock = f"select pg_try_advisory_xact_lock(hashtextextended({name}, 0))"
            if write:
                wait_until(lambda: bool(engine.run(lock)[0][0]))
            yield RawStore(engine)
        finally:
            # The server notices a closed connection only some time later.
            with suppress(psycopg2.Error):
                connection.rollback()


class Postgres(Engine):
    """A connection. Its transaction ends with it, or with an error unless it writes.

    `absent` are the columns of a relation that does not exist yet, which reads as empty.
    """

    columns_sql = """
        select c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
        from pg_attribute as a
        inner join pg_class as c on c.oid = a.attrelid and c.relkind not in ('i', 'I')
        inner join pg_namespace as n on n.oid = c.relnamespace
        where n.nspname = {schema} and a.attnum > 0 and not a.attisdropped
        order by a.attnum
    """
    has_ranges = True
    literal = staticmethod(literal)

    def __init__(
        self,
        connection: Connection,
        schema: str,
        where: str,
        *,
        writes: bool,
        absent: Sequence[Column] = (),
    ) -> None:
        super().__init__(schema, where, writes=writes)
        self._connection = connection
        self._absent = absent

    def described(
        self, sql: str, values: Sequence[object] = (), relation: str = ""
    ) -> tuple[tuple[Column, ...], list[tuple[Any, ...]]]:
        def result() -> tuple[tuple[Column, ...], list[tuple[Any, ...]]]:
            with self._connection.cursor() as cursor:
                cursor.execute(sql, values or None)
                columns = tuple(
                    Column(item.name, "numeric" if item.type_code == psycopg2.NUMBER else "text")
                    for item in cursor.description or ()
                )
                return columns, cursor.fetchall() if columns else []

        with self._faults(relation):
            return interruptible(result, self._connection.cancel)

    def rows(self, selection: Selection) -> Iterator[Row]:
        sql, relation = self.sql(selection), selection.relation
        if selection.limit is not None and selection.limit <= _ROWS_AT_ONCE:
            yield from self.described(sql, relation=relation)[1]
            return
        # A named cursor leaves the result on the server and fetches it in portions.
        with self._faults(relation), self._connection.cursor("labmart_rows") as cursor:
            interruptible(lambda: cursor.execute(sql), self._connection.cancel)
            fetch = partial(cursor.fetchmany, _ROWS_AT_ONCE)
            while rows := interruptible(fetch, self._connection.cancel):
                yield from rows

    def write_csv(
        self, selection: Selection, file: IO[bytes], *, escape_formulas: bool = False
    ) -> None:
        """See `Engine`; `escape_formulas` puts a ' before text a spreadsheet would execute."""

        def cell(column: Column) -> str:
            value = name = f"m.{quote(column.name)}"
            if column.type == "boolean":
                # COPY writes t and f; as text they are true and false.
                value = f"{name}::text"
            elif escape_formulas and _is_text(column):
                begins = f"strpos({literal(_FORMULA_SIGNS)}, left({name}, 1)) > 0"
                value = f"case when {name} > '' and {begins} then '''' || {name} else {name} end"
            return f"{value} as {quote(column.name)}"

        sql = self.sql(selection, ", ".join(map(cell, selection.columns)))
        with self._faults(selection.relation), self._connection.cursor() as cursor:
            cursor.copy_expert(f"copy ({sql}) to stdout (format csv, header)", file)

    def relation(self, name: str) -> str:
        if not self._absent:
            return super().relation(name)
        nulls = ", ".join(f"null::{item.type} as {quote(item.name)}" for item in self._absent)
        return f"(select {nulls} where false)"

    def key(self, column: Column) -> str:
        # Code point order is the same on every server; a server's collation is not.
        return super().key(column) + (' collate "C"' if _is_text(column) else "")

    def json_value(self, column: str, key: str) -> str:
        return f"{quote(column)}::json ->> {literal(key)}"

    def insert(self, table: str, columns: Sequence[str], delimiter: str, chunk: bytes) -> None:
        sql = (
            f"copy {table} ({', '.join(map(quote, columns))}) from stdin (format csv, "
            f"delimiter {literal(delimiter)}, quote '\"', encoding 'UTF8')"
        )

        # During COPY the driver does not read the server's messages: it learns of a full disk only
        # at the end of a chunk.
        def copy() -> None:
            with _honest_copy(), self._connection.cursor() as cursor:
                cursor.copy_expert(sql, BytesIO(chunk), RawStore.chunk)

        with self._faults():
            interruptible(copy, self._connection.cancel)

    def analyze(self, table: str) -> None:
        self.run(f"analyze {table}")

    def commit(self) -> None:
        with self._faults(is_commit=True):
            self._connection.commit()

    @contextmanager
    def _faults(self, relation: str = "", *, is_commit: bool = False) -> Iterator[None]:
        """Turn the driver's errors into ours, and chain them."""
        try:
            yield
        except psycopg2.Error as error:
            if self.writes:
                raise _refused_work(error, self.where, is_commit=is_commit) from error
            if not self._connection.closed:
                self._connection.rollback()
            relation = relation and f"{self.schema}.{relation}"
            raise _refused_query(error, self.where, relation) from error


def _is_text(column: Column) -> bool:
    return column.type.split("(", 1)[0].strip() in _TEXT_TYPES


@contextmanager
def _honest_copy() -> Iterator[None]:
    """Raise what the server said when it ended the connection during COPY.

    psycopg2 2.9 then meets a second error, "server closed the connection", raises that one and
    passes the first to sys.excepthook, which would print a traceback.
    """
    heard: list[BaseException | None] = []
    before = sys.excepthook
    sys.excepthook = lambda _, error, __: heard.append(error.__cause__)
    try:
        yield
    except psycopg2.OperationalError as error:
        raise next((cause for cause in heard if isinstance(cause, psycopg2.Error)), error) from None
    finally:
        sys.excepthook = before


# Faults as messages.

# What to do, by code or class (its first two characters). The server itself says what is wrong.
_STEPS = {
    "53100": "Make room, for example with `labmart prune`, and call again.",
    "53": "Give it more of that, or close other programs; call again.",
    "25006": "Name the primary server with PGHOST, or a user who may write with PGUSER.",
    "42501": "`labmart roles` makes roles with the rights to load, to build and to read.",
    **dict.fromkeys(("40", "55", "57", "23505", "42P06", "42P07"), "Call again."),
    **dict.fromkeys(("58", "XX"), "Look into its log."),
}
_LOST = ("57P01", "57P02", "57P03", "57P05", "25P03", "25P04")


def _refused_work(error: psycopg2.Error, where: str, *, is_commit: bool) -> DatabaseFault:
    code = error.pgcode or ""
    parts = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
    sentences = " ".join(part.rstrip(".") + "." for part in parts if part)
    message = " ".join(sentences.split()) or one_line(error)
    if not _is_lost(error):
        step = _STEPS.get(code) or _STEPS.get(code[:2]) or "Correct that and call again."
        return DatabaseFault(where, f"it refused the work: {message}", step)
    step = "See that the server runs, and call again."
    if not is_commit:
        return DatabaseFault(where, f"the connection was lost: {message}", step)
    return DatabaseFault(
        where,
        f"the connection was lost in the moment of the commit: {message}",
        f"{step} `labmart loads` shows which; what is there already is not loaded twice.",
        outcome="Either all of it was written or nothing.",
    )


def _refused_query(error: psycopg2.Error, where: str, relation: str) -> LabmartError:
    message = one_line(error)
    if isinstance(error, errors.LockNotAvailable | errors.QueryCanceled):
        return QueryTooSlow(where)
    if relation and isinstance(error, errors.UndefinedColumn):
        return Outdated(relation, message)
    if relation and isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName):
        return NotBuilt(relation, where)
    if error.pgcode is None and _is_lost(error):
        return DatabaseUnreachable(f"The connection to {where} was lost: {message} Call again.")
    return QueryFailed(where, message)


def _is_lost(error: psycopg2.Error) -> bool:
    code = error.pgcode
    if code is not None:
        return code in _LOST or code.startswith("08")
    return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
