"""Is it alive, is it ready, and how much does it do."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from loader.service.auth import require
from loader.service.context import Service, service_of
from loader.service.database import Pool
from loader.service.tokens import Caller
from loader.service.worker import STALLED

router = APIRouter(tags=["health"])


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/health/ready")
async def ready(service: Annotated[Service, Depends(service_of)]) -> dict[str, str]:
    """The database answers, else 503. Jobs wait while no worker is up."""
    is_up = await _worker_is_up(service.pool)
    return {"status": "ready", "worker": "up" if is_up else "down"}


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(
    _: Annotated[Caller, Depends(require("read"))],
    service: Annotated[Service, Depends(service_of)],
) -> Response:
    """Figures for Prometheus."""
    async with service.pool.connection() as connection:
        found = await connection.execute(
            "select kind, state, count(*) as jobs from jobs group by kind, state"
        )
        counts = await found.fetchall()
    figures = service.metrics
    figures.jobs.clear()
    for row in counts:
        figures.jobs.labels(row["kind"], row["state"]).set(row["jobs"])
    figures.worker.set(await _worker_is_up(service.pool))
    figures.uploading.set(service.uploads.taken)
    return Response(figures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _worker_is_up(pool: Pool) -> bool:
    async with pool.connection(timeout=2) as connection:
        found = await connection.execute(
            "select 1 from procrastinate_workers "
            "where last_heartbeat > now() - %s * interval '1 second'",
            (STALLED,),
        )
        return await found.fetchone() is not None
