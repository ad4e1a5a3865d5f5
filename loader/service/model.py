"""The shapes of requests and answers, which the OpenAPI document tells; errors among them.

Errors are problem details (RFC 9457), with the sentences that the command has for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import click
import psycopg2
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, computed_field, create_model
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from loader.cli.data import given_options, parsed
from loader.engines.postgres import one_line
from loader.errors import BadParameter, FilesRefused, LabmartError

if TYPE_CHECKING:
    from loader.load import LoadOptions

Kind = Literal["load", "build", "undo", "redo"]
State = Literal["queued", "running", "done", "failed", "cancelled"]
FINAL: tuple[State, ...] = ("done", "failed", "cancelled")
# A text that some option of a load can be.
_Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")]


class ProblemModel(BaseModel):
    """Problem details (RFC 9457). `detail` is a sentence for a person."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str


class RowQuery(BaseModel):
    """Which rows of a table, and how they come. Every other parameter is a filter."""

    select: str | None = Field(None, description="The columns wanted, separated by commas.")
    order: str | None = Field(
        None, description="Columns to sort by, separated by commas; `-` before one: falling."
    )
    limit: Annotated[int, Field(ge=0, lt=2**62)] | None = Field(
        None, description="So many rows at most; 0: all. Default: 100 in JSON, else all."
    )
    after: Annotated[str, Field(pattern="^[0-9a-f]{12}-[0-9]{1,18}$")] | None = Field(
        None, description="The cursor `next` of the page before."
    )
    search: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")] | None = (
        Field(
            None,
            description="Only rows with this in one of their texts; * is any text, capitals are "
            "ignored.",
        )
    )
    total: bool = Field(False, description="JSON also has `total`: how many rows fit in all.")
    format: Literal["json", "csv", "parquet", "xlsx"] | None = Field(
        None, description="Goes before the header Accept."
    )
    formulas: Literal["escape", "keep"] = Field(
        "escape",
        description="`keep`: texts in CSV that begin with = + - @ TAB or CR stay as they are. "
        "Else they get a ' before them, so that no spreadsheet runs them.",
    )


# The options of `labmart load`, as it declares and reads them; here no environment speaks for them.
_LOAD = click.command()(given_options(lambda **_: None))
for _option in _LOAD.params:
    _option.envvar = None


def _name_of(option: click.Parameter) -> str:
    return option.opts[0].removeprefix("--").replace("-", "_")


def _parameter_of(option: click.Parameter) -> Any:
    """An option of the command as pydantic needs a field; its values the command checks."""
    assert isinstance(option, click.Option)
    if option.is_flag:
        return bool, Field(False, description=option.help)
    if option.multiple:
        return list[_Text], Field([], description=option.help)
    kind: Any = _Text
    if isinstance(option.type, click.Choice):
        kind = Literal[tuple(option.type.choices)]
    return kind | None, Field(None, description=option.help)


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    build: Annotated[bool, Field(description="Bring the marts up to date afterwards.")] = True


if TYPE_CHECKING:

    class UploadOptions(_Asked): ...

else:
    UploadOptions = create_model(
        "UploadOptions",
        __base__=_Asked,
        __doc__="What an upload can be asked for.",
        **{_name_of(option): _parameter_of(option) for option in _LOAD.params},
    )


class Options(BaseModel):
    """What a job was asked for: also the options of an upload that were given, by their names."""

    model_config = ConfigDict(extra="allow")

    replace: bool = False
    build: bool = True
    load_id: int | None = None
    together: bool = False


def load_options(asked: BaseModel) -> LoadOptions:
    """What options of an upload or a job mean. Raises click.UsageError where that is nothing."""
    given = asked.model_dump()
    arguments = []
    for option in _LOAD.params:
        value, flag = given.get(_name_of(option)), option.opts[0]
        if isinstance(value, bool):
            arguments += [flag] if value else []
        else:
            values = value if isinstance(value, list) else [value]
            arguments += [f"{flag}={text}" for text in values if text is not None]
    with _LOAD.make_context("upload", arguments) as context:
        return parsed(context.params, check=False)


