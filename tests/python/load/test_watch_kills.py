"""`labmart watch` is ended, by a signal or at any moment: nothing is lost or loaded twice."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from support.databases import Database
from support.load_processes import (
    begin,
    end_of,
    held_in_copy,
    nobody_loads,
    wait_for,
    write_table,
)
from support.watching import LONG_AGO, drop, files, user

pytestmark = pytest.mark.slow

# Before any test: conftest takes such variables away.
SEED = os.environ.get("LABMART_KILLS_SEED") or str(random.randrange(10**9))


def test_it_goes_on_watching_until_it_is_told_to_end(
    database: Database, box: Path, loading_copy: Path
) -> None:
    command = ("--project-dir", loading_copy, "watch", str(box), "--no-build", "--interval", "0.1")
    process = begin(database, *command)
    try:
        for number in range(2):
            drop(box, f"{number}.csv", user(number))
            wait_for(lambda: not list(box.glob("*.csv")))
    finally:
        process.send_signal(signal.SIGTERM)
    assert end_of(process).code == 128 + signal.SIGTERM
    assert files(box) == ["loaded/DAY/0.csv", "loaded/DAY/1.csv"]


def test_a_kill_in_the_middle_of_a_file_loads_it_once(
    database: Database, box: Path, loading_copy: Path
) -> None:
    command = ("--project-dir", loading_copy)
    first = write_table(box.parent / "0.csv", "users", [0])
    assert end_of(begin(database, *command, "load", first)).code == 0
    write_table(box / "a.csv", "users", range(1, 6))
    os.utime(box / "a.csv", (LONG_AGO, LONG_AGO))
    watching = ("watch", str(box), "--no-build", "--interval", "0.1", "--once")
    with held_in_copy(database, "users") as wait_until_held:
        process = begin(database, *command, *watching)
        wait_until_held()
        process.kill()
        process.communicate()
    nobody_loads(database)
    assert files(box) == ["a.csv"]
    assert database.rows("select count(*) from labmart_raw.users") == [(1,)]
    assert end_of(begin(database, *command, *watching)).code == 0
    assert files(box) == ["loaded/DAY/a.csv"]
    assert database.rows("select count(*) from labmart_raw.users") == [(6,)]


@pytest.mark.prove("eight kills at random moments; one chosen moment is tried always")
def test_kills_at_any_moment_lose_nothing_and_load_nothing_twice(
    database: Database, box: Path, loading_copy: Path
) -> None:
    moments = random.Random(SEED)
    good = {write_table(box / f"g{n:03}.csv", "users", [n]).read_text() for n in range(100)}
    bad = {
        (box / f"b{n}.csv").write_text(f"no table {n}\n") and f"no table {n}\n" for n in range(6)
    }
    for path in box.glob("*.csv"):
        written = LONG_AGO + moments.random() * 100
        os.utime(path, (written, written))
    command = ("--project-dir", loading_copy, "watch", str(box), "--no-build", "--interval", "0.1")
    kills = 0
    for number in range(40):
        process = begin(database, *command, "--once")
        if number < 8:
            deadline = time.monotonic() + 0.4 + moments.random() * 1.5
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            if process.poll() is None:
                process.kill()
                process.communicate()
                nobody_loads(database)
                kills += 1
                continue
        if end_of(process).code in (0, 3) and not list(box.glob("*.csv")):
            break
    assert kills, f"seed {SEED}"
    assert {path.read_text() for path in box.glob("loaded/*/*")} == good, f"seed {SEED}"
    refused = [path for path in box.glob("rejected/*/*") if not path.name.endswith(".report.txt")]
    assert {path.read_text() for path in refused} == bad, f"seed {SEED}"
    assert len(list(box.glob("rejected/*/*"))) == 2 * len(bad), f"seed {SEED}"
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("select user_id, count(*) from labmart_raw.users group by 1 order by 1")
        assert cursor.fetchall() == sorted((str(n), 1) for n in range(100)), f"seed {SEED}"
