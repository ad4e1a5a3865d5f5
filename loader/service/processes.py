"""Ending a child process of the service."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress


async def end(process: asyncio.subprocess.Process, number: signal.Signals, seconds: float) -> None:
    """Send a signal and wait for the end; a process that takes longer is killed."""
    with suppress(ProcessLookupError):
        process.send_signal(number)
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
