"""The whole way: random laboratories as files of random forms, loaded, built, and every mart right.

What the marts must be is calculated by the oracle from what the files hold; which loads count, by
the model of the ledger. The lines that cannot be split are among the issues.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from support.load_model import Model
from support.oracle import File, Lab, RejectedLine, Row, marts
from support.random_files import Made, given_content
from support.random_labs import random_lab
from support.random_tables import INPUTS, Draft
from support.workbench import Workbench, open_workbench

pytestmark = pytest.mark.slow


def load(bench: Workbench, lab: Lab, rng: random.Random, folder: Path) -> Lab:
    """Load the laboratory's files; the laboratory as the database must now know it."""
    seeds = tuple(file for file in lab.files if file.load_id is None)
    bench.fill(Lab(seeds))
    model = Model()
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
    loads = [
        File(
            entry.input,
            entry.load_id,
            entry.file,
            model.status(entry),
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
    content = given_content(rng, draft)
    return Made(name, name, content.data, ((name, content),))


@pytest.mark.parametrize(
    ("engine", "seed", "dirt"),
    [
        ("postgres", 22, 0.3),
        ("duckdb", 22, 0.3),
        *(
            pytest.param(engine, seed, dirt, marks=pytest.mark.prove("a build for each history"))
            for engine in ("postgres", "duckdb")
            for seed, dirt in ((21, 0.05), *((seed, 0.2) for seed in range(23, 43)))
        ),
        pytest.param("sail", 22, 0.3, marks=pytest.mark.prove("a whole build is in make test")),
        pytest.param("spark", 22, 0.3, marks=pytest.mark.prove("a build on Spark takes a minute")),
    ],
)
def test_every_mart_of_loaded_files_is_as_calculated(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str, seed: int, dirt: float
) -> None:
    # A database of its own, in which load numbers begin with 1, as the model's do.
    with open_workbench(engine, lambda: request.getfixturevalue("server"), tmp_path) as bench:
        lab = load(bench, random_lab(seed, mode="loads", dirt=dirt), random.Random(seed), tmp_path)
        bench.build()
        wrong = bench.differences(marts(lab))
    assert not wrong, f"{len(wrong)} differences\n" + "\n".join(wrong[:40])
