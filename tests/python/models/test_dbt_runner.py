"""Running dbt: progress, what failed and why, one build at a time, an orderly end."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support import load_processes
from support.databases import Database, fresh_database, small_tablespace
from support.in_process import Done, labmart
from support.load_processes import end_of, wait_for
from support.project import ROOT

from loader.build import NOT_PUBLISHED
from loader.dbt import Plan, Standby, build
from loader.progress import Report
from loader.project import Profile, Project

pytestmark = pytest.mark.slow

FILES = {
    "dbt_project.yml": "name: tiny\nprofile: labmart\nversion: 1.0.0\n",
    "seeds/numbers.csv": "n,word\n1,one\n2,two\n",
    "models/doubled.sql": (
        "select n, n * {{ var('factor', 2) }} as twice, word from {{ ref('numbers') }}\n"
    ),
    "models/_models.yml": """
models:
  - name: doubled
    columns:
      - name: n
        data_tests: [not_null, unique]
unit_tests:
  - name: twice_is_twice
    description: Twice a number is the number and itself again.
    model: doubled
    given:
      - input: ref('numbers')
        rows: [{n: 21}]
    expect:
      rows: [{n: 21, twice: 42}]
""",
    "tests/small_enough.sql": "select n, twice, word from {{ ref('doubled') }} where twice > 100\n",
    "tests/example.sql": "{{ config(tags=['development']) }} select 1 as n\n",
    "tests/_tests.yml": """
data_tests:
  - name: small_enough
    description: Nothing is beyond a hundred; reports would not fit the page.
""",
}
# What can go wrong, all of it in one project.
FAULTY = {
    "seeds/numbers.csv": "n,word\n" + "".join(f"{n},word {n}\n" for n in range(50, 70)),
    "seeds/torn.csv": "n,word\n1,one,too many\n",
    "models/broken.sql": "select no_such_column from {{ ref('numbers') }}\n",
    "models/tripled.sql": "select n, n * 2 as thrice from {{ ref('numbers') }}\n",
    "models/_tripled.yml": """
unit_tests:
  - name: thrice_is_thrice
    description: Thrice a number is three of it.
    model: tripled
    given:
      - input: ref('numbers')
        rows: [{n: 21}]
    expect:
      rows: [{n: 21, thrice: 63}]
""",
}


def project(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    shutil.copy(ROOT / "profiles.yml.example", root / "profiles.yml")
    (root / "macros").mkdir()
    shutil.copy(ROOT / "macros" / "overrides" / "generate_schema_name.sql", root / "macros")
    return root


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return project(tmp_path / "tiny", FILES)


def begin(root: Path, database: Database, *arguments: str) -> subprocess.Popen[str]:
    """Start `labmart build` in a process of its own."""
    return load_processes.begin(database, "build", *arguments, project=root)


def run(root: Path, database: Database, *arguments: str) -> Done:
    return labmart(root, *arguments, env=database.environment)


# Says its number and what it was called with, when it has nothing to wait for any more.
ECHO = """
import os, sys
waits = sys.argv.index("--") > 1
if not waits or sys.stdin.readline():
    print(os.getpid(), waits, sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("change", "is_taken"),
    [
        ({}, True),
        ({"code": "other"}, False),
        ({"is_increment": False}, False),
        ({"place": "other"}, False),
        ({"vars": "{a: 1}"}, False),
        ({"environment": "other"}, False),
        ({"kill": True}, False),
    ],
    ids=lambda value: next(iter(value), "nothing") if isinstance(value, dict) else None,
)
def test_what_is_ready_is_taken_for_just_that_build(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], is_taken: bool
) -> None:
    (tiny / "echo.py").write_text(ECHO)
    monkeypatch.setattr("loader.dbt._PROGRAM", str(tiny / "echo.py"))
    standby = Standby()
    where = Project(tiny, tiny), Profile(tiny / "profiles.yml", "postgres", "postgres", {})
    plan = Plan("next", True, "this")
    standby.prepare(*where, plan)
    assert standby._process is not None
    waiting = standby._process.pid
    if change.pop("kill", False):
        standby._process.kill()
        standby._process.wait()
    if "environment" in change:
        monkeypatch.setenv("A_VARIABLE", change.pop("environment"))
    for taken in (is_taken, False):
        result = build(*where, plan._replace(**change), Report(), standby)
        [said] = result.noise
        assert (int(said.split()[0]) == waiting, "True" in said.split()) == (taken, taken)
        assert result.exit_code == 0
        with pytest.raises(ProcessLookupError):
            os.kill(waiting, 0)


