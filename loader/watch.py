"""`labmart watch`: loads the files that land in a folder or an object store, then builds.

Each file is a load of its own, so that a refused one keeps no other back. What the database does
wrong is not a file's fault: the file stays and is tried again.

Being ended at any moment loses nothing. What was loaded the ledger knows; beside it is only
remembered what it cannot tell: which file is being loaded, which files stay although they have been
dealt with, and that a build is due.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Protocol

from loader.database import Database
from loader.dbt import BuildOptions
from loader.dbt_report import run_and_report
from loader.engines import Load, open_store
from loader.errors import (
    DatabaseFault,
    DatabaseUnreachable,
    FileRefused,
    FilesRefused,
    LabmartError,
    NothingToLoad,
    UsageError,
)
from loader.files import LocalFile, sha256_of
from loader.files.names import in_reading_order, is_excluded, scheme_of
from loader.files.paths import Skipped, find
from loader.files.remote import Listed, RemoteFolder, changed_at
from loader.load import LoadOptions, load
from loader.printable import printable
from loader.progress import LoadReport
from loader.seeds import check_seeds
from loader.sources import read_inputs

LOADED, REJECTED = "loaded", "rejected"
_REPORT = ".report.txt"
# Names that programs give to what they are still writing.
_UNFINISHED = (
    "*.part",
    "*.partial",
    "*.filepart",
    "*.tmp",
    "*.temp",
    "*.crdownload",
    "*.download",
    "*.swp",
    "*~",
)
# What is never taken, besides hidden files.
_LEFT_OUT = (LOADED, REJECTED, *_UNFINISHED)
# Each store has its own word for the content of an object.
_CONTENT = ("ETag", "etag", "generation", "crc32c", "md5Hash")
_PUT_OFF = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class WatchOptions:
    """How to watch; `interval` in seconds. `moves` None: in a folder of this machine only."""

    interval: float = 10.0
    once: bool = False
    moves: bool | None = None
    build: bool = True
    target: str | None = None
    variables: str | None = None
    load: LoadOptions = field(default_factory=LoadOptions)


@dataclass
class Summary:
    """What came of all that was looked at."""

    loaded: int = 0
    refused: int = 0
    build_failed: bool = False


def watch(database: Database, address: str, options: WatchOptions) -> Summary:
    """Watch a place until a signal comes; with `once` until all that lies there is dealt with.

    Raises UsageError for a place that cannot be watched, and DatabaseUnreachable with `once`.
    """
    place = _open_place(address, options)
    profile = database.profile
    known_as = str(Path(address).resolve()) if isinstance(place, Folder) else address
    folder = database.project.root / ".labmart" / "watch"
    with remembering(folder, known_as, f"{profile.target}/{profile.schema}") as memory:
        watcher = _Watcher(database, place, options, memory)
        print(f"watching {printable(address)}", file=sys.stderr, flush=True)
        # A second look, an interval later, tells which file has been written to its end.
        looks = 2 if options.once else None
        while True:
            incomplete = watcher.poll_once()
            looks = None if looks is None else looks - 1
            if options.once and (not incomplete or not looks):
                for name in incomplete:
                    watcher.say(f"{name}: it is still being written, and stays for the next time")
                return watcher.summary
            time.sleep(options.interval)


def _open_place(address: str, options: WatchOptions) -> Place:
    exclude = options.load.exclude
    if scheme_of(address) in ("", "file"):
        moves = options.moves is None or options.moves
        path = Path(address.removeprefix("file://")).expanduser()
        return Folder(path, interval=options.interval, moves=moves, exclude=exclude)
    return Store(address, interval=options.interval, moves=bool(options.moves), exclude=exclude)


class _Watcher:
    """Looks at a place, time and again; `summary` grows."""

    def __init__(
        self, database: Database, place: Place, options: WatchOptions, memory: Memory
    ) -> None:
        self._database = database
        self._place = place
        self._options = options
        self._memory = memory
        self._report = _RememberingReport()
        self._last_fault = ""
        # Files that could not be moved: not to try, and tell it, each time.
        self._stuck: set[IncomingFile] = set()
        self.summary = Summary()

    def say(self, text: str) -> None:
        self._report.say(text)

    def poll_once(self) -> list[str]:
        """Deal with what lies there; the names of files that are not complete yet."""
        incomplete: list[str] = []
        try:
            files = self._place.scan()
            self._memory.forget_others({file.name for file in files})
            for file in files:
                is_dealt_with = self._memory.outcome_of(file) is not None
                if is_dealt_with and (not self._place.moves or file in self._stuck):
                    continue
                if self._place.is_complete(file):
                    with _finishing_first():
                        self._deal_with(file)
                else:
                    incomplete.append(file.shown)
            if self._memory.build_due and self._options.build:
                self._build()
            self._last_fault = ""
        except (PlaceGone, DatabaseUnreachable, DatabaseFault) as error:
            if self._options.once:
                if isinstance(error, PlaceGone):
                    raise UsageError(str(error)) from None
                raise
            if str(error) != self._last_fault:
                self.say(f"{error} It is tried again every {self._options.interval:g} seconds.")
            self._last_fault = str(error)
        return incomplete

    def _deal_with(self, file: IncomingFile) -> None:
        outcome = self._memory.outcome_of(file)
        if outcome is None:
            self._database.ready()
            outcome = self._outcome(file)
        if outcome is not None and self._place.moves:
            self._move(file, outcome)

    def _outcome(self, file: IncomingFile) -> Outcome | None:
        """Load a file, unless that had been done when we were ended; None if it has changed."""
        with open_store(self._database.profile, write=False) as store:
            loads = store.loads()
        if self._memory.was_begun(file) and _has_brought(loads, file, self._memory.last_load):
            self.say(f"{file.shown}: it had been loaded already")
            return self._memory.keep(file, Outcome(file.identity), build_due=True)
        due = self._memory.build_due
        if not self._place.moves and self._was_loaded(loads, file):
            self.say(f"{file.shown}: its content is in the ledger already")
            return self._memory.keep(file, Outcome(file.identity), build_due=due)
        self._memory.begin(file, max((load.load_id for load in loads), default=0))
        try:
            is_new = self._load(file)
        except (FileRefused, FilesRefused, NothingToLoad) as error:
            if not self._place.is_unchanged(file):
                self._memory.keep(file, None, build_due=due)
                return None
            problems = error.problems if isinstance(error, FilesRefused) else (str(error),)
            outcome = Outcome(file.identity, self._refusal(file, problems))
            return self._memory.keep(file, outcome, build_due=due)
        self.summary.loaded += is_new
        return self._memory.keep(file, Outcome(file.identity), build_due=due or is_new)

    def _load(self, file: IncomingFile) -> bool:
        """Load a file; whether there was anything new in it."""
        self._report.told.clear()
        inputs = read_inputs(self._database.project.sources_file)
        profile = self._database.profile
        outcomes = load([file.path], inputs, profile, self._options.load, self._report)
        return any(outcome.state == "loaded" for outcome in outcomes)

    def _was_loaded(self, loads: Sequence[Load], file: IncomingFile) -> bool:
        """Whether these bytes were loaded since they came: what stays must not undo an undo."""
        came_at = datetime.fromtimestamp(file.modified, UTC)
        digests = {load.sha256 for load in loads if load.arrived_at >= came_at}
        return bool(digests) and self._place.sha256(file) in digests

    def _refusal(self, file: IncomingFile, problems: Sequence[str]) -> str:
        """Tell why a file was refused; the report that goes beside it."""
        self.summary.refused += 1
        lines = [f"{file.shown} was not loaded:", "", *problems]
        if self._report.told:
            lines += ["", "What labmart saw in it:", "", *self._report.told]
        for problem in problems:
            self.say(problem)
        lines += ["", "Correct it and put it into the folder again."]
        return "\n".join(lines) + "\n"

    def _move(self, file: IncomingFile, outcome: Outcome) -> None:
        folder = LOADED if outcome.report is None else REJECTED
        try:
            moved_to = self._place.move(file, folder, outcome.report)
        except CannotMove as error:
            self._stuck.add(file)
            self.say(f"{error}: it cannot be moved away. It stays, and is remembered.")
        else:
            self._memory.drop(file)
            self.say(f"moved to {moved_to}")

    def _build(self) -> None:
        try:
            check_seeds(self._database.project.seeds)
            options = BuildOptions(target=self._options.target, vars=self._options.variables)
            self.summary.build_failed = not run_and_report(self._database, options)
        except (DatabaseUnreachable, DatabaseFault):
            raise
        except LabmartError as error:
            self.say(str(error))
            self.summary.build_failed = True
        # A build that failed would fail again until something else has been loaded.
        self._memory.keep_built()


class _RememberingReport(LoadReport):
    """Tells the person, and remembers what it has told of a file."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def say(self, text: str) -> None:
        self.told.append(printable(text))
        super().say(text)


