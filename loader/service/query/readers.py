"""Connections that can read, and nothing else.

Each query runs in a read-only transaction, as the role that `labmart roles` makes for reading where
it is there, and no longer than a statement may take. The table is locked against being replaced
before the first look at it: in a transaction that began to look before dbt put a new table in the
old one's place, the new one would appear empty.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import IO

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from loader.database import Database
from loader.embedded import start
from loader.engines import Row
from loader.engines.postgres import one_line, open_connection, where
from loader.engines.sql import quote
from loader.errors import (
    DatabaseUnreachable,
    NotBuilt,
    Outdated,
    QueryFailed,
    QueryTooSlow,
    TooBusy,
)
from loader.roles import reader_of
from loader.service.query.statements import Source, Sql

# Seconds that a statement may take, and that one waits for a table or for a free connection.
STATEMENT_SECONDS = 60.0
PATIENT_SECONDS = 600.0
LOCK_SECONDS = 5.0
WAIT_SECONDS = 10.0
MOST_CONNECTIONS = 6
# Rows that the server is asked for at a time.
_PORTION = 2000


@dataclass(frozen=True)
class _Session:
    """A connection, and the SQL that each of its transactions begins with."""

    connection: psycopg2.extensions.connection
    settings: str


class Reading:
    """One transaction on one table."""

    def __init__(
        self, connection: psycopg2.extensions.connection, source: Source, place: str
    ) -> None:
        self._connection = connection
        self._place = place
        self.source = source

    def run(self, sql: Sql) -> list[Row]:
        """All rows of a statement."""
        with self._faults(), self._connection.cursor() as cursor:
            cursor.execute(sql.text, sql.values)
            return list(cursor)

    def run_patiently(self, sql: Sql) -> list[Row]:
        """The same of one that is needed once after each build, however large the table is."""
        with self._faults(), self._connection.cursor() as cursor:
            cursor.execute(f"set local statement_timeout = {int(PATIENT_SECONDS * 1000)}")
            cursor.execute(sql.text, sql.values)
            found = list(cursor)
            cursor.execute(f"set local statement_timeout = {int(STATEMENT_SECONDS * 1000)}")
            return found

    def stream(self, sql: Sql) -> Iterator[Row]:
        """The rows of a statement, a portion at a time."""
        with self._faults(), self._connection.cursor("labmart_rows") as cursor:
            cursor.itersize = _PORTION
            cursor.execute(sql.text, sql.values)
            yield from cursor

    def copy(self, sql: Sql, out: IO[bytes]) -> None:
        """The rows of a statement as CSV."""
        with self._faults(), self._connection.cursor() as cursor:
            text = cursor.mogrify(sql.text, sql.values).decode()
            cursor.copy_expert(f"copy ({text}) to stdout (format csv, header)", out)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except psycopg2.errors.QueryCanceled:
            raise QueryTooSlow(self._place, STATEMENT_SECONDS) from None
        except psycopg2.errors.UndefinedColumn as error:
            relation = f"{self.source.schema}.{self.source.contract.name}"
            raise Outdated(relation, one_line(error)) from None
        except psycopg2.OperationalError as error:
            raise _lost(error, self._place) from None
        except psycopg2.Error as error:
            raise QueryFailed(self._place, one_line(error)) from None


class Readers:
    """A few connections to the database of the marts, made when they are needed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._lock = threading.Lock()
        self._idle: list[_Session] = []
        self._closed = False

    def close(self) -> None:
        """Close what is idle now, and the others when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for session in idle:
            session.connection.close()

    @contextmanager
    def reading(self, source: Source, *, may_be_absent: bool = False) -> Iterator[Reading]:
        """A transaction on a table. Raises NotBuilt, TooBusy, QueryTooSlow, DatabaseUnreachable.

        With `may_be_absent` a table that is not there yet is one without rows.
        """
        if not self._free.acquire(timeout=WAIT_SECONDS):
            raise TooBusy(MOST_CONNECTIONS)
        try:
            session = self._begin()
            try:
                found = self._locked(session, source, may_be_absent)
                yield Reading(session.connection, found, self._place)
            finally:
                self._give_back(session)
        finally:
            self._free.release()

    @property
    def _place(self) -> str:
        return where(self._database.profile)

    def _begin(self) -> _Session:
        """A session in a new transaction; one that broke while it was idle is replaced."""
        while True:
            with self._lock:
                idle = self._idle.pop() if self._idle else None
            session = idle or self._open()
            try:
                with session.connection.cursor() as cursor:
                    # These look at no table yet, so they fix no point in time for what follows.
                    cursor.execute(session.settings)
            except psycopg2.Error as error:
                session.connection.close()
                if idle is None:
                    raise _lost(error, self._place) from None
            else:
                return session

    def _open(self) -> _Session:
        if self._database.embedded is not None:
            start(self._database.embedded)
        connection = open_connection(self._database.profile, "labmart read")
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        settings = (
            f"set local statement_timeout = {int(STATEMENT_SECONDS * 1000)}; "
            f"set local lock_timeout = {int(LOCK_SECONDS * 1000)}"
        )
        # Whoever has more rights than the reading role gives them up for the query.
        role = f"; set local role {quote(reader_of(self._database.profile.schema))}"
        try:
            with connection.cursor() as cursor:
                cursor.execute(settings + role)
            settings += role
        except (psycopg2.errors.InvalidParameterValue, psycopg2.errors.InsufficientPrivilege):
            # There is no such role, or we may not become it: `labmart roles` has not been called.
            pass
        finally:
            connection.rollback()
        return _Session(connection, settings)

    def _give_back(self, session: _Session) -> None:
        with suppress(psycopg2.Error):
            session.connection.rollback()
        with self._lock:
            if not self._closed and not session.connection.closed:
                self._idle.append(session)
                return
        session.connection.close()

    def _locked(self, session: _Session, source: Source, may_be_absent: bool) -> Source:
        table = f"{quote(source.schema)}.{quote(source.contract.name)}"
        try:
            with session.connection.cursor() as cursor:
                cursor.execute(f"lock table {table} in access share mode")
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName):
            if not may_be_absent:
                raise NotBuilt(f"{source.schema}.{source.contract.name}", self._place) from None
            session.connection.rollback()
            return replace(source, absent=True)
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled):
            raise QueryTooSlow(self._place, LOCK_SECONDS) from None
        except psycopg2.OperationalError as error:
            raise _lost(error, self._place) from None
        except psycopg2.Error as error:
            raise QueryFailed(self._place, one_line(error)) from None
        return source


def _lost(error: psycopg2.Error, place: str) -> DatabaseUnreachable:
    return DatabaseUnreachable(f"The connection to {place} was lost: {one_line(error)} Call again.")
