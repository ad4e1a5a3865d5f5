"""A database that is one file: who may open it when."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest
from support.engines import DuckDB
from support.in_process import Done, command
from support.load_processes import write_table
from support.raw_store import load_one, process, write_one

from loader.engines import duckdb as duckdb_engine
from loader.engines import open_engine
from loader.engines.duckdb import file_lock, path_of
from loader.engines.raw_store import open_store
from loader.errors import ConfigError, DatabaseFault, DatabaseUnreachable, NotBuilt
from loader.project import Profile

pytestmark = pytest.mark.slow

SHELL = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"


@pytest.fixture
def file(tmp_path: Path, loading_copy: Path, monkeypatch: pytest.MonkeyPatch) -> DuckDB:
    made = DuckDB(tmp_path / "labmart.duckdb")
    made.enter(monkeypatch)
    monkeypatch.setenv("LABMART_PROJECT_DIR", str(loading_copy))
    return made


def test_a_file_that_another_program_has_open_is_named_with_the_program(
    file: DuckDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_one(file.profile())
    # This process gives up at once; the one below waits as long as ever.
    monkeypatch.setattr(duckdb_engine, "_PATIENCE_SECONDS", 0.2)
    shell = subprocess.Popen(
        [sys.executable, "-c", SHELL, str(file.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shell.stdout is not None
    assert shell.stdout.readline() == "open\n"
    try:
        for write in (True, False):
            with (
                pytest.raises(
                    DatabaseUnreachable, match=f"is open in another program.*PID {shell.pid}"
                ),
                open_store(file.profile(), write=write),
            ):
                pass
        waiting = process(file.profile(), "with open_store(profile) as s: print(len(s.loads()))")
        assert waiting.stderr is not None
        assert "is open in another program; waiting …" in waiting.stderr.readline()
    finally:
        shell.communicate("\n")
    assert waiting.communicate(timeout=120) == ("1\n", "")


def test_readers_share_the_file_and_wait_for_a_load(file: DuckDB) -> None:
    profile = file.profile()
    load_one(profile)
    code = "with open_store(profile, write=False) as s: print(len(s.loads()))"
    with open_store(profile, write=False) as reading:
        assert process(profile, code).communicate(timeout=120) == ("1\n", "")
        with pytest.raises(DatabaseFault, match="in read-only mode"):
            reading.set_status({1: "reverted"})
    with open_store(profile) as writing:
        write_one(writing)
        reader = process(profile, code)
        assert reader.stderr is not None
        assert reader.stderr.readline() == "another load is at work; waiting …\n"
        writing.commit()
    assert reader.communicate(timeout=120) == ("2\n", "")


def test_a_load_waits_while_dbt_is_at_work(file: DuckDB) -> None:
    with file_lock(file.profile()):
        loading = process(file.profile(), "print(load_one(profile))")
        assert loading.stderr is not None
        assert loading.stderr.readline() == "another load is at work; waiting …\n"
        # What dbt does meanwhile: the file itself is not taken.
        duckdb.connect(str(file.path)).close()
    assert loading.communicate(timeout=120) == ("1\n", "")


def test_who_only_looks_makes_no_file(file: DuckDB) -> None:
    with open_store(file.profile(), write=False) as store:
        assert store.loads() == []
    with open_engine(file.profile()) as source, pytest.raises(NotBuilt):
        source.columns("users")
    assert not file.path.exists()


def test_the_command_knows_a_database_without_a_server(file: DuckDB, tmp_path: Path) -> None:
    assert command("db", "url") == Done(0, f"{file.path}\n", "")
    assert "size     not made yet" in command("db", "status").out
    users = write_table(tmp_path / "users.csv", "users", range(3))
    assert command("load", str(users)).code == 0
    assert f"file     {file.path}\nsize     " in command("db", "status").out
    started = command("db", "start")
    assert (started.code, "does not use the embedded PostgreSQL" in started.err) == (2, True)


@pytest.mark.parametrize("path", ["", ":memory:", "md:lab"])
def test_a_profile_without_a_file_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="labmart needs a file"):
        path_of(Profile(Path("profiles.yml"), "test", "duckdb", {"path": path}))


def test_what_is_no_database_and_where_none_can_be_is_told(file: DuckDB) -> None:
    file.path.write_text("a,b\n" * 5000)
    inside = DuckDB(file.path / "labmart.duckdb")
    for made, said in ((file, "DuckDB cannot open"), (inside, "LABMART_DUCKDB_PATH")):
        with pytest.raises(DatabaseUnreachable, match=said), open_store(made.profile()):
            pass
    assert file.path.read_text() == "a,b\n" * 5000


def test_settings_of_the_profile_hold(file: DuckDB) -> None:
    profile = file.profile()
    given = {
        "settings": {"memory_limit": "1GB", "threads": 1},
        "config_options": {"default_block_size": "16384"},
    }
    values = {**profile.values, **given}
    with open_engine(Profile(profile.path, "test", "duckdb", values)) as source:
        _, rows = source.query(
            "select current_setting('memory_limit'), current_setting('threads')", 1
        )
    assert rows == [("953.6 MiB", 1)]
    wrong = Profile(profile.path, "test", "duckdb", {**values, "settings": {"no_such": 1}})
    with (
        pytest.raises(DatabaseUnreachable, match="unrecognized configuration parameter"),
        open_store(wrong),
    ):
        pass


@pytest.mark.parametrize("is_started", [True, False])
def test_a_signal_while_a_statement_begins_ends_it(
    file: DuckDB, monkeypatch: pytest.MonkeyPatch, is_started: bool
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if is_started:
            start(thread)
        raise KeyboardInterrupt

    with open_store(file.profile()) as store:
        run = store.run
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run("select sum(a.range * b.range) from range(1000000) as a, range(1000000) as b")
        run("rollback")
        assert run("select 1") == [(1,)]