def _has_brought(loads: Sequence[Load], file: IncomingFile, last_load: int) -> bool:
    """Whether a later load has the file's name, or that of a sheet or member of it."""
    parts = (f"{file.shown}#", f"{file.shown}/")
    return any(
        load.load_id > last_load and (load.file == file.shown or load.file.startswith(parts))
        for load in loads
    )


@contextmanager
def _finishing_first() -> Iterator[None]:
    """Put SIGTERM and SIGHUP off until the file that is being loaded is dealt with.

    A second signal is not put off.
    """
    before = {number: signal.getsignal(number) for number in _PUT_OFF}
    received: list[int] = []

    def put_off(number: int, _: FrameType | None) -> None:
        if received:
            _restore(before)
            signal.raise_signal(number)
        print("ending after this file …", file=sys.stderr, flush=True)
        received.append(number)

    for number, handler in before.items():
        # nohup ignores SIGHUP, and it stays so.
        if handler != signal.SIG_IGN:
            signal.signal(number, put_off)
    try:
        yield
    finally:
        _restore(before)
    if received:
        signal.raise_signal(received[0])


def _restore(before: Mapping[signal.Signals, object]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)  # type: ignore[arg-type]


# What is remembered.


@dataclass(frozen=True)
class Outcome:
    """What was done with a file of that identity: loaded, or refused with a report."""

    identity: str
    report: str | None = None


