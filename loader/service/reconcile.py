"""What a worker does beside working: mending what kills have left, and tidying up."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import UUID

from procrastinate import App
from psycopg.types.json import Jsonb

from loader.service.database import Pool
from loader.service.jobs import APPEND_EVENT, SELECT, job_of
from loader.service.queue import BUILD, WORK, defer
from loader.service.spool import left_over, remove

# A transaction whose connection broke while it was committed is decided by then.
_UNDECIDED_SECONDS = 600.0
_KEPT = "90 days"


async def reconcile(app: App, pool: Pool) -> None:
    """Bring jobs that no task is left for to their end, or back into the queue."""
    async with pool.connection() as connection:
        found = await connection.execute(
            "select id from jobs where finished_at is null and not exists ("
            "select 1 from procrastinate_jobs as task where task.id = jobs.queue_id "
            "and task.status in ('todo', 'doing')) order by number"
        )
        ids = [row["id"] for row in await found.fetchall()]
    for job_id in ids:
        await _mend(app, pool, job_id)


async def _mend(app: App, pool: Pool, job_id: UUID) -> None:
    async with pool.connection() as connection, connection.transaction():
        found = await connection.execute(
            "select cancel_requested, awaits_build, kind from jobs "
            "where id = %s and finished_at is null and not exists ("
            "select 1 from procrastinate_jobs as task where task.id = jobs.queue_id "
            "and task.status in ('todo', 'doing')) for update",
            (job_id,),
        )
        row = await found.fetchone()
        if row is None:
            return
        if not row["cancel_requested"]:
            building = row["awaits_build"] or row["kind"] == "build"
            await defer(app, connection, BUILD if building else WORK, job_id)
            return
        await connection.execute(
            "update jobs set state = 'cancelled', finished_at = clock_timestamp() where id = %s",
            (job_id,),
        )
        found = await connection.execute(SELECT + "where id = %s", (job_id,))
        job = await found.fetchone()
        if job is not None:
            state = Jsonb(job_of(job).model_dump(mode="json"))
            await connection.execute(APPEND_EVENT, ([job_id], "state", state))


async def sweep(spool: Path, pool: Pool) -> None:
    """Delete uploads that no job needs any more, and what is known of very old jobs."""
    for job_id in await asyncio.to_thread(lambda: list(left_over(spool))):
        async with pool.connection() as connection:
            found = await connection.execute(
                "select finished_at is not null or awaits_build as over from jobs where id = %s",
                (job_id,),
            )
            row = await found.fetchone()
        if row["over"] if row else _is_old(spool / str(job_id)):
            await asyncio.to_thread(remove, spool, job_id)
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(
            "delete from jobs where finished_at < clock_timestamp() - %s::interval", (_KEPT,)
        )
        await connection.execute(
            "delete from procrastinate_jobs as task where status not in ('todo', 'doing') "
            "and not exists (select 1 from jobs where queue_id = task.id)"
        )


def _is_old(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime > _UNDECIDED_SECONDS
    except OSError:
        return False
