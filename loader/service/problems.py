"""Errors as problem details (RFC 9457), with the sentences that the command has for them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from loader.engines.postgres import one_line
from loader.errors import (
    BadParameter,
    DatabaseFault,
    DatabaseUnreachable,
    FileRefused,
    FilesRefused,
    LabmartError,
    NotAcceptable,
    NotBuilt,
    Outdated,
    QueryFailed,
    QueryTooSlow,
    TooBusy,
    UnknownColumn,
    UnknownLoad,
    UnknownMart,
    WrongStatus,
)

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger("labmart.service")
# The first class that fits decides.
_STATUS: tuple[tuple[type[LabmartError], int], ...] = (
    (UnknownMart, 404),
    (UnknownLoad, 404),
    (NotBuilt, 404),
    (WrongStatus, 409),
    (UnknownColumn, 422),
    (FileRefused, 422),
    (FilesRefused, 422),
    (NotAcceptable, 406),
    (Outdated, 409),
    (TooBusy, 503),
    (QueryTooSlow, 504),
    (DatabaseUnreachable, 503),
    (DatabaseFault, 503),
    (QueryFailed, 500),
)


class Problem(Exception):  # noqa: N818 -- RFC 9457 calls it so
    """A request that is answered with an error. `detail` is a sentence for a person.

    `kind` is the last part of the problem's type; `members` are further members of the document.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = dict(members or {})
        super().__init__(detail)


def slow_down(kind: str, detail: str, seconds: float) -> Problem:
    """429: the caller may try again after so many seconds."""
    return Problem(429, kind, detail, headers={"Retry-After": str(ceil(seconds))})


def document(problem: Problem, instance: str) -> dict[str, object]:
    """The problem as a JSON object; `instance` is the address at which it happened."""
    return {
        "type": f"urn:labmart:problem:{problem.kind}",
        "title": _title(problem.status),
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
        **problem.members,
    }


def of_error(error: LabmartError) -> Problem:
    """The problem that an error of the command amounts to."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
    members: dict[str, object] = {}
    if isinstance(error, FilesRefused):
        members["problems"] = list(error.problems)
    if isinstance(error, BadParameter):
        members["parameter"] = error.parameter
    headers = {"Retry-After": "5"} if status in (503, 504) else {}
    return Problem(
        status, _kebab(type(error).__name__), str(error), headers=headers, members=members
    )


def response(problem: Problem, instance: str) -> Response:
    """The answer to a request."""
    return Response(
        json.dumps(document(problem, instance), ensure_ascii=False),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def add_handlers(app: FastAPI) -> None:
    """Answer every error with a problem."""

    def answer(request: Request, problem: Problem) -> Response:
        return response(problem, request.url.path)

    @app.exception_handler(Problem)
    async def _(request: Request, error: Problem) -> Response:
        return answer(request, error)

    @app.exception_handler(LabmartError)
    async def _(request: Request, error: LabmartError) -> Response:
        return answer(request, of_error(error))

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        return answer(request, _invalid(error))

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        kind = _kebab(_title(error.status_code).replace(" ", ""))
        detail = f"{request.method} {request.url.path}: {error.detail}."
        return answer(request, Problem(error.status_code, kind, detail, headers=error.headers))

    @app.exception_handler(ClientDisconnect)
    async def _(request: Request, _: ClientDisconnect) -> Response:
        # Nobody hears it but the log, which calls it as nginx does.
        return answer(request, Problem(499, "client-gone", "The client has gone."))

    @app.exception_handler(OperationalError)
    @app.exception_handler(InterfaceError)
    @app.exception_handler(PoolTimeout)
    async def _(request: Request, error: SQLAlchemyError) -> Response:
        reason = one_line(getattr(error, "orig", None) or error)
        detail = f"The database does not answer: {reason} Try again in a moment."
        headers = {"Retry-After": "5"}
        return answer(request, Problem(503, "database-unavailable", detail, headers=headers))

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> Response:
        # Starlette raises it once more, and the server's log has the traceback.
        detail = f"An internal error: {type(error).__name__}. The server's log has more."
        return answer(request, Problem(500, "internal", detail))


def _invalid(error: RequestValidationError) -> Problem:
    """What is wrong with which parameter."""
    faults = [
        {"parameter": ".".join(str(part) for part in fault["loc"]), "message": fault["msg"]}
        for fault in error.errors()
    ]
    detail = " ".join(f"{fault['parameter']}: {fault['message']}." for fault in faults)
    return Problem(422, "invalid-request", detail, members={"errors": faults})


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _kebab(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")