@pytest.fixture(scope="module")
def faulty(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a build says of the faulty project, with its unit tests."""
    root = project(tmp_path_factory.mktemp("faulty") / "tiny", {**FILES, **FAULTY})
    done = run(root, shared_database, "build", "--", "--exclude", "tag:development")
    assert done.code == 1
    assert done.out == ""
    for noise in ("Traceback", "in macro", "compiled code at", "Database Error in", "\x1b"):
        assert noise not in done.err
    return done.err


def test_a_build_waits_for_another_tells_each_node_or_fault_and_sums_up(
    tiny: Path, database: Database
) -> None:
    """Without the development tests, which plain dbt runs."""
    (tiny / ".labmart").mkdir()
    with (tiny / ".labmart" / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = begin(tiny, database, "--vars", "{factor: 5}")
        assert process.stderr is not None
        assert "waiting for another build" in process.stderr.readline()
        assert process.poll() is None
        fcntl.flock(lock, fcntl.LOCK_UN)
    done = end_of(process)
    assert (done.code, done.out) == (0, ""), done.err
    lines = done.err.splitlines()
    assert sum("seed " in line and "numbers" in line and "done" in line for line in lines) == 1
    assert sum("model " in line and "doubled" in line and "done" in line for line in lines) == 1
    assert "unique_doubled_n" not in done.err
    assert lines[-1].startswith("2 models and seeds built, 3 tests passed, 0 failed, 0 skipped, ")
    assert database.rows("select max(twice) from labmart.doubled") == [(10,)]
    # dbt's own commands find what was published.
    assert '"schema": "labmart"' in (tiny / "target" / "manifest.json").read_text()
    # A red build says which test, and which rows; readers see what they saw before.
    (tiny / "seeds" / "numbers.csv").write_text("n,word\n60,sixty\n")
    done = run(tiny, database, "build")
    assert done.code == 1
    assert "1 offending rows" in done.err
    assert "60    120  sixty" in done.err
    assert "Nothing was published" in done.err
    both = "select n from labmart.doubled union select n from labmart.numbers order by 1"
    assert database.rows(both) == [(1,), (2,)]
    status = "select mart, tests_passed, build from labmart.mart_status order by 1"
    assert database.rows(status) == [("doubled", 3, 1), ("numbers", 0, 1)]
    model = tiny / "models/doubled.sql"
    model.write_text(model.read_text().replace("ref('numbers')", "ref('nmubers')"))
    done = run(tiny, database, "build")
    assert done.code == 1
    assert "nmubers" in done.err
    assert "Traceback" not in done.err
    # The earlier run's results are not this one's.
    assert "built nothing" in done.err.splitlines()[-1]


FAULTS = {
    "FAILED  test small_enough  (tests/small_enough.sql)": (
        "Nothing is beyond a hundred; reports would not fit the page.",
        "It tests doubled.",
        "19 offending rows, the first 10 of them:",
        "n  twice  word",
        "51    102  word 51",
    ),
    "FAILED  unit_test thrice_is_thrice  (models/_tripled.yml)": (
        "Thrice a number is three of it.",
        "actual differs from expected",
        "63",
    ),
    "ERROR  model broken  (models/broken.sql)": ('column "no_such_column" does not exist',),
    "ERROR  seed torn  (seeds/torn.csv)": (
        "Row 0 has 3 values, but Table only has 2 columns",
        "2 models and seeds built, 3 tests passed, 4 failed, 1 skipped, ",
    ),
}


@pytest.mark.parametrize("headline", FAULTS)
def test_what_failed_is_told_with_what_shows_it(faulty: str, headline: str) -> None:
    report = faulty[faulty.index(headline) :]
    for said in FAULTS[headline]:
        assert said in report


def test_further_arguments_reach_dbt(tiny: Path, database: Database) -> None:
    done = run(tiny, database, "build", "--", "--no-such-option")
    assert done.code == 2
    assert "dbt refuses what it was given: No such option '--no-such-option'" in done.err
    done = run(tiny, database, "build", "--", "--select", "nonsense")
    assert done.code == 2
    assert "Nothing was built: dbt finds nothing for `--select nonsense`." in done.err


def wait_for_sleeping(database: Database, count: int) -> None:
    """Wait until so many queries of a slow build are running."""
    sleeping = (
        "select count(*) from pg_stat_activity where datname = current_database() "
        "and query like '%pg_sleep(300)%' and state = 'active' and pid <> pg_backend_pid()"
    )
    wait_for(lambda: database.rows(sleeping) == [(count,)], patience=60)


SLOW = "select x from (select pg_sleep(300)::text as x) as slept where x is null"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.prove("another signal, a build more")),
    ],
    ids=["ctrl-c", "term"],
)
def test_an_interrupted_build_ends_dbt_and_its_query(
    tiny: Path, database: Database, number: signal.Signals, code: int
) -> None:
    (tiny / "models/slow.sql").write_text("{{ config(materialized='table') }} " + SLOW)
    process = begin(tiny, database, "--", "--select", "slow")
    wait_for_sleeping(database, 1)
    process.send_signal(number)
    assert end_of(process).code == code
    wait_for_sleeping(database, 0)


@pytest.mark.prove("kills in the middle of a build and of its tests: a build of its own for each")
@pytest.mark.parametrize("sql", ["models/slow.sql", "tests/slow.sql"])
def test_a_killed_build_changes_nothing_and_leaves_nobody_at_work(
    tiny: Path, database: Database, sql: str
) -> None:
    assert run(tiny, database, "build").code == 0
    (tiny / "seeds" / "numbers.csv").write_text("n,word\n3,three\n")
    config = "{{ config(materialized='table') }} " if sql.startswith("models") else ""
    (tiny / sql).write_text(config + SLOW)
    process = begin(tiny, database)
    wait_for_sleeping(database, 1)
    process.kill()
    process.wait()
    wait_for_sleeping(database, 0)
    published = "select n from labmart.doubled order by 1"
    assert database.rows(published) == [(1,), (2,)]
    (tiny / sql).unlink()
    assert run(tiny, database, "build").code == 0
    assert database.rows(published) == [(3,)]


@pytest.mark.prove("three builds, and the right to mount a disk")
def test_a_full_disk_changes_nothing_and_the_next_build_is_whole(
    tiny: Path, server: Database
) -> None:
    (tiny / "models" / "many.sql").write_text(
        "{{ config(materialized='table') }} "
        "select n from generate_series(1, {{ var('many', 1) }}) as n\n"
    )
    seen = "select (select count(*) from labmart.many), (select sum(twice) from labmart.doubled)"
    with small_tablespace(server) as (disk, enlarge), fresh_database(server) as database:
        database.rows(f"alter database {database.name} set default_tablespace = {disk}")
        assert run(tiny, database, "build").code == 0
        assert database.rows(seen) == [(1, 6)]
        larger = ("build", "--vars", "{many: 50000, factor: 3}")
        done = run(tiny, database, *larger)
        assert done.code == 1
        assert "No space left on device" in done.err
        assert NOT_PUBLISHED in done.err
        assert database.rows(seen) == [(1, 6)]
        enlarge()
        done = run(tiny, database, *larger)
        assert done.code == 0, done.err
        assert database.rows(seen) == [(50000, 9)]
