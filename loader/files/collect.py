"""From PATH arguments to files that can be read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from loader.errors import FileRefused, NothingToLoad
from loader.files.archives import unpack
from loader.files.content import content_of
from loader.files.layers import cannot_open, open_layers
from loader.files.names import scheme_of
from loader.files.paths import find, is_pipe
from loader.files.remote import check_scheme, fetch, spool_pipe, standard_input
from loader.files.results import Collected, LocalFile, Problem, Result, Skipped
from loader.files.temporary import Allowance, Progress, Spool
from loader.printable import printable

STANDARD_INPUT = "-"
# An archive within an archive is opened, one within that is not.
MOST_NESTED = 2
# What a reader must be able to seek in. Text is decompressed while it is read.
_UNWRAPPED = ("zip", "xlsx", "xls", "ods", "parquet")


@contextmanager
def collect(
    paths: Sequence[str],
    *,
    exclude: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    within: Path | None = None,
    progress: Progress,
) -> Iterator[Collected]:
    """What the PATHs of a call mean, as files of this machine.

    A file that is named twice, by links too, comes once. Files that cannot be had are told in
    `problems`, all of them. For `names` and `within` see `LoadOptions`. Temporary files are there
    until the context ends, however it ends. Raises NothingToLoad for a PATH that means no file,
    and MissingExtra.
    """
    # All PATHs are looked up before the first is fetched: a misspelt one is told at once.
    found, missing = [], []
    for path in dict.fromkeys(paths):
        try:
            found.append((path, _named(_local(path, exclude), (names or {}).get(path))))
        except NothingToLoad as error:
            missing.append(error)
    if missing:
        others = "".join(f"\n{other}" for other in missing[1:])
        raise NothingToLoad(missing[0].path, f"{missing[0].problem}{others}")
    with Spool() as spool:
        collecting = _Collecting(exclude, spool, progress, within)
        for path, results in found:
            collecting.add_all(collecting.fetched(path) if results is None else results)
        yield collecting.collected()


def _local(path: str, exclude: Sequence[str]) -> list[Result] | None:
    """What a PATH of this machine means; None for one that has to be fetched."""
    if path == STANDARD_INPUT:
        return None
    scheme = scheme_of(path)
    if scheme == "file":
        return list(find(unquote(urlsplit(path).path), exclude))
    if scheme:
        check_scheme(path)
        return None
    return list(find(path, exclude))


def _named(results: list[Result] | None, name: str | None) -> list[Result] | None:
    """The same, with the files called by a name that is not their PATH."""
    if results is None or name is None:
        return results
    return [replace(one, name=name) if isinstance(one, LocalFile) else one for one in results]


class _Collecting:
    """The files, problems and skipped names so far."""

    def __init__(
        self, exclude: Sequence[str], spool: Spool, progress: Progress, within: Path | None
    ) -> None:
        self._exclude = exclude
        self._within = within
        self._spool = spool
        self._progress = progress
        self._files: list[LocalFile] = []
        # As keys, which keep their order and come once.
        self._problems: dict[str, None] = {}
        self._skipped: dict[str, None] = {}
        self._seen: set[Path] = set()
        self._seen_elsewhere: set[str] = set()

    def fetched(self, path: str) -> Iterator[Result]:
        if path == STANDARD_INPUT:
            yield spool_pipe(standard_input, path, self._spool, self._progress)
        else:
            yield from fetch(
                path,
                exclude=self._exclude,
                spool=self._spool,
                progress=self._progress,
                seen=self._seen_elsewhere,
            )

    def add_all(self, results: Iterable[Result]) -> None:
        for result in results:
            self.add(result)

    def collected(self) -> Collected:
        return Collected(tuple(self._files), tuple(self._problems), tuple(self._skipped))

    def add(self, result: Result) -> None:
        if isinstance(result, Skipped):
            self._skipped[result.name] = None
        elif isinstance(result, Problem):
            self._problems[result.sentence] = None
        else:
            self._add_file(result)

    def _add_file(self, file: LocalFile) -> None:
        real = file.path.resolve()
        if real in self._seen:
            return
        self._seen.add(real)
        if self._within is not None:
            if not real.is_relative_to(self._within):
                self.add(Problem(f"{file.name}: it leads out of the folder {self._within}."))
                return
            # Opened by the path that was judged, whatever becomes of a link.
            file = replace(file, name=file.name.removeprefix(f"{self._within}/"), path=real)
        if is_pipe(file.path):
            pipe = spool_pipe(lambda: file.path.open("rb"), file.name, self._spool, self._progress)
            if isinstance(pipe, Problem):
                self.add(pipe)
                return
            file = pipe
        try:
            size = file.path.stat().st_size
        except OSError as error:
            self.add(Problem(f"{file.name}{cannot_open(error)}"))
        else:
            self._look_into(file, 0, Allowance(size))

    def _look_into(self, file: LocalFile, depth: int, allowance: Allowance) -> None:
        """Keep the file, or what it wraps."""
        try:
            content = content_of(file.path, file.name)
            if content.layers and content.format in _UNWRAPPED:
                self._look_into(self._unwrap(file, allowance), depth, allowance)
            elif content.format == "zip":
                self._unpack(file, depth, allowance)
            else:
                self._files.append(replace(file, content=content))
        except FileRefused as refused:
            self.add(Problem(str(refused)))

    def _unwrap(self, file: LocalFile, allowance: Allowance) -> LocalFile:
        with open_layers(file.path, file.name).top as source:
            path = self._spool.save(
                file.name,
                source.take,
                doing="decompressing",
                progress=self._progress,
                allowance=allowance,
            )
        return LocalFile(file.name, path, temporary=True)

    def _unpack(self, file: LocalFile, depth: int, allowance: Allowance) -> None:
        if depth == MOST_NESTED:
            raise FileRefused(
                file.name,
                ": it is an archive within an archive within an archive. Unpack it yourself and "
                "load the files.",
            )
        for result in unpack(
            file.path,
            file.name,
            exclude=self._exclude,
            spool=self._spool,
            allowance=allowance,
            progress=self._progress,
        ):
            if isinstance(result, LocalFile):
                self._look_into(result, depth + 1, allowance)
            else:
                self.add(result)
        if file.temporary:
            file.path.unlink()


def sha256_of(path: Path, name: str = "") -> str:
    """SHA-256 of the bytes on disk, in hexadecimal. Raises FileRefused, calling it `name`."""
    name = name or printable(str(path))
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileRefused(name, cannot_open(error)) from None
