"""Puts the service together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from loader import __version__
from loader.service import problems
from loader.service.context import Service
from loader.service.database import make_pool
from loader.service.guard import Guard
from loader.service.model import ProblemModel
from loader.service.routes import health, loads, marts, page
from loader.service.settings import Settings
from loader.service.tables import Tables
from loader.service.throttle import FailedLogins, Rates

# Requests wait for each other's connections rather than open one each.
_CONNECTIONS = 8
_ROUTERS = (health.router, marts.router, loads.router, page.router)


def create_app(settings: Settings) -> FastAPI:
    """The app of a server; the database is ready (see `database.prepare`)."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = settings.limits
        tables = Tables(settings.database)
        await to_thread.run_sync(tables.begin)
        async with make_pool(settings, most=_CONNECTIONS) as pool:
            app.state.service = Service(
                settings,
                pool,
                Rates(limits.requests_per_second, limits.requests_at_once),
                FailedLogins(limits.failed_logins),
                tables,
            )
            try:
                yield
            finally:
                tables.close()

    app = FastAPI(
        title="labmart",
        version=__version__,
        description="Upload a laboratory's files, follow their way into tested tables, ask those.",
        lifespan=lifespan,
        # The pages of these would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        responses={
            "default": {
                "model": ProblemModel,
                "description": "A problem",
                "content": {problems.MEDIA_TYPE: {}},
            }
        },
    )
    problems.add_handlers(app)
    app.add_middleware(Guard, settings=settings)
    for router in _ROUTERS:
        app.include_router(router)
    return app
