"""Random histories of loads through the command, every cell of every raw table after each step.

Files of every form and content are appended, replace what was there, come again, are refused;
loads are undone, redone, pruned. With LABMART_RANDOM_HISTORIES=300 in the environment `make prove`
tries 300 more. A failure names the seed.
"""

from __future__ import annotations

import os
import random
import re
import reprlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.engines import Rows
from support.in_process import Done
from support.load_model import Expected, Model
from support.person import Person
from support.random_files import Made, random_file
from support.random_tables import INPUTS

MORE = int(os.environ.get("LABMART_RANDOM_HISTORIES", "0"))
# How many `make test` tries on an engine.
FEW = {"postgres": 3, "duckdb": 1, "lake": 1}
SEEDS = [*range(60), *range(1000, 1000 + MORE)]
LONG = pytest.mark.prove("dozens of histories take minutes")
STEPS = 9
# Option and what it means: a float is a share of the records, an int a number of them.
LIMITS: tuple[tuple[tuple[str, ...], float | int], ...] = (
    ((), 0.1),
    ((), 0.1),
    (("--max-rejected", "100%"), 1.0),
    (("--max-rejected", "100%"), 1.0),
    (("--max-rejected", "12.5%"), 0.125),
    (("--max-rejected", "0"), 0),
    (("--max-rejected", "2"), 2),
)
short = reprlib.Repr()
short.maxother = short.maxstring = 300
short.maxtuple = 12


@dataclass
class Bench:
    """Who does it, and what has happened so far."""

    rng: random.Random
    person: Person
    model: Model = field(default_factory=Model)
    made: list[Made] = field(default_factory=list)


def load(bench: Bench) -> bool:
    """Load files, or check them: new ones, earlier ones, good ones and bad ones."""
    rng, model = bench.rng, bench.model
    files, paths, stdin = _given(bench)
    # What is piped in comes now.
    arrived = [time.time() if made.name == "-" else _written(bench, made) for made in files]
    options, share = rng.choice(LIMITS)
    replace, check = rng.random() < 0.35, rng.random() < 0.2
    expected = model.expect(files, arrived, replace=replace, share=share)
    arguments = ["load", *options, *(["--replace", "--allow-empty"] if replace else [])]
    arguments += ["--check"] if check else []
    done = bench.person.labmart(*arguments, "--", *paths, stdin=stdin)
    assert done.code == expected.code, done.err
    assert done.out == ""
    _check_report(done, expected, check=check)
    if expected.code or check:
        return False
    model.add(expected)
    return bool(expected.loaded)


def _written(bench: Bench, made: Made) -> float:
    """Say when a file was written: just now, or when it was written first; in seconds."""
    first = 1_700_000_000.0 + 100 * next(
        at for at, one in enumerate(bench.made) if one.data == made.data
    )
    if bench.rng.random() < 0.6:
        os.utime(made.name, (first, first))
    return Path(made.name).stat().st_mtime


def _given(bench: Bench) -> tuple[list[Made], list[str], bytes]:
    """Some files, how they are named in the call, and what stands in standard input."""
    rng = bench.rng
    files: list[Made] = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        if bench.made and rng.random() < 0.5:
            files.append(rng.choice(bench.made))
        else:
            new = random_file(rng, len(bench.made), refused=rng.random() < 0.05)
            bench.made.append(new)
            files.append(new)
    # A file that is named twice comes once.
    files = list({made.name: made for made in files}.values())
    way = rng.random()
    if way < 0.1 and len(files[0].members) == 1 and files[0].members[0][0] == files[0].shown:
        piped = files[0]
        renamed = Made("-", "-", piped.data, (("-", piped.members[0][1]),))
        return [renamed], ["-"], piped.data
    # In a folder what is no table may be passed over.
    if way < 0.25 and all(content.tables for made in files for _, content in made.members):
        folder = Path(f"run {rng.randint(0, 10**9)}")
        (folder / "sub").mkdir(parents=True)
        (folder / ".hidden.csv").write_text("no table")
        placed = []
        for made in files:
            inside = rng.choice(("", "sub/")) + made.name
            (folder / inside).write_bytes(made.data)
            placed.append(
                _moved(made, f"{folder}/{inside}", f"{folder}/{inside[: -len(made.name)]}")
            )
        # Names begin with numbers, and numbers come before words, such as `sub`.
        placed.sort(key=lambda made: ("/sub/" in made.name, _number(made)))
        return placed, [str(folder)], b""
    for made in files:
        Path(made.name).write_bytes(made.data)
    rng.shuffle(files)
    return files, [made.name for made in files], b""


def _number(made: Made) -> int:
    [digits] = re.findall(r"\A[0-9]+", made.name.rpartition("/")[2])
    return int(digits)


def _moved(made: Made, name: str, folder: str) -> Made:
    members = tuple((folder + member, content) for member, content in made.members)
    return Made(name, folder + made.shown, made.data, members)


