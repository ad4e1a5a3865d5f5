"""Puts the service together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from loader import __version__
from loader.service import problems
from loader.service.context import Service, Slots
from loader.service.database import make_pool
from loader.service.events import Broker
from loader.service.guard import Guard
from loader.service.model import ProblemModel
from loader.service.queue import open_queue
from loader.service.routes import docs, files, health, jobs, loads, marts, page, runs
from loader.service.settings import Settings
from loader.service.supervisor import keep_worker
from loader.service.tables import Tables
from loader.service.throttle import FailedLogins, Rates

# Requests wait for each other's connections rather than open one each.
_CONNECTIONS = 8
_ROUTERS = (
    *(files.router, runs.router, jobs.router),
    *(marts.router, loads.router),
    *(health.router, docs.router, page.router),
)


def create_app(settings: Settings) -> FastAPI:
    """The app of a server; the database is ready (see `database.prepare`)."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = settings.limits
        tables = Tables(settings.database)
        await to_thread.run_sync(tables.begin)
        async with make_pool(settings, most=_CONNECTIONS) as pool:
            service = Service(
                settings,
                pool,
                await open_queue(pool),
                Broker(settings),
                Rates(limits.requests_per_second),
                FailedLogins(limits.failed_logins),
                Slots(limits.uploads),
                tables,
            )
            app.state.service = service
            beside = [asyncio.create_task(service.broker.listen())]
            if settings.worker:
                beside.append(asyncio.create_task(keep_worker(settings)))
            try:
                yield
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
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
                "description": "A problem",
                "content": {
                    problems.MEDIA_TYPE: {
                        "schema": {"$ref": f"#/components/schemas/{ProblemModel.__name__}"}
                    }
                },
            }
        },
    )
    problems.add_handlers(app)
    app.add_middleware(Guard, settings=settings)
    for router in _ROUTERS:
        app.include_router(router)
    return app