class Memory:
    """What the ledger cannot tell about one place, on disk.

    Before a file is loaded it is noted together with the greatest load there was. Who finds a file
    that was only begun looks into the ledger: a later load under the file's name says that it had
    been committed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, Outcome] = {}
        self._begun = ("", "")
        self.last_load = 0
        self.build_due = False
        self._read()

    def outcome_of(self, file: IncomingFile) -> Outcome | None:
        """What was done with a file, if it is still the same file."""
        outcome = self._files.get(file.name)
        return outcome if outcome is not None and outcome.identity == file.identity else None

    def was_begun(self, file: IncomingFile) -> bool:
        """Whether we were ended while the file was loaded, after the load `last_load`."""
        return self._begun == (file.name, file.identity)

    def begin(self, file: IncomingFile, last_load: int) -> None:
        """The file is going to be loaded; should we be ended after that, a build is due."""
        self._begun, self.last_load, self.build_due = (file.name, file.identity), last_load, True
        self._write()

    def keep(
        self, file: IncomingFile, outcome: Outcome | None, *, build_due: bool
    ) -> Outcome | None:
        """Note what was done with a file, None for nothing; it is on disk when this returns."""
        self._begun, self.build_due = ("", ""), build_due
        self._files.pop(file.name, None)
        if outcome is not None:
            self._files[file.name] = outcome
        self._write()
        return outcome

    def drop(self, file: IncomingFile) -> None:
        """Forget a file that has been moved away."""
        del self._files[file.name]
        self._write()

    def forget_others(self, names: set[str]) -> None:
        """Forget the files that are there no more."""
        gone = self._files.keys() - names
        if gone:
            self._files = {name: self._files[name] for name in self._files.keys() - gone}
            self._write()

    def keep_built(self) -> None:
        """What was loaded has been built."""
        self.build_due = False
        self._write()

    def _read(self) -> None:
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            self.build_due = bool(document["build_due"])
            # Version 0.1 had another form for what was begun.
            name, identity, last_load = document.get("begun", ("", "", 0))
            self._begun, self.last_load = (str(name), str(identity)), int(last_load)
            self._files = {
                name: Outcome(entry["identity"], entry["report"] or None)
                for name, entry in document["files"].items()
                if entry.get("state") != "begun"
            }
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(
                f"{self._path} is damaged. Remove it: files that were only remembered, and not "
                "moved away, are looked at again then, and what the ledger knows is not loaded "
                "twice."
            ) from None

    def _write(self) -> None:
        document = {
            "build_due": self.build_due,
            "begun": [*self._begun, self.last_load],
            "files": {name: asdict(outcome) for name, outcome in self._files.items()},
        }
        unfinished = self._path.with_suffix(".new")
        with unfinished.open("w", encoding="utf-8") as file:
            # File names can be any bytes; as escapes they are JSON all the same.
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path)


@contextmanager
def remembering(folder: Path, place: str, database: str) -> Iterator[Memory]:
    """The memory of a place for one database. Raises UsageError when another process has it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = hashlib.sha256(f"{place}\0{database}".encode(errors="surrogateescape")).hexdigest()[:16]
    descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{place}: another `labmart watch` watches this place already."
            ) from None
        yield Memory(folder / f"{name}.json")
    finally:
        os.close(descriptor)


