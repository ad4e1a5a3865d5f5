"""Jobs: one row each, which alone says what state a job is in.

The server accepts, tells and cancels them; one worker at a time, which holds an advisory lock of
the database while it lives, claims and ends them. A job whose worker was killed stays claimed, and
the next worker claims it once more. So nothing else is needed for the order than the rows
themselves: loads, undo and redo in the order in which they were accepted, then one build for all
that wait for it; lest a stream of uploads puts the build off for ever, it goes first once somebody
has waited for long.

(`for update skip locked` would be for several workers; it would pass over a job that somebody is
just cancelling or looking at, and so break the order.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, RowMapping, column, func, select, table, text

from loader.ledger import CURRENT
from loader.service.model import (
    FINAL,
    BuildReport,
    JobState,
    Kind,
    Options,
    Progress,
    Result,
    State,
    UploadedFile,
)
from loader.service.problems import Problem, document, slow_down
from loader.sources import LEDGER

# A job that ends its process each time is given up at last.
MOST_ATTEMPTS = 10
# Who has waited so many seconds for a build has it before the loads that wait.
_OVERDUE_SECONDS = 60
_KEPT_DAYS = 90
EVENTS_AT_ONCE = 500
_JOBS = """
select jobs.*, coalesce((
    select jsonb_agg(
        jsonb_build_object('name', name, 'bytes', bytes, 'sha256', sha256) order by position
    ) from uploads where job_id = jobs.id
), '[]') as files
from jobs
"""
# Held for an instant by who accepts a job, and for its life by the worker.
_ACCEPTING = "hashtextextended('labmart jobs ' || current_schema(), 0)"
WORKING = "hashtextextended('labmart work ' || current_schema(), 0)"
_WAITING = Progress(step="building").model_dump()
_GIVEN_UP = Problem(
    500,
    "given-up",
    f"The work on this ended {MOST_ATTEMPTS} times without a word, perhaps for want of memory. "
    "What was loaded is in the list of loads.",
)


@dataclass(frozen=True)
class NewJob:
    """A job that somebody asks for.

    `content_key` is equal for equal content and options; None for what is done each time anew.
    """

    id: UUID
    kind: Kind
    created_by: str
    options: Options
    files: tuple[UploadedFile, ...] = ()
    content_key: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Task:
    """What the worker has claimed: one job whose data are to be written, or jobs for one build.

    `attempts` is how often a worker has begun with it, this time included.
    """

    is_build: bool
    jobs: tuple[JobState, ...]
    attempts: int


@dataclass(frozen=True)
class Event:
    """An event of a job, numbered from 1 on."""

    number: int
    name: str
    data: Mapping[str, Any]


class JobStore:
    """The jobs of one schema; threads may share it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # One statement needs no transaction around it.
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")

    # What the server does.

    def accept(self, new: NewJob, raw_schema: str) -> JobState:
        """Queue a job, or give the one that it is a repetition of.

        Raises Problem 422 when its Idempotency-Key came with something else before.
        """
        with self._engine.begin() as connection:
            # One after the other: so of two equal ones the second sees the first.
            connection.execute(text(f"select pg_advisory_xact_lock({_ACCEPTING})"))
            earlier = _same_key(connection, new) or _same_content(connection, new, raw_schema)
            if earlier is not None:
                return earlier
            connection.execute(
                text(
                    "insert into jobs (id, kind, created_by, options, content_key, "
                    "idempotency_key, awaits_build) values (:id, :kind, :created_by, :options, "
                    ":content_key, :idempotency_key, :awaits_build)"
                ),
                {
                    "id": str(new.id),
                    "kind": new.kind,
                    "created_by": new.created_by,
                    "options": new.options.model_dump_json(),
                    "content_key": new.content_key,
                    "idempotency_key": new.idempotency_key,
                    "awaits_build": new.kind == "build",
                },
            )
            if new.files:
                connection.execute(
                    text("insert into uploads values (:job, :position, :name, :bytes, :sha256)"),
                    [
                        {"job": str(new.id), "position": position, **file.model_dump()}
                        for position, file in enumerate(new.files)
                    ],
                )
            return _tell_state(connection, new.id)

    def check_room(self, most: int) -> None:
        """Raise Problem 429 when so many jobs wait or run already."""
        [(count,)] = self._read("select count(*) from jobs where finished_at is null")
        if count >= most:
            raise slow_down(
                "queue-full", f"{most} jobs are waiting already. Try again in a while.", 30
            )

    def find(self, job_id: UUID) -> JobState:
        """The job of that id. Raises Problem 404."""
        with self._reading.connect() as connection:
            return _state(_row(connection, job_id))

    def newest(
        self, state: State | None, limit: int, before: int | None
    ) -> tuple[list[JobState], int | None]:
        """Jobs, the newest first, and the number before which the next page begins."""
        rows = self._read(
            _JOBS + "where (cast(:state as text) is null or state = :state) "
            "and (cast(:before as bigint) is null or number < :before) "
            "order by number desc limit :limit",
            state=state,
            before=before,
            limit=limit + 1,
        )
        next_before = rows[limit - 1].number if len(rows) > limit else None
        return [_state(row._mapping) for row in rows[:limit]], next_before

    def cancel(self, job_id: UUID) -> JobState:
        """Cancel a job, or ask its worker for it. Raises Problem 404, or 409 when it has ended.

        What waits for a build that others wait for too just waits no longer.
        """
        with self._engine.begin() as connection:
            row = _row(connection, job_id, lock=True)
            if row["state"] in FINAL:
                raise Problem(409, "job-ended", f"The job has ended already: it is {row['state']}.")
            if row["state"] == "queued" or (
                row["awaits_build"] and (not row["claimed"] or _is_in_company(connection, job_id))
            ):
                return _end(connection, job_id, "cancelled")
            _set(connection, job_id, "cancel_requested = true")
            connection.execute(
                text("select pg_notify('labmart ' || current_schema(), :job)"),
                {"job": str(job_id)},
            )
            return _state(row)

    def events(self, job_id: UUID, after: int) -> tuple[list[Event], bool]:
        """Events of a job after a number, and whether there can come any more."""
        rows = self._read(
            "select number, event, data, "
            "(select finished_at is not null from jobs where id = job_id) as has_ended "
            "from job_events where job_id = :job and number > :after order by number limit :limit",
            job=str(job_id),
            after=after,
            limit=EVENTS_AT_ONCE,
        )
        events = [Event(row.number, row.event, row.data) for row in rows]
        if not events:
            unfinished = "select 1 from jobs where id = :job and finished_at is null"
            return [], bool(self._read(unfinished, job=str(job_id)))
        last = events[-1]
        return events, not (last.name == "state" and last.data["state"] in FINAL)

    def counts(self) -> list[tuple[str, str, int]]:
        """How many jobs there are of each kind and state."""
        rows = self._read("select kind, state, count(*) from jobs group by kind, state")
        return [(kind, state, count) for kind, state, count in rows]

    def has_worker(self) -> bool:
        """Whether a worker lives: the lock that it holds cannot be had."""
        [(is_free,)] = self._read(f"select pg_try_advisory_xact_lock_shared({WORKING})")
        return not is_free

    # What the worker does.

    def claim(self) -> Task | None:
        """What to do next; None when there is nothing."""
        with self._engine.begin() as connection:
            first = connection.execute(text(_NEXT), {"overdue": _OVERDUE_SECONDS}).first()
            if first is None:
                return None
            condition = "awaits_build" if first.awaits_build else "id = :first"
            rows = connection.execute(
                text(f"{_JOBS} where finished_at is null and {condition} order by number"),
                {"first": str(first.id)},
            )
            jobs = []
            for row in rows.mappings().all():
                if row["awaits_build"] and row["cancel_requested"]:
                    _end(connection, row["id"], "cancelled")
                elif row["attempts"] >= MOST_ATTEMPTS:
                    _end(connection, row["id"], "failed", error=_GIVEN_UP)
                else:
                    jobs.append(_begin(connection, row))
            return Task(first.awaits_build, tuple(jobs), first.attempts + 1)

    def is_cancelled(self, job_id: UUID) -> bool:
        """Whether somebody wants the job to end."""
        sql = "select 1 from jobs where id = :job and cancel_requested"
        return bool(self._read(sql, job=str(job_id)))

    def tell(self, jobs: Sequence[UUID], event: str, data: Mapping[str, object]) -> None:
        """Tell an event of jobs."""
        with self._engine.begin() as connection:
            _tell(connection, jobs, event, data)

    def tell_progress(self, jobs: Sequence[UUID], progress: Progress) -> None:
        """Tell how far jobs are. Only the last of such events is kept."""
        with self._engine.begin() as connection:
            parameters = {"jobs": list(map(str, jobs)), "progress": progress.model_dump_json()}
            connection.execute(
                text(
                    "with earlier as (delete from job_events "
                    "where job_id = any(cast(:jobs as uuid[])) and event = 'progress') "
                    "update jobs set progress = :progress where id = any(cast(:jobs as uuid[]))"
                ),
                parameters,
            )
            _tell(connection, jobs, "progress", progress.model_dump())

    def keep_written(self, job: JobState, result: Result) -> None:
        """The job's data are written: it ends, or waits for the build."""
        with self._engine.begin() as connection:
            row = _row(connection, job.id, lock=True)
            _set(
                connection,
                job.id,
                "result = :result, attempts = 0, claimed = false",
                result=result.model_dump_json(),
            )
            if not job.options.build:
                _end(connection, job.id, "done")
            elif row["cancel_requested"]:
                _end(connection, job.id, "cancelled")
            else:
                waiting = json.dumps(_WAITING)
                _set(connection, job.id, "awaits_build = true, progress = :at", at=waiting)
                _tell(connection, [job.id], "progress", _WAITING)

    def end(
        self,
        job_id: UUID,
        state: State,
        *,
        result: Result | None = None,
        error: Problem | None = None,
    ) -> None:
        """The job has ended; one that has ended already, by a wish to cancel it, stays as it is."""
        with self._engine.begin() as connection:
            if _row(connection, job_id, lock=True)["state"] in FINAL:
                return
            if result is not None:
                _set(connection, job_id, "result = :result", result=result.model_dump_json())
            _end(connection, job_id, state, error=error)

    def keep_built(
        self, jobs: Sequence[JobState], report: BuildReport, error: Problem | None
    ) -> None:
        """A build has served these jobs."""
        for job in jobs:
            result = (job.result or Result()).model_copy(update={"build": report})
            self.end(job.id, "failed" if error else "done", result=result, error=error)

    def needs_upload(self, job_id: UUID) -> bool | None:
        """Whether what a job has brought is still to be loaded; None for an unknown job."""
        sql = "select finished_at is null and not awaits_build from jobs where id = :job"
        rows = self._read(sql, job=str(job_id))
        return rows[0][0] if rows else None

    def forget_old(self) -> None:
        """Delete what is known of very old jobs."""
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "delete from jobs "
                    "where finished_at < clock_timestamp() - :days * interval '1 day'"
                ),
                {"days": _KEPT_DAYS},
            )

    def _read(self, sql: str, **parameters: object) -> Sequence[Any]:
        with self._reading.connect() as connection:
            return connection.execute(text(sql), parameters).all()


