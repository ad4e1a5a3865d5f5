"""Errors as problem details (RFC 9457), with the same sentences as the command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any

import click
import psycopg2
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from loader.engines.postgres import one_line
from loader.errors import BadParameter, FilesRefused, LabmartError


class ProblemModel(BaseModel):
    """Problem details (RFC 9457). `detail` is a sentence for a person."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str


MEDIA_TYPE = "application/problem+json"
# What the OpenAPI document says of every error response.
DECLARED = {
    "description": "A problem",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemModel"}}},
}
_TITLES = {"files-refused": "The file was refused", "build-failed": "The build failed"}


@dataclass(eq=False)
class Problem(Exception):  # noqa: N818 -- RFC 9457 calls it so
    """A request that is answered with an error. `detail` is a sentence for a person.

    `kind` is the last part of the problem's type; `members` are further members of the document.
    """

    status: int
    kind: str
    detail: str
    headers: Mapping[str, str] | None = None
    members: Mapping[str, object] = field(default_factory=dict)

    def document(self, instance: str) -> dict[str, object]:
        """The problem as a JSON object; `instance` is the address where it happened."""
        return {
            "type": f"urn:labmart:problem:{self.kind}",
            "title": _TITLES.get(self.kind) or HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            **self.members,
        }

    def response(self, instance: str) -> Response:
        text = json.dumps(self.document(instance), ensure_ascii=False)
        return Response(text, self.status, self.headers, MEDIA_TYPE)


def of_error(error: Exception) -> Problem:
    """The problem for an error."""
    again = {"Retry-After": "5"}
    match error:
        case Problem():
            return error
        case LabmartError():
            members: dict[str, object] = {}
            if isinstance(error, FilesRefused):
                headers = [{"file": name, **asdict(cells)} for name, cells in error.headers.items()]
                members = {"problems": list(error.problems), "headers": headers}
            elif isinstance(error, BadParameter):
                members = {"parameter": error.parameter}
            kind = re.sub(r"(?<=.)(?=[A-Z])", "-", type(error).__name__).lower()
            retry = again if error.status in (503, 504) else None
            return Problem(error.status, kind, str(error), headers=retry, members=members)
        case RequestValidationError():
            faults = [
                f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}."
                for fault in error.errors()
            ]
            return Problem(422, "invalid-request", " ".join(faults))
        case click.UsageError():
            return Problem(422, "invalid-request", error.format_message())
        case HTTPException():
            kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
            return Problem(error.status_code, kind, f"{error.detail}.", headers=error.headers)
        case ClientDisconnect():
            return Problem(400, "client-gone", "The client has gone.")
        case psycopg2.OperationalError() | psycopg2.InterfaceError():
            detail = f"The database does not answer: {one_line(error)} Try again in a moment."
            return Problem(503, "database-unavailable", detail, headers=again)
    # Starlette raises it again, and the server's log has the traceback.
    detail = f"An internal error: {type(error).__name__}. The server's log has more."
    return Problem(500, "internal", detail)


async def _answer(request: Request, error: Exception) -> Response:
    return of_error(error).response(request.url.path)


_Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]
HANDLERS: dict[int | type[Exception], _Handler] = dict.fromkeys(
    (
        *(Problem, LabmartError, RequestValidationError, click.UsageError, HTTPException),
        *(ClientDisconnect, psycopg2.OperationalError, psycopg2.InterfaceError, Exception),
    ),
    _answer,
)
