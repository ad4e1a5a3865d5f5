"""From PATH arguments to files that can be read, members of archives too."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from loader.errors import FileRefused, NothingToLoad
from loader.files.content import ZIP_DAMAGES, cannot_open, content_of, open_bytes, open_zip
from loader.files.names import in_reading_order, is_passed_over, scheme_of
from loader.files.paths import (
    DecompressionLimit,
    LocalFile,
    Progress,
    Result,
    Skipped,
    Spool,
    find,
)
from loader.files.remote import check_scheme, fetch
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
    found: list[tuple[str, list[Result] | None]] = []
    missing = []
    for path in dict.fromkeys(paths):
        try:
            found.append((path, _local(path, exclude)))
        except NothingToLoad as error:
            missing.append(error)
    if missing:
        others = "".join(f"\n{other}" for other in missing[1:])
        raise NothingToLoad(missing[0].path, f"{missing[0].problem}{others}")
    with Spool(progress) as spool:
        collector = _Collector(exclude, spool)
        for path, results in found:
            name = (names or {}).get(path)
            collector.add(collector.fetch(path) if results is None else results, name)
        yield Collected(tuple(collector.files), tuple(collector.problems), tuple(collector.skipped))


def _local(path: str, exclude: Sequence[str]) -> list[Result] | None:
    """What a PATH of this machine means; None for one that has to be fetched."""
    if path == STANDARD_INPUT:
        return None
    if scheme_of(path):
        check_scheme(path)
        return None
    return find(path, exclude)


@dataclass
class _Collector:
    """The files, problems and skipped names so far; as keys, which keep their order, come once."""

    exclude: Sequence[str]
    spool: Spool
    files: list[LocalFile] = field(default_factory=list)
    problems: dict[str, None] = field(default_factory=dict)
    skipped: dict[str, None] = field(default_factory=dict)
    _seen: set[Path] = field(default_factory=set)
    _seen_elsewhere: set[str] = field(default_factory=set)

    def fetch(self, path: str) -> Iterator[Result]:
        """What a PATH means that is not of this machine. Raises as `fetch` does."""
        if path == STANDARD_INPUT:
            yield self._standard_input()
        else:
            yield from fetch(
                path, exclude=self.exclude, spool=self.spool, seen=self._seen_elsewhere
            )

    def add(self, results: Iterable[Result], name: str | None = None) -> None:
        """Keep what a PATH means, which people call `name` if that is said."""
        with self._problems_kept():
            for result in results:
                with self._problems_kept():
                    if isinstance(result, Skipped):
                        self.skipped[result.name] = None
                    elif isinstance(result, FileRefused):
                        raise result
                    else:
                        self._add(replace(result, name=name) if name else result)

    @contextmanager
    def _problems_kept(self) -> Iterator[None]:
        """What is wrong with one file is a problem; the others still come."""
        try:
            yield
        except FileRefused as refused:
            self.problems[str(refused)] = None

    def _add(self, file: LocalFile) -> None:
        real = file.path.resolve()
        if real in self._seen:
            return
        self._seen.add(real)
        try:
            status = file.path.stat()
        except OSError as error:
            raise FileRefused(file.name, cannot_open(error)) from None
        file = replace(file, changed_at=file.changed_at or status.st_mtime)
        self._look_into(file, 0, DecompressionLimit(status.st_size))

    def _standard_input(self) -> LocalFile:
        """Standard input as a temporary file; it can be read only once."""
        if sys.stdin is None:
            raise FileRefused(STANDARD_INPUT, ": there is no standard input.")

        def read(size: int) -> bytes:
            try:
                return sys.stdin.buffer.read(size)
            except OSError as error:
                raise FileRefused(STANDARD_INPUT, cannot_open(error)) from None

        path = self.spool.save(STANDARD_INPUT, read, "reading")
        return LocalFile(STANDARD_INPUT, path, temporary=True)

    def _look_into(self, file: LocalFile, depth: int, limit: DecompressionLimit) -> None:
        """Keep the file, or what it wraps. Raises FileRefused."""
        content = content_of(file.path, file.name)
        if content.compression and content.kind in _SOUGHT_IN:
            with open_bytes(file.path, file.name) as stream:
                path = self.spool.save(file.name, stream.read, "decompressing", limit)
            self._look_into(replace(file, path=path, temporary=True), depth, limit)
        elif content.kind == "zip":
            self._unpack(file, depth, limit)
        else:
            self.files.append(replace(file, content=content))

    def _unpack(self, file: LocalFile, depth: int, limit: DecompressionLimit) -> None:
        """All members, in reading order, each as a file of its own called `name/member`."""
        if depth == MAX_NESTED:
            nested = "an archive within an archive within an archive"
            raise FileRefused(file.name, f": it is {nested}. {_UNPACK}")
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
                if is_passed_over(relative, self.exclude):
                    self.skipped[name] = None
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
            method = f"method number {info.compress_type}"
            raise FileRefused(name, f": it is compressed by {method}, not by deflate. {_UNPACK}")
        try:
            with archive.open(info) as member:
                return self.spool.save(name, member.read, "unpacking", limit)
        except ZIP_DAMAGES:
            raise FileRefused(
                name,
                ": its archive is damaged or cut short here. Copy or download the archive again.",
            ) from None