# The job that is next: an overdue build, else what is to be written, else any build.
_NEXT = """
select id, awaits_build, attempts from jobs where finished_at is null
order by case
    when not awaits_build then 1
    when coalesce(started_at, created_at) < clock_timestamp() - :overdue * interval '1 second'
    then 0
    else 2
end, number
limit 1 for update
"""
# Number an event of each job, keep it, and wake who follows them.
_APPEND = """
with numbered as (
    update jobs set last_event = last_event + 1 where id = any(cast(:jobs as uuid[]))
    returning id, last_event
), kept as (
    insert into job_events (job_id, number, event, data)
    select id, last_event, :event, cast(:data as jsonb) from numbered
    returning job_id
)
select pg_notify('labmart ' || current_schema(), job_id::text) from kept
"""


def _tell(
    connection: Connection, jobs: Sequence[UUID], event: str, data: Mapping[str, object]
) -> None:
    parameters = {"jobs": list(map(str, jobs)), "event": event, "data": json.dumps(data)}
    connection.execute(text(_APPEND), parameters)


def _tell_state(connection: Connection, job_id: UUID) -> JobState:
    job = _state(_row(connection, job_id))
    _tell(connection, [job_id], "state", job.model_dump(mode="json"))
    return job


def _begin(connection: Connection, row: RowMapping) -> JobState:
    """Claim a job, which runs from now on."""
    _set(
        connection,
        row["id"],
        "state = 'running', claimed = true, attempts = attempts + 1, "
        "started_at = coalesce(started_at, clock_timestamp())",
    )
    if row["state"] == "queued":
        return _tell_state(connection, row["id"])
    return _state(_row(connection, row["id"]))


