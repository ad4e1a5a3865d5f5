"""An upload from the network to the disk: its limits, its parts, and the spool that stores it.

A body is split, hashed and written while it arrives; nothing of it is read before the caller is
known. The spool has a folder per job, with numbered files: an uploaded file's own name is data, and
never part of a path.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import click
from fastapi import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model

from loader.options import load_options, loading_options
from loader.printable import printable
from loader.service.jobs import Settings, UploadedFile
from loader.service.problems import Problem

if TYPE_CHECKING:
    from loader.load import LoadOptions

_MOST_FILES = 1000
# A name that is more than dots and blanks.
_NAME = r"(?=.*[^\s.])[^/\\\x00-\x1f\x7f]{1,255}"
# How many bytes are collected before a thread writes them.
_PORTION = 1 << 20


# Upload options.

# A text that an option of a load can be.
_Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")]

# The options of `labmart load`, declared and read the same way, but never from the environment.
_LOAD = click.command()(loading_options(lambda **_: None))
for _option in _LOAD.params:
    _option.envvar = None


# By their parameter names.
_OPTIONS = {option.opts[0][2:].replace("-", "_"): option for option in _LOAD.params}


def _parameter_of(option: click.Parameter) -> tuple[Any, Any]:
    """An option of the command as a pydantic field; the command checks its values."""
    assert isinstance(option, click.Option)
    if option.is_flag:
        return bool, Field(False, description=option.help)
    if option.multiple:
        return list[_Text], Field([], description=option.help)
    kind: Any = _Text
    if isinstance(option.type, click.Choice):
        kind = Literal[tuple(option.type.choices)]
    return kind | None, Field(None, description=option.help)


_FIELDS = {name: _parameter_of(option) for name, option in _OPTIONS.items()}


class UploadOptions(create_model("Given", **_FIELDS)):  # type: ignore[misc]  # made at run time
    """What an upload can be asked for."""

    model_config = ConfigDict(extra="forbid")

    build: bool = Field(True, description="Bring the marts up to date afterwards.")


def options_of(asked: BaseModel) -> LoadOptions:
    """The options of an upload or a job as LoadOptions. Raises click.UsageError if invalid."""
    given, arguments = asked.model_dump(), []
    for name, option in _OPTIONS.items():
        flag = option.opts[0]
        match given.get(name):
            case True:
                arguments.append(flag)
            case str(text):
                arguments.append(f"{flag}={text}")
            case list(texts):
                arguments += [f"{flag}={text}" for text in texts]
    with _LOAD.make_context("upload", arguments) as context:
        return load_options(context.params)


# Receiving a body.


async def receive(
    request: Request, settings: Settings, job_id: UUID, name: str | None
) -> list[UploadedFile]:
    """Write the files of a body to disk durably; with a name it is one file.

    Names and headers are checked before the body is read. Raises Problem for what cannot be
    accepted, or starlette's ClientDisconnect; then nothing is kept.
    """
    spool = settings.spool_folder
    _check_headers(request, settings)
    body = _body(request, settings)
    parts = _parts(_boundary_of(request), body) if name is None else _one(_checked(name), body)
    folder, files, file = spooled(spool, job_id), list[UploadedFile](), None
    try:
        folder.mkdir(mode=0o700)
        async for part in parts:
            if isinstance(part, str):
                if len(files) == _MOST_FILES:
                    detail = f"More than {_MOST_FILES} files at once."
                    raise Problem(413, "too-many-files", detail)
                file = _File(spooled(spool, job_id, len(files)), part)
            elif file is not None and part is not None:
                await file.write(part)
            elif file is not None:
                files.append(await asyncio.to_thread(file.end))
        if not files:
            raise Problem(422, "no-file", "There is no file in this.")
        # The names of the files and of the folder survive a power failure, too.
        await asyncio.to_thread(_sync_folders, folder, spool)
    except BaseException as error:
        # Aborted, too slow, too large, no room, or we are shutting down.
        if file is not None:
            with suppress(OSError):
                file.close()
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise _cannot_keep(error) from None
        raise
    return files


def _check_headers(request: Request, settings: Settings) -> None:
    """Raises Problem 413, 415 or 507."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity" or "content-range" in request.headers:
        raise Problem(
            415,
            "content-encoding",
            "Content-Encoding and Content-Range are not taken. Send the whole file as it is: "
            "compressed files are recognised by themselves.",
        )
    # The server refuses anything that is not a number.
    length, spool = int(request.headers.get("content-length", 0)), settings.spool_folder
    _check_size(length, settings)
    try:
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        if length > shutil.disk_usage(spool).free:
            raise OSError(errno.ENOSPC, "")
    except OSError as error:
        raise _cannot_keep(error) from None


