"""A folder of this machine that files land in."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from loader.errors import FileRefused, NothingToLoad, UsageError
from loader.files import LocalFile, sha256_of
from loader.files.names import is_excluded
from loader.files.paths import Skipped, find
from loader.printable import printable
from loader.watch.complete import Quiet, is_being_written
from loader.watch.places import (
    LEFT_OUT,
    REPORT,
    UNFINISHED,
    CannotMove,
    Found,
    PlaceGone,
    free_name,
    oldest_first,
)


class Folder:
    """See the protocol `Place`."""

    def __init__(
        self, path: Path, *, interval: float, moves: bool, exclude: tuple[str, ...] = ()
    ) -> None:
        if not path.is_dir():
            raise UsageError(f"{path}: there is no such folder. Make it, and call again.")
        self._path = path.resolve()
        if is_excluded(self._path.name, LEFT_OUT):
            raise UsageError(f"{path}: a folder of this name is left out. Rename it.")
        self._quiet = Quiet(interval)
        self._exclude = (*LEFT_OUT, *exclude)
        # Files under names of unfinished ones, as (device, inode).
        self._unfinished: set[tuple[int, int]] = set()
        self._renamed: set[str] = set()
        self.moves = moves

    def look(self) -> list[Found]:
        """See `Place`."""
        if not self._path.is_dir():
            raise PlaceGone(f"{printable(str(self._path))} is not there.")
        found, unfinished = [], set()
        with suppress(NothingToLoad):
            for result in find(str(self._path), self._exclude):
                if isinstance(result, LocalFile):
                    with suppress(OSError):
                        found.append(self._found(result))
                elif isinstance(result, Skipped) and _is_unfinished(result.name):
                    with suppress(OSError):
                        status = Path(result.name).stat()
                        unfinished.add((status.st_dev, status.st_ino))
        self._renamed = {one.name for one in found if self._inode(one) in self._unfinished}
        self._unfinished = unfinished
        self._quiet.forget_others({one.name for one in found})
        return oldest_first(found)

    def is_complete(self, found: Found) -> bool:
        """See `Place`."""
        lasted = self._quiet.has_lasted(found)
        settled = lasted or found.name in self._renamed
        return settled and not is_being_written(Path(found.path))

    def is_unchanged(self, found: Found) -> bool:
        """See `Place`."""
        return _identity(Path(found.path)) == found.identity

    def sha256(self, found: Found) -> str | None:
        """See `Place`."""
        try:
            return sha256_of(Path(found.path))
        except FileRefused:
            return None

    def move(self, found: Found, folder: str, report: str | None) -> str:
        """See `Place`."""
        source = Path(found.path)
        text = None if report is None else report.encode(errors="backslashreplace")

        def is_free(candidate: str) -> bool:
            target = self._path / candidate
            beside = Path(f"{target}{REPORT}")
            # A report that was written just before we were ended is taken up again.
            ours = not os.path.lexists(beside) or (text is not None and _holds(beside, text))
            return not os.path.lexists(target) and (text is None or ours)

        target = self._path / free_name(folder, found.name, is_free)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if text is not None:
                _write(Path(f"{target}{REPORT}"), text)
            # Only we write there, so the name that was free is free.
            source.rename(target)
        except OSError as error:
            raise CannotMove(f"{printable(found.path)}: {error.strerror}") from None
        if _identity(target) != found.identity:
            # A newer file had come under the same name, and has not been loaded.
            _put_back(target, source)
            raise CannotMove(f"{printable(found.path)}: a newer file has come under its name")
        return printable(str(target))

    def _found(self, file: LocalFile) -> Found:
        return Found(
            name=os.path.relpath(file.path, self._path),
            path=str(file.path),
            shown=file.name,
            identity=_identity(file.path),
            modified=file.path.stat().st_mtime,
        )

    def _inode(self, found: Found) -> tuple[int, int] | None:
        try:
            status = Path(found.path).stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


def _identity(path: Path) -> str:
    """What is another one for another content: which file, how long, when written."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"


def _is_unfinished(name: str) -> bool:
    return is_excluded(Path(name).name, UNFINISHED)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _put_back(moved: Path, source: Path) -> None:
    place = source
    number = 1
    while os.path.lexists(place):
        number += 1
        place = source.with_name(f"{source.stem}-{number}{source.suffix}")
    moved.rename(place)
