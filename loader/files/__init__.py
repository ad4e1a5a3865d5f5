"""Resolving the PATHs of a call, wherever the files are and however they are packed.

content   local files: decompression, what they are, and temporary files
remote    addresses, fetched into temporary files
names     how names are shown, and in which order people read them

fsspec reads only remote PATHs, not local ones: it treats a link to a folder as a file, skips
folders that cannot be read, and forgets how a PATH was written.
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

# A file, the name of a file left out by rule, or why a file is not available.
Result = LocalFile | str | FileRefused
Listed = ListedFile | str | FileRefused

STANDARD_INPUT = "-"
# An archive inside an archive is opened; one inside that is not.
MAX_NESTED = 2
# More files are better loaded as a folder; each temporary file needs a directory entry.
MAX_MEMBERS = 10_000
# Kinds that parsers must seek in. Text is decompressed while it is read.
_SOUGHT_IN = ("zip", "xlsx", "xls", "ods", "parquet")
_ENCRYPTED = 0x1
# For these two, zipfile returns no more than asked for; with others, one piece may fill memory.
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
    """Resolve the PATHs of a call to local files.

    For `names` see `LoadOptions`. Temporary files exist until the context ends, however it ends.
    Raises NothingToLoad for a PATH that means no file, and MissingExtra.
    """
    with Spool(progress) as spool:
        collected = Collected(exclude, spool)
        # Look up all PATHs before fetching any, so that a misspelt one is reported at once.
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
    """Everything that the PATHs of one call mean, in the order of the call.

    A file named twice, even through links, appears once. So do `problems` (why files are not
    available) and the names of `skipped` files, which are dict keys.
    """

    exclude: Sequence[str]
    spool: Spool
    files: list[LocalFile] = field(default_factory=list)
    problems: dict[str, None] = field(default_factory=dict)
    skipped: dict[str, None] = field(default_factory=dict)
    # Real local paths, and remote files.
    _seen: set[Path | str] = field(default_factory=set)

    def results(self, path: str) -> Iterable[Result]:
        """What a PATH means; remote files are fetched during iteration.

        Raises NothingToLoad; during iteration also MissingExtra and FileRefused.
        """
        if path == STANDARD_INPUT:
            return self._standard_input()
        if scheme_of(path):
            check_scheme(path)
            return self._fetched(path)
        # Not lazy: a local PATH that means nothing is reported at once.
        files = find(path, self.exclude)
        return (LocalFile(f.name, Path(f.path)) if isinstance(f, ListedFile) else f for f in files)

    def add(self, results: Iterable[Result], name: str | None) -> None:
        """Add what a PATH means, shown as `name` if given."""
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
        """Record the problem of one file and go on with the others."""
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
        """The file at an address, or the files of a prefix or pattern, in reading order."""
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
            # Web addresses that differ only in their query are different files.
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
        """Add the file, or its contents if it is packed. Raises FileRefused."""
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
        """Add all members, in reading order, each as a file called `name/member`."""
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
                # Member names cannot escape the folder: temporary files are numbered.
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
    """What a local PATH means: the file, the folder's files, or the matches of the pattern.

    An existing name takes precedence over a pattern. Raises NothingToLoad.
    """
    shown = printable(argument) or "''"
    if not argument or "\0" in argument:
        raise NothingToLoad(shown, "this is no PATH. Name a file or a folder.")
    if argument.startswith("~") and not os.path.lexists(argument):
        # A shell does not expand it inside quotation marks.
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
    """The message of NothingToLoad if there was nothing, or if rules left out everything."""
    if not skipped:
        return "there is no file there. Check it with `ls`."
    return (
        f"everything here is left out: {listed(skipped, 3)}. Hidden files, lock files and what "
        "--exclude names are not loaded; a hidden file can be named itself."
    )


def _below(top: str, exclude: Sequence[str]) -> Iterator[Listed]:
    """A file, or the contents of a folder in reading order. No folder is entered twice."""
    entered: set[tuple[int, int]] = set()
    # Paths still to visit, the next one last.
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
            # As text: a Path would drop a leading "./".
            remaining += [f"{path.rstrip('/')}/{name}" for name in in_reading_order(names)[::-1]]
