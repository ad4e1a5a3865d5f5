"""`labmart worker`: takes tasks from the queue, one at a time, and has a runner do them.

Everything may be killed at any moment. What then is left in the queue as being worked on is found
by its worker's missing heartbeat and put back; what the rows of jobs and the queue say differently
is mended by `reconcile`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys

from procrastinate import App, JobContext
from procrastinate.exceptions import ConnectorException, JobAborted
from procrastinate.job_context import AbortReason
from procrastinate.jobs import Job
from procrastinate.retry import BaseRetryStrategy, RetryDecision
from psycopg import OperationalError

from loader.errors import DatabaseUnreachable
from loader.service.database import Pool, make_pool
from loader.service.processes import end
from loader.service.queue import BUILD, QUEUE, WORK, open_queue
from loader.service.reconcile import reconcile, sweep
from loader.service.schema import prepare
from loader.service.settings import Settings, check

_LOG = logging.getLogger("labmart.worker")
_HEARTBEAT = 2.0
# A worker without a heartbeat for so long is gone.
STALLED = 10.0
_RECONCILE = 2.0
_SWEEP = 60.0
# What a runner may take to end: dbt cancels its queries.
_LAST_SECONDS = 45.0
# When the worker is told to end, its job is interrupted after so long, and done later.
_GRACE = 3.0


class Interrupted(Exception):  # noqa: N818 -- not a fault
    """The job was not done, and is to be done again."""


class _Again(BaseRetryStrategy):
    """Do a job again that was interrupted; the runner counts how often."""

    def get_retry_decision(
        self,
        *,
        exception: BaseException,
        job: Job,  # noqa: ARG002 -- procrastinate passes it
    ) -> RetryDecision | None:
        """See procrastinate."""
        again = isinstance(exception, Interrupted)
        return RetryDecision(retry_in={"seconds": 1}) if again else None


class Runners:
    """The runner's process, which is started anew when it has gone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None

    async def do(self, task: str, job_id: str) -> None:
        """Have a task done. Raises Interrupted when the runner ends before it has."""
        try:
            process = await self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{task} {job_id}\n".encode())
            answer = await process.stdout.readline()
        except asyncio.CancelledError:
            await self.stop()
            raise
        except OSError:
            answer = b""
        if answer != b"done\n":
            await self.stop()
            raise Interrupted

    async def stop(self) -> None:
        """End the process as Ctrl-C does, and wait for it."""
        process, self._process = self._process, None
        if process is not None:
            await end(process, signal.SIGINT, _LAST_SECONDS)

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            settings = self._settings
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "loader.service.runner"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                # Ctrl-C in a terminal reaches us alone, and the runner gets exactly one signal.
                start_new_session=True,
            )
            given = {
                "project": str(settings.database.project.root),
                "target": settings.target,
                "spool": str(settings.spool_folder),
                "landing": str(settings.landing) if settings.landing else None,
            }
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(given).encode() + b"\n")
        return self._process


def work(settings: Settings, *, with_parent: bool) -> None:
    """Work until a signal comes; `with_parent`: or until stdin ends."""
    check(settings)
    prepare(settings)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    # It logs each fault of the connection with its traceback, and then raises it.
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
    logging.getLogger("labmart").setLevel(logging.INFO)
    try:
        asyncio.run(_work(settings, with_parent=with_parent))
    except (ConnectorException, OperationalError):
        raise DatabaseUnreachable(
            "The worker lost its connection to the database. What it was at is done again once it "
            "works again: start the database, then the worker."
        ) from None


async def _work(settings: Settings, *, with_parent: bool) -> None:
    runners = Runners(settings)
    async with make_pool(settings, most=4, name="labmart service worker") as pool:
        app = await open_queue(pool)
        _add_tasks(app, runners)
        await _mend(app, pool)
        print("labmart works on jobs", file=sys.stderr, flush=True)
        beside = [
            asyncio.create_task(_mend_forever(app, pool)),
            asyncio.create_task(_sweep_forever(settings, pool)),
        ]
        if with_parent:
            beside.append(asyncio.create_task(_end_with_stdin()))
        try:
            await app.run_worker_async(
                queues=[QUEUE],
                concurrency=1,
                fetch_job_polling_interval=2.0,
                abort_job_polling_interval=2.0,
                shutdown_graceful_timeout=_GRACE,
                update_heartbeat_interval=_HEARTBEAT,
                stalled_worker_timeout=STALLED,
            )
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await runners.stop()


def _add_tasks(app: App, runners: Runners) -> None:
    for name in (WORK, BUILD):

        @app.task(name=name, queue=QUEUE, pass_context=True, retry=_Again())
        async def _(context: JobContext, job_id: str) -> None:
            try:
                await runners.do(context.job.task_name, job_id)
            except asyncio.CancelledError:
                if context.abort_reason() is AbortReason.USER_REQUEST:
                    raise JobAborted from None
                raise Interrupted from None


async def _mend(app: App, pool: Pool) -> None:
    for stalled in await app.job_manager.get_stalled_jobs(
        queue=QUEUE, seconds_since_heartbeat=STALLED
    ):
        _LOG.info("job %s: its worker has gone; again", stalled.task_kwargs.get("job_id"))
        await app.job_manager.retry_job(stalled)
    await reconcile(app, pool)


async def _mend_forever(app: App, pool: Pool) -> None:
    while True:
        await asyncio.sleep(_RECONCILE)
        try:
            await _mend(app, pool)
        except Exception as error:
            # The worker itself ends when the database has gone for good.
            _LOG.warning("worker: %s", " ".join(str(error).split()))


async def _sweep_forever(settings: Settings, pool: Pool) -> None:
    while True:
        try:
            await sweep(settings.spool_folder, pool)
        except Exception as error:
            _LOG.warning("worker: %s", " ".join(str(error).split()))
        await asyncio.sleep(_SWEEP)


async def _end_with_stdin() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    os.kill(os.getpid(), signal.SIGTERM)
