"""One look at a place after the other: load what is complete, then build.

Each file is a load of its own, so that a refused one keeps no other back. What the database does
wrong is not a file's fault: the file stays and is tried again.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

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
from loader.files.names import scheme_of
from loader.load import LoadOptions, load
from loader.printable import printable
from loader.progress import LoadReport
from loader.seeds import check_seeds
from loader.sources import read_inputs
from loader.watch.folder import Folder
from loader.watch.memory import BEGUN, DONE, REFUSED, Entry, Memory, remembering
from loader.watch.places import LOADED, REJECTED, CannotMove, Found, Place, PlaceGone

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
    """What came of all rounds."""

    loaded: int = 0
    refused: int = 0
    build_failed: bool = False


def watch(database: Database, place: str, options: WatchOptions) -> Summary:
    """Watch a place until a signal comes; with `once` until all that lies there is dealt with.

    Raises UsageError for a place that cannot be watched, and DatabaseUnreachable with `once`.
    """
    watched = _open(place, options)
    profile = database.profile
    known_as = str(Path(place).resolve()) if isinstance(watched, Folder) else place
    folder = database.project.root / ".labmart" / "watch"
    with remembering(folder, known_as, f"{profile.target}/{profile.schema}") as memory:
        rounds = _Rounds(database, watched, options, memory)
        print(f"watching {printable(place)}", file=sys.stderr, flush=True)
        # A second look, an interval later, tells which file has been written to its end.
        looks = 2 if options.once else None
        while True:
            waiting = rounds.one()
            looks = None if looks is None else looks - 1
            if options.once and (not waiting or not looks):
                for name in waiting:
                    rounds.say(f"{name}: it is still being written, and stays for the next time")
                return rounds.summary
            time.sleep(options.interval)


def _open(place: str, options: WatchOptions) -> Place:
    exclude = options.load.exclude
    if scheme_of(place) in ("", "file"):
        moves = options.moves is None or options.moves
        path = Path(place.removeprefix("file://")).expanduser()
        return Folder(path, interval=options.interval, moves=moves, exclude=exclude)
    from loader.watch.store import Store

    return Store(place, interval=options.interval, moves=bool(options.moves), exclude=exclude)


class _Rounds:
    def __init__(
        self, database: Database, place: Place, options: WatchOptions, memory: Memory
    ) -> None:
        self._database = database
        self._place = place
        self._options = options
        self._memory = memory
        self._report = _Told()
        self._last_fault = ""
        # Files that could not be moved, as (name, identity): not to try, and tell it, each round.
        self._stay: set[tuple[str, str]] = set()
        self.summary = Summary()

    def say(self, text: str) -> None:
        """A sentence for the person."""
        self._report.say(text)

    def one(self) -> list[str]:
        """Deal with what lies there; the names of files that are not complete yet."""
        waiting: list[str] = []
        try:
            found = self._place.look()
            self._memory.forget_others({one.name for one in found})
            for one in found:
                if not self._is_dealt_with(one):
                    if self._place.is_complete(one):
                        with _until_done():
                            self._deal_with(one)
                    else:
                        waiting.append(one.shown)
            if self._memory.build_due and self._options.build:
                self._build()
            self._last_fault = ""
        except (PlaceGone, DatabaseUnreachable, DatabaseFault) as error:
            if self._options.once:
                if isinstance(error, PlaceGone):
                    raise UsageError(str(error)) from None
                raise
            self._tell_once(str(error))
        return waiting

    def _tell_once(self, fault: str) -> None:
        if fault != self._last_fault:
            self.say(f"{fault} It is tried again every {self._options.interval:g} seconds.")
        self._last_fault = fault

    def _is_dealt_with(self, found: Found) -> bool:
        entry = self._memory.get(found.name, found.identity)
        if entry is None or entry.state == BEGUN:
            return False
        return not self._place.moves or (found.name, found.identity) in self._stay

    def _deal_with(self, found: Found) -> None:
        entry = self._memory.get(found.name, found.identity)
        if entry is None or entry.state == BEGUN:
            self._database.ready()
            entry = self._loaded(found, entry)
        if entry is not None and self._place.moves:
            self._move(found, entry)

    def _loaded(self, found: Found, begun: Entry | None) -> Entry | None:
        """Load a file, unless that had been done when we were ended; None if it has changed."""
        ledger = self._ledger()
        due = self._memory.build_due
        if begun is not None and _brought(ledger, found, begun.last_load):
            self.say(f"{found.shown}: it had been loaded already")
            return self._keep(found, DONE, build_due=True)
        if not self._place.moves and self._was_loaded(ledger, found):
            self.say(f"{found.shown}: its content is in the ledger already")
            return self._keep(found, DONE, build_due=due)
        last = max((one.load_id for one in ledger), default=0)
        begun = Entry(found.identity, BEGUN, last)
        # Should we be ended after the commit, the build is still due.
        self._memory.put(found.name, begun, build_due=True)
        try:
            loaded = self._load(found)
        except (FileRefused, FilesRefused, NothingToLoad) as error:
            if not self._place.is_unchanged(found):
                self._memory.drop(found.name)
                return None
            problems = error.problems if isinstance(error, FilesRefused) else (str(error),)
            return self._refused(found, problems, due=due)
        self.summary.loaded += loaded
        return self._keep(found, DONE, build_due=due or loaded)

    def _load(self, found: Found) -> bool:
        """Load a file; whether there was anything new in it."""
        self._report.begin_file()
        inputs = read_inputs(self._database.project.sources_file)
        profile = self._database.profile
        outcomes = load([found.path], inputs, profile, self._options.load, self._report)
        return any(outcome.state == "loaded" for outcome in outcomes)

    def _refused(self, found: Found, problems: Sequence[str], *, due: bool) -> Entry:
        self.summary.refused += 1
        lines = [f"{found.shown} was not loaded:", "", *problems]
        if self._report.said:
            lines += ["", "What labmart saw in it:", "", *self._report.said]
        for problem in problems:
            self.say(problem)
        lines += ["", "Correct it and put it into the folder again."]
        return self._keep(found, REFUSED, build_due=due, report="\n".join(lines) + "\n")

    def _keep(self, found: Found, state: str, *, build_due: bool, report: str = "") -> Entry:
        entry = Entry(found.identity, state, report=report)
        self._memory.put(found.name, entry, build_due=build_due)
        return entry

    def _move(self, found: Found, entry: Entry) -> None:
        is_refused = entry.state == REFUSED
        try:
            place = self._place.move(
                found, REJECTED if is_refused else LOADED, entry.report if is_refused else None
            )
        except CannotMove as error:
            self._stay.add((found.name, found.identity))
            self.say(f"{error}: it cannot be moved away. It stays, and is remembered.")
        else:
            self._memory.drop(found.name)
            self.say(f"moved to {place}")

    def _ledger(self) -> list[Load]:
        with open_store(self._database.profile, write=False) as store:
            return store.loads()

    def _was_loaded(self, ledger: Sequence[Load], found: Found) -> bool:
        """Whether the bytes were ever loaded: what stays in place must not undo an undo."""
        digests = {load.sha256 for load in ledger}
        return bool(digests) and self._place.sha256(found) in digests

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
        self._memory.built()


class _Told(LoadReport):
    """Tells the person, and remembers what it has told of a file."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def begin_file(self) -> None:
        """A file is going to be loaded."""
        self.said = []

    def say(self, text: str) -> None:
        """See `Report`."""
        self.said.append(printable(text))
        super().say(text)


def _brought(ledger: Sequence[Load], found: Found, last_load: int) -> bool:
    """Whether a later load has the file's name, or that of a sheet or member of it."""
    return any(
        load.load_id > last_load
        and (
            load.file == found.shown or load.file.startswith((f"{found.shown}#", f"{found.shown}/"))
        )
        for load in ledger
    )


@contextmanager
def _until_done() -> Iterator[None]:
    """Put SIGTERM and SIGHUP off until the file that is being loaded is dealt with.

    A second signal is not put off.
    """
    before = {number: signal.getsignal(number) for number in _PUT_OFF}
    came: list[int] = []

    def put_off(number: int, frame: FrameType | None) -> None:
        del frame
        if came:
            _restore(before)
            signal.raise_signal(number)
        print("ending after this file …", file=sys.stderr, flush=True)
        came.append(number)

    for number, handler in before.items():
        # nohup ignores SIGHUP, and it stays so.
        if handler != signal.SIG_IGN:
            signal.signal(number, put_off)
    try:
        yield
    finally:
        _restore(before)
    if came:
        signal.raise_signal(came[0])


def _restore(before: Mapping[signal.Signals, object]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)  # type: ignore[arg-type]
