"""The shapes of requests and answers, which the OpenAPI document tells."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from encodings.aliases import aliases
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import click
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, computed_field, create_model

from loader.cli.data import given_options, parsed
from loader.errors import UsageError
from loader.parsers.encoding import said_encoding

if TYPE_CHECKING:
    from loader.load import LoadOptions

Kind = Literal["load", "run", "build", "undo", "redo"]
# A text that some option of a load can be.
_Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")]
CONTROLS = r"\x00-\x1f\x7f"
# What an uploaded file can be called: something that is more than dots and blanks.
_IN_NAME = rf"[^/\\{CONTROLS}]*"
FILE_NAME: Any = {
    "pattern": rf"^{_IN_NAME}[^/\\{CONTROLS}\s.]{_IN_NAME}$",
    "minLength": 1,
    "maxLength": 255,
}
# A path below the landing folder.
LANDING_PATH = rf"^(?![/~]|[A-Za-z][A-Za-z0-9+.-]*:)(?!(.*/)?\.\.(/|$))[^{CONTROLS}]+(?!\n)$"
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


def left_out(description: str | None, **more: object) -> Any:
    """A parameter that is left out rather than null; `more` is what else its schema says."""

    def described(schema: dict[str, Any]) -> None:
        schema.update(schema.pop("anyOf")[0], **more)

    return Field(default=None, description=description, json_schema_extra=described)


class RowQuery(BaseModel):
    """Which rows of a table, and how they come. Every other parameter is a filter."""

    select: Annotated[str, StringConstraints(pattern="^[^,]+(,[^,]+)*$")] | None = left_out(
        "The columns wanted, separated by commas; default: all."
    )
    order: Annotated[str, StringConstraints(pattern="^([^,]+(,[^,]+)*)?$")] | None = left_out(
        "Columns to sort by, separated by commas; `-` before one: falling."
    )
    limit: Annotated[int, Field(ge=0, le=2**62)] | None = left_out(
        "So many rows at most; 0: all. Default: 100 in JSON, else all."
    )
    after: Annotated[str, Field(pattern="^[A-Za-z0-9_-]+$", max_length=20_000)] | None = left_out(
        "The cursor `next` of the page before."
    )
    search: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")] | None = (
        left_out("Only rows with this in one of their texts; * is any text, capitals are ignored.")
    )
    total: bool = Field(
        default=False, description="JSON also has `total`: how many rows fit in all."
    )
    format: Literal["json", "csv", "parquet", "arrow", "xlsx"] | None = left_out(
        "Goes before the header Accept."
    )
    formulas: Literal["escape", "keep"] = Field(
        default="escape",
        description="`keep`: texts in CSV that begin with = + - @ TAB or CR stay as they are. "
        "Else they get a ' before them, so that no spreadsheet runs them.",
    )


# The options of `labmart load`, as it declares and reads them; here no environment speaks for them.
_LOAD = click.command()(given_options(lambda **_: None))
for _option in _LOAD.params:
    _option.envvar = None


# How values of options are written that are no text whatever; it is the command that checks them.
_SIGN = rf"[^{CONTROLS}]|\t|tab|space|comma|semicolon|pipe"
_PATTERNS = {
    "max_rejected": r"^([0-9]{1,18}%?|[0-9]{1,18}\.[0-9]{1,9}%)$",
    "delimiter": f"^({_SIGN})$",
    "quote": f"^({_SIGN}|none)$",
    "list_separator": "^([ !-/:-@[-`{-~]|tab|space|comma|semicolon|pipe)$",
    "id_prefix": "^[A-Za-z0-9_ #:/.-]*[A-Za-z_ #:/.-](,[A-Za-z0-9_ #:/.-]*[A-Za-z_ #:/.-])*$",
}


def _name_of(option: click.Parameter) -> str:
    return option.opts[0].removeprefix("--").replace("-", "_")


def _encodings() -> list[str]:
    """What Python calls those that a text can be in; other spellings of them are understood."""
    names = []
    for name in sorted({*aliases, *aliases.values()}):
        with suppress(UsageError):
            said_encoding(name, b"")
            names.append(name.replace("_", "-"))
    return names


def _parameter_of(option: click.Parameter) -> Any:
    """An option of the command as pydantic needs a field."""
    assert isinstance(option, click.Option)
    if option.is_flag:
        return bool, Field(False, description=option.help)
    if option.multiple:
        return list[_Text], Field([], description=option.help)
    name = _name_of(option)
    more: dict[str, object] = {"pattern": _PATTERNS[name]} if name in _PATTERNS else {}
    kind: Any = str if more else _Text
    if isinstance(option.type, click.Choice):
        kind = Literal[tuple(option.type.choices)]
    if name == "encoding":
        more["enum"] = _encodings()
    return kind | None, left_out(option.help, **more)


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    replace: bool = False
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
    paths: list[str] = Field(default_factory=list)
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


class RunRequest(BaseModel):
    """What to load from the landing folder: paths relative to it; none means all of it.

    Where a path really leads is looked at when it is opened.
    """

    # The pattern looks ahead.
    model_config = ConfigDict(extra="forbid", regex_engine="python-re")

    paths: list[Annotated[str, StringConstraints(pattern=LANDING_PATH)]] = Field(
        default_factory=list, max_length=1000
    )
    replace: bool = False
    build: bool = True


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
    files: list[FileResult] = Field(default_factory=list)
    # The loads that an undo or redo has changed, with their new status.
    loads: dict[int, str] = Field(default_factory=dict)
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


class Links(BaseModel):
    self: str
    events: str
    cancel: str
    retry: str


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
        return Links(
            self=here, events=f"{here}/events", cancel=f"{here}/cancel", retry=f"{here}/retry"
        )


class JobList(BaseModel):
    """Jobs, the newest first; `next` is the `after` of the next page."""

    items: list[Job]
    next: str | None


class ColumnModel(BaseModel):
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
