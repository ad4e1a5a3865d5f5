"""`labmart serve`: the app, and the server's process from start to end."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from anyio import to_thread
from fastapi import FastAPI

from loader import __version__
from loader.errors import UsageError
from loader.service import problems, routes
from loader.service.access import CONNECTIONS, Guard, Service, TokenStore
from loader.service.database import Settings, Tables, prepared
from loader.service.marts import Marts
from loader.service.worker import keep_worker

# What is under way may take so long to end.
_LAST_ANSWERS_SECONDS = 3
_MOST_CONNECTIONS = 1000


def create_app(settings: Settings, tables: Tables) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        marts = Marts(settings.database)
        await to_thread.run_sync(marts.begin)
        app.state.service = Service(settings, tables, marts)
        worker = asyncio.create_task(keep_worker(settings)) if settings.worker else None
        try:
            yield
        finally:
            if worker is not None:
                worker.cancel()
                await asyncio.gather(worker, return_exceptions=True)
            marts.close()

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
        responses={"default": problems.DECLARED},
        exception_handlers=problems.HANDLERS,
    )
    app.add_middleware(Guard, settings=settings)
    app.include_router(routes.router)
    return app


@contextmanager
def listening(settings: Settings) -> Iterator[tuple[uvicorn.Server, socket.socket]]:
    """A server, and the open port to run it on. Raises UsageError where others could reach it."""
    with prepared(settings, CONNECTIONS) as tables:
        _check_tokens(settings, TokenStore(tables))
        config = uvicorn.Config(
            create_app(settings, tables),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
        )
        with _listen(settings) as listener:
            yield _Server(config), listener


def serve(settings: Settings) -> None:
    """Serve until a signal comes. Raises as `listening` does."""
    with listening(settings) as (server, listener):
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
        logging.getLogger("labmart").setLevel(logging.INFO)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"labmart listens at http://{shown}:{port}", file=sys.stderr, flush=True)
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # The streams of events would keep it from ending.
        app = self.config.app
        assert isinstance(app, FastAPI)
        app.state.service.is_ending = True
        await super().shutdown(sockets)


def _check_tokens(settings: Settings, tokens: TokenStore) -> None:
    if settings.token_file is not None:
        tokens.keep_file(settings.token_file)
    if settings.open_to_all or any(token.state == "valid" for token in tokens.all()):
        return
    why = (
        "--require-token was given"
        if settings.is_loopback
        else f"Others could reach a server that listens at {settings.host}"
    )
    raise UsageError(
        f"{why}, and there is no token yet. Make one with `labmart token create --role admin "
        "--name NAME`."
    )


def _listen(settings: Settings) -> socket.socket:
    """Open the port now, so that what is in the way is told in our words."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = settings.host, settings.port
    try:
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, backlog=2048, dualstack_ipv6=both)
    except OSError as error:
        raise UsageError(
            f"The service cannot listen at {settings.host}, port {settings.port}: "
            f"{error.strerror or error}. Choose another one with --host and --port."
        ) from None
