"""In which order jobs are worked on: procrastinate's queue, beside our own tables.

A job is one or two tasks. WORK writes to the raw tables (load, undo, redo), BUILD runs dbt. All
tasks have one lock, so one of them runs at a time; WORK goes first, so that of many uploads at once
all are loaded, in the order in which they were accepted, before one build serves them all. Lest
a stream of uploads puts the build off for ever, it goes first once somebody has waited for long.
"""

from __future__ import annotations

from uuid import UUID

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

from loader.service.database import AsyncConnection, Connection, Pool

QUEUE = "labmart"
WORK, BUILD = "work", "build"
_LOCK = "labmart"
_PRIORITY = {WORK: 10, BUILD: 0}
_OVERDUE_PRIORITY = 20
_OVERDUE = "60 seconds"


async def open_queue(pool: Pool) -> App:
    """The queue of a server or a worker, on its connections."""
    app = App(connector=PsycopgConnector())
    await app.open_async(pool)
    return app


async def defer(app: App, connection: AsyncConnection, task: str, job_id: UUID) -> None:
    """Put a task of a job into the queue, as part of the connection's transaction."""
    deferrer = app.configure_task(
        task, queue=QUEUE, lock=_LOCK, priority=_PRIORITY[task], connection=connection
    )
    queue_id = await deferrer.defer_async(job_id=str(job_id))
    await connection.execute("update jobs set queue_id = %s where id = %s", (queue_id, job_id))


def defer_build(connection: Connection, job_id: UUID) -> None:
    """The same for the build of a job whose data are written; others may wait for one already."""
    waiting = connection.execute(
        "select 1 from jobs where awaits_build and finished_at is null "
        "and started_at < clock_timestamp() - %s::interval limit 1",
        (_OVERDUE,),
    ).fetchone()
    priority = _OVERDUE_PRIORITY if waiting else _PRIORITY[BUILD]
    app = App(connector=SyncPsycopgConnector())
    deferrer = app.configure_task(
        BUILD, queue=QUEUE, lock=_LOCK, priority=priority, connection=connection
    )
    queue_id = deferrer.defer(job_id=str(job_id))
    connection.execute("update jobs set queue_id = %s where id = %s", (queue_id, job_id))
