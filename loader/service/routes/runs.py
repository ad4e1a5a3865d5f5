"""Jobs without an upload: files of the landing folder, builds, undo and redo."""

from __future__ import annotations

import re
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import ValidationError

from loader.printable import printable
from loader.service import jobs
from loader.service.auth import require
from loader.service.context import Service, service_of
from loader.service.jobs import NewJob
from loader.service.model import Job, Kind, Options, RunRequest, with_links
from loader.service.problems import Problem
from loader.service.tokens import Caller

router = APIRouter(prefix="/v1", tags=["jobs"])

_LARGEST_JSON = 1 << 18
_JSON = {
    "requestBody": {
        "content": {"application/json": {"schema": RunRequest.model_json_schema()}},
    }
}
LoadId = Annotated[int, Path(ge=1, le=2**63 - 1)]
Build = Annotated[bool, Query(description="Bring the marts up to date afterwards.")]
Allowed = Annotated[Caller, Depends(require("load"))]
TheService = Annotated[Service, Depends(service_of)]


@router.post("/runs", status_code=202, openapi_extra=_JSON)
async def run(request: Request, response: Response, caller: Allowed, service: TheService) -> Job:
    """Load files that lie in the landing folder, then build."""
    if service.settings.landing is None:
        raise Problem(
            404, "no-landing-folder", "This server has no landing folder (labmart serve --landing)."
        )
    asked = await _json(request)
    for path in asked.paths:
        _check_path(path)
    options = Options(replace=asked.replace, build=asked.build, paths=asked.paths)
    return await _accept(service, response, caller, "run", options)


@router.post("/builds", status_code=202)
async def build(response: Response, caller: Allowed, service: TheService) -> Job:
    """Bring the marts up to date."""
    return await _accept(service, response, caller, "build", Options())


@router.post("/loads/{load_id}/undo", status_code=202)
async def undo(
    load_id: LoadId, response: Response, caller: Allowed, service: TheService, build: Build = True
) -> Job:
    """Make a load not count; what it had replaced counts again."""
    options = Options(build=build, load_id=load_id)
    return await _accept(service, response, caller, "undo", options)


@router.post("/loads/{load_id}/redo", status_code=202)
async def redo(
    load_id: LoadId, response: Response, caller: Allowed, service: TheService, build: Build = True
) -> Job:
    """Take an undo back."""
    options = Options(build=build, load_id=load_id)
    return await _accept(service, response, caller, "redo", options)


async def _accept(
    service: Service, response: Response, caller: Caller, kind: Kind, options: Options
) -> Job:
    await jobs.check_queue(service.pool, service.settings.limits.queued_jobs)
    new = NewJob(id=uuid4(), kind=kind, created_by=caller.name, options=options)
    job = await jobs.accept(service.pool, service.queue, new)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return with_links(job)


async def _json(request: Request) -> RunRequest:
    """The body, which is read only now that the caller is known, and within limits."""
    content = bytearray()
    async for portion in request.stream():
        content += portion
        if len(content) > _LARGEST_JSON:
            raise Problem(413, "too-large", f"More than {_LARGEST_JSON:,} bytes are not taken.")
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if content and kind.lower() != "application/json":
        raise Problem(415, "not-json", "Send JSON, with Content-Type: application/json.")
    try:
        return RunRequest.model_validate_json(bytes(content) or b"{}")
    except ValidationError as error:
        said = " ".join(
            f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}." for one in error.errors()
        )
        raise Problem(422, "invalid-request", said) from None


def _check_path(path: str) -> None:
    """Refuse what cannot be meant; where a path really leads is looked at when it is opened."""
    problem = ""
    if not path or path != printable(path):
        problem = "is empty or has control characters in it"
    elif path.startswith(("/", "~")) or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path):
        problem = "is not relative to the landing folder"
    elif ".." in path.split("/"):
        problem = "leads out of the landing folder"
    if problem:
        shown = printable(path)[:200]
        raise Problem(422, "bad-path", f"The path {shown!r} {problem}.")
