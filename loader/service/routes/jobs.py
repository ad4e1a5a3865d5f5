"""What is going on: jobs, their events, cancelling them."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse

from loader.service import jobs
from loader.service.auth import require
from loader.service.context import Service, service_of
from loader.service.events import stream
from loader.service.model import Job, JobList, State, with_links
from loader.service.problems import Problem
from loader.service.tokens import Caller

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_LARGEST = 2**63 - 1


@router.get("")
async def list_jobs(
    _: Annotated[Caller, Depends(require("read"))],
    service: Annotated[Service, Depends(service_of)],
    state: Annotated[State | None, Query(description="Only jobs in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[
        str | None, Query(pattern=r"^[1-9][0-9]{0,17}$", description="`next` of the page before.")
    ] = None,
) -> JobList:
    """Jobs, the newest first."""
    before = int(after) if after else None
    found, more = await jobs.newest(service.pool, state=state, limit=limit, before=before)
    return JobList(
        items=[with_links(job) for job in found], next=None if more is None else str(more)
    )


@router.get("/{job_id}")
async def get_job(
    job_id: UUID,
    _: Annotated[Caller, Depends(require("read"))],
    service: Annotated[Service, Depends(service_of)],
) -> Job:
    """A job."""
    return with_links(await jobs.find(service.pool, job_id))


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def follow_job(
    job_id: UUID,
    _: Annotated[Caller, Depends(require("read"))],
    service: Annotated[Service, Depends(service_of)],
    last_event_id: Annotated[
        str, Header(alias="Last-Event-ID", description="Go on after this event.")
    ] = "0",
) -> StreamingResponse:
    """The job's events as they happen (server-sent events); ends after the final one."""
    number = last_event_id.strip() or "0"
    if not (number.isascii() and number.isdigit() and int(number) <= _LARGEST):
        raise Problem(422, "invalid-request", "Last-Event-ID is the number of an event.")
    await jobs.find(service.pool, job_id)
    return StreamingResponse(
        stream(service.pool, service.broker, job_id, int(number)),
        media_type="text/event-stream",
        # nginx would collect them first.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.post("/{job_id}/cancel", status_code=202)
async def cancel_job(
    job_id: UUID,
    _: Annotated[Caller, Depends(require("load"))],
    service: Annotated[Service, Depends(service_of)],
) -> Job:
    """Cancel a job. What it has loaded already stays; undo takes it back."""
    return with_links(await jobs.cancel(service.pool, service.queue, job_id))
