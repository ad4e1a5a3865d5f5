"""The shapes of requests and answers, which the OpenAPI document tells."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast
from uuid import UUID

import click
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, computed_field, create_model

from loader.cli.loading import Given, given_options, parsed

if TYPE_CHECKING:
    from loader.load import LoadOptions

Kind = Literal["load", "run", "build", "undo", "redo"]
# PostgreSQL has no NUL in texts.
_Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
State = Literal["queued", "running", "done", "failed", "cancelled"]
FINAL: tuple[State, ...] = ("done", "failed", "cancelled")


class ProblemModel(BaseModel):
    """Problem details (RFC 9457). `detail` is a sentence for a person."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str


# The options of `labmart load`, as it declares and reads them; here no environment speaks for them.
_LOAD = click.command()(given_options(lambda **_: None))
for _option in _LOAD.params:
    _option.envvar = None


def _parameter_of(option: click.Parameter) -> tuple[str, Any]:
    """An option of the command as a parameter of a request: its name, and what pydantic needs."""
    name = option.opts[0].removeprefix("--").replace("-", "_")
    assert isinstance(option, click.Option)
    if option.is_flag:
        return name, (bool, Field(False, description=option.help))
    if option.multiple:
        return name, (list[_Text], Field([], description=option.help))
    kind: Any = _Text
    if isinstance(option.type, click.Choice):
        kind = Literal[tuple(option.type.choices)]
    return name, (kind | None, Field(None, description=option.help))


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    replace: bool = False
    build: Annotated[bool, Field(description="Bring the marts up to date afterwards.")] = True


if TYPE_CHECKING:
    UploadOptions = _Asked
else:
    UploadOptions = create_model(
        "UploadOptions",
        __base__=_Asked,
        __doc__="What an upload can be asked for; null means what the command does by itself.",
        **dict(map(_parameter_of, _LOAD.params)),
    )


def load_options(asked: UploadOptions) -> LoadOptions:
    """The same for the loader. Raises click.UsageError for a value that cannot be meant."""
    arguments = []
    for option in _LOAD.params:
        value = getattr(asked, _parameter_of(option)[0])
        flag = option.opts[0]
        if isinstance(value, bool):
            arguments += [flag] if value else []
        else:
            values = value if isinstance(value, list) else [value]
            arguments += [f"{flag}={text}" for text in values if text is not None]
    with _LOAD.make_context("upload", arguments) as context:
        return parsed(cast("Given", context.params), check=False)


class RunRequest(BaseModel):
    """What to load from the landing folder: paths relative to it; none means all of it."""

    model_config = ConfigDict(extra="forbid")

    paths: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list, max_length=1000)
    replace: bool = False
    build: bool = True


class Options(UploadOptions):
    """What a job was asked for."""

    # A job of an earlier version may have been asked for something else.
    model_config = ConfigDict(extra="ignore")

    paths: list[str] = Field(default_factory=list)
    load_id: int | None = None


class UploadedFile(BaseModel):
    """A file of a job."""

    name: str
    bytes: int
    sha256: str


class RejectedExample(BaseModel):
    """A line that could not be split."""

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
    columns: list[str] = Field(default_factory=list)
    records_read: int = 0
    records_rejected: int = 0
    rejected_by_rule: dict[str, int] = Field(default_factory=dict)
    rows_accepted: int | None = None
    rows_rejected: int | None = None
    issues: list[IssueCount] | None = None
    notes: list[str] = Field(default_factory=list)
    rejected_examples: list[RejectedExample] = Field(default_factory=list)


class Failure(BaseModel):
    """A model or test that failed."""

    name: str
    message: str


class BuildReport(BaseModel):
    """What a build amounted to: numbers of nodes, and seconds."""

    passed: int
    failed: int
    skipped: int
    seconds: float
    failures: list[Failure] = Field(default_factory=list)


class Result(BaseModel):
    """What a job has done so far."""

    files: list[FileResult] = Field(default_factory=list)
    # The loads that an undo or redo has changed, with their new status.
    loads: dict[int, str] = Field(default_factory=dict)
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


class Links(BaseModel):
    """Where to go from a job."""

    self: str
    events: str
    cancel: str


class Job(BaseModel):
    """A job, as the event `state` has it too."""

    id: UUID
    kind: Kind
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
    def links(self) -> Links:
        here = f"/v1/jobs/{self.id}"
        return Links(self=here, events=f"{here}/events", cancel=f"{here}/cancel")


class JobList(BaseModel):
    """Jobs, the newest first; `next` is the `after` of the next page."""

    items: list[Job]
    next: str | None


class ColumnModel(BaseModel):
    """A column of a mart."""

    name: str
    type: str
    description: str


class MartModel(BaseModel):
    """A mart. No two rows agree in `grain_columns`; without any, rows can be equal."""

    name: str
    description: str
    grain_columns: list[str]
    columns: list[ColumnModel]
    rows_url: str
