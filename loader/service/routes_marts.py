"""The marts, and the ledger: which there are, and their rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import fastapi
from fastapi import APIRouter, Path
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from loader.errors import UnknownLoad
from loader.service.answers import FORMATS, JSON, Answer, Request
from loader.service.routes import Reader, Serving
from loader.show import ISSUES

router = APIRouter(prefix="/v1")

_LoadId = Annotated[int, Path(ge=1, lt=2**63)]


class ColumnModel(BaseModel):
    """A column of a mart."""

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


def _text(name: str, description: str, schema: Mapping[str, object] | None = None) -> object:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": schema or {"type": "string"},
    }


def _documented(filters: str) -> dict[str, Any]:
    """What the OpenAPI document says of a route that answers with rows."""
    rows = {
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": {"type": "array", "items": {"type": "object"}},
            "next": {"type": ["string", "null"], "description": "The cursor of the next page."},
        },
    }
    binary = {"type": "string", "format": "binary"}
    return {
        "responses": {
            200: {
                "description": "The rows. `Link` with rel=next is the address of the next page.",
                "content": {
                    one.media_type: {"schema": rows if one is JSON else binary} for one in FORMATS
                },
            },
            304: {"description": "Nothing has changed since the tag in If-None-Match."},
        },
        "openapi_extra": {
            "parameters": [
                _text("select", "The columns wanted, separated by commas; default: all."),
                _text("order", "Columns to sort by, separated by commas; `-` before one: falling."),
                _text(
                    "limit",
                    f"So many rows at most; 0: all. Default: {JSON.page} in JSON, else all.",
                    {"type": "integer", "minimum": 0},
                ),
                _text("after", "The cursor `next` of the page before."),
                _text(
                    "format",
                    "Goes before the header Accept.",
                    {"type": "string", "enum": [one.name for one in FORMATS]},
                ),
                _text(
                    "formulas",
                    "`keep`: texts in CSV that begin with = + - @ TAB or CR stay as they are. "
                    "Else they get a ' before them, so that no spreadsheet runs them.",
                    {"type": "string", "enum": ["escape", "keep"]},
                ),
                {
                    "name": "filters",
                    "in": "query",
                    "required": False,
                    "style": "form",
                    "explode": True,
                    "description": filters,
                    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            ]
        },
    }


_FILTERS = (
    "column=operator.value, such as user_id=gte.5. The operators are eq, neq, gt, gte, lt, lte, "
    "in.(a,b), like and ilike (with * for any text), is.null, not.null. In a list, text with a "
    'comma stands in quotes: in.("a, b",c).'
)


def _asked(request: fastapi.Request) -> Request:
    """A request as the queries take it."""
    return Request(
        path=request.url.path,
        pairs=tuple(request.query_params.multi_items()),
        accept=request.headers.get("accept"),
        if_none_match=request.headers.get("if-none-match"),
        head=request.method == "HEAD",
    )


def _sent(answer: Answer) -> Response:
    """An answer as it goes to the client."""
    headers = dict(answer.headers)
    if answer.body is None:
        return Response(status_code=answer.status, headers=headers)
    return StreamingResponse(answer.pieces(), status_code=answer.status, headers=headers)


# These are no coroutines: they wait for the database in threads of their own.
@router.get("/marts", tags=["marts"])
def list_marts(_: Reader, service: Serving) -> list[MartModel]:
    """The marts with their columns, as dbt's YAML declares them."""
    return [
        MartModel(
            name=mart.name,
            description=mart.description,
            grain_columns=list(mart.order_by) if mart.has_key else [],
            columns=[
                ColumnModel(name=one.name, type=one.type, description=one.description)
                for one in mart.columns
            ],
            rows_url=f"/v1/marts/{mart.name}",
        )
        for mart in service.marts.contracts().values()
    ]


@router.head("/marts/{mart}", include_in_schema=False)
@router.get("/marts/{mart}", response_class=Response, tags=["marts"], **_documented(_FILTERS))
def mart_rows(mart: str, request: fastapi.Request, _: Reader, service: Serving) -> Response:
    """Rows of a mart.

    They come in a total order: what `order` leaves open is decided by the mart's key. NULL is less
    than every value; text is ordered by its characters' code points.
    """
    return _sent(service.marts.mart(mart, _asked(request)))


@router.head("/issues", include_in_schema=False)
@router.get("/issues", response_class=Response, tags=["marts", "loads"], **_documented(_FILTERS))
def issues(request: fastapi.Request, _: Reader, service: Serving) -> Response:
    """What was rejected or noticed, with file and line: the rows of the mart input_issues."""
    return _sent(service.marts.mart(ISSUES, _asked(request)))


@router.head("/loads", include_in_schema=False)
@router.get(
    "/loads",
    response_class=Response,
    tags=["loads"],
    **_documented(f"{_FILTERS} `status` and `input` are also understood as plain values."),
)
def list_loads(request: fastapi.Request, _: Reader, service: Serving) -> Response:
    """The loads, the newest first."""
    return _sent(service.marts.loads(_asked(request)))


@router.get("/loads/{load_id}", response_class=Response, tags=["loads"])
def one_load(load_id: _LoadId, request: fastapi.Request, _: Reader, service: Serving) -> Response:
    """One load."""
    alone = Request(request.url.path, (), if_none_match=request.headers.get("if-none-match"))
    answer = service.marts.loads(alone, load_id)
    if answer.body is None:
        return _sent(answer)
    item = _item(answer, load_id)
    headers = {name: answer.headers[name] for name in ("ETag", "Cache-Control", "Vary")}
    return Response(json.dumps(item), media_type="application/json", headers=headers)


@router.head("/loads/{load_id}/rejected", include_in_schema=False)
@router.get(
    "/loads/{load_id}/rejected", response_class=Response, tags=["loads"], **_documented(_FILTERS)
)
def rejected(load_id: _LoadId, request: fastapi.Request, _: Reader, service: Serving) -> Response:
    """The lines of a load that could not be split, as they stand in the file."""
    _item(service.marts.loads(Request("", ()), load_id), load_id)
    return _sent(service.marts.rejected(_asked(request), load_id))


def _item(answer: Answer, load_id: int) -> dict[str, object]:
    """The only row of an answer. Raises UnknownLoad when there is none."""
    items: list[dict[str, object]] = json.loads(b"".join(answer.pieces()))["items"]
    if not items:
        raise UnknownLoad(load_id)
    return items[0]