def _end(
    connection: Connection, job_id: UUID, state: State, error: Problem | None = None
) -> JobState:
    _set(
        connection,
        job_id,
        "state = :state, finished_at = clock_timestamp(), claimed = false, "
        "error = cast(:error as jsonb)",
        state=state,
        error=json.dumps(document(error, f"/v1/jobs/{job_id}")) if error else None,
    )
    return _tell_state(connection, job_id)


def _set(connection: Connection, job_id: UUID, assignments: str, **values: object) -> None:
    sql = text(f"update jobs set {assignments} where id = :job")
    connection.execute(sql, {**values, "job": str(job_id)})


def _row(connection: Connection, job_id: UUID, *, lock: bool = False) -> RowMapping:
    lock_row = " for update of jobs" if lock else ""
    sql = text(f"{_JOBS} where id = :job{lock_row}")
    row = connection.execute(sql, {"job": str(job_id)}).mappings().first()
    if row is None:
        raise Problem(404, "unknown-job", f"There is no job {job_id}.")
    return row


def _state(row: RowMapping) -> JobState:
    """A row of _JOBS as the API tells it."""
    return JobState.model_validate({name: row[name] for name in JobState.model_fields})


def _is_in_company(connection: Connection, job_id: UUID) -> bool:
    """Whether the build that is at work for a job is not its own alone."""
    sql = text(
        "select 1 from jobs where awaits_build and claimed and finished_at is null and id <> :job"
    )
    return connection.execute(sql, {"job": str(job_id)}).first() is not None


