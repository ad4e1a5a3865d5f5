"""What has been done with which file, on disk, so that being ended at any moment loses nothing.

Before a file is loaded it is written down together with the greatest load there was; after it, what
came of it. Who finds a file that was only begun looks into the ledger: a later load under the
file's name says that it had been committed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from loader.errors import UsageError

BEGUN, DONE, REFUSED = "begun", "done", "refused"


@dataclass(frozen=True)
class Entry:
    """A file by its identity, how far it is, and for a refused one the report."""

    identity: str
    state: str
    last_load: int = 0
    report: str = ""


class Memory:
    """The entries of one place by name, and whether something was loaded and not built yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, Entry] = {}
        self.build_due = False
        self._read()

    def get(self, name: str, identity: str) -> Entry | None:
        """The entry of a file, if it is still the same file."""
        entry = self._entries.get(name)
        return entry if entry is not None and entry.identity == identity else None

    def put(self, name: str, entry: Entry, *, build_due: bool) -> None:
        """Keep an entry; it is on disk when this returns."""
        self._entries[name] = entry
        self.build_due = build_due
        self._write()

    def drop(self, name: str) -> None:
        """Forget a file."""
        if self._entries.pop(name, None) is not None:
            self._write()

    def forget_others(self, names: Collection[str]) -> None:
        """Forget the files that are there no more."""
        gone = self._entries.keys() - set(names)
        for name in gone:
            del self._entries[name]
        if gone:
            self._write()

    def built(self) -> None:
        """What was loaded has been built."""
        if self.build_due:
            self.build_due = False
            self._write()

    def _read(self) -> None:
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            self.build_due = bool(document["build_due"])
            self._entries = {name: Entry(**entry) for name, entry in document["files"].items()}
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(
                f"{self._path} is damaged. Remove it: files that were only remembered, and not "
                "moved away, are looked at again then, and what the ledger knows is not loaded "
                "twice."
            ) from None

    def _write(self) -> None:
        files = {name: asdict(entry) for name, entry in self._entries.items()}
        unfinished = self._path.with_suffix(".new")
        with unfinished.open("w", encoding="utf-8") as file:
            # File names can be any bytes; as escapes they are JSON all the same.
            json.dump({"build_due": self.build_due, "files": files}, file, indent=1)
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
