"""PATHs of this machine (files, folders, patterns), and temporary files for what lies elsewhere.

PATHs are not read by fsspec, which reads the others: it takes a link to a folder for a file, passes
over folders that may not be read without a word, and forgets how a PATH was written.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from loader.errors import FileRefused, NothingToLoad, did_you_mean
from loader.files.content import Content, cannot_open
from loader.files.names import (
    in_reading_order,
    is_excluded,
    is_left_over,
    is_passed_over,
    is_pattern,
)
from loader.printable import printable

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


@dataclass(frozen=True)
class LocalFile:
    """A file that can be opened and sought in.

    `name` is for people and the ledger: the PATH as it was written, `folder/file`, an address
    without its secrets, or `archive.zip/member`; always printable. `path` is where the bytes are,
    a temporary file for standard input, remote files and members of archives. `content` is what
    `collect` has seen in it. `changed_at` is when the bytes were last changed where they come from,
    in seconds since 1970; None where only the file at `path` tells it.
    """

    name: str
    path: Path
    temporary: bool = False
    content: Content | None = None
    changed_at: float | None = None


@dataclass(frozen=True)
class Skipped:
    """A file that was left out by rule."""

    name: str


# One that cannot be had is the error that would be raised if it were the only one.
Result = LocalFile | Skipped | FileRefused


def find(argument: str, exclude: Sequence[str]) -> list[Result]:
    """What a PATH means: the file, the folder's files, what matches the pattern.

    A name that exists goes before a pattern. Raises NothingToLoad.
    """
    shown = printable(argument) or "''"
    if not argument or "\0" in argument:
        raise NothingToLoad(shown, "this is no PATH. Name a file or a folder.")
    if argument.startswith("~") and not os.path.lexists(argument):
        # A shell leaves it as it is within quotation marks.
        argument = os.path.expanduser(argument)  # noqa: PTH111 -- Path raises for nobody's home
    if os.path.lexists(argument):
        results = list(_from(argument, exclude))
    elif "**" in argument.split("/"):
        raise NothingToLoad(shown, "`**` is not read. Name the folder, and --exclude what is not.")
    elif is_pattern(argument):
        matches = in_reading_order(glob.glob(argument))  # noqa: PTH207 -- it keeps a leading "./"
        results = [found for match in matches for found in _from(match, exclude)]
    else:
        names: list[str] = []
        with suppress(OSError):
            names = sorted(printable(entry.name) for entry in Path(argument).parent.iterdir())
        hint = did_you_mean(Path(argument).name, names) or " Check the path."
        raise NothingToLoad(shown, f"there is no such file or folder.{hint}")
    if not any(isinstance(result, LocalFile | FileRefused) for result in results):
        raise NothingToLoad(shown, nothing_left(results))
    return results


def nothing_left(results: Sequence[Result]) -> str:
    """What NothingToLoad says when there was nothing, or rules have left out all of it."""
    skipped = [result.name for result in results if isinstance(result, Skipped)]
    if not skipped:
        return "there is no file there. Check it with `ls`."
    more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    return (
        f"everything here is left out: {', '.join(skipped[:3])}{more}. Hidden files, lock files "
        "and what --exclude names are not loaded; a hidden file can be named itself."
    )


def _from(top: str, exclude: Sequence[str]) -> Iterator[Result]:
    """A file, or what is below a folder in reading order. No folder comes twice.

    Here a hidden name counts: somebody has named it.
    """
    base = Path(top).name
    if is_left_over(base, hidden_too=False) or is_excluded(base, exclude):
        yield Skipped(printable(top))
        return
    entered: set[tuple[int, int]] = set()
    # What is still to do, the next one last: where it is, and where below the top.
    remaining = [(top, "")]
    while remaining:
        path, relative = remaining.pop()
        shown = printable(path)
        if relative and is_passed_over(relative, exclude):
            yield Skipped(shown)
            continue
        try:
            status = Path(path).stat()
            is_folder = stat.S_ISDIR(status.st_mode)
            names = [child.name for child in Path(path).iterdir()] if is_folder else []
        except OSError as error:
            yield FileRefused(shown, cannot_open(error))
            continue
        if stat.S_ISREG(status.st_mode):
            yield LocalFile(shown, Path(path))
        elif not is_folder and relative:
            yield Skipped(shown)
        elif not is_folder:
            yield FileRefused(shown, ": it is no file and no folder. A pipe is read as `-`.")
        elif (status.st_dev, status.st_ino) not in entered:  # Else a link led back here.
            entered.add((status.st_dev, status.st_ino))
            for name in reversed(in_reading_order(names)):
                # As text: a Path would drop the "./" that somebody wrote.
                joined = f"{path}/{name}" if not path.endswith("/") else path + name
                remaining.append((joined, f"{relative}/{name}" if relative else name))


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
    """Where temporary files are made, in a folder below TMPDIR that leaving this context removes.

    What is read into it raises FileRefused itself for its own faults.
    """

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress
        self._folder: Path | None = None
        self._count = 0

    def new(self, name: str) -> Path:
        """A path for a new file. Raises FileRefused for `name` when there can be none."""
        if self._folder is None:
            try:
                # A download may still be writing when an interrupt ends the call.
                folder = tempfile.TemporaryDirectory(prefix="labmart-", ignore_cleanup_errors=True)
            except OSError as error:
                raise FileRefused(name, cannot_write(error)) from None
            self._folder = Path(self.enter_context(folder))
        self._count += 1
        return self._folder / f"{self._count:06}"

    def watch(self, name: str, doing: str, path: Path) -> Callable[[int], None]:
        """A function to be told the bytes that have been written to `path` so far.

        It tells people, not more often than they can read, and raises FileRefused when the disk
        has too little space left.
        """
        told = 0.0
        checked = 0

        def tell(size: int) -> None:
            nonlocal told, checked
            if size >= checked:
                checked = size + CHECK_SPACE_EVERY
                space = shutil.disk_usage(path.parent)
                if space.free < min(RESERVE, int(space.total * RESERVE_SHARE)):
                    raise FileRefused(name, cannot_write(OSError(errno.ENOSPC, "")))
            if time.monotonic() - told >= _TELL_EVERY:
                told = time.monotonic()
                self.progress(f"{name}: {doing}, {size / 1e6:,.1f} MB")

        return tell

    def save(
        self,
        name: str,
        read: Callable[[int], bytes],
        doing: str,
        limit: DecompressionLimit | None = None,
    ) -> Path:
        """Write what `read` gives, until b'', into a new file.

        Raises FileRefused when there is no space, or more than the limit; then nothing is left.
        """
        path = self.new(name)
        tell = self.watch(name, doing, path)
        try:
            with path.open("wb") as file:
                tell(0)
                while piece := read(_PIECE):
                    if limit is not None:
                        limit.use(len(piece), name)
                    file.write(piece)
                    tell(file.tell())
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise FileRefused(name, cannot_write(error)) from None
            raise
        return path


def cannot_write(error: OSError) -> str:
    """What FileRefused says when a temporary file cannot be written."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "its disk has too little space" if is_full else error.strerror
    return (
        f": a temporary file of it cannot be written below {os.environ.get('TMPDIR', '/tmp')}: "
        f"{reason}. Make room, or set TMPDIR to a folder that you can write to, on a larger disk."
    )
