"""Running dbt: progress, what failed and why, one build at a time, an orderly end."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from support.databases import Database
from support.project import ROOT

pytestmark = pytest.mark.slow

FILES = {
    "dbt_project.yml": "name: tiny\nprofile: labmart\nversion: 1.0.0\n",
    "seeds/numbers.csv": "n,word\n1,one\n2,two\n",
    "models/doubled.sql": "select n, n * 2 as twice, word from {{ ref('numbers') }}\n",
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
    "tests/_tests.yml": """
data_tests:
  - name: small_enough
    description: Nothing is beyond a hundred; reports would not fit the page.
""",
}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    root = tmp_path / "tiny"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    shutil.copy(ROOT / "profiles.yml.example", root / "profiles.yml")
    return root


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **extra}


def labmart(root: Path, database: Database, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loader", *arguments],
        cwd=root,
        env=environment(database.environment),
        capture_output=True,
        text=True,
        check=False,
    )


def change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_a_good_build_tells_each_node_and_sums_up(tiny: Path, database: Database) -> None:
    done = labmart(tiny, database, "build")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert sum("seed " in line and "numbers" in line and "done" in line for line in lines) == 1
    assert sum("model " in line and "doubled" in line and "done" in line for line in lines) == 1
    assert "unique_doubled_n" not in done.stderr
    assert lines[-1].startswith("2 models and seeds built, 4 tests passed, 0 failed, 0 skipped, ")


def test_a_failed_test_comes_with_description_and_rows(tiny: Path, database: Database) -> None:
    rows = "".join(f"{n},word {n}\n" for n in range(50, 70))
    (tiny / "seeds/numbers.csv").write_text(f"n,word\n{rows}")
    done = labmart(tiny, database, "build")
    assert done.returncode == 1
    report = done.stderr[done.stderr.index("FAILED  test small_enough") :]
    assert "(tests/small_enough.sql)" in report
    assert "Nothing is beyond a hundred; reports would not fit the page." in report
    assert "19 offending rows, the first 10 of them:" in report
    assert "n  twice  word" in report
    assert "51    102  word 51" in report
    assert "Traceback" not in done.stderr
    assert "1 failed" in done.stderr.splitlines()[-1]


def test_a_failed_unit_test_shows_the_difference(tiny: Path, database: Database) -> None:
    change(tiny / "models/doubled.sql", "n * 2", "n * 3")
    done = labmart(tiny, database, "build")
    assert done.returncode == 1
    assert "FAILED  unit_test twice_is_twice  (models/_models.yml)" in done.stderr
    assert "Twice a number is the number and itself again." in done.stderr
    assert "actual differs from expected" in done.stderr
    assert "63" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_failed_model_shows_the_database_s_words(tiny: Path, database: Database) -> None:
    change(tiny / "models/doubled.sql", "n * 2", "no_such_column")
    done = labmart(tiny, database, "build", "--", "--exclude", "test_type:unit")
    assert done.returncode == 1
    assert "ERROR  model doubled  (models/doubled.sql)" in done.stderr
    assert 'column "no_such_column" does not exist' in done.stderr
    assert "Database Error in" not in done.stderr
    assert "compiled code at" not in done.stderr
    assert "skipped" in done.stderr.splitlines()[-1]


def test_a_seed_that_cannot_be_read_names_the_file(tiny: Path, database: Database) -> None:
    (tiny / "seeds/numbers.csv").write_text("n,word\n1,one,too many\n")
    done = labmart(tiny, database, "build")
    assert done.returncode == 1
    assert "ERROR  seed numbers  (seeds/numbers.csv)" in done.stderr
    assert "Row 0 has 3 values, but Table only has 2 columns" in done.stderr
    assert "in macro" not in done.stderr


def test_a_project_that_cannot_be_parsed_says_why(tiny: Path, database: Database) -> None:
    assert labmart(tiny, database, "build").returncode == 0
    change(tiny / "models/doubled.sql", "ref('numbers')", "ref('nmubers')")
    done = labmart(tiny, database, "build")
    assert done.returncode == 1
    assert "nmubers" in done.stderr
    assert "Traceback" not in done.stderr
    # The earlier run's results are not this one's.
    assert "built nothing" in done.stderr.splitlines()[-1]


def test_vars_and_further_arguments_reach_dbt(tiny: Path, database: Database) -> None:
    change(tiny / "models/doubled.sql", "n * 2", "n * {{ var('factor', 2) }}")
    done = labmart(
        tiny, database, "build", "--vars", "{factor: 5}", "--", "--exclude", "test_type:unit"
    )
    assert done.returncode == 0, done.stderr
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("select max(twice) from labmart.doubled")
        assert cursor.fetchone() == (10,)
    done = labmart(tiny, database, "build", "--", "--no-such-option")
    assert done.returncode == 1
    assert "--no-such-option" in done.stderr


def test_a_second_build_waits_for_the_first(tiny: Path, database: Database) -> None:
    (tiny / ".labmart").mkdir()
    with (tiny / ".labmart" / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [sys.executable, "-m", "loader", "build"],
            cwd=tiny,
            env=environment(database.environment),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert "waiting for another build" in process.stderr.readline()
        assert process.poll() is None
        fcntl.flock(lock, fcntl.LOCK_UN)
    assert "2 models and seeds built" in process.communicate()[1]
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)
def test_an_interrupted_build_ends_dbt_and_its_query(
    tiny: Path, database: Database, number: signal.Signals, code: int
) -> None:
    (tiny / "models/slow.sql").write_text(
        "{{ config(materialized='table') }} select pg_sleep(300)::text as x"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "loader", "build", "--", "--select", "slow"],
        cwd=tiny,
        env=environment(database.environment),
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run as a background job, SIGINT is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    sleeping = (
        "select count(*) from pg_stat_activity where datname = current_database() "
        "and query like '%pg_sleep(300)%' and state = 'active' and pid <> pg_backend_pid()"
    )
    with closing(database.connect()) as connection, connection.cursor() as cursor:

        def wait_for(count: int) -> None:
            deadline = time.monotonic() + 60
            while True:
                cursor.execute(sleeping)
                if cursor.fetchone() == (count,):
                    return
                assert time.monotonic() < deadline, f"no {count} sleeping queries"
                time.sleep(0.1)

        wait_for(1)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        wait_for(0)
    assert process.returncode == code, said
    assert "Traceback" not in said
