"""What a server or a worker is started with; the service's own tables, and connections to them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extras import NamedTupleCursor

from loader.database import Database
from loader.embedded import start
from loader.engines.postgres import Connection, Pool, one_line, open_connection, where
from loader.engines.sql import quote
from loader.errors import ConfigError, DatabaseFault
from loader.profile import Profile

# Runs a statement with named values; its rows.
Run = Callable[..., list[Any]]

# Host names that only reach this machine.
_LOOPBACK_NAMES = ("localhost", "ip6-localhost")
NAME = "labmart service"
_STATEMENT_SECONDS = 60

# What all share that work on one schema.
_TABLES = """
create table jobs (
    id uuid primary key,
    -- The order in which jobs were accepted.
    number bigint generated always as identity unique,
    kind text not null check (kind in ('load', 'build', 'undo', 'redo')),
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
    idempotency_key text,
    progress jsonb,
    result jsonb,
    error jsonb,
    last_event bigint not null default 0
);
create unique index jobs_idempotency_key on jobs (created_by, idempotency_key);
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


@dataclass(frozen=True)
class Settings:
    """Where a server listens, what it works on, what it accepts.

    `spool` holds uploads until they are loaded; service and worker have to share it. An upload ends
    when nothing comes for `idle_seconds`.
    """

    database: Database
    target: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    spool: Path | None = None
    worker: bool = True
    require_token: bool = False
    token_file: Path | None = None
    upload_bytes: int = 10_000_000_000
    idle_seconds: float = 30.0

    @property
    def profile(self) -> Profile:
        return self.database.profile

    @property
    def schema(self) -> str:
        return f"{self.profile.schema}_service"

    @property
    def spool_folder(self) -> Path:
        return self.spool or self.database.project.root / ".labmart" / "uploads"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def open_to_all(self) -> bool:
        """Whether a call without a token may do everything."""
        return self.is_loopback and not self.require_token


def is_loopback(host: str) -> bool:
    """Whether a host's name, or its address, means this machine alone."""
    bare = host.strip().rstrip(".").lower().removeprefix("[").removesuffix("]")
    if bare in _LOOPBACK_NAMES or bare.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


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
            schema = settings.schema
            # Of two servers that start at once, one waits for the other.
            run(
                "select pg_advisory_xact_lock(hashtextextended('labmart service ' || %(own)s, 0))",
                own=schema,
            )
            # `if not exists` alone would ask for the right to create what is there already.
            if not run("select 1 from pg_namespace where nspname = %(own)s", own=schema):
                run(f"create schema {quote(schema)}")
            if not run("select 1 where to_regclass('tokens') is not null"):
                run(_TABLES)
        yield tables
    except psycopg2.Error as error:
        raise DatabaseFault(where(profile), one_line(error), "Look into its log.") from None
    finally:
        tables.close()
