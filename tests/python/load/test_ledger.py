"""Which loads count, held against a slow model that replays what people did."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from support.raw_store import DAY, entry_of

from loader import ledger
from loader.engines.raw_store import RawStore
from loader.errors import UnknownLoad, WrongStatus
from loader.history import after_change, after_prune
from loader.ledger import Load, Step, escaped, plan, statuses


def load(load_id: int, **values: object) -> Load:
    plain: dict[str, object] = {
        "input": "users",
        "file": f"file{load_id}.csv",
        "sha256": f"{load_id:064x}",
        "records_read": 5,
        "records_rejected": 2,
    }
    return entry_of(load_id, **plain | values)


@dataclass
class Memory:
    """The part of a RawStore that the ledger uses."""

    rows: list[Load] = field(default_factory=list)
    mark = RawStore.mark

    def loads(self) -> list[Load]:
        return list(self.rows)

    def set_status(self, changes: Mapping[int, str]) -> None:
        self.rows = ledger.after(self.rows, changes)

    def delete(self, loads: Sequence[Load]) -> None:
        gone = {one.load_id for one in loads}
        self.rows = [row for row in self.rows if row.load_id not in gone]


def store_of(*loads: Load) -> tuple[Memory, RawStore]:
    memory = Memory(list(loads))
    return memory, memory  # type: ignore[return-value]


def settle(store: RawStore) -> None:
    store.set_status(ledger.changes(store.loads()))


@dataclass
class Model:
    """Calls in order; what is visible of an input is found by replaying those not undone."""

    calls: list[tuple[str, dict[int, tuple[str, str]]]] = field(default_factory=list)
    undone: set[int] = field(default_factory=set)

    def visible(self) -> set[int]:
        # The load that each content of an input is shown by.
        shown: dict[tuple[str, str], int] = {}
        for mode, loads in self.calls:
            alive = {one: content for one, content in loads.items() if one not in self.undone}
            if mode == "replace":
                replaced = {input_ for input_, _ in alive.values()}
                shown = {
                    content: one for content, one in shown.items() if content[0] not in replaced
                }
            shown |= {content: one for one, content in alive.items()}
        return set(shown.values())


@pytest.mark.parametrize("seed", range(60))
def test_random_histories_show_what_replaying_them_shows(seed: int) -> None:
    rng = random.Random(seed)
    memory, store = store_of()
    model = Model()
    next_id = 1
    for _ in range(60):
        action = rng.choice(["append", "replace", "undo", "undo", "redo", "redo", "prune"])
        if action in ("append", "replace"):
            call_id = next_id
            loads = {}
            for _ in range(rng.choice([1, 1, 2, 3])):
                loads[next_id] = rng.choice(["users", "compounds"]), rng.choice("abcdef")
                input_, sha256 = loads[next_id]
                memory.rows.append(
                    load(next_id, call_id=call_id, input=input_, sha256=sha256, mode=action)
                )
                next_id += rng.choice([1, 1, 4])
            model.calls.append((action, loads))
            settle(store)
        elif action == "prune":
            if rng.random() < 0.2:
                pruned = ledger.not_current(store.loads())
                store.delete(pruned)
                gone = {one.load_id for one in pruned}
                model.calls = [
                    (mode, {one: of for one, of in loads.items() if one not in gone})
                    for mode, loads in model.calls
                ]
                model.undone -= gone
        else:
            reverted = [row.load_id for row in memory.rows if row.status == "reverted"]
            others = [row.load_id for row in memory.rows if row.status != "reverted"]
            able = others if action == "undo" else reverted
            chosen = rng.sample(able, min(len(able), rng.choice([1, 1, 2])))
            store.mark(chosen, undone=action == "undo")
            model.undone ^= set(chosen)
        current = {row.load_id for row in memory.rows if row.status == "current"}
        assert current == model.visible()
        assert {row.load_id for row in memory.rows if row.status == "reverted"} == model.undone
        assert ledger.changes(memory.rows) == {}


def test_undo_is_all_or_nothing_and_says_why() -> None:
    memory, store = store_of(load(1), load(2, status="reverted"))
    with pytest.raises(WrongStatus, match=r"^Load 2 is undone already\. `labmart redo 2`"):
        store.mark([1, 2], undone=True)
    with pytest.raises(UnknownLoad, match="no load 7"):
        store.mark([1, 7], undone=True)
    assert memory.rows == [load(1), load(2, status="reverted")]


def test_redo_of_what_was_not_undone_says_what_is_in_its_place() -> None:
    _, store = store_of(load(1, status="superseded"), load(2, mode="replace"))
    with pytest.raises(WrongStatus, match=r"load 2 has replaced it\. `labmart undo 2`"):
        store.mark([1], undone=False)
    with pytest.raises(WrongStatus, match="was not undone: it is current"):
        store.mark([2], undone=False)


@pytest.mark.parametrize(
    ("action", "chosen", "before", "said"),
    [
        (
            "undo",
            12,
            [
                load(9, status="superseded"),
                load(10, status="superseded"),
                load(12, mode="replace", file="users.csv"),
            ],
            "load 12 (users.csv into users) is undone; 2 current again: 9, 10",
        ),
        (
            "undo",
            1,
            [load(1, status="superseded"), load(2, mode="replace")],
            "load 1 (file1.csv into users) is undone",
        ),
        (
            "redo",
            2,
            [load(1), load(2, mode="replace", status="reverted")],
            "load 2 (file2.csv into users) is current again; 1 replaced: 1",
        ),
        (
            "redo",
            1,
            [load(1, status="reverted"), load(2, mode="replace")],
            "load 1 (file1.csv into users) is redone, but load 2 has replaced it",
        ),
        (
            "redo",
            1,
            [load(1, status="reverted", sha256="a"), load(2, sha256="a", file="other.csv")],
            "load 1 (file1.csv into users) is redone, but load 2 has replaced it",
        ),
    ],
)
def test_undo_and_redo_tell_what_counts_now(
    action: str, chosen: int, before: list[Load], said: str
) -> None:
    _, store = store_of(*before)
    changed = store.mark([chosen], undone=action == "undo")
    told = after_change(before, [chosen], changed)
    build = ["Run `labmart build` to bring the tables up to date."]
    assert told == [said, *(build if "current again" in said else [])]


def test_a_file_name_cannot_write_to_the_terminal() -> None:
    [said, _] = after_prune([load(1, file="a\x1b[2J.csv", status="reverted")], check=True)
    assert "\x1b" not in said
    assert "3 rows, 2 rejected lines would be deleted" in said


def at(day: float) -> datetime:
    return DAY + timedelta(days=day)


def incoming(sha256: str, file: str = "", day: float = 0, **reading: object) -> Load:
    said = json.dumps(reading)
    return load(0, file=file or f"{sha256}.csv", sha256=sha256, arrived_at=at(day), reading=said)


def known(loads: Sequence[Load], *files: Load, replace_: bool = False) -> list[str]:
    return [step.known for step in plan(loads, files, replace=replace_)]


def test_the_same_bytes_are_known_under_any_name_while_they_count() -> None:
    again = incoming(load(1).sha256, "other.csv")
    assert known([load(1)], again) == ["load 1, file1.csv"]
    assert known([load(1, status="reverted")], again) == [""]
    assert known([load(1), load(2, mode="replace")], again) == [""]
    assert known([load(1)], replace(again, input="compounds")) == [""]


def test_the_same_file_twice_in_one_call_is_loaded_once() -> None:
    assert known([], incoming("x"), incoming("x", "b.csv")) == ["", "it is the same as x.csv"]


def test_of_one_call_the_later_file_wins_although_it_came_before() -> None:
    files = [incoming("a"), incoming("b"), incoming("a", "c.csv")]
    first, _, last = plan([], files, replace=False)
    assert first == Step()
    assert last == Step(takes="the same as a.csv, whose place it takes as the later one")


def arrived(load_id: int, sha256: str, day: float, **values: object) -> Load:
    return load(load_id, sha256=sha256, arrived_at=at(day), **values)


AB = [arrived(1, "a", 1), arrived(2, "b", 2)]


@pytest.mark.parametrize(
    ("loads", "files", "loaded"),
    [
        ([], [("a", 1)], [1]),
        (AB, [("a", 1), ("b", 2)], [0, 0]),
        # Monday's export sent again after Tuesday's.
        (AB, [("a", 3)], [1]),
        (AB, [("a", 3), ("b", 2)], [1, 0]),
        # A folder that was copied anew, so that all of it has come again.
        (AB, [("a", 3), ("b", 3)], [0, 0]),
        (AB, [("b", 3), ("a", 3)], [0, 1]),
        # Nothing came after it, or it is older than what there is.
        (AB, [("b", 3)], [0]),
        (AB, [("a", 0)], [0]),
        # What is new comes between files that have come again.
        (AB, [("a", 1), ("c", 3), ("b", 2)], [0, 1, 0]),
        (AB, [("a", 3), ("c", 3), ("b", 3)], [0, 1, 1]),
        # The third day in a folder of all days, on that day and later.
        (AB, [("a", 1), ("b", 2), ("a", 3)], [0, 0, 1]),
        ([*AB, arrived(3, "a", 3)], [("a", 1), ("b", 2), ("a", 3)], [0, 0, 0]),
        # The times of files that were copied together tell nothing.
        ([arrived(1, "a", 1), arrived(2, "b", 1)], [("a", 0.99999)], [1]),
        # An undone load holds nothing up, and brings nothing back.
        ([AB[0], replace(AB[1], status="reverted")], [("a", 3)], [0]),
        ([replace(AB[0], status="reverted"), AB[1]], [("a", 1)], [1]),
    ],
)
def test_the_newest_arrival_wins(
    loads: Sequence[Load], files: Sequence[tuple[str, float]], loaded: Sequence[int]
) -> None:
    arriving = [incoming(sha256, day=day) for sha256, day in files]
    assert [not one for one in known(loads, *arriving)] == [bool(one) for one in loaded]


def test_a_corrected_reading_takes_the_place_of_the_earlier_one() -> None:
    earlier = load(1, sha256="x", dialect="text, windows-1252")
    for replace_ in (False, True):
        [step] = plan([earlier], [incoming("x", encoding="cp1251")], replace=replace_)
        assert step.takes == "takes the place of load 1, which was read as text, windows-1252"
    corrected = load(2, sha256="x", reading='{"encoding": "cp1251", "columns": ["a", "b"]}')
    assert statuses([earlier, corrected]) == {1: "superseded", 2: "current"}
    said = {"encoding": "cp1251", "columns": ["a", "b"]}
    assert ledger.said_of([earlier, corrected]) == {"x": said}
    again = incoming("x", encoding="cp1251", columns=["a", "b"])
    assert known([earlier, corrected], again) == ["load 2, file2.csv"]
    assert known([earlier, corrected], incoming("x", encoding="utf-8")) == [""]


def test_undo_and_redo_of_a_correction_give_the_earlier_reading_its_place() -> None:
    corrected = load(2, sha256="x", reading='{"quote": ""}')
    memory, store = store_of(load(1, sha256="x"), corrected)
    settle(store)
    assert store.mark([2], undone=True) == {1: "current", 2: "reverted"}
    assert store.mark([2], undone=False) == {1: "superseded", 2: "current"}
    assert [one.load_id for one in ledger.not_current(memory.rows)] == [1]


def test_sheets_of_one_workbook_are_told_apart() -> None:
    first, second = (incoming("x", f"copy.xlsx#Plate {n}", sheet=f"Plate {n}") for n in (1, 2))
    loads = [load(1, file="lab.xlsx#Plate 1", sha256="x", reading='{"sheet": "Plate 1"}')]
    assert known(loads, first, second) == ["load 1, lab.xlsx#Plate 1", ""]


def test_names_of_sheets_stay_apart() -> None:
    parts = ["b", "a#b", "a%23b", "a%2523b", "50%", "#b", "##b", "a/b"]
    assert len({*map(escaped, parts)}) == len(parts)


def test_replacing_by_exactly_what_counts_in_its_order_changes_nothing() -> None:
    loads = [load(1, sha256="x"), load(2, sha256="y"), load(3, sha256="z", input="compounds")]
    x, y, new = incoming("x"), incoming("y"), incoming("n")
    assert all(known(loads, x, y, replace_=True))
    assert all(known(loads, x, y, x, y, replace_=True))
    assert known(loads, y, x, replace_=True) == ["", ""]
    assert known(loads, x, replace_=True) == [""]
    assert known(loads, x, y, new, replace_=True) == ["", "", ""]
    z = replace(incoming("z"), input="compounds")
    assert known(loads, x, z, replace_=True) == ["", "load 3, file3.csv"]


def test_a_long_ledger_is_planned_at_once() -> None:
    loads = [load(number) for number in range(1, 5001)]
    files = [incoming(one.sha256, day=1) for one in loads]
    assert all(known(loads, *files, replace_=True))
    assert all(known(loads, *files))
    assert not any(known(loads, *reversed(files))[1:])
