"""The whole way: random laboratories as files of random forms, loaded, built, and every mart right.

What the marts must be is calculated by the oracle from what the files hold; which loads count, by
the model of the ledger. The lines that cannot be split are among the issues.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import NOT_COPIED, ROOT, Database
from in_process import fresh_database, labmart
from load_model import Model
from oracle import MARTS, File, Lab, RejectedLine, Row, marts
from random_files import Made, given_content
from random_labs import random_lab
from random_tables import INPUTS, Draft
from test_marts_match_oracle import Workbench, differences

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    project = tmp_path_factory.mktemp("whole") / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    shutil.copy(project / "profiles.yml.example", project / "profiles.yml")
    with fresh_database(server) as database, pytest.MonkeyPatch.context() as patch:
        for variable, value in database.environment.items():
            patch.setenv(variable, value)
        bench = Workbench(project, database)
        bench.dbt("run-operation", "create_raw_tables")
        yield bench


def load(bench: Workbench, lab: Lab, rng: random.Random, folder: Path) -> Lab:
    """Load the laboratory's files; the laboratory as the database must now know it."""
    seeds = tuple(file for file in lab.files if file.load_id is None)
    bench.fill(Lab(seeds))
    with closing(bench.database.connect()) as connection, connection.cursor() as cursor:
        # Numbers of loads begin anew.
        cursor.execute("drop table if exists labmart_raw.last_load")
    model = Model()
    for number, file in enumerate(file for file in lab.files if file.load_id is not None):
        made = _made(file, rng, str(folder / f"{number} é.txt"))
        Path(made.name).write_bytes(made.data)
        replace = rng.random() < 0.15
        expected = model.expect([made], replace=replace, share=1.0)
        options = ["--max-rejected", "100%", *(["--replace"] if replace else [])]
        done = labmart(bench.project, "load", *options, made.name)
        assert done.code == 0, done.err
        model.add(expected)
        if rng.random() < 0.15 and expected.loaded:
            undone = expected.loaded[0]
            assert labmart(bench.project, "undo", str(undone.load_id)).code == 0
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


@pytest.mark.parametrize(("seed", "dirt"), [(21, 0.05), (22, 0.3)])
def test_every_mart_of_loaded_files_is_as_calculated(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, dirt: float
) -> None:
    for variable, value in bench.database.environment.items():
        monkeypatch.setenv(variable, value)
    rng = random.Random(seed)
    lab = load(bench, random_lab(seed, mode="loads", dirt=dirt), rng, tmp_path)
    left_out = ("test", "unit_test", "exposure")
    bench.dbt("build", *(part for kind in left_out for part in ("--exclude-resource-type", kind)))
    right = marts(lab)
    wrong = [line for mart in MARTS for line in differences(mart, right[mart], bench.shown(mart))]
    assert not wrong, f"{len(wrong)} differences\n" + "\n".join(wrong[:40])
