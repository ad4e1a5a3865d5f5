"""`labmart watch`: loads the files that land in a folder or an object store, then builds.

Each file is a load of its own, so a refused one does not hold up the others. If the database fails,
the file stays and is tried again.

Watching can be killed at any moment without losing anything: the ledger records in `loaded_by`,
within the load's transaction, which file was loaded. No other state outlives the process.
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
# Ignored, besides hidden files: our own folders, and names of files still being written.
_LEFT_OUT = (
    *(LOADED, REJECTED, "*.part", "*.partial", "*.filepart", "*.tmp", "*.temp", "*.crdownload"),
    *("*.download", "*.swp", "*~"),
)


@dataclass(frozen=True)
class WatchOptions:
    """How to watch; `interval` in seconds. `moves` None means only in a local folder."""

    interval: float = 10.0
    once: bool = False
    moves: bool | None = None
    build: bool = True
    vars: str | None = None
    load: LoadOptions = field(default_factory=LoadOptions)


def watch(database: Database, address: str, options: WatchOptions) -> int:
    """Watch a place until a signal arrives; with `once`, until all files there are processed.

    Returns how many files were refused. Raises UsageError for a place that cannot be watched; with
    `once` also BuildFailed, DatabaseUnreachable and DatabaseFault.
    """
    is_local = scheme_of(address) in ("", "file")
    place = Folder(address, options) if is_local else Store(address, options)
    watcher = _Watcher(database, place, options)
    print(f"watching {printable(address)}", file=sys.stderr, flush=True)
    for look in itertools.count(1):
        incomplete = watcher.poll_once()
        # A second look, one interval later, shows which files are complete.
        if options.once and (not incomplete or look == 2):
            break
        time.sleep(options.interval)
    for name in incomplete:
        watcher.say(f"{name}: it is still being written, and stays for the next time")
    if watcher.build_failed:
        raise BuildFailed
    return watcher.refused


class _Watcher(LoadReport):
    """Polls a place repeatedly."""

    def __init__(self, database: Database, place: WatchedPlace, options: WatchOptions) -> None:
        super().__init__()
        self._database, self._place, self._options = database, place, options
        self._last_fault = ""
        # Files that stay in place although they have been processed.
        self._done: set[ListedFile] = set()
        # `loaded_by` of all loads in the ledger at the start.
        self._loaded: set[str] | None = None
        self._build_due = False
        # What has been reported about the current file.
        self._told: list[str] = []
        self.refused = 0
        self.build_failed = False

    def say(self, text: str) -> None:
        self._told.append(printable(text))
        super().say(text)

    def poll_once(self) -> list[str]:
        """Process the files there; return the names of those not yet complete."""
        incomplete = []
        try:
            if self._loaded is None:
                self._database.ready()
                with open_store(self._database.profile, write=False) as store:
                    self._loaded = {load.loaded_by for load in store.loads()}
                # An earlier process may have been killed between a load and its build.
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
        """Load a file, unless an earlier process already did, even if that load was undone."""
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
        # A failed build would fail again until something else is loaded.
        self._build_due = False


# Watched places.


def _loaded_by(file: ListedFile) -> str:
    """The value of `loaded_by` in the ledger; another file may have the same name by now."""
    text = f"{file.name}\0{file.identity}".encode(errors="surrogateescape")
    return f"{person()} (file {hashlib.sha256(text).hexdigest()[:16]})"


class PlaceGone(UsageError):  # noqa: N818 -- it says what has happened
    """The place cannot be reached right now."""


class WatchedPlace:
    """A folder or an object store. `moves`: files are moved away once processed.

    No file system says whether a file is complete. It counts as complete once it has not changed
    for `interval` seconds, by its modification time or by our own observation.
    """

    def __init__(self, address: str, options: WatchOptions, *, moves: bool) -> None:
        self.address = address
        self.moves = moves if options.moves is None else options.moves
        self._interval = options.interval
        self._exclude = (*_LEFT_OUT, *options.load.exclude)
        # Since when each file has been seen unchanged.
        self._since: dict[ListedFile, float] = {}

    def scan(self) -> list[ListedFile]:
        """The files there that could be loaded, in reading order. Raises PlaceGone.

        The order is that of `labmart load`, because the later of two versions of a row wins.
        """
        now, before = time.monotonic(), self._since
        self._since = {file: before.get(file, now) for file in self._list()}
        return list(self._since)

    def is_complete(self, file: ListedFile) -> bool:
        """Whether the file is no longer being written."""
        # A file server's clock may be ahead of ours; then our own observation decides.
        is_old = time.time() - file.changed_at >= self._interval
        return is_old or time.monotonic() - self._since[file] >= self._interval

    def is_unchanged(self, file: ListedFile) -> bool:
        """Whether the file is still as it was found."""
        with suppress(PlaceGone):
            return file in self._list()
        return False

    def move(self, file: ListedFile, folder: str, report: str | None) -> str:
        """Move the file below `folder`, with a report beside it; return its new place.

        Never overwrites another file. Raises FileRefused; in that case nothing has been moved.
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
        """The file's new place; "" if the target is taken. Raises FileRefused."""
        raise NotImplementedError

    def _list(self) -> list[ListedFile]:
        raise NotImplementedError


class Folder(WatchedPlace):
    """A local folder.

    A file that is open for writing is not complete, however long it stays unchanged: an instrument
    may write one line an hour.
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
            # A report written just before the process was killed is reused.
            is_taken = beside.exists() and beside.read_bytes() != report
            if os.path.lexists(path) or (report is not None and is_taken):
                return ""
            path.parent.mkdir(parents=True, exist_ok=True)
            if report is not None:
                beside.write_bytes(report)
            # Only this process writes there, so the name is still free.
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
    """A prefix of an object store, or an sftp folder.

    An object appears only when it is complete; an sftp file grows.
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
            # Reconnect each time: the last connection may have been lost.
            with faults_told(self._shown, self._scheme):
                remote = Remote(self.address)
                listed = remote.files() if remote.system.exists(remote.root) else []
        except FileRefused as refused:
            raise PlaceGone(str(refused)) from None
        return [file for file in listed if not is_left_out(file.relative, self._exclude)]


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def is_being_written(path: Path) -> bool:
    """Whether a process has the file open for writing; False where that cannot be known.

    The kernel grants a read lease (fcntl_locking(2)) only if no process has it open for writing.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    # The kernel sends this signal if the file is opened while the lease is held.
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        # By now the name may be that of a pipe, or of a file held by its writer.
        with open(path, "rb", opener=_without_waiting) as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        signal.signal(signal.SIGIO, before)
    return False
