"""Is it alive, is it ready."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from loader.service.context import Service, service_of

router = APIRouter(tags=["health"])


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/health/ready")
async def ready(service: Annotated[Service, Depends(service_of)]) -> dict[str, str]:
    """The database answers too; else 503."""
    async with service.pool.connection(timeout=2) as connection:
        await connection.execute("select 1")
    return {"status": "ready"}
