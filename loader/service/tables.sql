-- What all share that work on one schema.
create table jobs (
    id uuid primary key,
    -- The order in which jobs were accepted.
    number bigint generated always as identity unique,
    kind text not null check (kind in ('load', 'build', 'undo', 'redo')),
    state text not null default 'queued'
        check (state in ('queued', 'running', 'done', 'failed', 'cancelled')),
    -- The data are written (or there were none to write), and the build is still to come.
    awaits_build boolean not null default false,
    cancel_requested boolean not null default false,
    -- How often a worker has begun with what is due, the data or the build; 0 while it only waits.
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
    error jsonb
);
create unique index jobs_idempotency_key on jobs (created_by, idempotency_key);
create index jobs_unfinished on jobs (number) where finished_at is null;

create table tokens (
    name text primary key,
    role text not null check (role in ('read', 'load', 'admin')),
    -- SHA-256 of the token.
    hash bytea not null unique,
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz
);
