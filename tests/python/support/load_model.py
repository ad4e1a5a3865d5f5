"""What a history of loads amounts to, calculated a second time from the words of the design.

Written from the issue and docs, not from the loader: which files are loaded, which are there
already, and which loads count, found by replaying all calls that were not undone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

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
    arrived: float
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
        # The load that each content is shown by; what brings the same content takes its place.
        shown: dict[tuple[str, str, str], int] = {}
        for _, of_call in groupby(self.entries, key=lambda entry: entry.call):
            alive = [entry for entry in of_call if not entry.undone]
            replaced = {entry.input for entry in alive if entry.mode == "replace"}
            shown = {key: at for key, at in shown.items() if key[0] not in replaced}
            shown |= {entry.key: entry.load_id for entry in alive}
        return set(shown.values())

    def statuses(self) -> dict[int, str]:
        """The status of every load, in the ledger's words."""
        found = {entry.load_id: "superseded" for entry in self.entries}
        found |= dict.fromkeys(self.visible(), "current")
        return found | {entry.load_id: "reverted" for entry in self.entries if entry.undone}

    def expect(
        self, files: Sequence[Made], arrived: Sequence[float], *, replace: bool, share: float | int
    ) -> Expected:
        """What a load of these files does. `share`: a float is a share, an int a number.

        `arrived` is when each of the files came, in seconds.
        """
        wanted = [
            (*found, at)
            for made, at in zip(files, arrived, strict=True)
            for found in shown_tables(made)
        ]
        problems = [name for name, _, table, _ in wanted if table is None]
        tables = [
            (name, content, table, at) for name, content, table, at in wanted if table is not None
        ]
        current = self.visible()
        visible = [entry for entry in self.entries if entry.load_id in current]
        keys = [(t.input, digest(content), t.part) for _, content, t, _ in tables]
        there = {entry.key: entry for entry in visible}

        def comes_again(at: int) -> bool:
            """Whether this one is there already, and has come once more since."""
            times = [e.arrived for e in self.entries if e.key == keys[at] and not e.undone]
            old, time = there.get(keys[at]), tables[at][-1]
            return old is not None and time not in times and time > old.arrived - 2

        def is_known(at: int, before: Sequence[Entry]) -> bool:
            key = keys[at]
            if before and before[-1].key == key:
                return True
            if key not in there:
                return False
            if replace:
                given = [there[k].load_id if k in there else 0 for k in keys if k[0] == key[0]]
                last = sorted(set(given), key=lambda one: len(given) - 1 - given[::-1].index(one))
                return last == [entry.load_id for entry in visible if entry.input == key[0]]
            if not comes_again(at):
                return True
            behind = {
                k for k, e in there.items() if k[0] == key[0] and e.load_id > there[key].load_id
            }
            return not before and behind <= {
                keys[later] for later in range(at + 1, len(keys)) if comes_again(later)
            }

        loaded: list[Entry] = []
        for at, ((name, content, table, time), key) in enumerate(zip(tables, keys, strict=True)):
            if is_known(at, [entry for entry in loaded if entry.input == key[0]]):
                continue
            number = self.last + 1 + len(loaded)
            mode = "replace" if replace else "append"
            call = loaded[0].call if loaded else number
            size = len(content.data)
            loaded.append(Entry(number, call, key[0], name, key[1], size, mode, table, time))
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