# Where files land.


@dataclass(frozen=True)
class IncomingFile:
    """A file in a place.

    `name` is its path below the place, `path` what `labmart load` takes, `shown` what the ledger
    calls it. `identity` is another one as soon as the content is. `modified` is in seconds.
    """

    name: str
    path: str
    shown: str
    identity: str
    modified: float


class PlaceGone(Exception):  # noqa: N818 -- it says what has happened
    """The place cannot be looked at just now; `str()` of it says why."""


class CannotMove(Exception):  # noqa: N818 -- as above
    """A file has to stay where it is; `str()` of it says why."""


class Place(Protocol):
    """A folder or an object store."""

    @property
    def moves(self) -> bool:
        """Whether files are moved away when they have been dealt with."""
        ...

    def scan(self) -> list[IncomingFile]:
        """What lies there now and could be loaded, in reading order. Raises PlaceGone.

        Of two versions of a row the later one wins: the order is that of `labmart load`.
        """
        ...

    def is_complete(self, file: IncomingFile) -> bool:
        """Whether nobody is writing to the file any more."""
        ...

    def is_unchanged(self, file: IncomingFile) -> bool:
        """Whether the file is still what was found."""
        ...

    def sha256(self, file: IncomingFile) -> str | None:
        """The digest of the content, where it costs no download."""
        ...

    def move(self, file: IncomingFile, folder: str, report: str | None) -> str:
        """Move the file below `folder`, with a report beside it; where it is now.

        No other file is overwritten. Raises CannotMove, and nothing has been moved then.
        """
        ...


