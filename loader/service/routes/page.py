"""The page: the files in the folder page/ of the package, and no other file whatever is asked for.

They are static and hold no data, so they need no token; what the page shows it asks the API for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response

from loader.service.problems import Problem

_FOLDER = Path(__file__).resolve().parents[1] / "page"
_INDEX = "index.html"
# Named here, since the system's own table may know others.
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class _Asset:
    content: bytes
    media_type: str
    etag: str


@router.api_route("/", methods=["GET", "HEAD"])
def index(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """The page."""
    return _answer(_INDEX, if_none_match)


@router.api_route("/assets/{name}", methods=["GET", "HEAD"])
def asset(name: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """A part of the page. Raises Problem if it has none of that name."""
    return _answer(name, if_none_match)


def _answer(name: str, known: str | None) -> Response:
    found = _assets().get(name)
    if found is None:
        raise Problem(404, "unknown-asset", f"The page has no part named {name!r}.")
    # The modules of one page have to be of one version: a browser asks each time, and is told in a
    # few bytes that nothing has changed.
    headers = {"ETag": found.etag, "Cache-Control": "no-cache"}
    if known is not None and found.etag in (tag.strip() for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)


@cache
def _assets() -> dict[str, _Asset]:
    return {path.name: _asset(path) for path in _FOLDER.iterdir() if path.suffix in _TYPES}


def _asset(path: Path) -> _Asset:
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return _Asset(content, _TYPES[path.suffix], etag)
