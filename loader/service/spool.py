"""Where uploads are until they are loaded: a folder per job, its files named by their number.

What a file is called outside is data, and never part of a path. A folder that is being filled is
locked; one that is not locked and belongs to no job was left by a server that has gone.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self
from uuid import UUID

from loader.service.model import UploadedFile
from loader.service.problems import Problem

# What is collected before a thread writes it.
_PORTION = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


def path_of(spool: Path, job_id: UUID, position: int) -> Path:
    """Where a file of a job is."""
    return spool / str(job_id) / str(position)


class Folder:
    """The folder of a job that is being uploaded; a context manager that keeps it locked."""

    def __init__(self, spool: Path, job_id: UUID) -> None:
        self.path = spool / str(job_id)
        self._lock = -1

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(mode=0o700, parents=True)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise cannot_keep(error) from None
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._lock)

    def remove(self) -> None:
        """Delete it with all its files."""
        shutil.rmtree(self.path, ignore_errors=True)

    def sync(self) -> None:
        """Let the names of the files, and its own, survive a power failure."""
        os.fsync(self._lock)
        above = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(above)
        finally:
            os.close(above)


class Writer:
    """Writes a file in portions, in threads, hashing as it goes."""

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        self._hash = hashlib.sha256()
        self._size = 0
        self._waiting = bytearray()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)

    async def write(self, data: bytes) -> None:
        """Take some more."""
        self._waiting += data
        if len(self._waiting) >= _PORTION:
            portion, self._waiting = self._waiting, bytearray()
            await asyncio.to_thread(self._put, portion)

    async def finish(self) -> UploadedFile:
        """Bring it to the disk for good."""
        await asyncio.to_thread(self._end)
        return UploadedFile(name=self._name, bytes=self._size, sha256=self._hash.hexdigest())

    def close(self) -> None:
        """Close the file, whatever of it is written."""
        self._file.close()

    def _end(self) -> None:
        self._put(self._waiting)
        os.fsync(self._file.fileno())

    def _put(self, portion: bytearray) -> None:
        self._hash.update(portion)
        self._size += len(portion)
        rest = memoryview(portion)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]


def check_room(spool: Path, size: int) -> None:
    """Raise Problem 507 when the disk has no room for so many bytes."""
    with suppress(OSError):
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        free = shutil.disk_usage(spool).free
    except OSError as error:
        raise cannot_keep(error) from None
    if size > free:
        raise cannot_keep(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def cannot_keep(error: OSError) -> Problem:
    """The disk does not take an upload."""
    if error.errno in _FULL:
        return Problem(
            507, "disk-full", "The server's disk has too little space for this. Make room there."
        )
    said = error.strerror or type(error).__name__
    return Problem(500, "spool-failed", f"The server cannot keep uploads: {said}.")


def left_over(spool: Path) -> Iterator[UUID]:
    """The jobs that have a folder which nobody is filling."""
    if not spool.is_dir():
        return
    for path in spool.iterdir():
        try:
            job_id = UUID(path.name)
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (ValueError, OSError):
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            yield job_id
        finally:
            os.close(lock)


def remove(spool: Path, job_id: UUID) -> None:
    """Delete what a job has brought."""
    shutil.rmtree(spool / str(job_id), ignore_errors=True)
