"""`labmart watch`: loads the files that land in a folder or an object store, then builds.

Each file is a load of its own, so that a refused one keeps no other back. What the database does
wrong is not a file's fault: the file stays and is tried again.

Being ended at any moment loses nothing. What was loaded the ledger knows: its `loaded_by` names the
very file, in the transaction of the load. So nothing else is remembered beyond the process.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import itertools
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from loader.build import BuildOptions, run_and_report
from loader.database import Database
from loader.engines.raw_store import open_store
from loader.errors import (
    BuildFailed,
    DatabaseFault,
    DatabaseUnreachable,
    FileRefused,
    FilesRefused,
    LabmartError,
    NothingToLoad,
    UsageError,
)
from loader.files import find
from loader.files.content import ListedFile, identity_of
from loader.files.names import is_left_out, scheme_of, shown_address
from loader.files.remote import EXTRAS, Remote, check_scheme, faults_told
from loader.load import LoadOptions, LoadReport, load
from loader.printable import printable
from loader.project import expanded, person

LOADED, REJECTED = "loaded", "rejected"
_REPORT = ".report.txt"
# What is never taken, besides hidden files: names that programs give to what they still write.
_LEFT_OUT = (
    *(LOADED, REJECTED, "*.part", "*.partial", "*.filepart", "*.tmp", "*.temp", "*.crdownload"),
    *("*.download", "*.swp", "*~"),
)


@dataclass(frozen=True)
class WatchOptions:
    """How to watch; `interval` in seconds. `moves` None: in a folder of this machine only."""

    interval: float = 10.0
    once: bool = False
    moves: bool | None = None
    build: bool = True
    vars: str | None = None
    load: LoadOptions = field(default_factory=LoadOptions)


def watch(database: Database, address: str, options: WatchOptions) -> int:
    """Watch a place until a signal comes; with `once` until all that lies there is dealt with.

    How many files were refused. Raises UsageError for a place that cannot be watched; with `once`
    also BuildFailed, DatabaseUnreachable and DatabaseFault.
    """
    is_local = scheme_of(address) in ("", "file")
    place = Folder(address, options) if is_local else Store(address, options)
    watcher = _Watcher(database, place, options)
    print(f"watching {printable(address)}", file=sys.stderr, flush=True)
    for look in itertools.count(1):
        incomplete = watcher.poll_once()
        # A second look, an interval later, tells which file has been written to its end.
        if options.once and (not incomplete or look == 2):
            break
        time.sleep(options.interval)
    for name in incomplete:
        watcher.say(f"{name}: it is still being written, and stays for the next time")
    if watcher.build_failed:
        raise BuildFailed
    return watcher.refused


class _Watcher(LoadReport):
    """Looks at a place, time and again."""

    def __init__(self, database: Database, place: WatchedPlace, options: WatchOptions) -> None:
        super().__init__()
        self._database, self._place, self._options = database, place, options
        self._last_fault = ""
        # Files that stay although they have been dealt with.
        self._done: set[ListedFile] = set()
        # Who has loaded what, as the ledger had it at the start.
        self._loaded: set[str] | None = None
        self._build_due = False
        # What was told of the file that is being loaded.
        self._told: list[str] = []
        self.refused = 0
        self.build_failed = False

    def say(self, text: str) -> None:
        self._told.append(printable(text))
        super().say(text)

    def poll_once(self) -> list[str]:
        """Deal with what lies there; the names of files that are not complete yet."""
        incomplete = []
        try:
            if self._loaded is None:
                self._database.ready()
                with open_store(self._database.profile, write=False) as store:
                    self._loaded = {load.loaded_by for load in store.loads()}
                # Who was here before may have been ended between a load and its build.
                self._build_due = bool(self._loaded)
            files = self._place.scan()
            self._done.intersection_update(files)
            for file in files:
                if file in self._done:
                    continue
                if self._place.is_complete(file):
                    self._deal_with(file)
                else:
                    incomplete.append(file.name)
            if self._options.build and self._build_due:
                self._build()
            self._last_fault = ""
        except (PlaceGone, DatabaseUnreachable, DatabaseFault) as error:
            if self._options.once:
                raise
            if str(error) != self._last_fault:
                self.say(f"{error} It is tried again every {self._options.interval:g} seconds.")
            self._last_fault = str(error)
        return incomplete

    def _deal_with(self, file: ListedFile) -> None:
        """Load a file, unless that had been done when we were ended, or before it was undone."""
        self._told.clear()
        report = None
        try:
            if self._loaded and _loaded_by(file) in self._loaded:
                self.say(f"{file.name}: it had been loaded already")
            else:
                options = replace(self._options.load, loaded_by=_loaded_by(file))
                path = f"{self._place.address.rstrip('/')}/{file.relative}"
                tables = load([path], self._database, options, self)
                self._build_due |= any(table.state == "loaded" for table in tables)
        except (FileRefused, FilesRefused, NothingToLoad) as error:
            if not self._place.is_unchanged(file):
                return
            self.refused += 1
            problems = error.problems if isinstance(error, FilesRefused) else (str(error),)
            seen = ("", "What labmart saw in it:", "", *self._told) if self._told else ()
            lines = (f"{file.name} was not loaded:", "", *problems, *seen)
            report = "\n".join((*lines, "", "Correct it and put it into the folder again.", ""))
            for problem in problems:
                self.say(problem)
        if self._place.moves:
            try:
                moved_to = self._place.move(file, LOADED if report is None else REJECTED, report)
                self.say(f"moved to {moved_to}")
                return
            except FileRefused as error:
                self.say(f"{error} It stays, and is not read again.")
        self._done.add(file)

    def _build(self) -> None:
        try:
            options = BuildOptions(vars=self._options.vars)
            self.build_failed = not run_and_report(self._database, options)[0]
        except (DatabaseUnreachable, DatabaseFault):
            raise
        except LabmartError as error:
            self.say(str(error))
            self.build_failed = True
        # A build that failed would fail again until something else has been loaded.
        self._build_due = False


# Where files land.


def _loaded_by(file: ListedFile) -> str:
    """What the ledger has in `loaded_by`; the name alone may be another file's by now."""
    text = f"{file.name}\0{file.identity}".encode(errors="surrogateescape")
    return f"{person()} (file {hashlib.sha256(text).hexdigest()[:16]})"


