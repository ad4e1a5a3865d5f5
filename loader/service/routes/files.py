"""Uploads: a file as the body, or several as parts of one."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from loader.load import MaxRejected
from loader.service import jobs
from loader.service.auth import require
from loader.service.context import Service, service_of
from loader.service.jobs import NewJob
from loader.service.model import Job, JobState, Options, UploadedFile, with_links
from loader.service.multipart import MultipartError, boundary_of
from loader.service.problems import Problem
from loader.service.receive import announced, check_name, receive_one, receive_parts
from loader.service.settings import Settings
from loader.service.spool import Folder, check_room
from loader.service.tokens import Caller
from loader.sources import read_inputs

router = APIRouter(prefix="/v1/files", tags=["files"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
        "required": ["file"],
    }
}
_ANSWERS: dict[int | str, dict[str, object]] = {
    200: {"model": Job, "description": "The job that does just that already"},
    202: {"description": "Accepted; the job will load it"},
}


def options(
    replace: Annotated[
        bool, Query(description="Let the files take the place of what was loaded before.")
    ] = False,
    build: Annotated[bool, Query(description="Bring the marts up to date afterwards.")] = True,
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


Key = Annotated[
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
    "/{name}",
    status_code=202,
    responses=_ANSWERS,
    openapi_extra={"requestBody": {"content": {"application/octet-stream": _BINARY}}},
)
async def put_file(
    name: str,
    request: Request,
    response: Response,
    caller: Annotated[Caller, Depends(require("load"))],
    service: Annotated[Service, Depends(service_of)],
    asked: Annotated[Options, Depends(options)],
    key: Key = None,
) -> Job:
    """Upload one file: `curl -T users.csv URL/v1/files/`."""
    return await _upload(request, response, caller, service, asked, key, name)


@router.post(
    "",
    status_code=202,
    responses=_ANSWERS,
    openapi_extra={
        "requestBody": {
            "content": {"multipart/form-data": _FORM, "application/octet-stream": _BINARY}
        }
    },
)
async def post_files(
    request: Request,
    response: Response,
    caller: Annotated[Caller, Depends(require("load"))],
    service: Annotated[Service, Depends(service_of)],
    asked: Annotated[Options, Depends(options)],
    name: Annotated[str | None, Query(description="The file's name, for a raw body.")] = None,
    key: Key = None,
) -> Job:
    """Upload several files (multipart), all of which are loaded or none; or one as the body."""
    return await _upload(request, response, caller, service, asked, key, name)


async def _upload(
    request: Request,
    response: Response,
    caller: Caller,
    service: Service,
    asked: Options,
    key: str | None,
    name: str | None,
) -> Job:
    """Everything that can be refused is, before the first byte of the body is read."""
    settings = service.settings
    _check_input(settings, asked.input)
    boundary = None
    if name is None or request.method == "POST":
        boundary = _boundary(request)
    if boundary is None:
        if name is None:
            raise Problem(
                422,
                "no-file-name",
                "What is the file called? PUT it to /v1/files/NAME, or add ?name=NAME, or send "
                "multipart/form-data.",
            )
        check_name(name)
    size = announced(request, settings.limits)
    await jobs.check_queue(service.pool, settings.limits.queued_jobs)
    spool = settings.spool_folder
    check_room(spool, size)
    job_id = uuid4()
    with service.uploads.one(), Folder(spool, job_id) as folder:
        try:
            if boundary is None:
                assert name is not None
                files = [await receive_one(request, settings.limits, folder, name)]
            else:
                files = await receive_parts(request, settings.limits, folder, boundary)
            await asyncio.to_thread(folder.sync)
        except BaseException:
            # Aborted, too slow, too large, or we are told to end: nothing was accepted.
            folder.remove()
            raise
        new = _new_job(job_id, caller, asked, files, key)
        # If this fails nobody knows whether it was accepted; a folder without a job is found
        # and deleted later.
        job = await jobs.accept(service.pool, service.queue, new, await _still_true(service, new))
        if job.id != job_id:
            folder.remove()
            response.status_code = 200
        else:
            service.metrics.uploaded.inc(sum(file.bytes for file in files))
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return with_links(job)


def _boundary(request: Request) -> bytes | None:
    try:
        return boundary_of(request.headers.get("content-type", ""))
    except MultipartError as error:
        raise Problem(400, "bad-multipart", str(error)) from None


def _check_input(settings: Settings, name: str | None) -> None:
    if name is None:
        return
    known = [entry.name for entry in read_inputs(settings.database.project.sources_file)]
    if name not in known:
        raise Problem(
            422, "unknown-input", f"There is no input {name!r}. The inputs are: {', '.join(known)}."
        )


def _new_job(
    job_id: UUID, caller: Caller, asked: Options, files: list[UploadedFile], key: str | None
) -> NewJob:
    content = [sorted(file.sha256 for file in files), asked.model_dump()]
    content_key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return NewJob(
        id=job_id,
        kind="load",
        created_by=caller.name,
        options=asked,
        files=tuple(files),
        content_key=content_key,
        idempotency_key=key,
    )


async def _still_true(service: Service, new: NewJob) -> list[UUID]:
    """A finished job with that content whose loads all count still.

    One that replaced says nothing about what came later by other ways: the loader decides anew.
    """
    if new.content_key is None or new.options.replace:
        return []
    earlier = await jobs.done_with(service.pool, new.content_key)
    wanted = {job.id: _loads(job) for job in earlier}
    counting = await jobs.counting(
        service.pool, service.settings.profile.raw_schema, set().union(*wanted.values())
    )
    return [job_id for job_id, loads in wanted.items() if loads and loads <= counting]


def _loads(job: JobState) -> set[int]:
    files = job.result.files if job.result else []
    loaded = {file.load_id for file in files if file.load_id is not None}
    return loaded if len(loaded) == len(files) else set()
