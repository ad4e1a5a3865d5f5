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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from loader.service.database import Run, Tables
from loader.service.model import (
    FINAL,
    Job,
    Kind,
    Options,
    Progress,
    Result,
    State,
    UploadedFile,
)
from loader.service.problems import Problem

# What who calls without a token from this machine is called.
LOCAL = "local"
# A job that ends its process each time is given up at last.
MOST_ATTEMPTS = 10
# Who has waited so many seconds for a build has it before the loads that wait.
_OVERDUE_SECONDS = 60
_KEPT_DAYS = 90
_REFUSED_KEPT = "1 hour"
# Held for an instant by who accepts a job, and for its life by the worker.
_ACCEPTING = "hashtextextended('labmart jobs ' || current_schema(), 0)"
WORKING = "hashtextextended('labmart work ' || current_schema(), 0)"
_GIVEN_UP = Problem(
    500,
    "given-up",
    f"The work on this ended {MOST_ATTEMPTS} times without a word, perhaps for want of memory. "
    "What was loaded is in the list of loads.",
)
# The job that is next: an overdue build, else what is to be written, else any build.
_NEXT = """
select id, awaits_build, attempts from jobs where finished_at is null
order by case
    when not awaits_build then 1
    when coalesce(started_at, created_at) < clock_timestamp() - %(overdue)s * interval '1 second'
    then 0
    else 2
end, number
limit 1 for update
"""
_SAME_KEY = "select * from jobs where created_by = %(created_by)s and idempotency_key = %(key)s"
# Number an event of each job, and keep it.
_APPEND = """
with numbered as (
    update jobs set last_event = last_event + 1 where id = any(%(jobs)s::uuid[])
    returning id, last_event
)
insert into job_events (job_id, number, event, data)
select id, last_event, %(event)s, %(data)s::jsonb from numbered
"""


@dataclass(frozen=True)
class Task:
    """What the worker has claimed: one job whose data are to be written, or jobs for one build.

    `attempts` is how often a worker has begun with it, this time included.
    """

    is_build: bool
    jobs: tuple[Job, ...]
    attempts: int


