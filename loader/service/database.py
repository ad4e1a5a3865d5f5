"""The service's connections to PostgreSQL: SQLAlchemy's pool over psycopg2, the one driver.

The pool of the jobs and tokens is opened here; that of the marts, which can only read, in
`loader.service.answers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg2.extensions
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from loader.database import Database
from loader.embedded import start
from loader.engines.postgres import one_line, open_connection, where
from loader.engines.sql import quote
from loader.errors import DatabaseFault
from loader.service.settings import Settings

_NAME = "labmart service"
_STATEMENT_SECONDS = 60
_WAIT_SECONDS = 10.0

# What is shared by all that works on one schema; `labmart <schema>` is also the channel on which
# events and wishes to cancel are told.
_TABLES = """
create table if not exists jobs (
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
    -- The same for the same content and options.
    content_key text,
    idempotency_key text,
    progress jsonb,
    result jsonb,
    error jsonb,
    last_event bigint not null default 0
);
create unique index if not exists jobs_idempotency_key on jobs (created_by, idempotency_key);
create index if not exists jobs_content_key on jobs (content_key);
create index if not exists jobs_unfinished on jobs (number) where finished_at is null;

create table if not exists uploads (
    job_id uuid not null references jobs on delete cascade,
    position integer not null,
    name text not null,
    bytes bigint not null,
    sha256 text not null,
    primary key (job_id, position)
);

create table if not exists job_events (
    job_id uuid not null references jobs on delete cascade,
    number bigint not null,
    at timestamptz not null default clock_timestamp(),
    event text not null,
    data jsonb not null,
    primary key (job_id, number)
);

create table if not exists tokens (
    name text primary key,
    role text not null check (role in ('read', 'load', 'admin')),
    -- SHA-256 of the token.
    hash bytea not null unique,
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz
);
"""
# The jobs of version 0.1, whose order was kept by procrastinate; its functions may stay.
_UPGRADE = """
alter table jobs drop column queue_id, add column claimed boolean not null default false;
update jobs set awaits_build = true where kind = 'build' and finished_at is null;
drop table if exists procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers,
    procrastinate_workers cascade;
drop type if exists procrastinate_job_status, procrastinate_job_event_type cascade;
drop function if exists append_event;
"""


def make_engine(
    database: Database,
    name: str,
    *,
    connections: int,
    wait: float = _WAIT_SECONDS,
    ping: bool = True,
    begin: Callable[[psycopg2.extensions.connection], None] | None = None,
) -> Engine:
    """A pool of so many connections, each opened as dbt would; `begin` gets each new one first.

    Who finds none free waits so many seconds, and then gets SQLAlchemy's TimeoutError. With
    `ping` a connection that broke while it was idle is replaced.
    """

    def connect() -> psycopg2.extensions.connection:
        if database.embedded is not None:
            start(database.embedded)
        connection = open_connection(database.profile, name)
        if begin is not None:
            begin(connection)
        return connection

    return create_engine(
        "postgresql+psycopg2://",
        creator=connect,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=wait,
        pool_pre_ping=ping,
        use_native_hstore=False,
    )


def service_engine(settings: Settings, connections: int, name: str = _NAME) -> Engine:
    """The pool of the service's own tables, whose schema comes first in the search path."""

    def begin(connection: psycopg2.extensions.connection) -> None:
        enter_schema(connection, settings)
        with connection.cursor() as cursor:
            cursor.execute(f"set statement_timeout = '{_STATEMENT_SECONDS}s'")
        connection.commit()

    return make_engine(settings.database, name, connections=connections, begin=begin)


def enter_schema(connection: psycopg2.extensions.connection, settings: Settings) -> None:
    """Let the names in SQL be those of the service's own tables."""
    with connection.cursor() as cursor:
        cursor.execute(f"set search_path to {quote(settings.schema)}, pg_catalog")
    connection.commit()


def run_plainly(connection: Connection, sql: str) -> None:
    """Run SQL without parameters, in which names may hold what would mean some."""
    connection.exec_driver_sql(sql.replace("%", "%%"))


@contextmanager
def prepared(settings: Settings, connections: int = 1, name: str = _NAME) -> Iterator[Engine]:
    """The pool of the service's own tables, which are made when they are missing.

    Raises DatabaseUnreachable, or DatabaseFault for whatever the database says within the block.
    """
    # Makes the embedded server run, and says in a person's words what is in the way.
    settings.database.ready()
    engine = service_engine(settings, connections, name)
    try:
        _prepare(engine, settings.schema)
        yield engine
    except SQLAlchemyError as error:
        reason = one_line(getattr(error, "orig", None) or error)
        raise DatabaseFault(where(settings.profile), reason, "Look into its log.") from None
    finally:
        engine.dispose()


def _prepare(engine: Engine, schema: str) -> None:
    with engine.begin() as connection:

        def answer(sql: str, **parameters: object) -> object:
            return connection.execute(text(sql), parameters).scalar()

        # Of two servers that start at once, one waits for the other.
        answer(
            "select pg_advisory_xact_lock(hashtextextended('labmart service ' || :schema, 0))",
            schema=schema,
        )
        # `if not exists` alone would ask for the right to create what is there already.
        if answer("select to_regnamespace(quote_ident(:schema))", schema=schema) is None:
            run_plainly(connection, f"create schema {quote(schema)}")
        if answer("select to_regclass('tokens')") is None:
            run_plainly(connection, _TABLES)
        if answer(
            "select 1 from pg_attribute where attrelid = to_regclass('jobs') "
            "and attname = 'queue_id' and not attisdropped"
        ):
            run_plainly(connection, _UPGRADE)
