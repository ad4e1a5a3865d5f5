"""The addresses of jobs: uploads, runs, what is going on; and health, documentation, the page.

The marts and the ledger are in `routes_marts`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import ValidationError

from loader.dbt import write_docs
from loader.errors import BuildFailed
from loader.load import MaxRejected
from loader.printable import printable
from loader.service.access import Caller, require
from loader.service.jobs import EVENTS_AT_ONCE, NewJob
from loader.service.model import Job, JobList, Kind, Options, RunRequest, State, with_links
from loader.service.problems import Problem
from loader.service.settings import Settings
from loader.service.state import Service, service_of
from loader.service.uploads import SpoolFolder, boundary_of, check_length, check_name
from loader.sources import read_inputs

router = APIRouter()

Reader = Annotated[Caller, Depends(require("read"))]
Loader = Annotated[Caller, Depends(require("load"))]
Serving = Annotated[Service, Depends(service_of)]

_LARGEST = 2**63 - 1
_LoadId = Annotated[int, PathParameter(ge=1, le=_LARGEST)]
_Build = Annotated[bool, Query(description="Bring the marts up to date afterwards.")]

# Uploads: a file as the body, or several as parts of one.

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
        "required": ["file"],
    }
}
_UPLOADED: dict[int | str, dict[str, object]] = {
    200: {"model": Job, "description": "The job that does just that already"},
    202: {"description": "Accepted; the job will load it"},
}


def _options(
    replace: Annotated[
        bool, Query(description="Let the files take the place of what was loaded before.")
    ] = False,
    build: _Build = True,
    input: Annotated[  # noqa: A002 -- the parameter's name
        str | None, Query(description="Take the files for this input, whatever else they could be.")
    ] = None,
    max_rejected: Annotated[
        str | None,
        Query(description="How many lines of a file may be rejected: 20, or 10% (the default)."),
    ] = None,
) -> Options:
    """What an upload can be asked for; for `Depends`."""
    if max_rejected is not None:
        try:
            MaxRejected.parse(max_rejected)
        except ValueError as error:
            raise Problem(422, "invalid-request", f"max_rejected: {error}") from None
    return Options(replace=replace, build=build, input=input, max_rejected=max_rejected)


_Asked = Annotated[Options, Depends(_options)]
_Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Sent again with the same content, it gives the same job.",
    ),
]


@router.put(
    "/v1/files/{name}",
    status_code=202,
    responses=_UPLOADED,
    openapi_extra={"requestBody": {"content": {"application/octet-stream": _BINARY}}},
    tags=["files"],
)
async def put_file(
    name: str,
    request: Request,
    response: Response,
    caller: Loader,
    service: Serving,
    asked: _Asked,
    key: _Key = None,
) -> Job:
    """Upload one file: `curl -T users.csv URL/v1/files/`."""
    return await _upload(request, response, caller, service, asked, key, name, None)


@router.post(
    "/v1/files",
    status_code=202,
    responses=_UPLOADED,
    openapi_extra={
        "requestBody": {
            "content": {"multipart/form-data": _FORM, "application/octet-stream": _BINARY}
        }
    },
    tags=["files"],
)
async def post_files(
    request: Request,
    response: Response,
    caller: Loader,
    service: Serving,
    asked: _Asked,
    name: Annotated[str | None, Query(description="The file's name, for a raw body.")] = None,
    key: _Key = None,
) -> Job:
    """Upload several files (multipart), all of which are loaded or none; or one as the body."""
    boundary = boundary_of(request)
    if boundary is None and name is None:
        raise Problem(
            422,
            "no-file-name",
            "What is the file called? PUT it to /v1/files/NAME, or add ?name=NAME, or send "
            "multipart/form-data.",
        )
    return await _upload(request, response, caller, service, asked, key, name or "", boundary)


async def _upload(
    request: Request,
    response: Response,
    caller: Caller,
    service: Service,
    asked: Options,
    key: str | None,
    name: str,
    boundary: str | None,
) -> Job:
    """Everything that can be refused is, before the first byte of the body is read."""
    settings = service.settings
    _check_input(settings, asked.input)
    if boundary is None:
        check_name(name)
    check_length(request, settings.limits, settings.spool_folder)
    await service.in_thread(service.jobs.check_room, settings.limits.queued_jobs)
    job_id = uuid4()
    with service.uploads.take(), SpoolFolder(settings.spool_folder, job_id) as folder:
        files = await folder.receive(request, settings.limits, name, boundary)
        content = [sorted(file.sha256 for file in files), asked.model_dump()]
        new = NewJob(
            id=job_id,
            kind="load",
            created_by=caller.name,
            options=asked,
            files=tuple(files),
            content_key=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
            idempotency_key=key,
        )
        # If this fails nobody knows whether it was accepted; a folder without a job is found
        # and deleted later.
        job = await service.in_thread(service.jobs.accept, new, settings.profile.raw_schema)
        if job.id != job_id:
            folder.remove()
            response.status_code = 200
        else:
            service.metrics.uploaded.inc(sum(file.bytes for file in files))
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return with_links(job)


def _check_input(settings: Settings, name: str | None) -> None:
    if name is None:
        return
    known = [entry.name for entry in read_inputs(settings.database.project.sources_file)]
    if name not in known:
        raise Problem(
            422, "unknown-input", f"There is no input {name!r}. The inputs are: {', '.join(known)}."
        )


# Jobs without an upload: files of the landing folder, builds, undo and redo.

_LARGEST_JSON = 1 << 18
_RUN = {
    "requestBody": {
        "content": {"application/json": {"schema": RunRequest.model_json_schema()}},
    }
}


@router.post("/v1/runs", status_code=202, openapi_extra=_RUN, tags=["jobs"])
async def run(request: Request, response: Response, caller: Loader, service: Serving) -> Job:
    """Load files that lie in the landing folder, then build."""
    if service.settings.landing is None:
        raise Problem(
            404, "no-landing-folder", "This server has no landing folder (labmart serve --landing)."
        )
    asked = await _run_request(request)
    for path in asked.paths:
        _check_path(path)
    options = Options(replace=asked.replace, build=asked.build, paths=asked.paths)
    return await _accept(service, response, caller, "run", options)


@router.post("/v1/builds", status_code=202, tags=["jobs"])
async def build(response: Response, caller: Loader, service: Serving) -> Job:
    """Bring the marts up to date."""
    return await _accept(service, response, caller, "build", Options())


@router.post("/v1/loads/{load_id}/undo", status_code=202, tags=["jobs"])
async def undo(
    load_id: _LoadId, response: Response, caller: Loader, service: Serving, build: _Build = True
) -> Job:
    """Make a load not count; what it had replaced counts again."""
    return await _accept(service, response, caller, "undo", Options(build=build, load_id=load_id))


@router.post("/v1/loads/{load_id}/redo", status_code=202, tags=["jobs"])
async def redo(
    load_id: _LoadId, response: Response, caller: Loader, service: Serving, build: _Build = True
) -> Job:
    """Take an undo back."""
    return await _accept(service, response, caller, "redo", Options(build=build, load_id=load_id))


async def _accept(
    service: Service, response: Response, caller: Caller, kind: Kind, options: Options
) -> Job:
    await service.in_thread(service.jobs.check_room, service.settings.limits.queued_jobs)
    new = NewJob(id=uuid4(), kind=kind, created_by=caller.name, options=options)
    job = await service.in_thread(service.jobs.accept, new, service.settings.profile.raw_schema)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return with_links(job)


async def _run_request(request: Request) -> RunRequest:
    """The body, which is read only now that the caller is known, and within limits."""
    content = bytearray()
    async for portion in request.stream():
        content += portion
        if len(content) > _LARGEST_JSON:
            raise Problem(413, "too-large", f"More than {_LARGEST_JSON:,} bytes are not taken.")
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if content and media_type.lower() != "application/json":
        raise Problem(415, "not-json", "Send JSON, with Content-Type: application/json.")
    try:
        return RunRequest.model_validate_json(bytes(content) or b"{}")
    except ValidationError as error:
        detail = " ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}."
            for fault in error.errors()
        )
        raise Problem(422, "invalid-request", detail) from None


def _check_path(path: str) -> None:
    """Refuse what cannot be meant; where a path really leads is looked at when it is opened."""
    fault = ""
    if not path or path != printable(path):
        fault = "is empty or has control characters in it"
    elif path.startswith(("/", "~")) or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path):
        fault = "is not relative to the landing folder"
    elif ".." in path.split("/"):
        fault = "leads out of the landing folder"
    if fault:
        raise Problem(422, "bad-path", f"The path {printable(path)[:200]!r} {fault}.")


# What is going on.


@router.get("/v1/jobs", tags=["jobs"])
async def list_jobs(
    _: Reader,
    service: Serving,
    state: Annotated[State | None, Query(description="Only jobs in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[
        str | None, Query(pattern=r"^[1-9][0-9]{0,17}$", description="`next` of the page before.")
    ] = None,
) -> JobList:
    """Jobs, the newest first."""
    jobs, next_before = await service.in_thread(
        service.jobs.newest, state, limit, int(after) if after else None
    )
    return JobList(
        items=[with_links(job) for job in jobs],
        next=None if next_before is None else str(next_before),
    )


@router.get("/v1/jobs/{job_id}", tags=["jobs"])
async def get_job(job_id: UUID, _: Reader, service: Serving) -> Job:
    """A job."""
    return with_links(await service.in_thread(service.jobs.find, job_id))


async def _last_event(
    job_id: UUID,
    _: Reader,
    service: Serving,
    last_event_id: Annotated[
        str, Header(alias="Last-Event-ID", description="Go on after this event.")
    ] = "0",
) -> int:
    """After which event a listener wants to hear more; decided before the stream begins."""
    number = last_event_id.strip() or "0"
    if not (number.isascii() and number.isdigit() and int(number) <= _LARGEST):
        raise Problem(422, "invalid-request", "Last-Event-ID is the number of an event.")
    await service.in_thread(service.jobs.find, job_id)
    return int(number)


# How often is looked for events whose notification was lost with a connection.
_LOOK_SECONDS = 10.0


@router.get(
    "/v1/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    tags=["jobs"],
)
async def follow_job(
    job_id: UUID, service: Serving, after: Annotated[int, Depends(_last_event)]
) -> AsyncIterator[ServerSentEvent]:
    """The job's events as they happen (server-sent events); ends after the final one."""
    with service.broker.following(job_id) as has_news:
        while not service.broker.is_closed:
            has_news.clear()
            events, goes_on = await service.in_thread(service.jobs.events, job_id, after)
            for event in events:
                after = event.number
                data = json.dumps(event.data, ensure_ascii=False)
                yield ServerSentEvent(id=str(after), event=event.name, raw_data=data)
            if not goes_on:
                return
            if len(events) < EVENTS_AT_ONCE:
                try:
                    await asyncio.wait_for(has_news.wait(), _LOOK_SECONDS)
                except TimeoutError:
                    continue


