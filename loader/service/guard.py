"""What happens to every request: where it comes from, headers of the answer, a line of the log."""

from __future__ import annotations

import json
import logging
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loader.service.problems import Problem, response
from loader.service.settings import Settings, is_loopback

_LOG = logging.getLogger("labmart.access")
# Bytes of a body.
_LITTLE = 1 << 16
_SAFE = ("GET", "HEAD", "OPTIONS")
# For everything but the dbt documentation, which brings its own.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """The outermost part of the app."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.monotonic()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                # What the API tells belongs to its caller alone.
                headers.setdefault("Cache-Control", "private, no-cache")
                if status >= 400 and _brings_much(scope):
                    # The server would go on reading, only to drop it.
                    headers["Connection"] = "close"
            await send(message)

        try:
            problem = self._refusal(scope)
            if problem is None:
                await self._app(scope, receive, answer)
            else:
                await response(problem, scope["path"])(scope, receive, answer)
        finally:
            seconds = time.monotonic() - begun
            _log(scope, status, seconds)
            _count(scope, status, seconds)

    def _refusal(self, scope: Scope) -> Problem | None:
        """Keep pages of other places from speaking to a server that only this machine reaches."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._settings.is_loopback and not is_loopback(_name(host)):
            return Problem(
                403,
                "foreign-host",
                f"This server is called by the name of this machine, not {host!r}. "
                f"Use http://127.0.0.1:{self._settings.port}.",
            )
        origin = headers.get("origin")
        if scope["method"] in _SAFE or origin is None:
            return None
        if urlsplit(origin).netloc.lower() != host.lower():
            return Problem(
                403, "foreign-origin", "A page of another place may not change anything here."
            )
        return None


def _brings_much(scope: Scope) -> bool:
    """Whether the request has a body that is not worth waiting for."""
    headers = Headers(scope=scope)
    length = headers.get("content-length", "0")
    return "transfer-encoding" in headers or not length.isdigit() or int(length) > _LITTLE


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] or host


def _log(scope: Scope, status: int, seconds: float) -> None:
    request = Request(scope)
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "method": scope["method"],
        # Without the query, in which somebody might send what they should not.
        "path": scope["path"][:500],
        "status": status,
        "ms": round(seconds * 1000, 1),
        "client": request.client.host if request.client else None,
        "caller": getattr(request.state, "caller", None),
    }
    _LOG.info("%s", json.dumps(line))


def _count(scope: Scope, status: int, seconds: float) -> None:
    """For Prometheus: by the address as it is declared, since anybody can invent others."""
    if "app" not in scope:
        return
    route = getattr(scope.get("route"), "path", "none")
    metrics = scope["app"].state.service.metrics
    metrics.requests.labels(scope["method"], route, status).inc()
    metrics.seconds.labels(route).observe(seconds)
