"""Temporary files: one folder for a call, made when it is needed, removed when the call ends."""

from __future__ import annotations

import errno
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from loader.errors import FileRefused

Progress = Callable[[str], None]

# Space that is left to others, the database's write-ahead log above all: the smaller of both.
RESERVE = 256 << 20
RESERVE_SHARE = 0.05
# A real table shrinks 3 to 30 times, one that repeats a single line at most about 1,000 times, as
# does deflate at its best. What is neither small nor plausible was made to fill disks.
HARMLESS = 2 << 30
PLAUSIBLE_RATIO = 1000
CHECK_SPACE_EVERY = 64 << 20
_PIECE = 1 << 20
_TELL_EVERY = 0.1  # seconds


class DecompressionLimit:
    """How much may still come out of one packed file, everything nested in it included."""

    def __init__(self, packed: int) -> None:
        self._packed = packed
        self._unpacked = 0

    def use(self, size: int, name: str) -> None:
        """Count `size` more bytes. Raises FileRefused when it cannot be real data any more."""
        self._unpacked += size
        if self._unpacked > max(HARMLESS, PLAUSIBLE_RATIO * self._packed):
            raise FileRefused(
                name,
                f": {self._packed:,} bytes unpack to more than {self._unpacked:,}, which no table "
                "does. If it is real, unpack it yourself and load the files.",
            )


class Spool(ExitStack):
    """Where temporary files are made. A context manager; leaving it removes them.

    It obeys TMPDIR. What is read into it raises FileRefused itself for its own faults.
    """

    _folder: Path | None = None
    _count = 0

    def new(self, name: str) -> Path:
        """A path for a new file. Raises FileRefused for `name` when there can be none."""
        if self._folder is None:
            try:
                # A download may still be writing when an interrupt ends the call.
                folder = tempfile.TemporaryDirectory(prefix="labmart-", ignore_cleanup_errors=True)
            except OSError as error:
                raise FileRefused(
                    name,
                    f": no temporary file can be made for it: {error.strerror}. Set TMPDIR to a "
                    "folder that you can write to.",
                ) from None
            self._folder = Path(self.enter_context(folder))
        self._count += 1
        return self._folder / f"{self._count:06}"

    def check(self, name: str, size: int, path: Path) -> None:
        """Raise FileRefused unless `size` more bytes fit beside `path`."""
        space = shutil.disk_usage(path.parent)
        if space.free - size < min(RESERVE, int(space.total * RESERVE_SHARE)):
            raise FileRefused(name, _full(path))

    def save(
        self,
        name: str,
        read: Callable[[int], bytes],
        *,
        doing: str,
        progress: Progress,
        limit: DecompressionLimit | None = None,
    ) -> Path:
        """Write what `read` gives, until b'', into a new file.

        `doing` is told to the person with the bytes so far. Raises FileRefused when there is no
        space, or more than the limit; then nothing of it is left.
        """
        path = self.new(name)
        written = checked = 0
        tell = byte_progress(name, doing, progress)
        with ExitStack() as on_failure:
            on_failure.callback(path.unlink, missing_ok=True)
            try:
                with path.open("wb") as file:
                    while piece := read(_PIECE):
                        if limit is not None:
                            limit.use(len(piece), name)
                        if written >= checked:
                            self.check(name, len(piece), path)
                            checked += CHECK_SPACE_EVERY
                        file.write(piece)
                        written += len(piece)
                        tell(written)
            except OSError as error:
                raise FileRefused(name, cannot_write(error, path)) from None
            on_failure.pop_all()
        return path


def byte_progress(name: str, doing: str, progress: Progress) -> Callable[[int], None]:
    """A function that tells the bytes so far, not more often than a person can read."""
    last = 0.0

    def tell(size: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TELL_EVERY:
            last = now
            progress(f"{name}: {doing}, {size / 1e6:,.1f} MB")

    return tell


def cannot_write(error: OSError, path: Path) -> str:
    """What FileRefused says when a temporary file cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(path)
    return (
        f": a temporary file of it cannot be written in {path.parent.parent}: {error.strerror}. "
        "Set TMPDIR to another folder."
    )


def _full(path: Path) -> str:
    return (
        f": the disk with {path.parent.parent}, where temporary files go, has too little space for "
        "it. Make room, or set TMPDIR to a folder on a larger disk."
    )
