"""The service's own tables: settings of a server or worker, connections, and jobs.

A job is one row, which alone holds its state and progress. The server accepts, reports and cancels
jobs; one worker at a time, which holds an advisory lock of the database while it lives, claims and
ends them. A job whose worker was killed stays claimed, and the next worker claims it again. So the
rows alone determine the order: loads, undo and redo in the order in which they were accepted, then
one build for all that wait for it.

(`for update skip locked` is for several workers; it would skip a job that somebody is just
cancelling or looking at, and so break the order.)
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import psycopg2
from psycopg2.extras import NamedTupleCursor, register_uuid
from pydantic import BaseModel, ConfigDict, Field, computed_field

from loader.database import Database
from loader.embedded import start
from loader.engines import quote
from loader.engines.postgres import Connection, Pool, one_line, open_connection, where
from loader.errors import ConfigError, DatabaseFault
from loader.service.problems import Problem, ProblemModel

register_uuid()  # type: ignore[no-untyped-call]
# Runs a statement with named values; returns its rows.
Run = Callable[..., list[Any]]

_STATEMENT_SECONDS = 60


@dataclass(frozen=True)
class Settings:
    """Where a server listens, what it works on, what it accepts.

    `spool` holds uploads until they are loaded; service and worker have to share it. An upload ends
    if nothing arrives for `idle_seconds`.
    """

    database: Database
    host: str = "127.0.0.1"
    port: int = 8000
    spool: Path | None = None
    worker: bool = True
    require_token: bool = False
    token_file: Path | None = None
    upload_bytes: int = 10_000_000_000
    idle_seconds: float = 30.0

    @property
    def schema(self) -> str:
        return f"{self.database.profile.schema}_service"

    @property
    def spool_folder(self) -> Path:
        return self.spool or self.database.project.root / ".labmart" / "uploads"

    @property
    def open_to_all(self) -> bool:
        """Whether a call without a token may do everything."""
        return is_loopback(self.host) and not self.require_token


def is_loopback(host: str) -> bool:
    """Whether a host's name or address means this machine alone."""
    bare = host.strip().rstrip(".").lower().removeprefix("[").removesuffix("]")
    with suppress(ValueError):
        return ipaddress.ip_address(bare).is_loopback
    return bare in ("localhost", "ip6-localhost") or bare.endswith(".localhost")


def connect(database: Database, name: str) -> Connection:
    """Connect as dbt would; start the embedded server if it has been stopped meanwhile."""
    if database.embedded is not None:
        start(database.embedded)
    return open_connection(database.profile, name)


def connect_to_tables(settings: Settings) -> Connection:
    """A connection whose names are those of the service's own tables; it commits by itself."""
    connection = connect(settings.database, "labmart service")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            f"set search_path to {quote(settings.schema)}, pg_catalog; "
            f"set statement_timeout = '{_STATEMENT_SECONDS}s'"
        )
    return connection


class Tables:
    """The service's own tables; threads may share them."""

    def __init__(self, settings: Settings, connections: int) -> None:
        connect = partial(connect_to_tables, settings)
        self._pool = Pool(connect, connections, wait=_STATEMENT_SECONDS)
        self.close = self._pool.close

    def run(self, sql: str, **values: object) -> list[Any]:
        """Run one statement by itself; see `run_on`."""
        with self._pool.connection() as connection:
            return run_on(connection, sql, **values)

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        """A function that runs statements in one transaction."""
        with self._pool.connection() as connection, connection:
            yield partial(run_on, connection)


def run_on(connection: Connection, sql: str, **values: object) -> list[Any]:
    """Run one statement; returns its rows, if it has any."""
    with connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        cursor.execute(sql, values or None)  # type: ignore[no-untyped-call]
        return cursor.fetchall() if cursor.description else []


