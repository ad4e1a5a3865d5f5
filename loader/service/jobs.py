"""Jobs in the database, as the server sees them: accepting, finding, listing, cancelling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from procrastinate import App
from psycopg import sql
from psycopg.types.json import Jsonb

from loader.ledger import CURRENT
from loader.service.database import AsyncConnection, Pool
from loader.service.model import FINAL, JobState, Kind, Options, State, UploadedFile
from loader.service.problems import Problem, slow_down
from loader.service.queue import BUILD, WORK, defer
from loader.sources import LEDGER

# A job with its files. Whoever cares for a part of the jobs adds `where` and the like.
SELECT = """
select jobs.*, coalesce((
    select jsonb_agg(
        jsonb_build_object('name', name, 'bytes', bytes, 'sha256', sha256) order by position
    ) from uploads where job_id = jobs.id
), '[]') as files
from jobs
"""
APPEND_EVENT = "select append_event(%s, %s, %s)"
_ALONE = "select pg_advisory_xact_lock(hashtextextended('labmart jobs ' || current_schema(), 0))"


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


def job_of(row: Mapping[str, Any]) -> JobState:
    """A row of SELECT as the API tells it."""
    return JobState.model_validate({name: row[name] for name in JobState.model_fields})


async def find(pool: Pool, job_id: UUID) -> JobState:
    """The job of that id. Raises Problem 404."""
    async with pool.connection() as connection:
        return job_of(await _row(connection, job_id))


async def newest(
    pool: Pool, *, state: State | None, limit: int, before: int | None
) -> tuple[list[JobState], int | None]:
    """Jobs, the newest first, and the number before which the next page begins."""
    async with pool.connection() as connection:
        found = await connection.execute(
            SELECT + "where (%(state)s::text is null or state = %(state)s) "
            "and (%(before)s::bigint is null or number < %(before)s) "
            "order by number desc limit %(limit)s",
            {"state": state, "before": before, "limit": limit + 1},
        )
        rows = await found.fetchall()
    more = rows[limit - 1]["number"] if len(rows) > limit else None
    return [job_of(row) for row in rows[:limit]], more


async def check_queue(pool: Pool, most: int) -> None:
    """Raise Problem 429 when so many jobs wait or run already."""
    async with pool.connection() as connection:
        found = await connection.execute(
            "select count(*) as jobs from jobs where finished_at is null"
        )
        row = await found.fetchone()
    if row and row["jobs"] >= most:
        raise slow_down("queue-full", f"{most} jobs are waiting already. Try again in a while.", 30)


async def accept(pool: Pool, queue: App, new: NewJob, same: Sequence[UUID] = ()) -> JobState:
    """Keep a job and put it into the queue, at once; or the one that it is a repetition of.

    `same` are finished jobs with that content that may stand for it. Raises Problem 422 when its
    Idempotency-Key came with something else before.
    """
    async with pool.connection() as connection, connection.transaction():
        # One after the other: so jobs have the order in which they are queued, and of two equal
        # ones the second sees the first.
        await connection.execute(_ALONE)
        earlier = await _by_key(connection, new) or await _by_content(connection, new, same)
        if earlier is not None:
            return earlier
        await connection.execute(
            "insert into jobs (id, kind, created_by, options, content_key, idempotency_key) "
            "values (%s, %s, %s, %s, %s, %s)",
            (
                new.id,
                new.kind,
                new.created_by,
                Jsonb(new.options.model_dump()),
                new.content_key,
                new.idempotency_key,
            ),
        )
        for position, file in enumerate(new.files):
            await connection.execute(
                "insert into uploads values (%s, %s, %s, %s, %s)",
                (new.id, position, file.name, file.bytes, file.sha256),
            )
        await defer(queue, connection, BUILD if new.kind == "build" else WORK, new.id)
        return await _tell_state(connection, new.id)


async def done_with(pool: Pool, content_key: str) -> list[JobState]:
    """Finished jobs with that content, which may have been undone since."""
    async with pool.connection() as connection:
        found = await connection.execute(
            SELECT + "where content_key = %s and state = 'done' order by number desc limit 1",
            (content_key,),
        )
        return [job_of(row) for row in await found.fetchall()]


async def counting(pool: Pool, raw_schema: str, loads: Set[int]) -> set[int]:
    """Which of some loads count."""
    if not loads:
        return set()
    ledger = sql.Identifier(raw_schema, LEDGER)
    async with pool.connection() as connection:
        found = await connection.execute(
            sql.SQL("select load_id from {} where load_id = any(%s) and status = %s").format(
                ledger
            ),
            (list(loads), CURRENT),
        )
        return {row["load_id"] for row in await found.fetchall()}


async def cancel(pool: Pool, queue: App, job_id: UUID) -> JobState:
    """Cancel a job, or ask for it while it runs. Raises Problem 404, or 409 when it has ended.

    What waits for a build that others wait for too just waits no longer.
    """
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("select 1 from jobs where id = %s for update", (job_id,))
        row = await _row(connection, job_id)
        if row["state"] in FINAL:
            raise Problem(409, "job-ended", f"The job has ended already: it is {row['state']}.")
        await connection.execute("update jobs set cancel_requested = true where id = %s", (job_id,))
        if row["state"] == "queued" or await _waits_in_company(connection, row):
            await connection.execute(
                "update jobs set state = 'cancelled', finished_at = clock_timestamp() "
                "where id = %s",
                (job_id,),
            )
            job = await _tell_state(connection, job_id)
        else:
            job = job_of(row)
    if job.state != "cancelled" or row["state"] == "queued":
        # A worker that has it hears of it; the task of one that waits is taken out of the queue.
        await queue.job_manager.cancel_job_by_id_async(row["queue_id"], abort=True)
    return job


async def _waits_in_company(connection: AsyncConnection, row: Mapping[str, Any]) -> bool:
    """Whether a job's data are written, and a build that it waits for is not its own alone."""
    if not row["awaits_build"]:
        return False
    found = await connection.execute(
        "select exists (select 1 from jobs where awaits_build and finished_at is null "
        "and id <> %s) or not exists (select 1 from procrastinate_jobs "
        "where id = %s and status = 'doing') as yes",
        (row["id"], row["queue_id"]),
    )
    answer = await found.fetchone()
    return bool(answer and answer["yes"])


