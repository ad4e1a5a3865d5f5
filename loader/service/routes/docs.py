"""The dbt documentation, one page that dbt writes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse

from loader.dbt import write_docs
from loader.errors import DocsFailed
from loader.service.auth import require
from loader.service.context import Service, service_of
from loader.service.problems import Problem
from loader.service.tokens import Caller

router = APIRouter(prefix="/dbt", tags=["docs"])

# dbt's page has its scripts, styles and pictures in itself; it is let do nothing else.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data:; font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox allow-scripts allow-popups"
)
_ONE_AT_A_TIME = asyncio.Lock()


@router.get("/", response_class=FileResponse)
async def dbt_docs(
    _: Annotated[Caller, Depends(require("read"))],
    service: Annotated[Service, Depends(service_of)],
) -> FileResponse:
    """The documentation of the last build; the first to ask after one waits some seconds."""
    project = service.settings.database.project
    page = project.target / "static_index.html"
    async with _ONE_AT_A_TIME:
        if _is_older(page, project.target / "run_results.json"):
            try:
                await asyncio.to_thread(write_docs, project, service.settings.target)
            except DocsFailed as error:
                raise Problem(503, "no-docs", str(error), headers={"Retry-After": "30"}) from None
    return FileResponse(page, media_type="text/html", headers={"Content-Security-Policy": _POLICY})


def _is_older(page: Path, than: Path) -> bool:
    """Whether the page is missing or was made before the last build."""
    try:
        made = page.stat().st_mtime
    except FileNotFoundError:
        return True
    try:
        return made < than.stat().st_mtime
    except FileNotFoundError:
        return False
