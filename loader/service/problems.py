"""Errors as problem details (RFC 9457), with the sentences that the command has for them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from math import ceil
from typing import Any

import click
import psycopg2
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from loader.engines.postgres import one_line
from loader.errors import BadParameter, FilesRefused, LabmartError

MEDIA_TYPE = "application/problem+json"
# What the OpenAPI document says of every answer that is an error.
DECLARED = {
    "description": "A problem",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemModel"}}},
}
_TITLES = {"files-refused": "The file was refused", "build-failed": "The build failed"}


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
        self.status, self.kind, self.detail = status, kind, detail
        self.headers, self.members = dict(headers or {}), dict(members or {})
        super().__init__(detail)

    def document(self, instance: str) -> dict[str, object]:
        """The problem as a JSON object; `instance` is the address at which it happened."""
        return {
            "type": f"urn:labmart:problem:{self.kind}",
            "title": _TITLES.get(self.kind) or _phrase(self.status),
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            **self.members,
        }

    def response(self, instance: str) -> Response:
        return Response(
            json.dumps(self.document(instance), ensure_ascii=False),
            status_code=self.status,
            headers=self.headers,
            media_type=MEDIA_TYPE,
        )


def slow_down(kind: str, detail: str, seconds: float) -> Problem:
    """429: the caller may try again after so many seconds."""
    return Problem(429, kind, detail, headers={"Retry-After": str(ceil(seconds))})


def of_error(error: LabmartError) -> Problem:
    """The problem that an error of the command amounts to."""
    members: dict[str, object] = {}
    if isinstance(error, FilesRefused):
        members["problems"] = list(error.problems)
        headers = {name: asdict(header) for name, header in error.headers.items()}
        members["headers"] = [{"file": name, **header} for name, header in headers.items()]
    if isinstance(error, BadParameter):
        members["parameter"] = error.parameter
    retry = {"Retry-After": "5"} if error.status in (503, 504) else {}
    kind = re.sub(r"(?<=.)(?=[A-Z])", "-", type(error).__name__).lower()
    return Problem(error.status, kind, str(error), headers=retry, members=members)


def invalid(faults: Sequence[Mapping[str, Any]]) -> Problem:
    """What is wrong with which parameter, from what pydantic says."""
    errors = [
        {"parameter": ".".join(map(str, fault["loc"])) or "body", "message": fault["msg"]}
        for fault in faults
    ]
    detail = " ".join(f"{error['parameter']}: {error['message']}." for error in errors)
    return Problem(422, "invalid-request", detail, members={"errors": errors})


def _of_http(error: HTTPException) -> Problem:
    kind = _phrase(error.status_code).lower().replace(" ", "-")
    return Problem(error.status_code, kind, f"{error.detail}.", headers=error.headers)


def _of_database(error: psycopg2.Error) -> Problem:
    detail = f"The database does not answer: {one_line(error)} Try again in a moment."
    return Problem(503, "database-unavailable", detail, headers={"Retry-After": "5"})


def _internal(error: Exception) -> Problem:
    # Starlette raises it once more, and the server's log has the traceback.
    detail = f"An internal error: {type(error).__name__}. The server's log has more."
    return Problem(500, "internal", detail)


# An error's own class, or else the nearest above it, decides.
_PROBLEM_OF: dict[type[Exception], Callable[[Any], Problem]] = {
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


async def _answer(request: Request, error: Exception) -> Response:
    problem_of = next(_PROBLEM_OF[kind] for kind in type(error).mro() if kind in _PROBLEM_OF)
    return problem_of(error).response(request.url.path)


# Every error is answered with a problem.
_Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]
HANDLERS: dict[int | type[Exception], _Handler] = dict.fromkeys(_PROBLEM_OF, _answer)


def _phrase(status: int) -> str:
    return next((known.phrase for known in HTTPStatus if known == status), "Error")
