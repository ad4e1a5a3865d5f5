"""The ledger: which files were loaded, and which of their lines were rejected."""

from __future__ import annotations

import json
from typing import Annotated

import fastapi
from fastapi import APIRouter, Path
from fastapi.responses import Response

from loader.errors import UnknownLoad
from loader.service.query.answer import Answer, Request
from loader.service.routes.marts import FILTERS, Reader, Serving, asked, documented, sent

router = APIRouter(prefix="/v1", tags=["loads"])

LoadId = Annotated[int, Path(ge=1, lt=2**63)]


@router.head("/loads", include_in_schema=False)
@router.get(
    "/loads",
    response_class=Response,
    **documented(f"{FILTERS} `status` and `input` are also understood as plain values."),
)
def list_loads(request: fastapi.Request, _: Reader, service: Serving) -> Response:
    """The loads, the newest first."""
    return sent(service.tables.loads(asked(request)))


@router.get("/loads/{load_id}", response_class=Response)
def one_load(load_id: LoadId, request: fastapi.Request, _: Reader, service: Serving) -> Response:
    """One load."""
    alone = Request(request.url.path, (), if_none_match=request.headers.get("if-none-match"))
    answer = service.tables.loads(alone, load_id)
    if answer.body is None:
        return sent(answer)
    item = _item(answer, load_id)
    headers = {name: answer.headers[name] for name in ("ETag", "Cache-Control", "Vary")}
    return Response(json.dumps(item), media_type="application/json", headers=headers)


@router.head("/loads/{load_id}/rejected", include_in_schema=False)
@router.get("/loads/{load_id}/rejected", response_class=Response, **documented(FILTERS))
def rejected(load_id: LoadId, request: fastapi.Request, _: Reader, service: Serving) -> Response:
    """The lines of a load that could not be split, as they stand in the file."""
    _item(service.tables.loads(Request("", ()), load_id), load_id)
    return sent(service.tables.rejected(asked(request), load_id))


def _item(answer: Answer, load_id: int) -> dict[str, object]:
    """The only row of an answer. Raises UnknownLoad when there is none."""
    items: list[dict[str, object]] = json.loads(b"".join(answer.pieces()))["items"]
    if not items:
        raise UnknownLoad(load_id)
    return items[0]