@router.post("/v1/jobs/{job_id}/cancel", status_code=202, tags=["jobs"])
async def cancel_job(job_id: UUID, _: Loader, service: Serving) -> Job:
    """Cancel a job. What it has loaded already stays; undo takes it back."""
    return with_links(await service.in_thread(service.jobs.cancel, job_id))


# Is it alive, is it ready, and how much does it do.


@router.get("/health/live", tags=["health"])
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/health/ready", tags=["health"])
async def ready(service: Serving) -> dict[str, str]:
    """The database answers, else 503. Jobs wait while no worker is up."""
    is_up = await service.in_thread(service.jobs.has_worker)
    return {"status": "ready", "worker": "up" if is_up else "down"}


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    tags=["health"],
)
async def metrics(_: Reader, service: Serving) -> Response:
    """Figures for Prometheus."""
    figures = service.metrics
    figures.jobs.clear()
    for kind, state, count in await service.in_thread(service.jobs.counts):
        figures.jobs.labels(kind, state).set(count)
    figures.worker.set(await service.in_thread(service.jobs.has_worker))
    figures.uploading.set(service.uploads.taken)
    return Response(figures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


# The dbt documentation, one page that dbt writes. It has its scripts, styles and pictures in
# itself; it is let do nothing else.

_DOCS_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data:; font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox allow-scripts allow-popups"
)
_WRITING_DOCS = asyncio.Lock()


