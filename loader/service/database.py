"""The service's own tables in PostgreSQL, and the connections to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg2
from psycopg2.extras import NamedTupleCursor

from loader.database import Database
from loader.embedded import start
from loader.engines.postgres import Connection, Pool, one_line, open_connection, where
from loader.engines.sql import quote
from loader.errors import ConfigError, DatabaseFault
from loader.service.settings import Settings

# Runs a statement with named values; its rows.
Run = Callable[..., list[Any]]

NAME = "labmart service"
_STATEMENT_SECONDS = 60

# What is shared by all that works on one schema; `labmart <schema>` is also the channel on which
# events and wishes to cancel are told.
_TABLES = """
create table jobs (
    id uuid primary key,
    -- The order in which jobs were accepted.
    number bigint generated always as identity unique,
    kind text not null check (kind in ('load', 'run', 'build', 'undo', 'redo')),
    state text not null default 'queued'
        check (state in ('queued', 'running', 'done', 'failed', 'cancelled')),
    -- The data are written (or there were none to write), and the build is still to come.
    awaits_build boolean not null default false,
    -- A worker works on it, or did so when it was killed.
    claimed boolean not null default false,
    cancel_requested boolean not null default false,
    -- How often a worker has begun with it.
    attempts integer not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    created_by text not null,
    options jsonb not null,
    -- Name, bytes and sha256 of each file, in order.
    files jsonb not null default '[]',
    -- The same for the same content and options.
    content_key text,
    idempotency_key text,
    progress jsonb,
    result jsonb,
    error jsonb,
    last_event bigint not null default 0
);
create unique index jobs_idempotency_key on jobs (created_by, idempotency_key);
create index jobs_content_key on jobs (content_key);
create index jobs_unfinished on jobs (number) where finished_at is null;

create table job_events (
    job_id uuid not null references jobs on delete cascade,
    number bigint not null,
    at timestamptz not null default clock_timestamp(),
    event text not null,
    data jsonb not null,
    primary key (job_id, number)
);

create table tokens (
    name text primary key,
    role text not null check (role in ('read', 'load', 'admin')),
    -- SHA-256 of the token.
    hash bytea not null unique,
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz
);
"""


def connect(database: Database, name: str = NAME) -> Connection:
    """Connect as dbt would, to the embedded server also if it has been stopped meanwhile."""
    if database.embedded is not None:
        start(database.embedded)
    return open_connection(database.profile, name)


def connect_to_tables(settings: Settings, name: str = NAME) -> Connection:
    """A connection on which names are those of the service's own tables; it commits by itself."""
    connection = connect(settings.database, name)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            f"set search_path to {quote(settings.schema)}, pg_catalog; "
            f"set statement_timeout = '{_STATEMENT_SECONDS}s'"
        )
    return connection


class Tables:
    """The service's own tables; threads may share them."""

    def __init__(self, settings: Settings, connections: int, name: str = NAME) -> None:
        self._pool = Pool(lambda: connect_to_tables(settings, name), connections)

    def close(self) -> None:
        self._pool.close()

    def run(self, sql: str, **values: object) -> list[Any]:
        """Run one statement by itself; its rows, if it has any."""
        with self._pool.connection() as connection:
            return _run(connection, sql, **values)

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        """What runs statements all of which are done or none."""
        with self._pool.connection() as connection, connection:
            yield partial(_run, connection)


def _run(connection: Connection, sql: str, **values: object) -> list[Any]:
    with connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        cursor.execute(sql, values or None)  # type: ignore[no-untyped-call]
        return cursor.fetchall() if cursor.description else []


@contextmanager
def prepared(settings: Settings, connections: int = 1, name: str = NAME) -> Iterator[Tables]:
    """The service's own tables, which are made when they are missing.

    Raises ConfigError for a target that is no PostgreSQL server, DatabaseUnreachable, or
    DatabaseFault for whatever the database says within the block.
    """
    profile = settings.profile
    if profile.engine != "postgres":
        raise ConfigError(
            profile.path,
            f"target {profile.target!r} has `type: {profile.engine}`; the service needs postgres.",
        )
    # Makes the embedded server run, and says in a person's words what is in the way.
    settings.database.ready()
    tables = Tables(settings, connections, name)
    try:
        with tables.transaction() as run:
            _make(run, settings.schema)
        yield tables
    except psycopg2.Error as error:
        raise DatabaseFault(where(profile), one_line(error), "Look into its log.") from None
    finally:
        tables.close()


def _make(run: Run, schema: str) -> None:
    # Of two servers that start at once, one waits for the other.
    run(
        "select pg_advisory_xact_lock(hashtextextended('labmart service ' || %(schema)s, 0))",
        schema=schema,
    )
    # `if not exists` alone would ask for the right to create what is there already.
    if not run("select 1 from pg_namespace where nspname = %(schema)s", schema=schema):
        run(f"create schema {quote(schema)}")
    if not run("select 1 where to_regclass('tokens') is not null"):
        run(_TABLES)
