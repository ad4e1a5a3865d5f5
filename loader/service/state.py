"""What a running server holds: its stores and limits, its figures, and who wakes listeners."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple
from uuid import UUID

import psycopg2
from anyio import CapacityLimiter, to_thread
from fastapi import Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from loader.engines.postgres import Connection, one_line
from loader.engines.sql import quote
from loader.errors import LabmartError
from loader.service.access import Rates, TokenStore
from loader.service.database import Tables, connect_to_tables
from loader.service.jobs import JobStore
from loader.service.settings import Settings

if TYPE_CHECKING:
    from loader.service.marts import Marts

_LOG = logging.getLogger("labmart.service")
_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")
# Requests wait for each other's connections rather than open one each.
CONNECTIONS = 8
_RECONNECT_SECONDS = 1.0
# For so long a caller may save up requests.
_SAVED_SECONDS = 10.0
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Broker:
    """Wakes those who follow a job, at a constant cost per listener.

    One connection of the server listens for all jobs. Whoever follows one waits for a flag in
    memory and then reads the job's new events, which are rows: so a listener who comes back with
    Last-Event-ID misses nothing.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._flags: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.is_closed = False

    def close(self) -> None:
        """Let every stream end: the server does. Who listened comes back to the next one."""
        self.is_closed = True
        self._wake(*self._flags)

    async def listen(self) -> None:
        """Listen for notifications until cancelled, over any number of connections."""
        while True:
            try:
                with closing(await to_thread.run_sync(self._connect)) as connection:
                    # What came while nobody listened.
                    self._wake(*self._flags)
                    await self._hear(connection)
            except (psycopg2.Error, LabmartError) as error:
                _LOG.warning("events: the connection was lost: %s", one_line(error))
            await asyncio.sleep(_RECONNECT_SECONDS)

    @contextmanager
    def following(self, job_id: UUID) -> Iterator[asyncio.Event]:
        """A flag that is set whenever the job has new events."""
        flag, followers = asyncio.Event(), self._flags[str(job_id)]
        followers.add(flag)
        try:
            yield flag
        finally:
            followers.discard(flag)
            if not followers:
                self._flags.pop(str(job_id), None)

    def _connect(self) -> Connection:
        connection = connect_to_tables(self._settings, "labmart service events")
        with connection.cursor() as cursor:
            cursor.execute(f"listen {quote(f'labmart {self._settings.schema}')}")
        return connection

    async def _hear(self, connection: Connection) -> None:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        descriptor = connection.fileno()
        loop.add_reader(descriptor, readable.set)
        try:
            while True:
                connection.poll()
                self._wake(*(notice.payload for notice in connection.notifies))
                connection.notifies.clear()
                await readable.wait()
                readable.clear()
        finally:
            loop.remove_reader(descriptor)

    def _wake(self, *job_ids: str) -> None:
        for job_id in job_ids:
            for flag in self._flags.get(job_id, ()):
                flag.set()


class Metrics:
    """The figures of one server for Prometheus.

    Labels have few values: routes as they are declared, states, kinds.
    """

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "labmart_http_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=own,
        )
        self.seconds = Histogram(
            "labmart_http_request_seconds",
            "How long they took.",
            ("route",),
            buckets=_SECONDS,
            registry=own,
        )
        self.uploaded = Counter(
            "labmart_uploaded_bytes", "Bytes of accepted uploads.", registry=own
        )
        self.uploading = Gauge("labmart_uploads_in_progress", "Uploads under way.", registry=own)
        self.jobs = Gauge(
            "labmart_jobs", "Jobs by kind and state.", ("kind", "state"), registry=own
        )
        self.worker = Gauge(
            "labmart_worker_up", "Whether a worker gives signs of life.", registry=own
        )


class Service:
    """A running server."""

    def __init__(self, settings: Settings, tables: Tables, marts: Marts) -> None:
        rate, wrong = settings.requests_per_second, settings.failed_logins
        self.settings, self.marts = settings, marts
        self.jobs, self.tokens = JobStore(tables), TokenStore(tables)
        self.broker, self.metrics = Broker(settings), Metrics()
        self.rates = Rates(rate, _SAVED_SECONDS * rate)
        # Of wrong tokens, by address.
        self.failed_logins = Rates(wrong / 60, wrong)
        self.uploads = CapacityLimiter(settings.uploads)
        # Threads of their own: those that wait for rows of a mart keep nobody from uploading.
        self._threads = CapacityLimiter(CONNECTIONS)

    async def in_thread(
        self, function: Callable[[*_Arguments], _Result], *arguments: *_Arguments
    ) -> _Result:
        """Call what waits for the database in a thread, beside other requests."""
        return await to_thread.run_sync(function, *arguments, limiter=self._threads)


async def service_of(request: Request) -> Service:
    """The server that a request came to; for `Depends`."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
