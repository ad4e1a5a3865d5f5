"""`labmart serve`: the server's process from start to end."""

from __future__ import annotations

import logging
import socket
import sys

import uvicorn
from fastapi import FastAPI

from loader.errors import UsageError
from loader.service import tokens
from loader.service.app import create_app
from loader.service.database import connected
from loader.service.schema import prepare
from loader.service.settings import Settings, check

# What is under way may take so long to end.
_LAST_ANSWERS_SECONDS = 3


def serve(settings: Settings) -> None:
    """Serve until a signal comes. Raises UsageError where it would be open to others."""
    check(settings)
    prepare(settings)
    _check_tokens(settings)
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
        """See uvicorn."""
        self._app.state.service.broker.close()
        await super().shutdown(sockets)


def _check_tokens(settings: Settings) -> None:
    with connected(settings) as connection:
        if settings.token_file is not None:
            tokens.keep(connection, _token_of(settings))
        if settings.open_to_all:
            return
        if not any(token.state == "valid" for token in tokens.tokens(connection)):
            raise UsageError(
                f"Others could reach a server that listens at {settings.host}, and there is no "
                "token yet. Make one with `labmart token create --role admin --name NAME`."
            )


def _token_of(settings: Settings) -> str:
    assert settings.token_file is not None
    token = settings.token_file.read_text(encoding="utf-8").strip()
    if len(token) < tokens.SHORTEST or not token.isascii() or not token.isprintable():
        raise UsageError(
            f"{settings.token_file}: a token has at least {tokens.SHORTEST} printable ASCII "
            "characters, all of them random: `openssl rand -hex 32` makes one."
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