class PlaceGone(UsageError):  # noqa: N818 -- it says what has happened
    """The place cannot be looked at just now."""


class WatchedPlace:
    """A folder or an object store. `moves`: files are moved away when they have been dealt with.

    Nothing in a file system says that a file has been written to its end. It is taken for complete
    when it has not changed for `interval` seconds, by its time of writing or by what was seen.
    """

    def __init__(self, address: str, options: WatchOptions, *, moves: bool) -> None:
        self.address = address
        self.moves = moves if options.moves is None else options.moves
        self._interval = options.interval
        self._exclude = (*_LEFT_OUT, *options.load.exclude)
        # Since when each file has been seen as it is.
        self._since: dict[ListedFile, float] = {}

    def scan(self) -> list[ListedFile]:
        """What lies there now and could be loaded, in reading order. Raises PlaceGone.

        Of two versions of a row the later one wins: the order is that of `labmart load`.
        """
        now, before = time.monotonic(), self._since
        self._since = {file: before.get(file, now) for file in self._list()}
        return list(self._since)

    def is_complete(self, file: ListedFile) -> bool:
        """Whether nobody is writing to the file any more."""
        # The clock of a file server may be ahead of ours; then the second way decides.
        is_old = time.time() - file.changed_at >= self._interval
        return is_old or time.monotonic() - self._since[file] >= self._interval

    def is_unchanged(self, file: ListedFile) -> bool:
        """Whether the file is still what was found."""
        with suppress(PlaceGone):
            return file in self._list()
        return False

    def move(self, file: ListedFile, folder: str, report: str | None) -> str:
        """Move the file below `folder`, with a report beside it; where it is now.

        No other file is overwritten. Raises FileRefused, and nothing has been moved then.
        """
        if not self.is_unchanged(file):
            raise FileRefused(file.name, ": it has changed or gone.")
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        # `loaded/2026-11-25/plate.csv`, then `…/plate-2.csv`, and so on.
        first = PurePosixPath(folder, day, file.relative)
        numbered = (first.with_name(f"{first.stem}-{n}{first.suffix}") for n in itertools.count(2))
        content = None if report is None else report.encode(errors="backslashreplace")
        names = map(str, itertools.chain([first], numbered))
        return next(filter(None, (self._moved(file, name, content) for name in names)))

    def _moved(self, file: ListedFile, target: str, report: bytes | None) -> str:
        """Where the file is now; "" where something else is already. Raises FileRefused."""
        raise NotImplementedError

    def _list(self) -> list[ListedFile]:
        raise NotImplementedError


