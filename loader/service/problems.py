"""Errors as problem details (RFC 9457), with the sentences that the command has for them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from math import ceil
from typing import Any

import click
import psycopg2
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from loader.engines.postgres import one_line
from loader.errors import (
    BadParameter,
    DatabaseFault,
    DatabaseUnreachable,
    FilesRefused,
    LabmartError,
    NotAcceptable,
    NotBuilt,
    Outdated,
    QueryFailed,
    QueryTooSlow,
    TooBusy,
    UnknownLoad,
    UnknownMart,
    WrongStatus,
)

MEDIA_TYPE = "application/problem+json"
# The first class that fits decides; every other error is a 422.
_STATUS: tuple[tuple[type[LabmartError], int], ...] = (
    (UnknownMart, 404),
    (UnknownLoad, 404),
    (NotBuilt, 404),
    (WrongStatus, 409),
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
        headers = {name: asdict(header) for name, header in error.headers.items()}
        members["headers"] = [{"file": name, **header} for name, header in headers.items()]
    if isinstance(error, BadParameter):
        members["parameter"] = error.parameter
    retry = {"Retry-After": "5"} if status in (503, 504) else {}
    return Problem(status, _kebab(type(error).__name__), str(error), headers=retry, members=members)


def response(problem: Problem, instance: str) -> Response:
    """The answer to a request."""
    return Response(
        json.dumps(document(problem, instance), ensure_ascii=False),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def invalid(faults: Sequence[Mapping[str, Any]]) -> Problem:
    """What is wrong with which parameter, from what pydantic says."""
    errors = [
        {"parameter": ".".join(map(str, fault["loc"])) or "body", "message": fault["msg"]}
        for fault in faults
    ]
    detail = " ".join(f"{error['parameter']}: {error['message']}." for error in errors)
    return Problem(422, "invalid-request", detail, members={"errors": errors})


def _of_http(error: HTTPException) -> Problem:
    """What the framework refuses by itself."""
    title = _title(error.status_code)
    kind = title.lower().replace(" ", "-")
    return Problem(error.status_code, kind, f"{error.detail}.", headers=error.headers)


def _of_database(error: psycopg2.Error) -> Problem:
    detail = f"The database does not answer: {one_line(error)} Try again in a moment."
    return Problem(503, "database-unavailable", detail, headers={"Retry-After": "5"})


def _internal(error: Exception) -> Problem:
    # Starlette raises it once more, and the server's log has the traceback.
    detail = f"An internal error: {type(error).__name__}. The server's log has more."
    return Problem(500, "internal", detail)


# An error's own class, or else the nearest above it, decides.
_HANDLERS: dict[type[Exception], Callable[[Any], Problem]] = {
    Problem: lambda error: error,
    LabmartError: of_error,
    RequestValidationError: lambda error: invalid(error.errors()),
    click.UsageError: lambda error: Problem(422, "invalid-request", error.format_message()),
    HTTPException: _of_http,
    # Nobody hears it but the log, which calls it as nginx does.
    ClientDisconnect: lambda _: Problem(499, "client-gone", "The client has gone."),
    psycopg2.OperationalError: _of_database,
    psycopg2.InterfaceError: _of_database,
    Exception: _internal,
}


def add_handlers(app: FastAPI) -> None:
    """Answer every error with a problem."""

    def handler(
        problem_of: Callable[[Any], Problem],
    ) -> Callable[[Request, Exception], Awaitable[Response]]:
        async def handle(request: Request, error: Exception) -> Response:
            return response(problem_of(error), request.url.path)

        return handle

    for kind, problem_of in _HANDLERS.items():
        app.add_exception_handler(kind, handler(problem_of))


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _kebab(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")
