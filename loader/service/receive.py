"""The body of a request while it arrives: within limits of size and time, into files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

from fastapi import Request

from loader.printable import printable
from loader.service.model import UploadedFile
from loader.service.multipart import MultipartError, Part, parts_of
from loader.service.problems import Problem
from loader.service.settings import Limits
from loader.service.spool import Folder, Writer, cannot_keep

_LONGEST_NAME = 255


def check_name(name: str) -> str:
    """The name of a file that somebody sends. Raises Problem 422 for what is none."""
    problem = ""
    if not name.strip() or name in (".", ".."):
        problem = "is empty"
    elif "/" in name or "\\" in name:
        problem = "has a slash or backslash in it"
    elif printable(name) != name:
        problem = "has control characters in it"
    elif len(name.encode()) > _LONGEST_NAME:
        problem = f"has more than {_LONGEST_NAME} bytes"
    if problem:
        shown = printable(name)[:100]
        raise Problem(422, "bad-file-name", f"The file's name {shown!r} {problem}.")
    return name


def announced(request: Request, limits: Limits) -> int:
    """The length that a request announces, 0 if none. Raises Problem for what is not taken."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise Problem(
            415,
            "content-encoding",
            f"Content-Encoding {printable(encoding)!r} is not taken. Send the file as it is: "
            "compressed files are recognised by themselves.",
        )
    if "content-range" in request.headers:
        raise Problem(400, "content-range", "A part of a file is not taken; send all of it.")
    # The server refuses what is no number.
    length = int(request.headers.get("content-length", 0))
    if length > limits.upload_bytes:
        raise _too_large(limits)
    return length


async def body(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """The body in portions. Raises Problem 413 or 408, or starlette's ClientDisconnect."""
    begun = time.monotonic()
    received = 0
    stream = request.stream().__aiter__()
    while True:
        try:
            portion = await asyncio.wait_for(anext(stream), limits.idle)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _too_slow() from None
        received += len(portion)
        if received > limits.upload_bytes:
            raise _too_large(limits)
        seconds = time.monotonic() - begun
        if seconds > limits.grace and received < limits.slowest * seconds:
            raise _too_slow()
        if portion:
            yield portion


async def receive_one(request: Request, limits: Limits, folder: Folder, name: str) -> UploadedFile:
    """The body as one file."""
    try:
        with closing(_writer(folder, 0, name)) as writer:
            async for portion in body(request, limits):
                await writer.write(portion)
            return await writer.finish()
    except OSError as error:
        raise cannot_keep(error) from None


async def receive_parts(
    request: Request, limits: Limits, folder: Folder, boundary: bytes
) -> list[UploadedFile]:
    """The files of a multipart body."""
    files: list[UploadedFile] = []
    writer: Writer | None = None
    try:
        async for event in parts_of(body(request, limits), boundary):
            if isinstance(event, Part):
                if len(files) == limits.upload_files:
                    raise Problem(
                        413, "too-many-files", f"More than {limits.upload_files} files at once."
                    )
                writer = _writer(folder, len(files), check_name(_file_name(event)))
            elif event is None:
                assert writer is not None
                files.append(await writer.finish())
                writer.close()
                writer = None
            else:
                assert writer is not None
                await writer.write(event)
    except MultipartError as error:
        raise Problem(400, "bad-multipart", str(error)) from None
    except OSError as error:
        raise cannot_keep(error) from None
    finally:
        if writer is not None:
            writer.close()
    if not files:
        raise Problem(422, "no-file", "There is no file in this.")
    return files


def _writer(folder: Folder, position: int, name: str) -> Writer:
    return Writer(Path(folder.path, str(position)), name)


def _file_name(part: Part) -> str:
    if part.file_name is None:
        raise Problem(
            422,
            "not-a-file",
            f"The part {printable(part.name)[:100]!r} is no file. Options go into the query: "
            "?replace=true.",
        )
    return part.file_name


def _too_large(limits: Limits) -> Problem:
    return Problem(
        413,
        "too-large",
        f"More than {limits.upload_bytes:,} bytes are not taken at once.",
        # What comes still is not read.
        headers={"Connection": "close"},
    )


def _too_slow() -> Problem:
    return Problem(
        408, "too-slow", "The upload was too slow, or stopped. Nothing was kept; send it again."
    )