@router.get("/dbt/", response_class=FileResponse, tags=["docs"])
async def dbt_docs(_: Reader, service: Serving) -> FileResponse:
    """The documentation of the last build; the first to ask after one waits some seconds."""
    project = service.settings.database.project
    page = project.target / "static_index.html"
    async with _WRITING_DOCS:
        if _written_at(page) < max(_written_at(project.target / "run_results.json"), 1):
            try:
                await asyncio.to_thread(write_docs, project, service.settings.target)
            except BuildFailed as error:
                raise Problem(503, "no-docs", str(error), headers={"Retry-After": "30"}) from None
    headers = {"Content-Security-Policy": _DOCS_POLICY}
    return FileResponse(page, media_type="text/html", headers=headers)


def _written_at(file: Path) -> float:
    """When a file was written; 0 for one that is not there."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


# The page: the files in the folder page/ of the package, and no other file whatever is asked for.
# They are static and hold no data, so they need no token; what the page shows it asks the API for.

page_router = APIRouter(include_in_schema=False)

_PAGE = Path(__file__).with_name("page")
# Named here, since the system's own table may know others.
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class _Asset:
    content: bytes
    media_type: str
    etag: str


@page_router.api_route("/", methods=["GET", "HEAD"])
def page(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """The page."""
    return asset("index.html", if_none_match)


@page_router.api_route("/assets/{name}", methods=["GET", "HEAD"])
def asset(name: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """A part of the page. Raises Problem if it has none of that name."""
    part = _assets().get(name)
    if part is None:
        raise Problem(404, "unknown-asset", f"The page has no part named {name!r}.")
    # The modules of one page have to be of one version: a browser asks each time, and is told in a
    # few bytes that nothing has changed.
    headers = {"ETag": part.etag, "Cache-Control": "no-cache"}
    if part.etag in (tag.strip() for tag in (if_none_match or "").split(",")):
        return Response(status_code=304, headers=headers)
    return Response(part.content, media_type=part.media_type, headers=headers)


@cache
def _assets() -> dict[str, _Asset]:
    assets = {}
    for path in _PAGE.iterdir():
        if path.suffix in _MEDIA_TYPES:
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            assets[path.name] = _Asset(content, _MEDIA_TYPES[path.suffix], etag)
    return assets


router.include_router(page_router)
