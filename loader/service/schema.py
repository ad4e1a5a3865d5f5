"""The schema S_service: the service's own tables, and procrastinate's beside them."""

from __future__ import annotations

from procrastinate.schema import SchemaManager
from psycopg import sql

from loader.service.database import Connection, connected
from loader.service.settings import Settings

# One row of `jobs` is one request that was accepted. It alone says what state a job is in;
# procrastinate's rows only say what a worker has to look at next.
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
    cancel_requested boolean not null default false,
    -- How often a worker has begun with it.
    attempts integer not null default 0,
    -- procrastinate's job that works on it now or next.
    queue_id bigint,
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

-- Number an event of each job, keep it, and wake who follows them.
create or replace function append_event(jobs_told uuid[], what text, content jsonb)
returns void language sql as $$
    with numbered as (
        update jobs set last_event = last_event + 1 where id = any(jobs_told)
        returning id, last_event
    ), kept as (
        insert into job_events (job_id, number, event, data)
        select id, last_event, what, content from numbered
        returning job_id
    )
    select pg_notify('labmart ' || current_schema(), job_id::text) from kept
$$;

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


def prepare(settings: Settings) -> None:
    """Make the database ready: the embedded server, the schema. Raises as `connected`."""
    schema = settings.schema
    with connected(settings) as connection, connection.transaction():
        # Of two servers that start at once, one waits for the other.
        connection.execute(
            "select pg_advisory_xact_lock(hashtextextended('labmart service ' || %s, 0))", (schema,)
        )
        # `if not exists` alone would ask for the right to create what is there already.
        if not _exists(connection, "select to_regnamespace(quote_ident(%s))", schema):
            connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
        if not _exists(connection, "select to_regclass(%s)", "tokens"):
            connection.execute(_TABLES.encode())
        if not _exists(connection, "select to_regclass(%s)", "procrastinate_jobs"):
            connection.execute(SchemaManager.get_schema())


def _exists(connection: Connection, query: str, name: str) -> bool:
    row = connection.execute(query.encode(), (name,)).fetchone()
    return row is not None and None not in row.values()
