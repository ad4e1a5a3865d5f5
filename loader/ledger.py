"""The ledger: which loads are current, and what undo, redo and prune make of that.

A load's status follows from all the rows of the ledger, so undo and redo can come in any order:

    reverted    a person undid it
    superseded  not reverted, and a load of a later call that is not reverted replaces its input
    current     neither

Only whether a load is reverted is remembered; the rest is calculated anew after every change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from loader.engines import Load, RawStore
from loader.errors import UnknownLoad, WrongStatus
from loader.printable import printable

CURRENT, SUPERSEDED, REVERTED = "current", "superseded", "reverted"
APPEND, REPLACE = "append", "replace"


@dataclass(frozen=True)
class IncomingFile:
    """A file, or a sheet of one, that a call brings; `file` is its name in the ledger.

    `part` is the sheet's name, '' for a file without sheets; None: what `file` has after its `#`.
    """

    input: str
    file: str
    sha256: str
    part: str | None = None


def statuses(loads: Sequence[Load]) -> dict[int, str]:
    """The status of every load; of the loads' own it is only read which are reverted."""
    # Of the loads that replace an input, the last call decides.
    replaced_by: dict[str, int] = {}
    for load in loads:
        if load.mode == REPLACE and load.status != REVERTED:
            replaced_by[load.input] = max(load.call_id, replaced_by.get(load.input, load.call_id))

    def status(load: Load) -> str:
        if load.status == REVERTED:
            return REVERTED
        return SUPERSEDED if replaced_by.get(load.input, load.call_id) > load.call_id else CURRENT

    return {load.load_id: status(load) for load in loads}


def changes(
    loads: Sequence[Load], *, undone: Sequence[int] = (), redone: Sequence[int] = ()
) -> dict[int, str]:
    """The new statuses of the loads whose status changes, once some are undone or redone."""
    marks = dict.fromkeys(undone, REVERTED) | dict.fromkeys(redone, CURRENT)
    should = statuses(after(loads, marks))
    return {
        load.load_id: should[load.load_id] for load in loads if load.status != should[load.load_id]
    }


def after(loads: Sequence[Load], new: Mapping[int, str]) -> list[Load]:
    """The ledger with new statuses."""
    return [
        replace(load, status=new[load.load_id]) if load.load_id in new else load for load in loads
    ]


def plan(loads: Sequence[Load], incoming: Sequence[IncomingFile], *, replace: bool) -> list[str]:
    """For each file of a call where its content is already, in words; '' for one to be loaded.

    The same bytes are loaded once. When they replace, an input is left alone if exactly its
    current loads are given again; else all that is given for it is loaded anew.
    """
    should = statuses(loads)
    current = [load for load in loads if should[load.load_id] == CURRENT]
    by_bytes: dict[tuple[str, str], list[Load]] = {}
    for load in current:
        by_bytes.setdefault((load.input, load.sha256), []).append(load)

    def earlier(file: IncomingFile) -> Load | None:
        same = by_bytes.get((file.input, file.sha256), [])
        return next((load for load in same if _brought(load, file)), None)

    loaded_by = [earlier(file) for file in incoming]
    renewed = _renewed(current, incoming, loaded_by) if replace else set()
    first: dict[tuple[str, str, str], str] = {}
    words = []
    for file, same in zip(incoming, loaded_by, strict=True):
        key = (file.input, file.sha256, _part(file))
        if key in first:
            words.append(f"it is the same as {first[key]}")
        elif same is not None and file.input not in renewed:
            words.append(f"load {same.load_id}, {same.file}")
        else:
            words.append("")
        first.setdefault(key, file.file)
    return words


def file_name(name: str, part: str) -> str:
    """What the ledger calls a file, or a sheet of it: `plate.xlsx#Plate 1`.

    The last `#` is the one before the sheet, and no `/` follows: in a sheet's name these two stand
    as `%23` and `%2F`.
    """
    return f"{name}#{_escaped(part)}" if part else name


