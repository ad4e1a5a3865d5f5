"""Several at once: loads take turns, dbt waits where it must, readers never do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from support import in_process
from support.databases import Database
from support.dbt_project import DbtProject
from support.load_processes import wait_for
from support.project import ROOT, copy_of_project
from support.raw_store import load_one, process, profile_of, rows, write_one

from loader.dbt import one_build_at_a_time
from loader.engines import open_store
from loader.engines.raw_store import raw_tables
from loader.errors import DatabaseFault
from loader.project import open_project
from loader.sources import LAST_LOAD, read_inputs

pytestmark = pytest.mark.slow


def test_an_interrupt_ends_a_wait_for_a_locked_table(database: Database) -> None:
    load_one(profile_of(database))
    with closing(database.connect()) as other, other.cursor() as cursor:
        cursor.execute("begin; lock table labmart_raw.people")
        loading = process(
            profile_of(database),
            "with open_store(profile) as s: print('go', flush=True); write_one(s); s.commit()",
        )
        assert loading.stdout is not None
        assert loading.stdout.readline() == "go\n"
        waiting = "select 1 from pg_locks where locktype = 'relation' and not granted"
        wait_for(lambda: bool(rows(database, waiting)))
        loading.send_signal(signal.SIGINT)
        _, err = loading.communicate(timeout=120)
        assert "KeyboardInterrupt" in err
        cursor.execute("rollback")


def test_a_reader_does_not_wait_for_a_load(database: Database) -> None:
    profile = profile_of(database)
    load_one(profile)
    with open_store(profile) as writing:
        write_one(writing)
        with open_store(profile, write=False) as store:
            assert [one.load_id for one in store.loads()] == [1]
            with pytest.raises(DatabaseFault, match="it takes no writing"):
                store.set_status({1: "reverted"})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, which dbt parses whole but once."""
    return copy_of_project(tmp_path_factory.mktemp("turns"))


def labmart(project: Path, database: Database, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "loader", "--project-dir", str(project), *arguments],
        env={**os.environ, **database.environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def waits(database: Database, process: subprocess.Popen[str]) -> bool:
    """Whether the process comes to wait for a load before it ends."""
    while process.poll() is None:
        if rows(database, "select 1 from pg_locks where locktype = 'advisory' and not granted"):
            return True
        time.sleep(0.1)
    return False


def test_dbt_that_creates_raw_tables_waits_for_a_first_load(
    database: Database, project: Path
) -> None:
    inputs = read_inputs(project / "models" / "staging" / "_sources.yml")
    with open_store(profile_of(database)) as store:
        store.prepare(inputs)
        dbt = labmart(project, database, "build", "--", "--select", "raw_users")
        waited = waits(database, dbt)
        store.commit()
    out, err = dbt.communicate(timeout=120)
    assert (dbt.returncode, waited) == (0, True), out + err


def test_a_load_accepts_the_tables_that_dbt_has_created(
    database: Database, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)
    DbtProject(project, "postgres").dbt("run-operation", "create_raw_tables")
    made = rows(
        database,
        "select relname, attname, format_type(atttypid, atttypmod) from pg_attribute "
        "inner join pg_class on pg_class.oid = attrelid and relkind = 'r' "
        "inner join pg_namespace on pg_namespace.oid = relnamespace "
        "where nspname = 'labmart_raw' and attnum > 0 order by relname, attnum",
    )
    inputs = read_inputs(project / "models" / "staging" / "_sources.yml")
    declared = [
        (name, column, type_)
        for name, columns in sorted(raw_tables(inputs).items())
        for column, type_ in columns.items()
        if name != LAST_LOAD
    ]
    assert made == declared, "the loader's own tables are as the source YAML declares them"


def test_prune_waits_for_a_build_and_deletes_what_does_not_count(
    database: Database, project: Path
) -> None:
    for _ in range(3):
        load_one(profile_of(database))
    rows(database, "update labmart_raw.loads set status = 'reverted' where load_id < 3")
    check = labmart(project, database, "prune", "--check")
    _, err = check.communicate(timeout=120)
    assert "2 loads with 6 rows would be deleted." in err
    with one_build_at_a_time(open_project(project)):
        pruning = labmart(project, database, "prune")
        assert pruning.stderr is not None
        assert "waiting for another build" in pruning.stderr.readline()
        assert rows(database, "select count(*) from labmart_raw.people") == [(9,)]
    _, err = pruning.communicate(timeout=120)
    assert "load 1 (people.csv into people), reverted: 3 rows, 0 rejected lines deleted" in err
    assert rows(database, "select distinct load_id from labmart_raw.people") == [(3,)]
    assert rows(database, "select load_id from labmart_raw.loads") == [(3,)]


def test_loads_undo_and_redo_from_the_shell(
    database: Database, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str) -> tuple[int, str, str]:
        done = in_process.labmart(project, *arguments)
        return done.code, done.out, done.err

    assert call("loads", "--format", "json")[:2] == (0, "[]\n")
    for _ in range(2):
        load_one(profile_of(database))
    code, _, err = call("undo", "1", "7")
    assert (code, err) == (2, "labmart: There is no load 7. `labmart loads` lists them.\n")
    code, _, err = call("undo", "1", "2")
    assert code == 0
    assert "load 2 (people.csv into people) is undone" in err
    code, _, err = call("redo", "2")
    assert (code, err.splitlines()[0]) == (0, "load 2 (people.csv into people) is current again")
    _, out, _ = call("loads", "--format", "csv")
    header, first, second = out.splitlines()
    assert header.startswith("load_id,status,mode,input,file,records_read,")
    assert first.startswith("1,reverted,append,people,people.csv,3,0,,,10,csv,")
    assert second.startswith("2,current,")
    _, out, err = call("loads", "--limit", "1")
    assert "2  current" in " ".join(out.splitlines()[-1].split(" ")), out
    assert err == "loads: the newest 1 of 2\n"