@contextmanager
def prepared(settings: Settings, connections: int = 1) -> Iterator[Tables]:
    """The service's own tables, created if missing.

    Raises ConfigError if the target is not a PostgreSQL server, DatabaseUnreachable, or
    DatabaseFault for whatever the database reports within the block.
    """
    profile = settings.database.profile
    if profile.engine != "postgres":
        raise ConfigError(
            profile.path,
            f"target {profile.target!r} has `type: {profile.engine}`; the service needs postgres.",
        )
    # Starts the embedded server, and explains what is in the way.
    settings.database.ready()
    tables = Tables(settings, connections)
    try:
        with tables.transaction() as run:
            schema = settings.schema
            # Of two servers that start at once, one waits for the other.
            run(
                "select pg_advisory_xact_lock(hashtextextended('labmart service ' || %(own)s, 0))",
                own=schema,
            )
            # `if not exists` alone would require the right to create what exists already.
            if not run("select 1 from pg_namespace where nspname = %(own)s", own=schema):
                run(f"create schema {quote(schema)}")
            if not run("select 1 where to_regclass('tokens') is not null"):
                run(Path(__file__).with_name("tables.sql").read_text(encoding="utf-8"))
        yield tables
    except psycopg2.Error as error:
        raise DatabaseFault(where(profile), one_line(error), "Look into its log.") from None
    finally:
        tables.close()


# What the API returns about a job, and what is stored of it.

Kind = Literal["load", "build", "undo", "redo"]
State = Literal["queued", "running", "done", "failed", "cancelled"]
FINAL: tuple[State, ...] = ("done", "failed", "cancelled")


class Options(BaseModel):
    """What a job was asked for: also the options of an upload that were given, by their names."""

    model_config = ConfigDict(extra="allow")

    replace: bool = False
    build: bool = True
    load_id: int | None = None
    together: bool = False


class UploadedFile(BaseModel):
    name: str
    bytes: int
    sha256: str


class RejectedExample(BaseModel):
    line: int
    rule: str
    detail: str


class IssueCount(BaseModel):
    """How many things of a rule are open in a file, and the option that would mend them, if any.

    `severity` is error or warning.
    """

    rule: str
    severity: str
    open_issues: int
    remedy: str | None = None


class FileResult(BaseModel):
    """What became of a file, or of a sheet of one. `input` is null when no table was found in it.

    All files of a job that is refused are, though only some may be the reason; `notes` tell which.
    `records_rejected` are lines that could not be split; `rejected_by_rule` counts these. What the
    build found in the rows is in `rows_accepted`, `rows_rejected` and `issues`, null until then.
    """

    file: str
    input: str | None
    state: Literal["loaded", "known", "refused"]
    load_id: int | None = None
    dialect: str | None = None
    columns: list[str] = []
    records_read: int = 0
    records_rejected: int = 0
    rejected_by_rule: dict[str, int] = {}
    rows_accepted: int | None = None
    rows_rejected: int | None = None
    issues: list[IssueCount] | None = None
    notes: list[str] = []
    rejected_examples: list[RejectedExample] = []


class Failure(BaseModel):
    name: str
    message: str


class BuildReport(BaseModel):
    """What a build amounted to: numbers of nodes, and seconds."""

    passed: int
    failed: int
    skipped: int
    seconds: float
    failures: list[Failure] = []


class Result(BaseModel):
    files: list[FileResult] = []
    # The loads that an undo or redo has changed, with their new status.
    loads: dict[int, str] = {}
    # Null before the build, and if nothing had changed since the last one.
    build: BuildReport | None = None


class Progress(BaseModel):
    """How far a job is. `bytes` and `records` are those of `file`."""

    step: Literal["loading", "building"]
    file: str | None = None
    records: int = 0
    bytes: int = 0
    bytes_total: int = 0
    nodes_done: int = 0
    nodes_total: int | None = None


class Job(BaseModel):
    """A job: what was asked for, how far it is, what came of it."""

    # For the worker alone; tables.sql says more.
    awaits_build: bool = Field(False, exclude=True)
    cancel_requested: bool = Field(False, exclude=True)
    attempts: int = Field(0, exclude=True)

    id: UUID
    kind: str
    state: State
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    created_by: str
    options: Options
    files: list[UploadedFile]
    progress: Progress | None
    result: Result | None
    error: ProblemModel | None

    @computed_field  # type: ignore[prop-decorator]  # mypy takes no decorated property
    @property
    def links(self) -> dict[str, str]:
        here = f"/v1/jobs/{self.id}"
        return {"self": here, **{name: f"{here}/{name}" for name in ("cancel", "retry")}}


