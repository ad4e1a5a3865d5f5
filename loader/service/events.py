"""Server-sent events of jobs, at a constant cost per listener.

One connection of the server listens for all jobs. Whoever follows a job waits for a flag in memory
and then reads the job's new events, which are rows: so a listener who comes back with
Last-Event-ID misses nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
from psycopg import sql

from loader.service.database import Pool, conninfo
from loader.service.model import FINAL
from loader.service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = logging.getLogger("labmart.service")
# A comment so often keeps proxies from taking the connection for dead; it is also how often is
# looked for events whose notification was lost with a connection.
_KEEP_ALIVE = 10.0
_RECONNECT = 1.0
_AT_ONCE = 500


class Broker:
    """Wakes those who follow a job."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._flags: dict[str, set[asyncio.Event]] = {}
        self.is_closed = False

    def close(self) -> None:
        """Let every stream end: the server does. Who listened comes back to the next one."""
        self.is_closed = True
        self._wake_all()

    async def listen(self) -> None:
        """Listen for notifications until cancelled, over any number of connections."""
        channel = sql.Identifier(f"labmart {self._settings.schema}")
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    conninfo(self._settings, "labmart service events"), autocommit=True
                ) as connection:
                    await connection.execute(sql.SQL("listen {}").format(channel))
                    # What came while nobody listened.
                    self._wake_all()
                    async for notification in connection.notifies():
                        self._wake(notification.payload)
            except psycopg.Error as error:
                _LOG.warning("events: the connection was lost: %s", " ".join(str(error).split()))
            await asyncio.sleep(_RECONNECT)

    @contextmanager
    def following(self, job_id: UUID) -> Iterator[asyncio.Event]:
        """A flag that is set whenever the job has new events."""
        flag = asyncio.Event()
        followers = self._flags.setdefault(str(job_id), set())
        followers.add(flag)
        try:
            yield flag
        finally:
            followers.discard(flag)
            if not followers:
                self._flags.pop(str(job_id), None)

    def _wake(self, job_id: str) -> None:
        for flag in self._flags.get(job_id, ()):
            flag.set()

    def _wake_all(self) -> None:
        for job_id in self._flags:
            self._wake(job_id)


async def stream(pool: Pool, broker: Broker, job_id: UUID, after: int) -> AsyncIterator[str]:
    """The events of a job after a number, as text/event-stream, until the final one."""
    with broker.following(job_id) as flag:
        while not broker.is_closed:
            flag.clear()
            async with pool.connection() as connection:
                found = await connection.execute(
                    "select number, event, data from job_events where job_id = %s and number > %s "
                    "order by number limit %s",
                    (job_id, after, _AT_ONCE),
                )
                rows = await found.fetchall()
            for row in rows:
                after = row["number"]
                data = json.dumps(row["data"], ensure_ascii=False)
                yield f"id: {after}\nevent: {row['event']}\ndata: {data}\n\n"
                if row["event"] == "state" and row["data"]["state"] in FINAL:
                    return
            if len(rows) == _AT_ONCE:
                continue
            if not rows and await _has_ended(pool, job_id):
                # Somebody comes back after the final event, or the job was deleted.
                return
            try:
                await asyncio.wait_for(flag.wait(), _KEEP_ALIVE)
            except TimeoutError:
                yield ": still here\n\n"


async def _has_ended(pool: Pool, job_id: UUID) -> bool:
    async with pool.connection() as connection:
        found = await connection.execute(
            "select 1 from jobs where id = %s and finished_at is null", (job_id,)
        )
        return await found.fetchone() is None
