"""`labmart serve`: the app, and the server's process from start to end."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI

from loader import __version__
from loader.errors import UsageError
from loader.service import problems, routes
from loader.service.access import SHORTEST_TOKEN, Guard, Rates, TokenStore
from loader.service.database import Tables, prepared
from loader.service.jobs import JobStore
from loader.service.marts import Marts
from loader.service.model import ProblemModel
from loader.service.settings import Settings, check
from loader.service.state import CONNECTIONS, Broker, Service
from loader.service.worker import keep_worker

# What is under way may take so long to end.
_LAST_ANSWERS_SECONDS = 3
# For so long a caller may save up requests.
_SAVED_SECONDS = 10.0


def create_app(settings: Settings) -> FastAPI:
    """The app of a server; the database is ready (see `database.prepared`)."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = settings.limits
        marts = Marts(settings.database)
        await to_thread.run_sync(marts.begin)
        tables = Tables(settings, CONNECTIONS)
        service = Service(
            settings=settings,
            jobs=JobStore(tables),
            tokens=TokenStore(tables),
            marts=marts,
            broker=Broker(settings),
            rates=Rates(limits.requests_per_second, _SAVED_SECONDS * limits.requests_per_second),
            failed_logins=Rates(limits.failed_logins / 60, limits.failed_logins),
            uploads=CapacityLimiter(limits.uploads),
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
            marts.close()
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
        # A client that sends a body does not follow to the other address.
        redirect_slashes=False,
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
    app.include_router(routes.router)
    if settings.open_to_all:
        for operations in app.openapi()["paths"].values():
            for operation in operations.values():
                if "security" in operation:
                    # A token, or none.
                    operation["security"].append({})
    return app


def serve(settings: Settings) -> None:
    """Serve until a signal comes. Raises UsageError where it would be open to others."""
    check(settings)
    with prepared(settings) as tables:
        _check_tokens(settings, TokenStore(tables))
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("labmart").setLevel(logging.INFO)
    listener = _listen(settings)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"labmart listens at http://{shown}:{port}", file=sys.stderr, flush=True)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
    )
    _Server(config, app).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends the streams of events first, which would keep it from ending."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.service.broker.close()
        await super().shutdown(sockets)


def _check_tokens(settings: Settings, tokens: TokenStore) -> None:
    if settings.token_file is not None:
        tokens.keep(_token_in(settings.token_file))
    if settings.open_to_all:
        return
    if not any(token.state == "valid" for token in tokens.all()):
        why = (
            "--require-token was given"
            if settings.is_loopback
            else f"Others could reach a server that listens at {settings.host}"
        )
        raise UsageError(
            f"{why}, and there is no token yet. Make one with `labmart token create --role admin "
            "--name NAME`."
        )


def _token_in(file: Path) -> str:
    token = file.read_text(encoding="utf-8").strip()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise UsageError(
            f"{file}: a token has at least {SHORTEST_TOKEN} printable ASCII characters, all of "
            "them random: `openssl rand -hex 32` makes one."
        )
    return token


def _listen(settings: Settings) -> socket.socket:
    """Open the port now, so that what is in the way is told in our words."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"The service cannot listen at {settings.host}, port {settings.port}: "
            f"{error.strerror or error}. Choose another one with --host and --port."
        ) from None
    return listener