def undo(store: RawStore, load_ids: Sequence[int]) -> dict[int, str]:
    """Undo loads, all of them or none; all statuses that change by it.

    Raises UnknownLoad or WrongStatus.
    """
    loads = store.loads()
    for load in _named(loads, load_ids):
        if load.status == REVERTED:
            raise WrongStatus(
                load.load_id,
                f"is undone already. `labmart redo {load.load_id}` would bring it back.",
            )
    new = changes(loads, undone=load_ids)
    store.set_status(new)
    return new


def redo(store: RawStore, load_ids: Sequence[int]) -> dict[int, str]:
    """Take an undo back, of all the loads or none; all statuses that change by it.

    Raises UnknownLoad or WrongStatus.
    """
    loads = store.loads()
    for load in _named(loads, load_ids):
        if load.status == REVERTED:
            continue
        why = "was not undone: it is current."
        if by := replacement(loads, load):
            why = (
                f"was not undone: load {by.load_id} has replaced it. `labmart undo {by.load_id}` "
                "takes that one away."
            )
        raise WrongStatus(load.load_id, why)
    new = changes(loads, redone=load_ids)
    store.set_status(new)
    return new


def not_current(loads: Sequence[Load]) -> list[Load]:
    """What prune deletes."""
    should = statuses(loads)
    return [load for load in loads if should[load.load_id] != CURRENT]


def prune(store: RawStore) -> list[Load]:
    """Delete the loads that are not current, and what a killed load may have left; the former."""
    gone = not_current(store.loads())
    store.delete(gone)
    return gone


def replacement(loads: Sequence[Load], load: Load) -> Load | None:
    """The last load that took the place of this one."""
    later = [
        other
        for other in loads
        if (other.input, other.mode) == (load.input, REPLACE)
        and other.status != REVERTED
        and other.call_id > load.call_id
    ]
    return max(later, key=lambda other: other.load_id, default=None)


def duplicate_loads(loads: Sequence[Load]) -> list[tuple[int, int]]:
    """Pairs of current loads that brought the same: after undo, load, redo of the same bytes."""
    seen: dict[tuple[str, str, str], int] = {}
    pairs = []
    for load in loads:
        if load.status == CURRENT:
            key = (load.input, load.sha256, _sheet(load.file))
            if key in seen:
                pairs.append((seen[key], load.load_id))
            seen.setdefault(key, load.load_id)
    return pairs


def _renewed(
    current: Sequence[Load], incoming: Sequence[IncomingFile], loaded_by: Sequence[Load | None]
) -> set[str]:
    """The inputs of which something is given that is not current, or not all that is."""
    given: dict[str, set[int | None]] = {}
    for file, load in zip(incoming, loaded_by, strict=True):
        given.setdefault(file.input, set()).add(load.load_id if load else None)
    present: dict[str, set[int | None]] = {}
    for load in current:
        present.setdefault(load.input, set()).add(load.load_id)
    return {name for name, loads in given.items() if loads != present.get(name)}


def _brought(load: Load, file: IncomingFile) -> bool:
    """Whether a load with the same bytes brought the same: a workbook has several sheets."""
    part = _part(file)
    return not part or _sheet(load.file) == part


def _part(file: IncomingFile) -> str:
    return _sheet(file.file) if file.part is None else _escaped(file.part)


def _sheet(file: str) -> str:
    # What has a slash stands before a folder's end: `run #3/users.csv`.
    _, hash_, end = file.rpartition("#")
    return end if hash_ and "/" not in end else ""


def _escaped(part: str) -> str:
    # What looks escaped already is escaped once more, so that no two names become one.
    escaped = re.sub("%(?=2[35F])", "%25", part).replace("#", "%23").replace("/", "%2F")
    return printable(escaped)


def _named(loads: Sequence[Load], load_ids: Sequence[int]) -> list[Load]:
    by_id = {load.load_id: load for load in loads}
    for load_id in load_ids:
        if load_id not in by_id:
            raise UnknownLoad(load_id)
    return [by_id[load_id] for load_id in load_ids]