class JobList(BaseModel):
    items: list[Job]


# Jobs as rows.

# The name of a caller without a token on this machine.
LOCAL = "local"
# A job that ends its process every time is given up in the end.
MOST_ATTEMPTS = 10
_KEPT_DAYS = 90
_REFUSED_KEPT = "1 hour"
# Held for an instant to accept a job, and by the worker for its life.
_ACCEPTING = "hashtextextended('labmart jobs ' || current_schema(), 0)"
WORKING = "hashtextextended('labmart work ' || current_schema(), 0)"
_GIVEN_UP = Problem(
    500,
    "given-up",
    f"The work on this ended {MOST_ATTEMPTS} times without a word, perhaps for want of memory. "
    "What was loaded is in the list of loads.",
)
# An update of jobs that end.
_END = """
update jobs set state = %(state)s, finished_at = clock_timestamp(),
    result = coalesce(%(result)s, result),
    error = %(error)s::jsonb || jsonb_build_object('instance', '/v1/jobs/' || id)
where finished_at is null and
"""
# Jobs that write come first, one at a time, then all that wait for a build.
_CLAIM = """
with due as (
    select id, awaits_build from jobs where finished_at is null
    order by awaits_build, number limit 1 for update
)
update jobs set state = 'running', attempts = attempts + 1,
    started_at = coalesce(started_at, clock_timestamp())
from due
where finished_at is null and (jobs.id = due.id or jobs.awaits_build and due.awaits_build)
returning jobs.*
"""