class UploadedFile(BaseModel):
    name: str
    bytes: int
    sha256: str


class RejectedExample(BaseModel):
    line: int
    rule: str
    detail: str


class IssueCount(BaseModel):
    """How many things of a rule are open in a file, and the option that would mend them, if any.

    `severity` is error or warning.
    """

    rule: str
    severity: str
    open_issues: int
    remedy: str | None = None


class FileResult(BaseModel):
    """What became of a file, or of a sheet of one. `input` is null when no table was found in it.

    All files of a job that is refused are, though only some may be the reason; `notes` tell which.
    `records_rejected` are lines that could not be split; `rejected_by_rule` counts these. What the
    build found in the rows is in `rows_accepted`, `rows_rejected` and `issues`, null until then.
    """

    file: str
    input: str | None
    state: Literal["loaded", "known", "refused"]
    load_id: int | None = None
    dialect: str | None = None
    columns: list[str] = []
    records_read: int = 0
    records_rejected: int = 0
    rejected_by_rule: dict[str, int] = {}
    rows_accepted: int | None = None
    rows_rejected: int | None = None
    issues: list[IssueCount] | None = None
    notes: list[str] = []
    rejected_examples: list[RejectedExample] = []


class Failure(BaseModel):
    name: str
    message: str


class BuildReport(BaseModel):
    """What a build amounted to: numbers of nodes, and seconds."""

    passed: int
    failed: int
    skipped: int
    seconds: float
    failures: list[Failure] = []


class Result(BaseModel):
    files: list[FileResult] = []
    # The loads that an undo or redo has changed, with their new status.
    loads: dict[int, str] = {}
    # Null before the build, and where nothing had changed since the last one.
    build: BuildReport | None = None


class Progress(BaseModel):
    """How far a job is. `bytes` and `records` are those of `file`."""

    step: Literal["loading", "building"]
    file: str | None = None
    records: int = 0
    bytes: int = 0
    bytes_total: int = 0
    nodes_done: int = 0
    nodes_total: int | None = None


class Job(BaseModel):
    """A job: what was asked for, how far it is, what came of it."""

    id: UUID
    kind: str
    state: State
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    created_by: str
    options: Options
    files: list[UploadedFile]
    progress: Progress | None
    result: Result | None
    error: ProblemModel | None

    @computed_field  # type: ignore[prop-decorator]  # mypy takes no decorated property
    @property
    def links(self) -> dict[str, str]:
        here = f"/v1/jobs/{self.id}"
        return {"self": here, **{name: f"{here}/{name}" for name in ("cancel", "retry")}}


class JobList(BaseModel):
    items: list[Job]


# Errors.

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
        self.headers, self.members = headers, members or {}
        super().__init__(detail)

    def document(self, instance: str) -> dict[str, object]:
        """The problem as a JSON object; `instance` is the address at which it happened."""
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
    """The problem that an error amounts to."""
    members: dict[str, object] = {}
    match error:
        case Problem():
            return error
        case LabmartError():
            if isinstance(error, FilesRefused):
                members["problems"] = list(error.problems)
                members["headers"] = [
                    {"file": name, **asdict(header)} for name, header in error.headers.items()
                ]
            if isinstance(error, BadParameter):
                members["parameter"] = error.parameter
            retry = {"Retry-After": "5"} if error.status in (503, 504) else None
            kind = re.sub(r"(?<=.)(?=[A-Z])", "-", type(error).__name__).lower()
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
            return Problem(503, "database-unavailable", detail, headers={"Retry-After": "5"})
    # Starlette raises it once more, and the server's log has the traceback.
    detail = f"An internal error: {type(error).__name__}. The server's log has more."
    return Problem(500, "internal", detail)


async def _answer(request: Request, error: Exception) -> Response:
    """Answer any error with a problem."""
    return of_error(error).response(request.url.path)


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = (
    dict.fromkeys(
        (
            *(Problem, LabmartError, RequestValidationError, click.UsageError, HTTPException),
            *(ClientDisconnect, psycopg2.OperationalError, psycopg2.InterfaceError, Exception),
        ),
        _answer,
    )
)