class _Stability:
    """Remembers since when files have been as they are; `interval` in seconds.

    Nothing in a file system says that a file has been written to its end. It is taken for complete
    when it has not changed for an interval, by its time of writing or by what was seen of it.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._since: dict[str, tuple[str, float]] = {}

    def is_stable(self, file: IncomingFile) -> bool:
        """Whether the file is as it was an interval ago."""
        now = time.monotonic()
        identity, since = self._since.setdefault(file.name, (file.identity, now))
        if identity != file.identity:
            self._since[file.name] = (file.identity, now)
            return False
        # The clock of a file server may be ahead of ours; then the second way decides.
        is_old = time.time() - file.modified >= self._interval
        return is_old or now - since >= self._interval

    def in_order(self, files: Sequence[IncomingFile]) -> list[IncomingFile]:
        """The files in reading order; others are forgotten."""
        names = {file.name for file in files}
        self._since = {name: seen for name, seen in self._since.items() if name in names}
        return in_reading_order(files, name=lambda file: file.name)


class Folder:
    """A folder of this machine; see the protocol `Place`.

    A file that was seen under the name of an unfinished one and has been renamed is complete at
    once. One that somebody has open for writing is not, however long nothing has come: an
    instrument may write a line an hour.
    """

    def __init__(
        self, path: Path, *, interval: float, moves: bool, exclude: tuple[str, ...] = ()
    ) -> None:
        if not path.is_dir():
            raise UsageError(f"{path}: there is no such folder. Make it, and call again.")
        self._path = path.resolve()
        if is_excluded(self._path.name, _LEFT_OUT):
            raise UsageError(f"{path}: a folder of this name is left out. Rename it.")
        self._stability = _Stability(interval)
        self._exclude = (*_LEFT_OUT, *exclude)
        # Files under names of unfinished ones, as (device, inode).
        self._unfinished: set[tuple[int, int]] = set()
        self._renamed: set[str] = set()
        self.moves = moves

    def scan(self) -> list[IncomingFile]:
        if not self._path.is_dir():
            raise PlaceGone(f"{printable(str(self._path))} is not there.")
        files, unfinished, renamed = [], set(), set()
        with suppress(NothingToLoad):
            for result in find(str(self._path), self._exclude):
                with suppress(OSError):
                    if isinstance(result, LocalFile):
                        status = result.path.stat()
                        file = self._incoming(result, status)
                        files.append(file)
                        if (status.st_dev, status.st_ino) in self._unfinished:
                            renamed.add(file.name)
                    elif isinstance(result, Skipped) and _is_unfinished(result.name):
                        status = Path(result.name).stat()
                        unfinished.add((status.st_dev, status.st_ino))
        self._unfinished, self._renamed = unfinished, renamed
        return self._stability.in_order(files)

    def is_complete(self, file: IncomingFile) -> bool:
        is_stable = self._stability.is_stable(file)
        settled = is_stable or file.name in self._renamed
        return settled and not is_being_written(Path(file.path))

    def is_unchanged(self, file: IncomingFile) -> bool:
        return _identity(Path(file.path)) == file.identity

    def sha256(self, file: IncomingFile) -> str | None:
        try:
            return sha256_of(Path(file.path))
        except FileRefused:
            return None

    def move(self, file: IncomingFile, folder: str, report: str | None) -> str:
        source = Path(file.path)
        content = None if report is None else report.encode(errors="backslashreplace")

        def is_free(candidate: str) -> bool:
            target = self._path / candidate
            if os.path.lexists(target):
                return False
            beside = Path(f"{target}{_REPORT}")
            # A report that was written just before we were ended is taken up again.
            return content is None or not os.path.lexists(beside) or _holds(beside, content)

        target = self._path / _free_name(folder, file.name, is_free)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                beside = Path(f"{target}{_REPORT}")
                unfinished = beside.with_name(f"{beside.name}.tmp")
                unfinished.write_bytes(content)
                unfinished.replace(beside)
            # Only we write there, so the name that was free is free.
            source.rename(target)
        except OSError as error:
            raise CannotMove(f"{printable(file.path)}: {error.strerror}") from None
        if _identity(target) != file.identity:
            # A newer file had come under the same name, and has not been loaded.
            _put_back(target, source)
            raise CannotMove(f"{printable(file.path)}: a newer file has come under its name")
        return printable(str(target))

    def _incoming(self, file: LocalFile, status: os.stat_result) -> IncomingFile:
        return IncomingFile(
            name=os.path.relpath(file.path, self._path),
            path=str(file.path),
            shown=file.name,
            identity=_identity_by(status),
            modified=status.st_mtime,
        )


class Store:
    """A prefix of an object store, or a folder behind sftp; see the protocol `Place`.

    An object appears when all of it is there; a file behind sftp grows.
    """

    def __init__(
        self, address: str, *, interval: float, moves: bool, exclude: tuple[str, ...] = ()
    ) -> None:
        self._folder = RemoteFolder(address)
        self._grows = scheme_of(address) == "sftp"
        self._stability = _Stability(interval)
        self._exclude = (*_LEFT_OUT, *exclude)
        self.moves = moves

    def scan(self) -> list[IncomingFile]:
        try:
            files = [self._incoming(listed) for listed in self._folder.list(self._exclude)]
        except FileRefused as refused:
            raise PlaceGone(str(refused)) from None
        return self._stability.in_order(files)

    def is_complete(self, file: IncomingFile) -> bool:
        return not self._grows or self._stability.is_stable(file)

    def is_unchanged(self, file: IncomingFile) -> bool:
        try:
            return file in self.scan()
        except PlaceGone:
            return False

    def sha256(self, file: IncomingFile) -> str | None:  # noqa: ARG002 -- it would be a download
        return None

    def move(self, file: IncomingFile, folder: str, report: str | None) -> str:
        try:
            if not self.is_unchanged(file):
                raise CannotMove(f"{file.shown}: it has changed or gone")
            target = _free_name(folder, file.name, lambda path: not self._folder.exists(path))
            beside = None if report is None else (f"{target}{_REPORT}", report.encode())
            self._folder.move(file.name, target, beside)
        except FileRefused as refused:
            raise CannotMove(str(refused)) from None
        return f"{self._folder.shown}/{printable(target)}"

    def _incoming(self, listed: Listed) -> IncomingFile:
        written = changed_at(listed.info)
        content = next((str(listed.info[key]) for key in _CONTENT if listed.info.get(key)), "")
        return IncomingFile(
            name=listed.relative,
            path=self._folder.address + listed.relative,
            shown=f"{self._folder.shown}/{printable(listed.relative)}",
            identity=f"{content}-{listed.info.get('size')}-{written}",
            modified=written,
        )


def is_being_written(path: Path) -> bool:
    """Whether some process has the file open for writing; False where that cannot be known.

    A read lease (fcntl_locking(2)) is given only for a file that nobody has open for writing.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    # Whoever opens the file in the moment of the lease makes the system send this signal.
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, before)
    return False


def _free_name(folder: str, name: str, is_free: Callable[[str], bool]) -> str:
    """A path below the place that is free: `loaded/2026-11-25/plate.csv`, then `…/plate-2.csv`."""
    first = PurePosixPath(folder) / datetime.now(UTC).strftime("%Y-%m-%d") / name
    candidate, number = first, 1
    while not is_free(str(candidate)):
        number += 1
        candidate = first.with_name(f"{first.stem}-{number}{first.suffix}")
    return str(candidate)


def _identity(path: Path) -> str:
    """What is another one for another content: which file, how long, when written."""
    try:
        return _identity_by(path.stat())
    except OSError:
        return ""


def _identity_by(status: os.stat_result) -> str:
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"


def _is_unfinished(name: str) -> bool:
    return is_excluded(Path(name).name, _UNFINISHED)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _put_back(moved: Path, source: Path) -> None:
    place, number = source, 1
    while os.path.lexists(place):
        number += 1
        place = source.with_name(f"{source.stem}-{number}{source.suffix}")
    moved.rename(place)