def _check_report(done: Done, expected: Expected, *, check: bool) -> None:
    """What the person is told fits what is done."""
    if expected.code:
        listed = [line for line in done.err.splitlines() if line.startswith("  ")]
        for name in expected.problems:
            assert any(line.startswith((f"  {name}:", f"  {name},")) for line in listed), done.err
        assert "Nothing was loaded" in done.err
        return
    assert done.err.count("already loaded (") == expected.known, done.err
    if check:
        assert done.err.endswith("Nothing was written (--check).\n")
    for entry in expected.loaded:
        read, bad = entry.table.read, len(entry.table.rejected)
        assert f"{read:,} records read, {bad:,} rejected" in done.err


def undo(bench: Bench) -> bool:
    """Undo or redo some loads."""
    undone = bench.rng.random() < 0.7
    able = [entry for entry in bench.model.entries if entry.undone is not undone]
    chosen = bench.rng.sample(able, min(len(able), bench.rng.choice((1, 1, 2))))
    if not chosen:
        return False
    numbers = [str(entry.load_id) for entry in chosen]
    done = bench.person.labmart("undo" if undone else "redo", *numbers)
    assert done.code == 0, done.err
    for entry in chosen:
        assert f"load {entry.load_id} (" in done.err
        entry.undone = undone
    return True


def prune(bench: Bench) -> bool:
    """Delete what does not count, or ask what that would be."""
    check = bench.rng.random() < 0.5
    current = bench.model.visible()
    gone = [entry for entry in bench.model.entries if entry.load_id not in current]
    done = bench.person.labmart("prune", *(["--check"] if check else []))
    assert done.code == 0, done.err
    rows = sum(len(entry.table.rows) for entry in gone)
    word = "would be deleted" if check else "deleted"
    told = f"In all {len(gone):,} with {rows:,} rows {word}." if gone else "nothing to delete"
    assert told in done.err
    if not check:
        bench.model.prune()
    return bool(gone) and not check


def wrong(bench: Bench) -> bool:
    """A call that cannot be meant; it is refused whole."""
    good = random_file(bench.rng, 10**6)
    Path("good").write_bytes(good.data)
    entries = bench.model.entries
    some = [str(entry.load_id) for entry in entries]
    undone = [str(entry.load_id) for entry in entries if entry.undone]
    kept = [str(entry.load_id) for entry in entries if not entry.undone]
    calls = [
        ["load", "good", "missing.csv"],
        ["load", "good", "--max-rejected", "many"],
        ["load", "good", "--input", "nothing"],
        ["undo", *some, str(bench.model.last + 1)],
        *(["undo", *kept, one] for one in undone),
        *(["redo", *undone, one] for one in kept),
    ]
    done = bench.person.labmart(*bench.rng.choice(calls))
    assert done.code == 2, done.err
    return False


def compare(bench: Bench) -> None:
    """The raw tables are what the model says, cell by cell."""
    entries, statuses = bench.model.entries, bench.model.statuses()
    ledger = (
        "load_id, call_id, input, file, sha256, bytes, mode, status, records_read, "
        "records_rejected, dialect <> '', started_at <= finished_at, loaded_by <> ''"
    )
    expected: dict[str, Rows] = {
        f"select {ledger} from raw.loads order by load_id": [
            (
                *(entry.load_id, entry.call, entry.input, entry.file, entry.sha256, entry.bytes),
                *(entry.mode, statuses[entry.load_id], entry.table.read),
                *(len(entry.table.rejected), True, True, True),
            )
            for entry in entries
        ],
        # A random cell may look like swallowed records, which are doubted and not rejected.
        "select load_id, line, rule, content, detail <> '' from raw.rejected_lines "
        "where rule <> 'swallowed_records' order by load_id, line, content": [
            (entry.load_id, *line, True) for entry in entries for line in entry.table.rejected
        ],
        **{
            f"select load_id, line, {', '.join(declared.columns)} from raw.{declared.name} "
            "order by load_id, line": [
                (entry.load_id, line, *cells)
                for entry in entries
                if entry.input == declared.name
                for line, cells in entry.table.rows
            ]
            for declared in INPUTS
        },
    }
    for query, right in expected.items():
        found = bench.person.rows(query)
        # The first row that differs; whole tables would hide it.
        for row, other in zip(found, right, strict=False):
            assert row == other, f"\nfound  {short.repr(row)}\nright  {short.repr(other)}"
        assert len(found) == len(right)


# A check is a load, and a redo an undo.
ACTIONS = (*(load,) * 5, *(undo,) * 3, prune, wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shared_engine", "seed"),
    [
        pytest.param(engine, seed, marks=[] if seed < few else [LONG])
        for engine, few in FEW.items()
        for seed in SEEDS
    ],
    indirect=["shared_engine"],
)
def test_a_random_history_leaves_exactly_what_it_must(seed: int, person: Person) -> None:
    bench = Bench(random.Random(seed), person)
    for step in range(STEPS):
        action = bench.rng.choice(ACTIONS) if step else load
        before = person.everything()
        if action(bench):
            compare(bench)
        else:
            assert person.everything() == before, f"{action.__name__} must change nothing"
    person.engine.rows(f"drop schema if exists {person.schema} cascade")
