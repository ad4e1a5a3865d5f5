"""What the PATHs of a call mean, wherever the files are and however they are packed.

content   files of this machine: opened decompressed, what they are, and temporary ones
remote    addresses, fetched into temporary files
names     what names look like, and in which order people read them

PATHs of this machine are not read by fsspec, which reads the others: it takes a link to a folder
for a file, passes over folders that may not be read, and forgets how a PATH was written.
"""

from __future__ import annotations

import glob
import os
import stat
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from loader.errors import FileRefused, NothingToLoad, did_you_mean
from loader.files.content import (
    ZIP_DAMAGES,
    DecompressedStream,
    DecompressionLimit,
    ListedFile,
    LocalFile,
    Spool,
    cannot_open,
    content_of,
    identity_of,
    open_zip,
)
from loader.files.names import in_reading_order, is_left_out, scheme_of, shown_address
from loader.files.remote import Remote, check_scheme, faults_told
from loader.printable import listed, printable

# A file, the name of one that is left out by rule, or why one cannot be had.
Result = LocalFile | str | FileRefused
Listed = ListedFile | str | FileRefused

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


@contextmanager
def collect(
    paths: Sequence[str],
    *,
    exclude: Sequence[str] = (),
    names: Mapping[str, str] = MappingProxyType({}),
    progress: Callable[[str], None],
) -> Iterator[Collected]:
    """What the PATHs of a call mean, as files of this machine.

    For `names` see `LoadOptions`. Temporary files are there until the context ends, however it
    ends. Raises NothingToLoad for a PATH that means no file, and MissingExtra.
    """
    with Spool(progress) as spool:
        collected = Collected(exclude, spool)
        # All PATHs are looked up before the first is fetched: a misspelt one is told at once.
        results_of: dict[str, Iterable[Result]] = {}
        missing = []
        for path in dict.fromkeys(paths):
            try:
                results_of[path] = collected.results(path)
            except NothingToLoad as error:
                missing.append(error)
        if missing:
            others = "".join(f"\n{other}" for other in missing[1:])
            raise NothingToLoad(missing[0].path, f"{missing[0].problem}{others}")
        for path, results in results_of.items():
            collected.add(results, names.get(path))
        yield collected


@dataclass
class Collected:
    """All that the PATHs of one call mean, in the order of the call.

    A file that is named twice, by links too, comes once; so do `problems` (why files cannot be
    had) and the names of `skipped` ones, as the keys of a dict.
    """

    exclude: Sequence[str]
    spool: Spool
    files: list[LocalFile] = field(default_factory=list)
    problems: dict[str, None] = field(default_factory=dict)
    skipped: dict[str, None] = field(default_factory=dict)
    # Real paths of this machine, and what lies elsewhere.
    _seen: set[Path | str] = field(default_factory=set)

    def results(self, path: str) -> Iterable[Result]:
        """What a PATH means; what is not of this machine is fetched while it is iterated.

        Raises NothingToLoad; while it is iterated also MissingExtra and FileRefused.
        """
        if path == STANDARD_INPUT:
            return self._standard_input()
        if scheme_of(path):
            check_scheme(path)
            return self._fetched(path)
        # What a PATH of this machine does not mean is told at once.
        files = find(path, self.exclude)
        return (LocalFile(f.name, Path(f.path)) if isinstance(f, ListedFile) else f for f in files)

    def add(self, results: Iterable[Result], name: str | None) -> None:
        """Keep what a PATH means, which people call `name` if that is said."""
        with self._problems_kept():
            for result in results:
                with self._problems_kept():
                    if isinstance(result, str):
                        self.skipped[result] = None
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

    def _standard_input(self) -> Iterator[Result]:
        """Standard input as a temporary file; it can be read only once."""
        if sys.stdin is None:
            raise FileRefused(STANDARD_INPUT, ": there is no standard input.")

        def read(size: int) -> bytes:
            try:
                return sys.stdin.buffer.read(size)
            except OSError as error:
                raise FileRefused(STANDARD_INPUT, cannot_open(error)) from None

        path = self.spool.save(STANDARD_INPUT, read, "reading")
        yield LocalFile(STANDARD_INPUT, path, temporary=True)

    def _fetched(self, address: str) -> Iterator[Result]:
        """The file of an address, or the files of a prefix or pattern, in reading order."""
        shown = shown_address(address)
        self.spool.progress(f"{shown}: connecting")
        with faults_told(shown, scheme_of(address)):
            remote = Remote(address)
            files = remote.files()
        skipped = []
        for file in files:
            if is_left_out(file.relative, self.exclude, is_named=file.path == remote.root):
                skipped.append(file.name)
                yield file.name
                continue
            # Of two addresses of the web that differ in their query, each is a file of its own.
            key = file.path if remote.is_web else file.name
            if key not in self._seen:
                self._seen.add(key)
                try:
                    yield remote.download(file, self.spool)
                except FileRefused as refused:
                    yield refused
        if len(skipped) == len(files):
            raise NothingToLoad(shown, _nothing_left(skipped))

    def _look_into(self, file: LocalFile, depth: int, limit: DecompressionLimit) -> None:
        """Keep the file, or what it wraps. Raises FileRefused."""
        kind, compression = content_of(file.path, file.name)
        if compression and kind in _SOUGHT_IN:
            with DecompressedStream(file.path, file.name) as stream:
                path = self.spool.save(file.name, stream.read, "decompressing", limit)
            self._look_into(replace(file, path=path, temporary=True), depth, limit)
        elif kind == "zip":
            self._unpack(file, depth, limit)
        else:
            self.files.append(replace(file, kind=kind, compression=compression))

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
                if is_left_out(relative, self.exclude):
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
            damaged = ": its archive is damaged or cut short here. Copy or download it again."
            raise FileRefused(name, damaged) from None


