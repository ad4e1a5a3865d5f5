"""What the parts of a running server share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastapi import Request
from procrastinate import App

from loader.service.database import Pool
from loader.service.events import Broker
from loader.service.metrics import Metrics
from loader.service.problems import slow_down
from loader.service.settings import Settings
from loader.service.tables import Tables
from loader.service.throttle import FailedLogins, Rates


@dataclass
class Slots:
    """How many uploads there are at the same time."""

    most: int
    taken: int = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a slot. Raises Problem 429 when there is none."""
        if self.taken >= self.most:
            said = f"{self.most} uploads are under way already. Try again in a moment."
            raise slow_down("too-many-uploads", said, 2)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


@dataclass(frozen=True)
class Service:
    """A running server."""

    settings: Settings
    pool: Pool
    queue: App
    broker: Broker
    rates: Rates
    failed_logins: FailedLogins
    uploads: Slots
    tables: Tables
    metrics: Metrics = field(default_factory=Metrics)


def service_of(request: Request) -> Service:
    """The server that a request came to; for `Depends`."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
