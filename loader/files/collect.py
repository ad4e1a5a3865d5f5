"""From PATH arguments to files that can be read, members of archives too."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO
from urllib.parse import unquote, urlsplit

from loader.errors import FileRefused, NothingToLoad
from loader.files.compression import cannot_open, open_bytes
from loader.files.content import ZIP_DAMAGES, content_of, open_zip
from loader.files.names import in_reading_order, is_passed_over, scheme_of
from loader.files.paths import LocalFile, Result, Skipped, find, is_pipe
from loader.files.remote import check_scheme, fetch
from loader.files.temporary import DecompressionLimit, Progress, Spool
from loader.printable import printable

STANDARD_INPUT = "-"
# An archive within an archive is opened, one within that is not.
MAX_NESTED = 2
# A folder of so many exports is loaded as a folder; temporary files need a directory entry each.
MAX_MEMBERS = 10_000
# What a parser must be able to seek in. Text is decompressed while it is read.
_SOUGHT_IN = ("zip", "xlsx", "xls", "ods", "parquet")
_ENCRYPTED = 0x1
# Of these two zipfile gives out as little as asked for; a piece of the others may fill the memory.
_METHODS_READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_METHOD_NAMES = {6: "implode", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "zstd", 95: "xz"}
_UNPACK = "Unpack it yourself and load the files."


@dataclass(frozen=True)
class Collected:
    """All that the PATHs of one call mean, in the order of the call."""

    files: tuple[LocalFile, ...]
    problems: tuple[str, ...]
    skipped: tuple[str, ...]


@contextmanager
def collect(
    paths: Sequence[str],
    *,
    exclude: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    progress: Progress,
) -> Iterator[Collected]:
    """What the PATHs of a call mean, as files of this machine.

    A file that is named twice, by links too, comes once. Files that cannot be had are told in
    `problems`, all of them. For `names` see `LoadOptions`. Temporary files are there
    until the context ends, however it ends. Raises NothingToLoad for a PATH that means no file,
    and MissingExtra.
    """
    # All PATHs are looked up before the first is fetched: a misspelt one is told at once.
    local_results, missing = [], []
    for path in dict.fromkeys(paths):
        try:
            results = _local(path, exclude)
        except NothingToLoad as error:
            missing.append(error)
            continue
        if results is not None and path in (names or {}):
            name = (names or {})[path]
            results = [replace(r, name=name) if isinstance(r, LocalFile) else r for r in results]
        local_results.append((path, results))
    if missing:
        others = "".join(f"\n{other}" for other in missing[1:])
        raise NothingToLoad(missing[0].path, f"{missing[0].problem}{others}")
    with Spool() as spool:
        collector = _Collector(exclude, spool, progress)
        for path, results in local_results:
            collector.add(collector.fetch(path) if results is None else results)
        yield collector.collected()


def _local(path: str, exclude: Sequence[str]) -> list[Result] | None:
    """What a PATH of this machine means; None for one that has to be fetched."""
    if path == STANDARD_INPUT:
        return None
    scheme = scheme_of(path)
    if scheme and scheme != "file":
        check_scheme(path)
        return None
    return list(find(unquote(urlsplit(path).path) if scheme else path, exclude))


class _Collector:
    """The files, problems and skipped names so far."""

    def __init__(self, exclude: Sequence[str], spool: Spool, progress: Progress) -> None:
        self._exclude = exclude
        self._spool, self._progress = spool, progress
        self._files: list[LocalFile] = []
        # As keys, which keep their order and come once.
        self._problems: dict[str, None] = {}
        self._skipped: dict[str, None] = {}
        self._seen: set[Path] = set()
        self._seen_elsewhere: set[str] = set()

    def collected(self) -> Collected:
        return Collected(tuple(self._files), tuple(self._problems), tuple(self._skipped))

    def fetch(self, path: str) -> Iterator[Result]:
        """What a PATH means that is not of this machine. Raises as `fetch` does."""
        if path == STANDARD_INPUT:
            yield self._piped(standard_input, path)
        else:
            yield from fetch(
                path,
                exclude=self._exclude,
                spool=self._spool,
                progress=self._progress,
                seen=self._seen_elsewhere,
            )

    def add(self, results: Iterable[Result]) -> None:
        with self._problems_kept():
            for result in results:
                if isinstance(result, Skipped):
                    self._skipped[result.name] = None
                else:
                    with self._problems_kept():
                        self._add(result)

    @contextmanager
    def _problems_kept(self) -> Iterator[None]:
        """What is wrong with one file is a problem; the others still come."""
        try:
            yield
        except FileRefused as refused:
            self._problems[str(refused)] = None

    def _add(self, file: LocalFile | FileRefused) -> None:
        if isinstance(file, FileRefused):
            raise file
        real = file.path.resolve()
        if real in self._seen:
            return
        self._seen.add(real)
        if is_pipe(file.path):
            pipe = file.path
            file = self._piped(lambda: pipe.open("rb"), file.name)
        try:
            status = file.path.stat()
        except OSError as error:
            raise FileRefused(file.name, cannot_open(error)) from None
        file = replace(file, changed_at=file.changed_at or status.st_mtime)
        self._look_into(file, 0, DecompressionLimit(status.st_size))

    def _piped(
        self, open_pipe: Callable[[], AbstractContextManager[BinaryIO]], name: str
    ) -> LocalFile:
        """Standard input or a pipe as a temporary file; it can be read only once."""

        def read(size: int) -> bytes:
            try:
                return pipe.read(size)
            except OSError as error:
                raise FileRefused(name, f": it cannot be read: {error.strerror}.") from None

        try:
            with open_pipe() as pipe:
                path = self._spool.save(name, read, doing="reading", progress=self._progress)
        except OSError as error:
            raise FileRefused(name, f": it cannot be opened: {error.strerror}.") from None
        return LocalFile(name, path, temporary=True)

    def _look_into(self, file: LocalFile, depth: int, limit: DecompressionLimit) -> None:
        """Keep the file, or what it wraps. Raises FileRefused."""
        content = content_of(file.path, file.name)
        if content.layers and content.format in _SOUGHT_IN:
            with open_bytes(file.path, file.name) as stream:
                path = self._save(file.name, stream, "decompressing", limit)
            self._look_into(replace(file, path=path, temporary=True), depth, limit)
        elif content.format == "zip":
            self._unpack(file, depth, limit)
        else:
            self._files.append(replace(file, content=content))

    def _unpack(self, file: LocalFile, depth: int, limit: DecompressionLimit) -> None:
        """All members, in reading order, each as a file of its own called `name/member`."""
        if depth == MAX_NESTED:
            raise FileRefused(
                file.name,
                ": it is an archive within an archive within an archive. Unpack it yourself and "
                "load the files.",
            )
        with open_zip(file.path, file.name) as archive:
            members = in_reading_order(
                (info for info in archive.infolist() if not info.filename.endswith("/")),
                name=lambda info: info.filename,
            )
            if len(members) > MAX_MEMBERS:
                many = f"{len(members):,} members, more than {MAX_MEMBERS:,}"
                raise FileRefused(file.name, f": it has {many}. {_UNPACK}")
            if not members:
                raise FileRefused(file.name, ": it is a zip archive without any file in it.")
            for info in members:
                # Names lead nowhere: temporary files are numbered.
                relative = info.filename.lstrip("/")
                name = f"{file.name}/{printable(relative)}"
                if is_passed_over(relative, self._exclude):
                    self._skipped[name] = None
                    continue
                with self._problems_kept():
                    path = self._extract(archive, info, name, limit)
                    member = replace(file, name=name, path=path, temporary=True)
                    self._look_into(member, depth + 1, limit)
        if file.temporary:
            file.path.unlink()

    def _extract(
        self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, limit: DecompressionLimit
    ) -> Path:
        if info.flag_bits & _ENCRYPTED:
            raise FileRefused(name, f": it needs a password. {_UNPACK}")
        if info.compress_type not in _METHODS_READ:
            method = _METHOD_NAMES.get(info.compress_type, f"number {info.compress_type}")
            raise FileRefused(name, f": it is compressed by the method {method}. {_UNPACK}")
        try:
            with archive.open(info) as member:
                return self._save(name, member, "unpacking", limit)
        except ZIP_DAMAGES:
            raise FileRefused(
                name,
                ": its archive is damaged or cut short here. Copy or download the archive again.",
            ) from None

    def _save(self, name: str, source: IO[bytes], doing: str, limit: DecompressionLimit) -> Path:
        return self._spool.save(
            name, source.read, doing=doing, progress=self._progress, limit=limit
        )


def standard_input() -> AbstractContextManager[BinaryIO]:
    """The bytes of standard input, which stays open. Raises OSError when there is none."""
    if sys.stdin is None:
        raise OSError(0, "there is no standard input")
    return nullcontext(sys.stdin.buffer)


def sha256_of(path: Path, name: str = "") -> str:
    """SHA-256 of the bytes on disk, in hexadecimal. Raises FileRefused, calling it `name`."""
    name = name or printable(str(path))
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileRefused(name, cannot_open(error)) from None