def find(argument: str, exclude: Sequence[str]) -> list[Listed]:
    """What a PATH of this machine means: the file, the folder's files, what matches the pattern.

    A name that exists goes before a pattern. Raises NothingToLoad.
    """
    shown = printable(argument) or "''"
    if not argument or "\0" in argument:
        raise NothingToLoad(shown, "this is no PATH. Name a file or a folder.")
    if argument.startswith("~") and not os.path.lexists(argument):
        # A shell leaves it as it is within quotation marks.
        argument = os.path.expanduser(argument)  # noqa: PTH111 -- Path raises for nobody's home
    if os.path.lexists(argument):
        tops = [argument]
    elif "**" in argument.split("/"):
        raise NothingToLoad(shown, "`**` is not read. Name the folder, and --exclude what is not.")
    elif glob.has_magic(argument):
        tops = in_reading_order(glob.glob(argument))  # noqa: PTH207 -- it keeps a leading "./"
    else:
        names: list[str] = []
        with suppress(OSError):
            names = sorted(printable(entry.name) for entry in Path(argument).parent.iterdir())
        hint = did_you_mean(Path(argument).name, names) or " Check the path."
        raise NothingToLoad(shown, f"there is no such file or folder.{hint}")
    results = [result for top in tops for result in _below(top, exclude)]
    skipped = [result for result in results if isinstance(result, str)]
    if len(skipped) == len(results):
        raise NothingToLoad(shown, _nothing_left(skipped))
    return results


def _nothing_left(skipped: Sequence[str]) -> str:
    """What NothingToLoad says when there was nothing, or rules have left out all of it."""
    if not skipped:
        return "there is no file there. Check it with `ls`."
    return (
        f"everything here is left out: {listed(skipped, 3)}. Hidden files, lock files and what "
        "--exclude names are not loaded; a hidden file can be named itself."
    )


def _below(top: str, exclude: Sequence[str]) -> Iterator[Listed]:
    """A file, or what is below a folder in reading order. No folder comes twice."""
    entered: set[tuple[int, int]] = set()
    # What is still to do, the next one last.
    remaining = [top]
    while remaining:
        path = remaining.pop()
        shown, is_top = printable(path), path == top
        relative = Path(top).name if is_top else path.removeprefix(top.rstrip("/")).lstrip("/")
        if is_left_out(relative, exclude, is_named=is_top):
            yield shown
            continue
        try:
            status = Path(path).stat()
            is_folder = stat.S_ISDIR(status.st_mode)
            names = [child.name for child in Path(path).iterdir()] if is_folder else []
        except OSError as error:
            yield FileRefused(shown, cannot_open(error))
            continue
        if stat.S_ISREG(status.st_mode):
            identity, size = identity_of(status), status.st_size
            yield ListedFile(path, relative, shown, identity, status.st_mtime, size)
        elif not is_folder and not is_top:
            yield shown
        elif not is_folder:
            yield FileRefused(shown, ": it is no file and no folder. A pipe is read as `-`.")
        elif (status.st_dev, status.st_ino) not in entered:  # Else a link led back here.
            entered.add((status.st_dev, status.st_ino))
            # As text: a Path would drop the "./" that somebody wrote.
            remaining += [f"{path.rstrip('/')}/{name}" for name in in_reading_order(names)[::-1]]
