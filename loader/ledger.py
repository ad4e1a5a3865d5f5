"""The ledger: which loads are current, and how undo, redo and prune change that.

A load's status follows from all rows of the ledger, so undo and redo work in any order:

    reverted    a person undid it
    superseded  not reverted, but replaced by a later load that is not reverted: one from a later
                call that replaces its input, or one with the same content
    current     neither

Only "reverted" is remembered; the rest is recomputed after every change. The same content means
the same bytes, or the same sheet of the same bytes, in the same input. It is loaded again when it
is read differently, or when it arrives again after other files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType

from loader.errors import UnknownLoad, WrongStatus
from loader.printable import printable

CURRENT, SUPERSEDED, REVERTED = "current", "superseded", "reverted"
APPEND, REPLACE = "append", "replace"
# Keys of a reading: the sheet, and the names in the header (--map).
SHEET, NAMES = "sheet", "names"
# Copying a folder sets file times in any order, and archives round them: times this close do not
# show which file is newer.
_SAME_MOMENT = timedelta(seconds=2)
# Input, SHA-256, sheet.
Content = tuple[str, str, object]


@dataclass(frozen=True)
class Load:
    """One row of the ledger: one file, or one sheet of it, in one input.

    `call_id` is the load_id of the first load in the same call. `reading` is a JSON object of the
    options for reading the file, and the `sheet` that was read. `arrived_at` is when the file was
    last changed, or else when it arrived. The next five fields describe its cells:
    loader.sources.CellFormats. `columns_ignored` is a JSON array of the header names that match no
    declared column, or None. `header` is a JSON array of all its names as written, empty for a file
    without a header.
    """

    load_id: int
    status: str
    mode: str
    input: str
    file: str
    records_read: int
    records_rejected: int
    bytes: int
    dialect: str
    started_at: datetime
    finished_at: datetime
    loaded_by: str
    sha256: str
    call_id: int
    reading: str
    arrived_at: datetime
    decimal: str | None = None
    dates: str | None = None
    list_separator: str | None = None
    id_prefix: str | None = None
    durations: str | None = None
    columns_ignored: str | None = None
    header: str | None = None

    @property
    def said(self) -> Mapping[str, object]:
        """`reading`, parsed."""
        return _parsed(self.reading)

    @property
    def content(self) -> Content:
        return self.input, self.sha256, self.said.get(SHEET)

    @property
    def names(self) -> list[str]:
        """The names given for its header, as `NAME=COLUMN`."""
        names = self.said.get(NAMES)
        return names if isinstance(names, list) else []


# A ledger of thousands of loads is scanned many times, and most loads were read alike.
@lru_cache(maxsize=1 << 14)
def _parsed(reading: str) -> Mapping[str, object]:
    return MappingProxyType(json.loads(reading or "{}"))


@dataclass(frozen=True)
class Step:
    """What a call does with a file.

    `known` says where its content is already loaded; '' means it is to be loaded. `takes` says
    which load it then replaces, and why; '' means none.
    """

    known: str = ""
    takes: str = ""


def said_of(loads: Sequence[Load]) -> dict[str, dict[str, object]]:
    """The read options of current files, by SHA-256."""
    should = statuses(loads)
    return {
        load.sha256: {name: value for name, value in load.said.items() if name != SHEET}
        for load in loads
        if should[load.load_id] == CURRENT
    }


def named(loads: Sequence[Load]) -> list[Load]:
    """For each header that was given names, its last load; newest first.

    Undone loads do not count.
    """
    by_header: dict[str, Load] = {}
    for load in reversed(loads):
        if load.status != REVERTED and load.header and load.names:
            by_header.setdefault(load.header, load)
    return list(by_header.values())


def statuses(loads: Sequence[Load]) -> dict[int, str]:
    """The status of every load, computed from which loads are reverted."""
    calculated = {load_id: SUPERSEDED if by else CURRENT for load_id, by in takers(loads).items()}
    return calculated | {load.load_id: REVERTED for load in loads if load.status == REVERTED}


def changes(
    loads: Sequence[Load], marks: Mapping[int, str] = MappingProxyType({})
) -> dict[int, str]:
    """The new status of each load that changes when the `marks` are applied."""
    should = statuses(after(loads, marks))
    return {
        load.load_id: should[load.load_id] for load in loads if load.status != should[load.load_id]
    }


def after(loads: Sequence[Load], new: Mapping[int, str]) -> list[Load]:
    """The ledger with new statuses."""
    return [
        replace(load, status=new[load.load_id]) if load.load_id in new else load for load in loads
    ]


def plan(loads: Sequence[Load], incoming: Sequence[Load], *, replace: bool) -> list[Step]:
    """What a call does with each incoming file or sheet, given as the load it would become.

    Content that is current and was read in the same way is not loaded again, unless it arrives
    again and another load of its input, old or new, lies in between. With `replace`, an input is
    left alone if exactly its current loads are given again in their order; otherwise everything
    given for it is loaded again.
    """
    kept = [load for load in loads if load.status != REVERTED]
    steps: dict[int, Step] = {}
    for name in {file.input for file in incoming}:
        files = {at: file for at, file in enumerate(incoming) if file.input == name}
        earlier = [load for load in kept if load.input == name]
        steps |= zip(files, _steps(earlier, [*files.values()], replace=replace), strict=True)
    return [steps[at] for at in range(len(incoming))]


def _steps(loads: Sequence[Load], files: Sequence[Load], *, replace: bool) -> list[Step]:
    """The steps for files of one input; `loads` are its loads that are not reverted."""
    should = statuses(loads)
    current = [load for load in loads if should[load.load_id] == CURRENT]
    by_content = {load.content: load for load in current}
    arrivals = {(load.content, load.arrived_at) for load in loads}

    def has_come_again(file: Load, load: Load) -> bool:
        is_known = replace or (file.content, file.arrived_at) in arrivals
        return not is_known and file.arrived_at > load.arrived_at - _SAME_MOMENT

    # For each file, its current load if that was read in the same way.
    same = [by_content.get(file.content) for file in files]
    for at, (file, load) in enumerate(zip(files, same, strict=True)):
        if load and file.said != load.said:
            same[at] = None
    if replace:
        # A file given twice counts at its last position.
        ids = dict.fromkeys(load.load_id if load else 0 for load in reversed(same))
        if list(ids) != [load.load_id for load in reversed(current)]:
            same = [None] * len(files)
    # The last position at which each load arrives again.
    comes_at = {
        load.load_id: at
        for at, (file, load) in enumerate(zip(files, same, strict=True))
        if load and has_come_again(file, load)
    }
    # Files that arrive again in their load order change nothing. This is the last load that
    # precedes the file at hand.
    last = max((load.load_id for load in current if load.load_id not in comes_at), default=0)
    steps: list[Step] = []
    loaded = 0
    # For each content loaded: its file, and how many had been loaded by then.
    came: dict[Content, tuple[str, int]] = {}
    for at, (file, load) in enumerate(zip(files, same, strict=True)):
        content = file.content
        first, loaded_then = came.get(content, ("", 0))
        if first and loaded_then == loaded:
            steps.append(Step(known=f"it is the same as {first}"))
            continue
        if load and not ((loaded or load.load_id < last) and has_come_again(file, load)):
            if comes_at.get(load.load_id) == at:
                last = load.load_id
            steps.append(Step(known=f"load {load.load_id}, {load.file}"))
            continue
        takes, before = "", by_content.get(content)
        if first:
            takes = f"the same as {first}, whose place it takes as the later one"
        elif load:
            takes = f"the same as load {load.load_id}, whose place it takes: it has come again"
        elif before and file.said != before.said:
            takes = f"takes the place of load {before.load_id}, which was read as {before.dialect}"
        loaded += 1
        came[content] = (file.file, loaded)
        steps.append(Step(takes=takes))
    return steps


def escaped(part: str) -> str:
    """A sheet's name as written in a reading, and after `#` in a file name: `plate.xlsx#Plate 1`.

    `#` and `/` in a sheet's name become `%23` and `%2F`, so the last `#` always precedes the sheet
    and no `/` follows it.
    """
    # What already looks escaped is escaped again, so that different names stay different.
    escaped = re.sub("%(?=2[35F])", "%25", part).replace("#", "%23").replace("/", "%2F")
    return printable(escaped)


def mark(loads: Sequence[Load], load_ids: Sequence[int], *, undone: bool) -> dict[int, str]:
    """The statuses that change when loads are undone or redone, all or none of them.

    Raises UnknownLoad or WrongStatus.
    """
    by_id = {load.load_id: load for load in loads}
    for load_id in load_ids:
        if load_id not in by_id:
            raise UnknownLoad(load_id)
        if (by_id[load_id].status == REVERTED) != undone:
            continue
        if undone:
            problem = f"is undone already. `labmart redo {load_id}` would bring it back."
        elif by := takers(loads)[load_id]:
            problem = f"was not undone: load {by} has replaced it. `labmart undo {by}` undoes that."
        else:
            problem = "was not undone: it is current."
        raise WrongStatus(load_id, problem)
    return changes(loads, dict.fromkeys(load_ids, REVERTED if undone else CURRENT))


def not_current(loads: Sequence[Load]) -> list[Load]:
    """The loads that prune deletes."""
    should = statuses(loads)
    return [load for load in loads if should[load.load_id] != CURRENT]


def takers(loads: Sequence[Load]) -> dict[int, int]:
    """For each load, the last load that would replace it if it is not reverted; 0 if none."""
    standing = [load for load in loads if load.status != REVERTED]
    # In the lake, the load_ids of concurrent calls can interleave.
    by_call = sorted(standing, key=lambda load: (load.call_id, load.load_id))
    replacing = {load.input: load for load in by_call if load.mode == REPLACE}
    standing.sort(key=lambda load: load.load_id)
    newest = {load.content: load.load_id for load in standing if load.sha256}

    def taker(load: Load) -> int:
        replaced_by, again = replacing.get(load.input), newest.get(load.content, 0)
        return max(
            replaced_by.load_id if replaced_by and replaced_by.call_id > load.call_id else 0,
            again if again > load.load_id else 0,
        )

    return {load.load_id: taker(load) for load in loads}
