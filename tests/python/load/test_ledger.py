"""Which loads count, held against a slow model that replays what people did."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from support.load_model import Entry, Expected, Model
from support.random_tables import Table
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


@pytest.mark.parametrize("seed", range(60))
def test_random_histories_show_what_replaying_them_shows(seed: int) -> None:
    rng = random.Random(seed)
    memory, store = store_of()
    model = Model()
    for _ in range(60):
        action = rng.choice(["append", "replace", "undo", "undo", "redo", "redo", "prune"])
        if action in ("append", "replace"):
            call = model.last + 1
            for number in range(rng.choice([1, 1, 2, 3])):
                load_id = model.last + (rng.choice([1, 1, 4]) if number else 1)
                input_, sha256 = rng.choice(["users", "compounds"]), rng.choice("abcdef")
                values = {"input": input_, "sha256": sha256, "mode": action}
                memory.rows.append(load(load_id, call_id=call, **values))
                table = Table(input_, "", ())
                entry = Entry(load_id, call, input_, "", sha256, 0, action, table, 0.0)
                model.add(Expected(0, loaded=(entry,)))
            settle(store)
        elif action == "prune":
            if rng.random() < 0.2:
                store.delete(ledger.not_current(store.loads()))
                model.prune()
        else:
            able = [one for one in model.entries if one.undone is (action == "redo")]
            chosen = rng.sample(able, min(len(able), rng.choice([1, 1, 2])))
            store.mark([one.load_id for one in chosen], undone=action == "undo")
            for entry in chosen:
                entry.undone = action == "undo"
        assert {row.load_id: row.status for row in memory.rows} == model.statuses()
        assert ledger.changes(memory.rows) == {}


def test_what_cannot_be_undone_or_redone_says_why_and_changes_nothing() -> None:
    loads = [load(1, status="superseded"), load(2, mode="replace"), load(3, status="reverted")]
    memory, store = store_of(*loads)
    for undone, chosen, error, said in (
        (True, [2, 3], WrongStatus, r"^Load 3 is undone already\. `labmart redo 3`"),
        (True, [2, 7], UnknownLoad, "no load 7"),
        (False, [3, 1], WrongStatus, r"load 2 has replaced it\. `labmart undo 2`"),
        (False, [3, 2], WrongStatus, "was not undone: it is current"),
    ):
        with pytest.raises(error, match=said):
            store.mark(chosen, undone=undone)
    assert memory.rows == loads


BUILD = "Run `labmart build` to bring the tables up to date."


@pytest.mark.parametrize(
    ("action", "chosen", "before", "told"),
    [
        (
            *("undo", 12),
            [
                *(load(number, status="superseded") for number in (9, 10)),
                load(12, mode="replace", file="users.csv"),
            ],
            ["load 12 (users.csv into users) is undone; 2 current again: 9, 10", BUILD],
        ),
        (
            *("undo", 1),
            [load(1, status="superseded"), load(2, mode="replace")],
            ["load 1 (file1.csv into users) is undone"],
        ),
        (
            *("redo", 2),
            [load(1), load(2, mode="replace", status="reverted")],
            ["load 2 (file2.csv into users) is current again; 1 replaced: 1", BUILD],
        ),
        *(
            (
                *("redo", 1),
                [load(1, status="reverted", sha256="a"), load(2, **other)],
                ["load 1 (file1.csv into users) is redone, but load 2 has replaced it"],
            )
            for other in ({"mode": "replace"}, {"sha256": "a", "file": "other.csv"})
        ),
    ],
)
def test_undo_and_redo_tell_what_counts_now(
    action: str, chosen: int, before: list[Load], told: list[str]
) -> None:
    _, store = store_of(*before)
    changed = store.mark([chosen], undone=action == "undo")
    assert after_change(before, [chosen], changed) == told


def test_a_file_name_cannot_write_to_the_terminal() -> None:
    [said, _] = after_prune([load(1, file="a\x1b[2J.csv", status="reverted")], check=True)
    assert "\x1b" not in said
    assert "3 rows, 2 rejected lines would be deleted" in said


def at(day: float) -> datetime:
    return DAY + timedelta(days=day)


def incoming(sha256: str, file: str = "", day: float = 0, **reading: object) -> Load:
    input_ = str(reading.pop("input", "users"))
    said = json.dumps(reading)
    file = file or f"{sha256}.csv"
    return load(0, input=input_, file=file, sha256=sha256, arrived_at=at(day), reading=said)


def known(loads: Sequence[Load], *files: Load, replace_: bool = False) -> list[str]:
    return [step.known for step in plan(loads, files, replace=replace_)]


X, Y, Z = load(1, sha256="x"), load(2, sha256="y"), load(3, sha256="z", input="compounds")
SHEET = load(1, file="lab.xlsx#Plate 1", sha256="x", reading='{"sheet": "Plate 1"}')
IS_X, IS_Y, IS_Z = "load 1, file1.csv", "load 2, file2.csv", "load 3, file3.csv"
x, y, z = incoming("x"), incoming("y"), incoming("z", input="compounds")


@pytest.mark.parametrize(
    ("loads", "files", "replaces", "told"),
    [
        # The same bytes are known under any name while they are current in the input.
        ([X], [incoming("x", "other.csv")], False, [IS_X]),
        ([replace(X, status="reverted")], [x], False, [""]),
        ([X, load(2, mode="replace")], [x], False, [""]),
        ([X], [incoming("x", input="compounds")], False, [""]),
        # The same file twice in one call is loaded once.
        ([], [x, incoming("x", "b.csv")], False, ["", "it is the same as x.csv"]),
        # Sheets of one workbook are told apart.
        (
            [SHEET],
            [incoming("x", f"copy.xlsx#Plate {n}", sheet=f"Plate {n}") for n in (1, 2)],
            False,
            ["load 1, lab.xlsx#Plate 1", ""],
        ),
        # Replacing by exactly what is current, in its order, changes nothing.
        ([X, Y, Z], [x, y], True, [IS_X, IS_Y]),
        ([X, Y, Z], [x, y, x, y], True, [IS_X, IS_Y, IS_X, IS_Y]),
        ([X, Y, Z], [y, x], True, ["", ""]),
        ([X, Y, Z], [x], True, [""]),
        ([X, Y, Z], [x, y, incoming("n")], True, ["", "", ""]),
        ([X, Y, Z], [x, z], True, ["", IS_Z]),
    ],
)
def test_what_is_loaded_already_is_known(
    loads: Sequence[Load], files: Sequence[Load], replaces: bool, told: Sequence[str]
) -> None:
    assert known(loads, *files, replace_=replaces) == told


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


def test_of_the_same_content_in_calls_at_once_the_greater_number_stays() -> None:
    calls = {5: 5, 6: 6, 7: 6, 8: 5}
    loads = [load(number, call_id=call) for number, call in calls.items()]
    loads[1], loads[3] = (replace(loads[at], sha256="x") for at in (1, 3))
    assert statuses(loads) == dict.fromkeys(calls, "current") | {6: "superseded"}


def test_undo_and_redo_of_a_correction_give_the_earlier_reading_its_place() -> None:
    corrected = load(2, sha256="x", reading='{"quote": ""}')
    memory, store = store_of(load(1, sha256="x"), corrected)
    settle(store)
    assert store.mark([2], undone=True) == {1: "current", 2: "reverted"}
    assert store.mark([2], undone=False) == {1: "superseded", 2: "current"}
    assert [one.load_id for one in ledger.not_current(memory.rows)] == [1]


def test_names_of_sheets_stay_apart() -> None:
    others = replace(SHEET, load_id=2, reading='{"sheet": "Plate 2"}')
    assert statuses([SHEET, others]) == {1: "current", 2: "current"}
    parts = ["b", "a#b", "a%23b", "a%2523b", "50%", "#b", "##b", "a/b"]
    assert len({*map(escaped, parts)}) == len(parts)


def test_a_long_ledger_is_planned_at_once() -> None:
    loads = [load(number) for number in range(1, 5001)]
    files = [incoming(one.sha256, day=1) for one in loads]
    assert all(known(loads, *files, replace_=True))
    assert all(known(loads, *files))
    assert not any(known(loads, *reversed(files))[1:])