def _boundary_of(request: Request) -> str:
    """The boundary of a multipart body. Raises Problem 415 for any other body."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary: str = options.get("boundary", "")
    if kind != "multipart/form-data" or not boundary.isascii() or not 0 < len(boundary) <= 70:
        raise Problem(
            415,
            "no-multipart",
            "Send multipart/form-data with a boundary of 1 to 70 characters, or PUT one file to "
            "/v1/files/NAME.",
        )
    return boundary


def _checked(name: str) -> str:
    """A valid file name as sent. Raises Problem 422 for an invalid one."""
    if not re.fullmatch(_NAME, name):
        raise Problem(
            422,
            "bad-file-name",
            f"A file cannot be called {printable(name)[:100]!r}: its name is empty, longer than "
            "255 characters, or has a slash, backslash or control character in it.",
        )
    return name


def spooled(spool: Path, job_id: UUID, *position: int) -> Path:
    """The path of a job's folder, or of one of its files."""
    return spool.joinpath(str(job_id), *map(str, position))


def take_over(spool: Path, refused: UUID, job_id: UUID) -> None:
    """Give a job the files of a refused one. Raises Problem 410 if they are gone."""
    try:
        # A folder without a job is left alone for a while.
        os.utime(spooled(spool, refused))
        spooled(spool, refused).rename(spooled(spool, job_id))
    except OSError:
        detail = "The files of this job are kept no more. Upload them again."
        raise Problem(410, "upload-gone", detail) from None


def upload_folders(spool: Path) -> dict[UUID, tuple[Path, float]]:
    """The job folders in the spool, and when the last of their files was written to."""
    folders = {}
    for path in spool.iterdir() if spool.is_dir() else ():
        # It may vanish meanwhile; others may have put files there.
        with suppress(ValueError, OSError):
            written_at = max(inner.stat().st_mtime for inner in (path, *path.iterdir()))
            folders[UUID(path.name)] = path, written_at
    return folders


class _File:
    """A file being received: written in portions, in threads, and hashed as it arrives."""

    def __init__(self, path: Path, name: str) -> None:
        self._name, self._hash, self._pending = name, hashlib.sha256(), bytearray()
        self._file = path.open("xb")
        self.close = self._file.close

    async def write(self, data: bytes) -> None:
        self._pending += data
        if len(self._pending) >= _PORTION:
            await asyncio.to_thread(self._put)

    def end(self) -> UploadedFile:
        self._put()
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.tell()
        self.close()
        return UploadedFile(name=self._name, bytes=size, sha256=self._hash.hexdigest())

    def _put(self) -> None:
        self._hash.update(self._pending)
        self._file.write(self._pending)
        self._pending = bytearray()


# For each file its name, its bytes, then None for its end.
_Events = AsyncIterator[str | bytes | None]


async def _one(name: str, body: AsyncIterator[bytes]) -> _Events:
    yield name
    async for portion in body:
        yield portion
    yield None


async def _parts(boundary: str, body: AsyncIterator[bytes]) -> _Events:
    """Raises Problem for a malformed multipart body."""
    # A header of more than 4 kB, or more than eight of them, is refused.
    parser = PushMultipartParser(boundary)
    try:
        async for portion in body:
            for event in parser.parse(portion):
                if not isinstance(event, MultipartSegment):
                    yield event
                elif event.filename is not None:
                    yield _checked(event.filename)
                else:
                    raise Problem(
                        422,
                        "not-a-file",
                        f"The part {printable(event.name or '')[:100]!r} is no file. Options go "
                        "into the query: ?replace=true.",
                    )
        # Raises for a truncated body.
        parser.close()
    except MultipartError as error:
        detail = f"The body is no multipart/form-data: {error}."
        raise Problem(400, "bad-multipart", detail) from None


async def _body(request: Request, settings: Settings) -> AsyncIterator[bytes]:
    """The body in portions. Raises Problem 413 or 408, or starlette's ClientDisconnect."""
    received, stream = 0, aiter(request.stream())
    with suppress(StopAsyncIteration):
        while True:
            try:
                portion = await asyncio.wait_for(anext(stream), settings.idle_seconds)
            except TimeoutError:
                detail = "The upload stopped. Nothing was kept; send it again."
                raise Problem(408, "too-slow", detail) from None
            received += len(portion)
            _check_size(received, settings)
            if portion:
                yield portion


def _check_size(size: int, settings: Settings) -> None:
    if size > settings.upload_bytes:
        detail = f"More than {settings.upload_bytes:,} bytes are not taken at once."
        # What still arrives is not read.
        raise Problem(413, "too-large", detail, headers={"Connection": "close"})


def _sync_folders(*paths: Path) -> None:
    for path in paths:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _cannot_keep(error: OSError) -> Problem:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        detail = "The server's disk has too little space for this. Make room there."
        return Problem(507, "disk-full", detail)
    reason = error.strerror or type(error).__name__
    return Problem(500, "spool-failed", f"The server cannot keep uploads: {reason}.")
