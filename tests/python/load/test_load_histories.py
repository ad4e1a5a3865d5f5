"""Random histories of loads through the command, every cell of every raw table after each step.

Files of every form and content are appended, replace what was there, come again, are refused;
loads are undone, redone, pruned. With LABMART_RANDOM_HISTORIES=300 in the environment `make prove`
tries 300 more. A failure names the seed: `history(seed, …)` does it again.
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
from support.engines import Engine, Rows
from support.in_process import Done, labmart
from support.load_model import Expected, Model
from support.project import loading_project
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


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loading_project(tmp_path_factory.mktemp("histories"))


@dataclass
class Bench:
    """Where a history happens, and what has happened so far."""

    rng: random.Random
    project: Path
    engine: Engine
    schema: str
    model: Model = field(default_factory=Model)
    made: list[Made] = field(default_factory=list)

    def rows(self, sql: str) -> Rows:
        """The rows of a query; `raw.` means the schema."""
        return self.engine.rows(sql.replace("raw.", f"{self.schema}_raw."))

    def everything(self) -> dict[str, Rows]:
        """All that is there, down to the last timestamp."""
        return self.engine.everything(f"{self.schema}_raw")

    def labmart(self, *arguments: str, stdin: bytes = b"") -> Done:
        """The command, whatever it is going to say."""
        done = labmart(self.project, *arguments, stdin=stdin)
        assert "\x1b" not in done.err
        return done


def history(seed: int, project: Path, engine: Engine) -> None:
    """One history of some steps, checked after each. The working directory gets the files."""
    bench = Bench(random.Random(seed), project, engine, f"h{seed}")
    actions = ("load", "load", "load", "load", "check", "undo", "undo", "redo", "prune", "wrong")
    for step in range(STEPS):
        action = bench.rng.choice(actions) if step else "load"
        before = bench.everything()
        changed = ACTIONS[action](bench)
        if changed:
            compare(bench)
        else:
            assert bench.everything() == before, f"{action} must change nothing"


def load(bench: Bench) -> bool:
    """Load files: new ones, earlier ones, good ones and bad ones."""
    return _load(bench, check=False)


def check(bench: Bench) -> bool:
    """The same without writing."""
    return _load(bench, check=True)


def _load(bench: Bench, *, check: bool) -> bool:
    rng, model = bench.rng, bench.model
    files, paths, stdin = _given(bench)
    # What is piped in comes now.
    arrived = [time.time() if made.name == "-" else _written(bench, made) for made in files]
    options, share = rng.choice(LIMITS)
    replace = rng.random() < 0.35
    expected = model.expect(files, arrived, replace=replace, share=share)
    arguments = ["load", *options, *(["--replace", "--allow-empty"] if replace else [])]
    arguments += ["--check"] if check else []
    done = bench.labmart(*arguments, "--", *paths, stdin=stdin)
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
    """Undo some loads."""
    return _mark(bench, "undo", undone=True)


def redo(bench: Bench) -> bool:
    """Redo some loads."""
    return _mark(bench, "redo", undone=False)


def _mark(bench: Bench, command: str, *, undone: bool) -> bool:
    able = [entry for entry in bench.model.entries if entry.undone is not undone]
    chosen = bench.rng.sample(able, min(len(able), bench.rng.choice((1, 1, 2))))
    if not chosen:
        return False
    done = bench.labmart(command, *(str(entry.load_id) for entry in chosen))
    assert done.code == 0, done.err
    for entry in chosen:
        assert f"load {entry.load_id} (" in done.err
        entry.undone = undone
    return True


def prune(bench: Bench) -> bool:
    """Delete what does not count."""
    if bench.rng.random() < 0.5:
        return False
    gone = bench.model.prune()
    done = bench.labmart("prune")
    assert done.code == 0, done.err
    told = (
        f"In all {gone:,} with" if gone > 1 else "deleted" if gone else "there is nothing to delete"
    )
    assert told in done.err
    return gone > 0


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
    done = bench.labmart(*bench.rng.choice(calls))
    assert done.code == 2, done.err
    return False


ACTIONS = {
    "load": load,
    "check": check,
    "undo": undo,
    "redo": redo,
    "prune": prune,
    "wrong": wrong,
}


def compare(bench: Bench) -> None:
    """The raw tables are what the model says, cell by cell."""
    model = bench.model
    ledger = bench.rows(
        "select load_id, call_id, input, file, sha256, bytes, mode, status, records_read, "
        "records_rejected, dialect <> '', started_at <= finished_at, loaded_by <> '' "
        "from raw.loads order by load_id"
    )
    _same(
        ledger,
        [
            (
                *(entry.load_id, entry.call, entry.input, entry.file, entry.sha256, entry.bytes),
                *(entry.mode, model.status(entry), entry.table.read, len(entry.table.rejected)),
                *(True, True, True),
            )
            for entry in model.entries
        ],
    )
    rejected = bench.rows(
        "select load_id, line, rule, content, detail <> '' from raw.rejected_lines "
        "order by load_id, line, content"
    )
    wanted: Rows = [
        (entry.load_id, *line, True) for entry in model.entries for line in entry.table.rejected
    ]
    _same(rejected, wanted)
    for entry_ in INPUTS:
        columns = ", ".join(entry_.columns)
        found = bench.rows(
            f"select load_id, line, {columns} from raw.{entry_.name} order by load_id, line"
        )
        _same(
            found,
            [
                (entry.load_id, line, *cells)
                for entry in model.entries
                if entry.input == entry_.name
                for line, cells in entry.table.rows
            ],
        )


def _same(found: Rows, wanted: Rows) -> None:
    """Say the first row that differs; whole tables would hide it."""
    for one, other in zip(found, wanted, strict=False):
        assert one == other, f"\nfound  {short.repr(one)}\nwanted {short.repr(other)}"
    assert len(found) == len(wanted)


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
def test_a_random_history_leaves_exactly_what_it_must(
    seed: int,
    project: Path,
    shared_engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable, value in shared_engine.environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("LABMART_SCHEMA", f"h{seed}")
    monkeypatch.setenv("LABMART_RAW_SCHEMA", f"h{seed}_raw")
    monkeypatch.chdir(tmp_path)
    history(seed, project, shared_engine)
    shared_engine.rows(f"drop schema if exists h{seed}_raw cascade")