def _same_key(connection: Connection, new: NewJob) -> JobState | None:
    if new.idempotency_key is None:
        return None
    sql = text(_JOBS + "where created_by = :created_by and idempotency_key = :key")
    parameters = {"created_by": new.created_by, "key": new.idempotency_key}
    row = connection.execute(sql, parameters).mappings().first()
    if row is None:
        return None
    if row["content_key"] != new.content_key or row["kind"] != new.kind:
        raise Problem(
            422,
            "idempotency-key-reused",
            f"This Idempotency-Key came with something else before, in job {row['id']}.",
        )
    return _state(row)


def _same_content(connection: Connection, new: NewJob, raw_schema: str) -> JobState | None:
    """A job that does just that already, unless another one comes between.

    A load whose rows a later replace or undo in the queue takes away has to be done once more.
    One that replaces is the same only while nothing at all comes after it. A finished one is the
    same while all its loads are current; one that replaced says nothing about what came later by
    other ways: the loader decides anew.
    """
    if new.content_key is None:
        return None
    sql = text(
        _JOBS + "where content_key = :key "
        "and (finished_at is null and not cancel_requested or state = 'done' and not :replace) "
        "and not exists (select 1 from jobs as later where later.number > jobs.number "
        "and later.kind <> 'build' and later.finished_at is null and (:replace "
        "or later.kind <> 'load' or (later.options ->> 'replace')::boolean)) "
        "order by number desc limit 1"
    )
    parameters = {"key": new.content_key, "replace": new.options.replace}
    row = connection.execute(sql, parameters).mappings().first()
    job = None if row is None else _state(row)
    if job is None or job.finished_at is None or _is_current(connection, job, raw_schema):
        return job
    return None


def _is_current(connection: Connection, job: JobState, raw_schema: str) -> bool:
    """Whether a finished job has loaded all its files, and all these loads are current."""
    files = job.result.files if job.result else []
    loads = {file.load_id for file in files if file.load_id is not None}
    if not loads or len(loads) != len(files):
        return False
    ledger = table(LEDGER, column("load_id"), column("status"), schema=raw_schema)
    current = select(func.count()).where(ledger.c.load_id.in_(loads), ledger.c.status == CURRENT)
    return connection.execute(current).scalar() == len(loads)