class JobStore:
    """The jobs of one schema; threads may share it."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    # For the server.

    def accept(
        self,
        job_id: UUID,
        kind: Kind,
        created_by: str,
        options: Options,
        *,
        files: Sequence[UploadedFile] = (),
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a job, or return the one already created with its Idempotency-Key.

        The ledger knows what has been loaded already; the worker checks it.

        Raises Problem 422 if the key was used for a different request.
        """
        with self._tables.transaction() as run:
            # One at a time, so that of two equal requests the second sees the first.
            run(f"select pg_advisory_xact_lock({_ACCEPTING})")
            same_key = "created_by = %(created_by)s and idempotency_key = %(key)s"
            for earlier in run(
                f"select * from jobs where {same_key}", created_by=created_by, key=idempotency_key
            ):
                job = _job(earlier)
                is_same = [file.sha256 for file in job.files] == [file.sha256 for file in files]
                if is_same and job.options == options:
                    return job
                raise Problem(
                    422,
                    "idempotency-key-reused",
                    f"This Idempotency-Key came with something else before, in job {job.id}.",
                )
            [row] = run(
                "insert into jobs (id, kind, created_by, options, files, idempotency_key, "
                "awaits_build) values (%(id)s, %(kind)s, %(created_by)s, %(options)s, %(files)s, "
                "%(idempotency_key)s, %(kind)s = 'build') returning *",
                id=job_id,
                kind=kind,
                created_by=created_by,
                options=options.model_dump_json(),
                files=json.dumps([file.model_dump() for file in files]),
                idempotency_key=idempotency_key,
            )
            # The worker waits for this notification.
            run("select pg_notify('labmart ' || current_schema(), '')")
            return _job(row)

    def find(self, job_id: UUID) -> Job:
        """Raises Problem 404."""
        return _job(_row(self._tables.run, job_id, lock=False))

    def newest(self, limit: int) -> list[Job]:
        sql = f"select * from jobs order by number desc limit {limit:d}"
        return list(map(_job, self._tables.run(sql)))

    def cancel(self, job_id: UUID) -> Job:
        """Cancel a job, or ask its worker to. Raises Problem 404, or 409 if it has ended.

        A job that shares its build with others just stops waiting for it.
        """
        with self._tables.transaction() as run:
            row = _row(run, job_id)
            if row.state in FINAL:
                raise Problem(409, "job-ended", f"The job has ended already: it is {row.state}.")
            # Whether the build in progress is for other jobs, too.
            in_company = (
                "select 1 from jobs "
                "where awaits_build and attempts > 0 and finished_at is null and id <> %(job)s"
            )
            waits = row.awaits_build and (not row.attempts or run(in_company, job=job_id))
            if row.state == "queued" or waits:
                [row] = _end(run, "id = %(job)s", "cancelled", job=job_id)
                return _job(row)
            return _set(run, job_id, "cancel_requested = true")

    def has_worker(self) -> bool:
        """Whether a worker lives: its lock cannot be acquired."""
        [(is_free,)] = self._tables.run(f"select pg_try_advisory_xact_lock_shared({WORKING})")
        return not is_free

    # For the worker.

    def claim(self) -> list[Job]:
        """What to do next: one job that writes data, or all that wait for a build."""
        with self._tables.transaction() as run:
            _end(run, "awaits_build and cancel_requested", "cancelled")
            _end(run, f"attempts >= {MOST_ATTEMPTS}", "failed", error=_GIVEN_UP)
            return list(map(_job, sorted(run(_CLAIM), key=attrgetter("number"))))

    def tell_progress(self, jobs: Sequence[UUID], progress: Progress) -> None:
        self._tables.run(
            "update jobs set progress = %(progress)s where id = any(%(jobs)s::uuid[])",
            jobs=jobs,
            progress=progress.model_dump_json(),
        )

    def keep_written(self, job: Job, result: Result) -> None:
        """The job's data are written: it ends, or waits for the build."""
        if not job.options.build:
            self.end(job.id, "done", result)
            return
        _set(
            self._tables.run,
            job.id,
            "result = %(result)s, attempts = 0, awaits_build = true, progress = %(progress)s",
            result=result.model_dump_json(),
            progress=Progress(step="building").model_dump_json(),
        )

    def end(
        self, job_id: UUID, state: State, result: Result | None = None, error: Problem | None = None
    ) -> None:
        """End the job; one that has already ended, because it was cancelled, stays as it is."""
        _end(self._tables.run, "id = %(job)s", state, result, error, job=job_id)

    def uploads_needed(self, job_ids: Iterable[UUID]) -> dict[UUID, bool]:
        """For each known job: whether its uploaded files may still be loaded.

        Refused files are kept for a while: they may only need other options.
        """
        rows = self._tables.run(
            "select id, case when finished_at is null then not awaits_build "
            "else state = 'failed' and error ->> 'type' = 'urn:labmart:problem:files-refused' "
            f"and finished_at > clock_timestamp() - interval '{_REFUSED_KEPT}' end as is_needed "
            "from jobs where id = any(%(jobs)s::uuid[])",
            jobs=list(job_ids),
        )
        return {row.id: row.is_needed for row in rows}

    def forget_old(self) -> None:
        old = f"finished_at < clock_timestamp() - interval '{_KEPT_DAYS} days'"
        self._tables.run(f"delete from jobs where {old}")


def _end(
    run: Run,
    which: str,
    state: State,
    result: Result | None = None,
    error: Problem | None = None,
    **values: object,
) -> list[Any]:
    """End jobs that have not ended; returns their rows."""
    return run(
        f"{_END} {which} returning *",
        state=state,
        result=result and result.model_dump_json(),
        error=error and json.dumps(error.document("")),
        **values,
    )


def _set(run: Run, job_id: UUID, assignments: str, **values: object) -> Job:
    sql = f"update jobs set {assignments} where id = %(job)s returning *"
    [row] = run(sql, job=job_id, **values)
    return _job(row)


def _row(run: Run, job_id: UUID, *, lock: bool = True) -> Any:
    """The row of a job, locked until the transaction ends. Raises Problem 404."""
    sql = f"select * from jobs where id = %(job)s{' for update' if lock else ''}"
    rows = run(sql, job=job_id)
    if not rows:
        raise Problem(404, "unknown-job", f"There is no job {job_id}.")
    return rows[0]


_job = partial(Job.model_validate, from_attributes=True)
