"""The shapes of requests and answers, which the OpenAPI document tells."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["load", "run", "build", "undo", "redo"]
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


class FileResult(BaseModel):
    """What became of a file, or of a sheet of one. `input` is null when no table was found in it.

    All files of a job that is refused are, though only some may be the reason; `notes` tell which.
    """

    file: str
    input: str | None
    state: Literal["loaded", "known", "refused"]
    load_id: int | None = None
    records_read: int = 0
    records_rejected: int = 0
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


class Options(BaseModel):
    """What a job was asked for."""

    replace: bool = False
    build: bool = True
    input: str | None = None
    max_rejected: str | None = None
    paths: list[str] = Field(default_factory=list)
    load_id: int | None = None


class Links(BaseModel):
    """Where to go from a job."""

    self: str
    events: str
    cancel: str


class JobState(BaseModel):
    """A job, as the event `state` has it."""

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


class Job(JobState):
    """A job with its links."""

    links: Links


class JobList(BaseModel):
    """Jobs, the newest first; `next` is the `after` of the next page."""

    items: list[Job]
    next: str | None


class RunRequest(BaseModel):
    """What to load from the landing folder: paths relative to it; none means all of it."""

    model_config = ConfigDict(extra="forbid")

    paths: list[str] = Field(default_factory=list, max_length=1000)
    replace: bool = False
    build: bool = True


def with_links(job: JobState) -> Job:
    """The job as the API answers it."""
    here = f"/v1/jobs/{job.id}"
    links = Links(self=here, events=f"{here}/events", cancel=f"{here}/cancel")
    return Job(**dict(job), links=links)
