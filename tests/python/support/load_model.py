"""What a history of loads amounts to, calculated a second time from the words of the design.

Written from the issue and docs, not from the loader: which files are loaded, which are there
already, and which loads count, found by replaying all calls that were not undone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from support.random_files import Content, Made, shown_tables
from support.random_tables import Table


@dataclass
class Entry:
    """A load. `call` is the number of the first load of its call."""

    load_id: int
    call: int
    input: str
    file: str
    sha256: str
    bytes: int
    mode: str
    table: Table
    undone: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """The same key means the same content."""
        return self.input, self.sha256, self.table.part


@dataclass(frozen=True)
class Expected:
    """What a call has to do: its exit code, the files it complains of, the loads it makes."""

    code: int
    problems: tuple[str, ...] = ()
    known: int = 0
    loaded: tuple[Entry, ...] = ()


@dataclass
class Model:
    """The ledger. `last` is the greatest number that a load ever had."""

    entries: list[Entry] = field(default_factory=list)
    last: int = 0

    def visible(self) -> set[int]:
        """The loads that count: calls in order, each replacing or adding what is not undone."""
        shown: dict[str, set[int]] = {}
        for call in sorted({entry.call for entry in self.entries}):
            for input_ in sorted({entry.input for entry in self.entries}):
                alive = [
                    entry
                    for entry in self.entries
                    if entry.call == call and entry.input == input_ and not entry.undone
                ]
                if any(entry.mode == "replace" for entry in alive):
                    shown[input_] = set()
                shown.setdefault(input_, set()).update(entry.load_id for entry in alive)
        return {load_id for loads in shown.values() for load_id in loads}

    def status(self, entry: Entry) -> str:
        """In the ledger's words."""
        if entry.undone:
            return "reverted"
        return "current" if entry.load_id in self.visible() else "superseded"

    def expect(self, files: Sequence[Made], *, replace: bool, share: float | int) -> Expected:
        """What a load of these files does. `share`: a float is a share, an int a number."""
        wanted = [found for made in files for found in shown_tables(made)]
        problems = [name for name, _, table in wanted if table is None]
        tables = [(name, content, table) for name, content, table in wanted if table is not None]
        visible = [entry for entry in self.entries if entry.load_id in self.visible()]
        keys = [(t.input, digest(content), t.part) for _, content, t in tables]
        first_with = {entry.key: entry.load_id for entry in reversed(visible)}
        seen: set[tuple[str, str, str]] = set()
        loaded: list[Entry] = []
        for (name, content, table), key in zip(tables, keys, strict=True):
            given = {first_with.get(other) for other in keys if other[0] == key[0]}
            present = {entry.load_id for entry in visible if entry.input == key[0]}
            same = key in first_with and (not replace or given == present)
            if same or key in seen:
                seen.add(key)
                continue
            seen.add(key)
            number = self.last + 1 + len(loaded)
            mode = "replace" if replace else "append"
            call = loaded[0].call if loaded else number
            size = len(content.data)
            loaded.append(Entry(number, call, key[0], name, key[1], size, mode, table))
            limit = share * table.read if isinstance(share, float) else share
            if len(table.rejected) > limit:
                problems.append(name)
        if problems:
            return Expected(3, tuple(problems))
        return Expected(0, (), len(tables) - len(loaded), tuple(loaded))

    def add(self, expected: Expected) -> None:
        """The call was made."""
        self.entries += expected.loaded
        self.last = max([self.last, *(entry.load_id for entry in expected.loaded)])

    def prune(self) -> int:
        """Forget what does not count; how many loads that were."""
        visible = self.visible()
        before = len(self.entries)
        self.entries = [entry for entry in self.entries if entry.load_id in visible]
        return before - len(self.entries)


def digest(content: Content) -> str:
    return hashlib.sha256(content.data).hexdigest()