async def _row(connection: AsyncConnection, job_id: UUID) -> Mapping[str, Any]:
    found = await connection.execute(SELECT + "where id = %s", (job_id,))
    row = await found.fetchone()
    if row is None:
        raise Problem(404, "unknown-job", f"There is no job {job_id}.")
    return row


async def _by_key(connection: AsyncConnection, new: NewJob) -> JobState | None:
    if new.idempotency_key is None:
        return None
    found = await connection.execute(
        SELECT + "where created_by = %s and idempotency_key = %s",
        (new.created_by, new.idempotency_key),
    )
    row = await found.fetchone()
    if row is None:
        return None
    if row["content_key"] != new.content_key or row["kind"] != new.kind:
        raise Problem(
            422,
            "idempotency-key-reused",
            f"This Idempotency-Key came with something else before, in job {row['id']}.",
        )
    return job_of(row)


async def _by_content(
    connection: AsyncConnection, new: NewJob, same: Sequence[UUID]
) -> JobState | None:
    """A job that does just that already, unless another one comes between.

    A load whose rows a later replace or undo in the queue takes away has to be done once more.
    One that replaces is the same only while nothing at all comes after it.
    """
    if new.content_key is None:
        return None
    found = await connection.execute(
        SELECT + "where content_key = %(key)s "
        "and (finished_at is null and not cancel_requested or id = any(%(same)s)) "
        "and not exists (select 1 from jobs as later where later.number > jobs.number "
        "and later.kind <> 'build' and later.finished_at is null and (%(replace)s "
        "or later.kind <> 'load' or (later.options ->> 'replace')::boolean)) "
        "order by number desc limit 1",
        {"key": new.content_key, "same": list(same), "replace": new.options.replace},
    )
    row = await found.fetchone()
    return None if row is None else job_of(row)


async def _tell_state(connection: AsyncConnection, job_id: UUID) -> JobState:
    job = job_of(await _row(connection, job_id))
    await connection.execute(APPEND_EVENT, ([job_id], "state", Jsonb(job.model_dump(mode="json"))))
    return job
