"""What a running server holds, and who may do what: tokens, roles, cross-origin requests.

A token is 256 random bits, so a plain SHA-256 of it is stored: nobody can guess it, which slow
hashes or a limit on wrong attempts make hard for passwords. Tokens are looked up by hash, so the
time that takes reveals nothing about them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loader.errors import UsageError
from loader.service.jobs import LOCAL, JobStore, Settings, Tables, is_loopback
from loader.service.marts import Marts
from loader.service.problems import Problem

_LOG = logging.getLogger("labmart.access")

Role = Literal["read", "load", "admin"]
ROLES: tuple[Role, ...] = ("read", "load", "admin")
# In characters, for a token that was not made by labmart.
_SHORTEST_TOKEN = 32
# It lets a secret scanner recognise a labmart token in a log or a repository.
_PREFIX = "labmart_"
_TOKEN_BYTES = 32
# The name of the token from --token-file.
_FROM_FILE = "token-file"
# What is wrong with a header is reported below.
_BEARER = HTTPBearer(auto_error=False, description="A token of `labmart token create`.")

_HEADERS = {
    # For everything but the dbt documentation, which has its own.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The API's answers are for the caller alone.
    "Cache-Control": "private, no-cache",
}


@dataclass(frozen=True)
class Caller:
    """Who sent a request; `name` is the token's."""

    name: str
    role: Role


class TokenStore:
    """The tokens of one schema; threads may share it."""

    def __init__(self, tables: Tables) -> None:
        self._run = tables.run

    def create(self, name: str, role: Role, *, expires: timedelta | None = None) -> str:
        """Create a token; it cannot be read again. Raises UsageError if the name is taken."""
        token = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        made = self._run(
            "insert into tokens (name, role, hash, expires_at) "
            "values (%(name)s, %(role)s, %(hash)s, clock_timestamp() + %(expires)s) "
            "on conflict (name) do nothing returning name",
            name=name,
            role=role,
            hash=_hash(token),
            expires=expires,
        )
        if not made:
            raise UsageError(
                f"There is a token {name!r} already. Choose another name; who has lost a token "
                "revokes it and makes a new one."
            )
        return token

    def keep_file(self, file: Path) -> None:
        """Make a file's token the administrator's, replacing the former. Raises UsageError."""
        token = file.read_text(encoding="utf-8").strip()
        if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
            raise UsageError(
                f"{file}: a token has at least {_SHORTEST_TOKEN} printable ASCII characters, all "
                "of them random: `openssl rand -hex 32` makes one."
            )
        self._run(
            "insert into tokens (name, role, hash) values (%(name)s, 'admin', %(hash)s) "
            "on conflict (name) do update set hash = excluded.hash, revoked_at = null",
            name=_FROM_FILE,
            hash=_hash(token),
        )

    def all(self) -> list[Any]:
        """For each token: name, role, state (valid, expired, revoked), created_at, expires_at."""
        return self._run(
            "select name, role, case when revoked_at is not null then 'revoked' "
            "when expires_at <= clock_timestamp() then 'expired' else 'valid' end as state, "
            "created_at, expires_at from tokens order by name"
        )

    def revoke(self, name: str) -> None:
        """Make a token invalid. Raises UsageError for an unknown one."""
        revoked = self._run(
            "update tokens set revoked_at = coalesce(revoked_at, clock_timestamp()) "
            "where name = %(name)s returning name",
            name=name,
        )
        if not revoked:
            raise UsageError(f"There is no token {name!r}. `labmart token list` lists them.")

    def caller_of(self, token: str) -> Caller | None:
        """The caller with that token; None if it is unknown, expired or revoked."""
        rows = self._run(
            "select name, role from tokens where hash = %(hash)s and revoked_at is null "
            "and (expires_at is null or expires_at > clock_timestamp())",
            hash=_hash(token),
        )
        return Caller(*rows[0]) if rows else None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


class Service:
    """A running server: its settings and stores."""

    def __init__(self, settings: Settings, tables: Tables, marts: Marts) -> None:
        self.settings, self.marts = settings, marts
        self.jobs, self.tokens = JobStore(tables), TokenStore(tables)


async def _service_of(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


# The server that received a request.
Serving = Annotated[Service, Depends(_service_of)]


def require(role: Role) -> Callable[..., Caller]:
    """The dependency that admits callers with the role, and passes the route its caller.

    It does not need the body, so it decides before the first byte is read.
    """

    def check(
        request: Request,
        service: Serving,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> Caller:
        caller = None
        if bearer is not None:
            caller = service.tokens.caller_of(bearer.credentials)
        elif service.settings.open_to_all and "authorization" not in request.headers:
            caller = Caller(LOCAL, "admin")
        if caller is None:
            raise Problem(
                401,
                "unauthorized",
                "This needs a token, sent as `Authorization: Bearer …`, that is neither unknown, "
                "expired nor revoked.",
                headers={"WWW-Authenticate": 'Bearer realm="labmart"'},
            )
        request.state.caller = caller.name
        if ROLES.index(caller.role) < ROLES.index(role):
            detail = f"The token {caller.name!r} has the role {caller.role!r}; this needs {role!r}."
            raise Problem(403, "role-missing", detail)
        return caller

    return check


class Guard:
    """The outermost part of the app: refuses cross-origin requests, sets headers, logs."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, request = time.monotonic(), 0, Request(scope)

        async def send_protected(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answered.setdefault(name, value)
                has_body = {"content-length", "transfer-encoding"} & {*request.headers}
                if status >= 400 and has_body:
                    # The server would go on reading the body, only to drop it.
                    answered["Connection"] = "close"
            await send(message)

        try:
            problem = self._refusal(request)
            app = problem.response(scope["path"]) if problem else self._app
            await app(scope, receive, send_protected)
        finally:
            line = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "method": scope["method"],
                # Without the query, which might contain secrets.
                "path": scope["path"][:500],
                "status": status,
                "ms": round((time.monotonic() - begun) * 1000, 1),
                "client": request.client and request.client.host,
                "caller": getattr(request.state, "caller", None),
            }
            _LOG.info("%s", json.dumps(line))

    def _refusal(self, request: Request) -> Problem | None:
        """Keep other origins' pages from reaching a server that only this machine reaches."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if is_loopback(self._settings.host) and not is_loopback(re.sub(":[0-9]*$", "", host)):
            return Problem(
                403,
                "foreign-host",
                f"This server is called by the name of this machine, not {host!r}. "
                f"Use http://127.0.0.1:{self._settings.port}.",
            )
        is_own = origin is None or origin.partition("://")[2].lower() == host.lower()
        if is_own or request.method in ("GET", "HEAD", "OPTIONS"):
            return None
        detail = "A page of another place may not change anything here."
        return Problem(403, "foreign-origin", detail)
