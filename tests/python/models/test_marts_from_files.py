"""The whole way: random laboratories as files of random forms, loaded, built, and every mart right.

What the marts must be is calculated by the oracle from what the files hold; which loads count, by
the model of the ledger. The lines that cannot be split are among the issues.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.in_process import labmart
from support.load_model import Model
from support.oracle import File, Lab, RejectedLine, Row, marts
from support.random_files import Made, random_content
from support.random_labs import random_lab
from support.random_tables import INPUTS, Draft
from support.workbench import Workbench, open_workbench

pytestmark = pytest.mark.slow


def load(bench: Workbench, model: Model, lab: Lab, rng: random.Random, folder: Path) -> Lab:
    """Load the laboratory's files; the laboratory as the database must now know it."""
    seeds = tuple(file for file in lab.files if file.load_id is None)
    bench.fill(Lab(seeds))
    model.entries.clear()
    for number, file in enumerate(file for file in lab.files if file.load_id is not None):
        made = _made(file, rng, str(folder / f"{number} é.txt"))
        Path(made.name).write_bytes(made.data)
        replace = rng.random() < 0.15
        arrived = [Path(made.name).stat().st_mtime]
        expected = model.expect([made], arrived, replace=replace, share=1.0)
        options = ["--max-rejected", "100%", *(["--replace"] if replace else [])]
        bench.labmart("load", *options, made.name)
        model.add(expected)
        if rng.random() < 0.15 and expected.loaded:
            undone = expected.loaded[0]
            bench.labmart("undo", str(undone.load_id))
            undone.undone = True
    statuses = model.statuses()
    loads = [
        File(
            entry.input,
            entry.load_id,
            entry.file,
            statuses[entry.load_id],
            tuple(Row(line, cells) for line, cells in entry.table.rows),
            tuple(RejectedLine(line, rule, "-", text) for line, rule, text in entry.table.rejected),
        )
        for entry in model.entries
    ]
    return Lab((*seeds, *loads))


def _made(file: File, rng: random.Random, name: str) -> Made:
    (entry,) = (entry for entry in INPUTS if entry.name == file.input)
    places = tuple(range(len(entry.columns)))
    draft = Draft(entry, entry.columns, places, tuple(row.cells for row in file.rows))
    content = random_content(rng, draft)
    return Made(name, name, content.data, ((name, content),))


MANY = pytest.mark.prove("a build for each history; test_readme.py builds on PostgreSQL")


@pytest.mark.parametrize(
    ("engine", "seeds"),
    [
        ("duckdb", [22]),
        *(pytest.param(engine, range(21, 43), marks=MANY) for engine in ("postgres", "duckdb")),
        pytest.param("sail", [22], marks=pytest.mark.prove("a whole build is in make test")),
        pytest.param("spark", [22], marks=pytest.mark.prove("a build on Spark takes a minute")),
    ],
)
def test_every_mart_of_loaded_files_is_as_calculated(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str, seeds: Sequence[int]
) -> None:
    # A database of its own, in which load numbers begin with 1, as the model's do.
    with open_workbench(engine, request, tmp_path) as bench:
        model = Model()
        for seed in seeds:
            lab = random_lab(seed, mode="loads", dirt=(0.2, 0.3, 0.05)[seed % 3])
            loaded = load(bench, model, lab, random.Random(seed), tmp_path)
            bench.build()
            # Which cells look as if they had swallowed records is the splitter's own guess, and
            # changes nothing of what is read.
            found = bench.differences(marts(loaded))
            wrong = [line for line in found if "swallowed_records" not in line]
            assert not wrong, f"seed {seed}: {len(wrong)} differences\n" + "\n".join(wrong[:40])


@pytest.mark.prove("two whole builds with their tests")
@pytest.mark.parametrize("engine", ["postgres", "duckdb"])
def test_a_column_that_cannot_be_read_stops_the_build_which_names_the_option(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    users, experiments = tmp_path / "users.csv", tmp_path / "exp.csv"
    numbers = range(1, 31)
    days = "".join(f"{n},Person {n},,{n}.01.2023\n" for n in range(1, 13))
    users.write_text("user_id,name,email,signup_date\n" + days)
    header = "experiment_id;user_id;experiment_compound_ids;experiment_run_time\n"
    rows = "".join(f"EXP-{n};{n % 12 + 1};;{'1.500' if n == 7 else '12,5'}\n" for n in numbers)
    experiments.write_text(header + rows)
    paths = (str(users), str(experiments))
    with open_workbench(engine, request, tmp_path) as bench:
        red = labmart(bench.project, "run", *paths)
        assert red.code == 1
        assert "FAILED  test loads_are_mostly_accepted" in red.err
        assert red.err.splitlines()[-5:] == [
            "42 records read: 12 accepted, 30 rejected (30 rows), 0 superseded",
            "errors: 30 invalid_id",
            "warnings: 12 invalid_signup_date; see `labmart issues`",
            f"{experiments}: 30 of 30 experiment_id cannot be read; "
            "--id-prefix EXP- would read 30 of 30",
            f"{users}: 12 of 12 signup_date cannot be read; "
            "--dates DMY would read 12 of 12, --dates MDY would read 12 of 12",
        ]
        said = ("--id-prefix", "EXP-", "--dates", "DMY")
        red = labmart(bench.project, "run", *said, *paths)
        assert red.code == 1
        assert "FAILED  test columns_can_be_read" in red.err
        assert (
            f"{experiments}: 30 of 30 experiment_run_time cannot be read; "
            "--decimal comma would read 30 of 30, --decimal point would read 1 of 30"
        ) in red.err
        green = labmart(bench.project, "run", *said, "--decimal", "comma", *paths)
        assert green.code == 0, green.err
        shown = {row["experiment_id"]: row["run_time"] for row in bench.shown("experiments")}
        assert (shown["7"], shown["8"], len(shown)) == ("1500.000000", "12.500000", 30)
        days_shown = [row["signup_date"] for row in bench.shown("users")]
        assert days_shown == [f"2023-01-{n:02}" for n in range(1, 13)]
