"""What the process that does a job's work writes about it: state, progress, events, the end.

It asks the row of the job, and nothing else, whether there is something left to do: a task may come
a second time after a kill.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from loader.service.database import Connection
from loader.service.jobs import APPEND_EVENT, SELECT, job_of
from loader.service.model import FINAL, BuildReport, JobState, Progress, Result
from loader.service.problems import Problem, document
from loader.service.queue import defer_build

# A job that ends its process each time is given up at last.
MOST_ATTEMPTS = 10
# How long `queued` may wait for another worker's process that has not noticed its end yet.
_TURN = "select pg_advisory_lock(hashtextextended('labmart work ' || current_schema(), 0))"


class Journal:
    """One connection. Progress may come from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def take_turn(self) -> None:
        """Wait until no other process works, and keep others from it while we live."""
        self._connection.execute("set statement_timeout = 0")
        self._connection.execute(_TURN)

    def begin(self, job_id: UUID) -> JobState | None:
        """The job, which runs from now on; None when there is nothing left to do."""
        with self._connection.transaction():
            row = self._locked(job_id)
            if row is None or row["state"] in FINAL or row["awaits_build"]:
                return None
            return self._run(job_id, row)

    def begin_build(self, job_id: UUID) -> list[JobState]:
        """All jobs that a build would serve now, if this one waits for one still."""
        with self._connection.transaction():
            row = self._locked(job_id)
            if row is None or row["state"] in FINAL:
                return []
            if self._run(job_id, row) is None:
                return []
            self._set(job_id, "awaits_build = true")
            waiting = self._connection.execute(
                SELECT + "where awaits_build and finished_at is null order by number"
            )
            return [job_of(found) for found in waiting.fetchall()]

    def is_cancelled(self, job_id: UUID) -> bool:
        """Whether somebody wants the job to end."""
        row = self._row(job_id)
        return row is not None and bool(row["cancel_requested"])

    def attempts(self, job_id: UUID) -> int:
        """How often a process has begun with the job."""
        row = self._row(job_id)
        return 0 if row is None else int(row["attempts"])

    def event(self, jobs: Sequence[UUID], name: str, data: dict[str, object]) -> None:
        """Tell an event of jobs."""
        with self._lock:
            self._connection.execute(APPEND_EVENT, (list(jobs), name, Jsonb(data)))

    def progress(self, jobs: Sequence[UUID], progress: Progress) -> None:
        """Tell how far jobs are. Only the last of such events is kept."""
        data = Jsonb(progress.model_dump())
        with self._lock, self._connection.transaction():
            self._connection.execute(
                "update jobs set progress = %s where id = any(%s)", (data, list(jobs))
            )
            self._connection.execute(
                "delete from job_events where job_id = any(%s) and event = 'progress'",
                (list(jobs),),
            )
            self._connection.execute(APPEND_EVENT, (list(jobs), "progress", data))

    def written(self, job: JobState, result: Result) -> None:
        """The job's data are written: it ends, or waits for the build."""
        with self._lock, self._connection.transaction():
            if self._locked(job.id) is None:
                return
            self._set(job.id, "result = %s, attempts = 0", Jsonb(result.model_dump(mode="json")))
            if not job.options.build:
                self._end([job.id], "done")
            elif self.is_cancelled(job.id):
                self._end([job.id], "cancelled")
            else:
                self._set(job.id, "awaits_build = true, progress = %s", Jsonb(_WAITING))
                defer_build(self._connection, job.id)
                self._connection.execute(APPEND_EVENT, ([job.id], "progress", Jsonb(_WAITING)))

    def end(
        self,
        job_id: UUID,
        state: str,
        *,
        result: Result | None = None,
        error: Problem | None = None,
    ) -> None:
        """The job has ended."""
        with self._lock, self._connection.transaction():
            row = self._locked(job_id)
            if row is None or row["state"] in FINAL:
                return
            if result is not None:
                self._set(job_id, "result = %s", Jsonb(result.model_dump(mode="json")))
            told = document(error, f"/v1/jobs/{job_id}") if error else None
            self._end([job_id], state, error=told)

    def built(self, jobs: Sequence[JobState], report: BuildReport, error: Problem | None) -> None:
        """A build has served these jobs; who was cancelled meanwhile is left alone."""
        for job in jobs:
            result = (job.result or Result()).model_copy(update={"build": report})
            self.end(job.id, "failed" if error else "done", result=result, error=error)

    def _run(self, job_id: UUID, row: dict[str, Any]) -> JobState | None:
        if row["attempts"] >= MOST_ATTEMPTS:
            self._end([job_id], "failed", error=_given_up(job_id))
            return None
        self._set(
            job_id,
            "state = 'running', attempts = attempts + 1, "
            "started_at = coalesce(started_at, clock_timestamp())",
        )
        if row["state"] == "queued":
            self._tell_state(job_id)
        found = self._row(job_id)
        return None if found is None else job_of(found)

    def _end(
        self, jobs: Sequence[UUID], state: str, error: dict[str, object] | None = None
    ) -> None:
        for job_id in jobs:
            self._set(
                job_id,
                "state = %s, finished_at = clock_timestamp(), error = %s",
                state,
                Jsonb(error) if error else None,
            )
            self._tell_state(job_id)

    def _tell_state(self, job_id: UUID) -> None:
        row = self._row(job_id)
        if row is not None:
            state = Jsonb(job_of(row).model_dump(mode="json"))
            self._connection.execute(APPEND_EVENT, ([job_id], "state", state))

    def _set(self, job_id: UUID, assignments: str, *values: object) -> None:
        self._connection.execute(
            f"update jobs set {assignments} where id = %s".encode(), (*values, job_id)
        )

    def _locked(self, job_id: UUID) -> dict[str, Any] | None:
        self._connection.execute("select 1 from jobs where id = %s for update", (job_id,))
        return self._row(job_id)

    def _row(self, job_id: UUID) -> dict[str, Any] | None:
        return self._connection.execute(SELECT + "where id = %s", (job_id,)).fetchone()


_WAITING = Progress(step="building").model_dump()


def _given_up(job_id: UUID) -> dict[str, object]:
    problem = Problem(
        500,
        "given-up",
        f"The work on this ended {MOST_ATTEMPTS} times without a word, perhaps for want of memory. "
        "What was loaded is in the list of loads.",
    )
    return document(problem, f"/v1/jobs/{job_id}")