class Folder(WatchedPlace):
    """A folder of this machine.

    A file that somebody has open for writing is not complete, however long nothing has come: an
    instrument may write a line an hour.
    """

    def __init__(self, address: str, options: WatchOptions) -> None:
        path = expanded(address.removeprefix("file://"))
        if not path.is_dir():
            raise UsageError(f"{path}: there is no such folder. Make it, and call again.")
        self._path = path.resolve()
        super().__init__(str(self._path), options, moves=True)
        if is_left_out(self._path.name, _LEFT_OUT, is_named=True):
            raise UsageError(f"{path}: a folder of this name is left out. Rename it.")

    def is_complete(self, file: ListedFile) -> bool:
        return super().is_complete(file) and not is_being_written(Path(file.path))

    def is_unchanged(self, file: ListedFile) -> bool:
        with suppress(OSError):
            return identity_of(Path(file.path).stat()) == file.identity
        return False

    def _moved(self, file: ListedFile, target: str, report: bytes | None) -> str:
        path, beside = self._path / target, self._path / f"{target}{_REPORT}"
        try:
            # A report that was written just before we were ended is taken up again.
            is_taken = beside.exists() and beside.read_bytes() != report
            if os.path.lexists(path) or (report is not None and is_taken):
                return ""
            path.parent.mkdir(parents=True, exist_ok=True)
            if report is not None:
                beside.write_bytes(report)
            # Only we write there, so the name that was free is free.
            Path(file.path).rename(path)
        except OSError as error:
            raise FileRefused(file.name, f": it cannot be moved: {error.strerror}.") from None
        return printable(str(path))

    def _list(self) -> list[ListedFile]:
        if not self._path.is_dir():
            raise PlaceGone(f"{printable(self.address)} is not there.")
        with suppress(NothingToLoad):
            listed = find(self.address, self._exclude)
            return [file for file in listed if isinstance(file, ListedFile)]
        return []


class Store(WatchedPlace):
    """A prefix of an object store, or a folder behind sftp.

    An object appears when all of it is there; a file behind sftp grows.
    """

    def __init__(self, address: str, options: WatchOptions) -> None:
        super().__init__(address.rstrip("/") + "/", options, moves=False)
        check_scheme(address)
        self._scheme, self._shown = scheme_of(address), shown_address(address).rstrip("/")
        if EXTRAS[self._scheme] == "https" or glob.has_magic(address):
            raise UsageError(f"{self._shown}: this is no folder that can be looked at repeatedly.")

    def is_complete(self, file: ListedFile) -> bool:
        return self._scheme != "sftp" or super().is_complete(file)

    def _moved(self, file: ListedFile, target: str, report: bytes | None) -> str:
        with faults_told(file.name, self._scheme):
            remote = Remote(self.address)
            top = remote.root.rstrip("/")
            path = f"{top}/{target}"
            if remote.system.exists(path):
                return ""
            if report is not None:
                remote.write(f"{path}{_REPORT}", report)
            remote.move(f"{top}/{file.relative}", path)
        return f"{self._shown}/{printable(target)}"

    def _list(self) -> list[ListedFile]:
        try:
            # Connected anew each time: a connection may have been lost since.
            with faults_told(self._shown, self._scheme):
                remote = Remote(self.address)
                listed = remote.files() if remote.system.exists(remote.root) else []
        except FileRefused as refused:
            raise PlaceGone(str(refused)) from None
        return [file for file in listed if not is_left_out(file.relative, self._exclude)]


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def is_being_written(path: Path) -> bool:
    """Whether some process has the file open for writing; False where that cannot be known.

    A read lease (fcntl_locking(2)) is given only for a file that nobody has open for writing.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    # Whoever opens the file in the moment of the lease makes the system send this signal.
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        # What has its name by now may be a pipe, or held by who writes to it.
        with open(path, "rb", opener=_without_waiting) as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        signal.signal(signal.SIGIO, before)
    return False
