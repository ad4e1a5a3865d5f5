"""Who calls, and may they: `require("load")` is a dependency of a route.

It needs nothing of the body, so that it has decided before the first byte of it is read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import ceil
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from loader.service.context import Service, service_of
from loader.service.problems import Problem, slow_down
from loader.service.tokens import Caller, Role, find

LOCAL = Caller("local", "admin")
# It only tells the OpenAPI document of the header; what is wrong with one is told below.
_BEARER = HTTPBearer(auto_error=False, description="A token of `labmart token create`.")


def require(role: Role) -> Callable[..., Awaitable[Caller]]:
    """The dependency that lets in who has the role, and gives the route its caller."""

    async def check(
        request: Request,
        service: Annotated[Service, Depends(service_of)],
        _: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> Caller:
        caller = await _caller(request, service)
        request.state.caller = caller.name
        if not caller.may(role):
            raise Problem(
                403,
                "role-missing",
                f"The token {caller.name!r} has the role {caller.role!r}, and this needs {role!r}.",
            )
        address = request.client.host if request.client else ""
        wait = service.rates.take(f"{caller.name} {address}")
        if wait:
            said = f"Too many requests at once. Try again in {ceil(wait)} s."
            raise slow_down("too-many-requests", said, wait)
        return caller

    return check


async def _caller(request: Request, service: Service) -> Caller:
    sent = request.headers.getlist("authorization")
    if not sent:
        if service.settings.open_to_all:
            return LOCAL
        raise _unauthorized("This needs a token: send it as `Authorization: Bearer …`.")
    address = request.client.host if request.client else ""
    wait = service.failed_logins.wait(address)
    if wait:
        said = f"Too many wrong tokens came from here. Try again in {ceil(wait)} s."
        raise slow_down("too-many-failed-logins", said, wait)
    scheme, _, token = sent[0].partition(" ")
    caller = None
    if len(sent) == 1 and scheme.lower() == "bearer" and token.strip():
        caller = await find(service.pool, token.strip())
    if caller is None:
        service.failed_logins.add(address)
        raise _unauthorized("The token is unknown, expired or revoked.", error="invalid_token")
    return caller


def _unauthorized(detail: str, *, error: str = "") -> Problem:
    challenge = 'Bearer realm="labmart"' + (f', error="{error}"' if error else "")
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})
