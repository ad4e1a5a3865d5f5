"""The worker of `labmart serve`: a process beside the server, started anew when it ends."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time

from loader.service.processes import end
from loader.service.settings import Settings

_LOG = logging.getLogger("labmart.service")
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
# One that has lived for so long was well.
_WELL = 60.0
_LAST_SECONDS = 60.0


async def keep_worker(settings: Settings) -> None:
    """Keep a worker running until cancelled; then end it, which may take some seconds."""
    wait = _FIRST_WAIT
    while True:
        begun = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *_command(settings),
            # When we have gone, however, it sees the end of this pipe and ends too.
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await end(process, signal.SIGTERM, _LAST_SECONDS)
            raise
        wait = _FIRST_WAIT if time.monotonic() - begun > _WELL else min(2 * wait, _LONGEST_WAIT)
        _LOG.warning("the worker has ended (%s); another one starts in %.1f s", code, wait)
        await asyncio.sleep(wait)


def _command(settings: Settings) -> list[str]:
    command = [sys.executable, "-P", "-m", "loader"]
    command += ["--project-dir", str(settings.database.project.root), "worker", "--with-parent"]
    command += ["--spool", str(settings.spool_folder)]
    if settings.landing is not None:
        command += ["--landing", str(settings.landing)]
    if settings.target is not None:
        command += ["--target", settings.target]
    return command