class JobStore:
    """The jobs of one schema; threads may share it."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    # What the server does.

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
        """Queue a job, or give the one that its Idempotency-Key has brought before.

        What has been loaded already the ledger knows, which the worker asks.

        Raises Problem 422 when the key came with something else before.
        """
        with self._tables.transaction() as run:
            # One after the other: so of two equal ones the second sees the first.
            run(f"select pg_advisory_xact_lock({_ACCEPTING})")
            for row in run(_SAME_KEY, created_by=created_by, key=idempotency_key):
                earlier = _job(row)
                brought = [file.sha256 for file in earlier.files]
                if (brought, earlier.options) == ([file.sha256 for file in files], options):
                    return earlier
                raise Problem(
                    422,
                    "idempotency-key-reused",
                    f"This Idempotency-Key came with something else before, in job {earlier.id}.",
                )
            run(
                "insert into jobs (id, kind, created_by, options, files, idempotency_key, "
                "awaits_build) values (%(id)s, %(kind)s, %(created_by)s, %(options)s, %(files)s, "
                "%(idempotency_key)s, %(kind)s = 'build')",
                id=str(job_id),
                kind=kind,
                created_by=created_by,
                options=options.model_dump_json(),
                files=json.dumps([file.model_dump() for file in files]),
                idempotency_key=idempotency_key,
            )
            # The worker waits for it.
            run("select pg_notify('labmart ' || current_schema(), '')")
            return _tell_state(run, job_id)

    def find(self, job_id: UUID) -> Job:
        """Raises Problem 404."""
        return _find(self._tables.run, job_id)

    def newest(self, state: State | None, limit: int) -> list[Job]:
        rows = self._tables.run(
            "select * from jobs where (%(state)s::text is null or state = %(state)s) "
            "order by number desc limit %(limit)s",
            state=state,
            limit=limit,
        )
        return list(map(_job, rows))

    def cancel(self, job_id: UUID) -> Job:
        """Cancel a job, or ask its worker for it. Raises Problem 404, or 409 when it has ended.

        What waits for a build that others wait for too just waits no longer.
        """
        with self._tables.transaction() as run:
            row = _row(run, job_id)
            if row.state in FINAL:
                raise Problem(409, "job-ended", f"The job has ended already: it is {row.state}.")
            # Whether the build that is at work for it is not its own alone.
            in_company = "select 1 from jobs where awaits_build and claimed and id <> %(job)s"
            waits = row.awaits_build and (not row.claimed or run(in_company, job=str(job_id)))
            if row.state == "queued" or waits:
                return _end(run, job_id, "cancelled")
            _set(run, job_id, "cancel_requested = true")
            return _job(row)

    def events(self, job_id: UUID, after: int) -> tuple[list[Any], bool]:
        """Events of a job after a number (number, event, data), and whether more can come."""
        unfinished = "select 1 from jobs where id = %(job)s and finished_at is null"
        goes_on = bool(self._tables.run(unfinished, job=str(job_id)))
        rows = self._tables.run(
            "select number, event, data from job_events "
            "where job_id = %(job)s and number > %(after)s order by number",
            job=str(job_id),
            after=after,
        )
        return rows, goes_on

    def has_worker(self) -> bool:
        """Whether a worker lives: the lock that it holds cannot be had."""
        [(is_free,)] = self._tables.run(f"select pg_try_advisory_xact_lock_shared({WORKING})")
        return not is_free

    # What the worker does.

    def claim(self) -> Task | None:
        """What to do next; None when there is nothing."""
        with self._tables.transaction() as run:
            next_rows = run(_NEXT, overdue=_OVERDUE_SECONDS)
            if not next_rows:
                return None
            [first] = next_rows
            chosen = "awaits_build" if first.awaits_build else "id = %(first)s"
            rows = run(
                f"select * from jobs where finished_at is null and {chosen} order by number",
                first=first.id,
            )
            jobs = []
            for row in rows:
                if row.awaits_build and row.cancel_requested:
                    _end(run, row.id, "cancelled")
                elif row.attempts >= MOST_ATTEMPTS:
                    _end(run, row.id, "failed", error=_GIVEN_UP)
                else:
                    jobs.append(_begin(run, row))
            return Task(first.awaits_build, tuple(jobs), first.attempts + 1)

    def is_cancelled(self, job_id: UUID) -> bool:
        """Whether somebody wants the job to end."""
        sql = "select 1 from jobs where id = %(job)s and cancel_requested"
        return bool(self._tables.run(sql, job=str(job_id)))

    def tell(self, jobs: Sequence[UUID], event: str, data: Mapping[str, object]) -> None:
        _tell(self._tables.run, jobs, event, data)

    def tell_progress(self, jobs: Sequence[UUID], progress: Progress) -> None:
        """Tell how far jobs are. Only the last of such events is kept."""
        with self._tables.transaction() as run:
            run(
                "with earlier as (delete from job_events "
                "where job_id = any(%(jobs)s::uuid[]) and event = 'progress') "
                "update jobs set progress = %(progress)s where id = any(%(jobs)s::uuid[])",
                jobs=list(map(str, jobs)),
                progress=progress.model_dump_json(),
            )
            _tell(run, jobs, "progress", progress.model_dump())

    def keep_written(self, job: Job, result: Result) -> None:
        """The job's data are written: it ends, or waits for the build."""
        with self._tables.transaction() as run:
            row = _row(run, job.id)
            written = "result = %(result)s, attempts = 0, claimed = false"
            _set(run, job.id, written, result=result.model_dump_json())
            if not job.options.build:
                _end(run, job.id, "done")
            elif row.cancel_requested:
                _end(run, job.id, "cancelled")
            else:
                waiting = Progress(step="building").model_dump()
                at = json.dumps(waiting)
                _set(run, job.id, "awaits_build = true, progress = %(at)s", at=at)
                _tell(run, [job.id], "progress", waiting)

    def end(
        self,
        job_id: UUID,
        state: State,
        *,
        result: Result | None = None,
        error: Problem | None = None,
    ) -> None:
        """The job has ended; one that has ended already, by a wish to cancel it, stays as it is."""
        with self._tables.transaction() as run:
            if _row(run, job_id).state in FINAL:
                return
            if result is not None:
                _set(run, job_id, "result = %(result)s", result=result.model_dump_json())
            _end(run, job_id, state, error=error)

    def uploads_needed(self, job_ids: Iterable[UUID]) -> dict[UUID, bool]:
        """Of each job that is known: whether the files that it has brought may still be loaded.

        What was refused is kept for a while: perhaps it is only to be read in another way.
        """
        rows = self._tables.run(
            "select id, case when finished_at is null then not awaits_build "
            "else state = 'failed' and error ->> 'type' = 'urn:labmart:problem:files-refused' "
            f"and finished_at > clock_timestamp() - interval '{_REFUSED_KEPT}' end as is_needed "
            "from jobs where id = any(%(jobs)s::uuid[])",
            jobs=list(map(str, job_ids)),
        )
        return {UUID(row.id): row.is_needed for row in rows}

    def forget_old(self) -> None:
        old = f"finished_at < clock_timestamp() - interval '{_KEPT_DAYS} days'"
        self._tables.run(f"delete from jobs where {old}")


def _tell(run: Run, jobs: Sequence[UUID], event: str, data: Mapping[str, object]) -> None:
    run(_APPEND, jobs=list(map(str, jobs)), event=event, data=json.dumps(data))


def _tell_state(run: Run, job_id: UUID) -> Job:
    job = _find(run, job_id)
    _tell(run, [job_id], "state", job.model_dump(mode="json"))
    return job


def _begin(run: Run, row: Any) -> Job:
    _set(
        run,
        row.id,
        "state = 'running', claimed = true, attempts = attempts + 1, "
        "started_at = coalesce(started_at, clock_timestamp())",
    )
    return _tell_state(run, row.id) if row.state == "queued" else _find(run, row.id)


def _end(run: Run, job_id: UUID, state: State, error: Problem | None = None) -> Job:
    _set(
        run,
        job_id,
        "state = %(state)s, finished_at = clock_timestamp(), claimed = false, error = %(error)s",
        state=state,
        error=json.dumps(error.document(f"/v1/jobs/{job_id}")) if error else None,
    )
    return _tell_state(run, job_id)


def _set(run: Run, job_id: UUID, assignments: str, **values: object) -> None:
    run(f"update jobs set {assignments} where id = %(job)s", job=str(job_id), **values)


def _row(run: Run, job_id: UUID, *, lock: bool = True) -> Any:
    """The row of a job, which stays as it is until the transaction ends. Raises Problem 404."""
    sql = f"select * from jobs where id = %(job)s{' for update' if lock else ''}"
    rows = run(sql, job=str(job_id))
    if not rows:
        raise Problem(404, "unknown-job", f"There is no job {job_id}.")
    return rows[0]


def _find(run: Run, job_id: UUID) -> Job:
    return _job(_row(run, job_id, lock=False))


def _job(row: Any) -> Job:
    return Job.model_validate({name: getattr(row, name) for name in Job.model_fields})
