"""What the parts of a running server share."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from loader.service.database import Pool
from loader.service.settings import Settings
from loader.service.tables import Tables
from loader.service.throttle import FailedLogins, Rates


@dataclass(frozen=True)
class Service:
    """A running server."""

    settings: Settings
    pool: Pool
    rates: Rates
    failed_logins: FailedLogins
    tables: Tables


def service_of(request: Request) -> Service:
    """The server that a request came to; for `Depends`."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
