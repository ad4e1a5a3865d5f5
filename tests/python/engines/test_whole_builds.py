"""What dbt itself adds to the models: whole builds of the catalogue of odd values on every engine.

Materialisations, contracts, hooks and the reading of seeds, from the files in seeds/ and the raw
tables to what `labmart show` prints. Laboratories by the hundred: test_marts_match_oracle.py.
"""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.engines import OLDER_POSTGRES, Lake
from support.in_process import labmart
from support.oracle import MARTS, Lab, marts
from support.project import copy_of_project
from support.random_labs import Mode, catalogue_lab, random_lab
from support.spark import KINDS, lake_on, session_at
from support.workbench import Workbench, open_workbench

pytestmark = pytest.mark.slow

LONG = pytest.mark.prove("a whole build on Spark takes a minute")
CLUSTER = pytest.mark.prove("what is computed by several workers; one does in make test")
OLDER = pytest.mark.prove("the compiled models run on the older PostgreSQL in make test")
FILES = pytest.mark.prove("test_marts_from_files.py has a whole build of files in make test")
BOTH = pytest.mark.prove("one of the two on each engine is in make test")
MODES: tuple[Mode, ...] = ("seeds", "loads")


@pytest.mark.parametrize(
    ("engine", "modes"),
    [
        ("postgres", ("seeds",)),
        ("sail", ("loads",)),
        pytest.param("postgres", ("loads", "seeds"), marks=BOTH),
        pytest.param("duckdb", MODES, marks=FILES),
        pytest.param("sail", ("seeds", "loads"), marks=BOTH),
        pytest.param("sail-cluster", ("loads",), marks=CLUSTER),
        pytest.param("spark", MODES, marks=LONG),
        pytest.param(OLDER_POSTGRES, MODES, marks=OLDER),
    ],
)
def test_every_mart_of_the_catalogue_of_odd_values_is_as_calculated(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    modes: tuple[Mode, ...],
) -> None:
    if engine in KINDS:
        # As labmart has dbt build; plain dbt's builds are in test_marts_from_files.py.
        monkeypatch.setenv("LABMART_BUILD_SCHEMA", "labmart__beside")
    with open_workbench(engine, request, tmp_path) as bench:
        for mode in modes:
            bench.check(catalogue_lab(mode))
        if isinstance(bench.engine, Lake):
            check_that_anybody_reads(bench, bench.engine.place / "labmart")


def check_that_anybody_reads(bench: Workbench, home: Path) -> None:
    """What is published is plain Parquet to programs that know nothing of labmart."""
    import pandas  # type: ignore[import-untyped]  # its types are a package of their own

    build = max(path.name for path in (home / "published").iterdir())
    columns = ["user_id", "most_consumed_compounds", "total_exp_time_per_user"]
    frame = pandas.read_parquet(home / "builds" / build / "labmart" / "user_features")[columns]
    rows = frame.itertuples(index=False)
    texts = {tuple("" if pandas.isna(cell) else str(cell) for cell in row) for row in rows}
    assert texts == {tuple(row[name] for name in columns) for row in bench.shown("user_features")}


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("sail", marks=pytest.mark.prove("three whole builds")),
        pytest.param("spark", marks=pytest.mark.prove("three whole builds on Spark")),
    ],
)
def test_builds_at_once_share_a_session_server_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """Of two laboratories that call everything alike, and of one of them from two machines."""
    url = lake_on(engine, tmp_path).url
    one, two = Lake(tmp_path / "one", url), Lake(tmp_path / "two", url)
    benches = [
        Workbench(copy_of_project(tmp_path / name), lake)
        for name, lake in (("one", one), ("two", two), ("elsewhere", one))
    ]
    right = []
    for seed, bench in enumerate(benches[:2]):
        bench.engine.enter(monkeypatch)
        right.append(marts(bench.fill(random_lab(seed, mode="loads", dirt=0))))
    builds = [
        subprocess.Popen(
            [sys.executable, "-m", "loader", "--project-dir", str(bench.project), "build"],
            env={**os.environ, **bench.engine.environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        for bench in benches
    ]
    said = [build.communicate()[1] for build in builds]
    assert [build.returncode for build in builds] == [0, 0, 0], "\n".join(said)
    for bench, expected in zip(benches, [*right, right[0]], strict=True):
        bench.engine.enter(monkeypatch)
        assert bench.differences(expected) == []
    if engine == "spark":
        # Whoever else has a session there reads one of the two by the usual name.
        [(users,)] = session_at(url).sql("select count(*) from labmart.users").collect()
        assert users in {len(expected["users"]) for expected in right}


@pytest.mark.prove("whole builds and six increments on each engine")
@pytest.mark.parametrize("engine", ["postgres", "duckdb", OLDER_POSTGRES])
def test_increments_through_the_command(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
) -> None:
    """Loads are undone and done again; a red one changes nothing; plain dbt builds whole."""
    # Of few rows nearly every load is more than a fifth.
    monkeypatch.setattr("loader.publications.LARGEST_INCREMENT", 9e9)
    labs = (random_lab(seed, mode="loads", dirt=0.05) for seed in range(40))
    lab = max(labs, key=lambda one: len(one.files))
    with open_workbench(engine, request, tmp_path) as bench:
        alone = (replace(one, status="current", workbook=one.load_id) for one in lab.files)
        files = list(bench.fill(Lab(tuple(alone))).files)

        def build(*words: str, code: int = 0) -> str:
            done = labmart(bench.project, *words, "build")
            assert done.code == code, done.err
            assert bench.differences(marts(Lab(tuple(files)))) == []
            return done.err

        assert "an increment" not in build()
        loaded = [at for at, file in enumerate(files) if file.load_id]
        for at in (*loaded[:3], *loaded[:2], loaded[-1]):
            undone = files[at].status == "current"
            bench.labmart("undo" if undone else "redo", str(files[at].load_id))
            files[at] = replace(files[at], status="reverted" if undone else "current")
            assert "an increment" in build()
        status = csv.DictReader(io.StringIO(bench.labmart("status", "--format", "csv")))
        assert {one["mart"]: int(one["mart_rows"]) for one in status} == {
            mart: len(bench.shown(mart)) for mart in MARTS
        }
        red = tmp_path / "red.csv"
        rows = "".join(f"{number},Ada,,soon\n" for number in range(10**9, 10**9 + 40))
        red.write_text(f"user_id,name,email,signup_date\n{rows}")
        bench.labmart("load", str(red))
        assert "columns_can_be_read" in build(code=1)
        newest = bench.labmart("loads", "--format", "csv", "--limit", "1").splitlines()[1]
        bench.labmart("undo", newest.partition(",")[0])
        build()
        bench.build()
        assert bench.differences(marts(Lab(tuple(files)))) == []
        bench.labmart("undo", str(files[loaded[1]].load_id))
        files[loaded[1]] = replace(files[loaded[1]], status="reverted")
        assert "an increment" not in build()
