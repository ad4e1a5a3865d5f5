"""The embedded PostgreSQL: real servers, started, killed, moved, exposed, by root and by others."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from support.embedded import AS_ROOT, ask, pid_of
from support.in_process import labmart
from support.project import ROOT, loading_project

from loader.embedded import (
    DATABASE,
    ROLE,
    ServerPaths,
    require_private,
    server_paths,
    server_process,
    start,
    status,
    stop,
)
from loader.embedded.settings import Machine, render, this_machine
from loader.errors import DatabaseUnreachable
from loader.spark_server import free_port

pytestmark = pytest.mark.slow


def copied(cluster: ServerPaths, folder: Path) -> ServerPaths:
    """A copy of a cluster in a project folder, which may be made for it."""
    folder.mkdir(exist_ok=True)
    place = server_paths(folder.resolve())
    shutil.copytree(cluster.home, place.home, symlinks=True)
    return place


@pytest.fixture(scope="module")
def shared_place(stopped_cluster: ServerPaths) -> Iterator[ServerPaths]:
    with tempfile.TemporaryDirectory(prefix="labmart-test-") as folder:
        made = copied(stopped_cluster, Path(folder))
        yield made
        stop(made)


@pytest.fixture
def place(shared_place: ServerPaths) -> Iterator[ServerPaths]:
    """A cluster that all tests start and may leave running; settings of one's own are removed."""
    yield shared_place
    if shared_place.user_settings.exists():
        shared_place.user_settings.unlink()
        stop(shared_place)


def kill(place: ServerPaths) -> int:
    pid = pid_of(place)
    os.kill(pid, signal.SIGKILL)
    while server_process(place.data):
        time.sleep(0.01)
    return pid


def test_of_several_first_starts_one_makes_a_private_utf8_database_without_a_port(
    empty_place: ServerPaths,
) -> None:
    # What a killed initdb has left.
    unfinished = empty_place.home / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    outcomes: list[bool] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(start(empty_place))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False, False, False, True]
    assert not unfinished.exists()
    for path in (empty_place.home, empty_place.data, empty_place.run, empty_place.log):
        assert path.stat().st_mode & 0o077 == 0, path
    whom = ask(empty_place, "select current_user || '@' || current_database()")
    assert whom == f"{ROLE}@{DATABASE}"
    assert ask(empty_place, "show server_encoding") == "UTF8"
    assert ask(empty_place, "show listen_addresses") == ""
    locale = "select datlocprovider::text || datlocale from pg_database limit 1"
    assert ask(empty_place, locale) == "bC.UTF-8"
    assert ask(empty_place, "select upper('é')") == "É"


def test_data_survives_a_stop_a_kill_a_stale_pid_file_and_a_lost_socket(place: ServerPaths) -> None:
    start(place)
    ask(place, "create table kept as select 7 as x")
    assert (stop(place), stop(place), status(place).word) == (True, False, "stopped")
    assert (start(place), start(place)) == (True, False)
    found = status(place)
    assert (found.word, found.pid) == ("running", pid_of(place))
    assert (found.version or "").startswith("18.")
    assert (found.size or 0) > 10 * 1024**2
    assert 0 <= (found.uptime or -1) < 3600
    kill(place)
    assert start(place) is True
    old = kill(place)
    for name in (place.data / "postmaster.pid", Path(f"{place.socket}.lock")):
        lines = name.read_text().splitlines()
        assert lines[0] == str(old)
        # The process that runs this test is alive, but no postgres.
        name.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert (server_process(place.data), stop(place), start(place)) == (None, False, True)
    shutil.rmtree(place.run)
    assert status(place).word == "not answering"
    assert start(place) is True
    assert ask(place, "select x from kept") == 7


def test_a_server_that_is_just_ending_is_waited_for_and_another_one_started(
    place: ServerPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(place)
    # As a server in its last moments: a process `postgres -D <data>` that does not answer any more.
    words = ["postgres", "-c", "read line", "-D", str(place.data)]
    ending = subprocess.Popen(words, executable="/bin/sh", stdin=subprocess.PIPE)
    (place.data / "postmaster.pid").write_text(f"{ending.pid}\n{place.data}\n0\n5432\n")
    while not server_process(place.data):
        time.sleep(0.01)
    sleep = time.sleep

    def end_and_sleep(seconds: float) -> None:
        # It ends while it is being waited for, never earlier.
        if ending.returncode is None:
            ending.communicate()
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", end_and_sleep)
    assert start(place) is True
    assert ending.returncode is not None
    assert ask(place, "select 1") == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("thesis.doc", "years of work", "no PostgreSQL data directory.*Move it away"),
        ("PG_VERSION", "16\n", "made by PostgreSQL 16.*brings PostgreSQL 18"),
    ],
)
def test_data_of_others_is_refused_and_left_alone(
    empty_place: ServerPaths, name: str, text: str, message: str
) -> None:
    empty_place.data.mkdir(parents=True)
    (empty_place.data / name).write_text(text)
    with pytest.raises(DatabaseUnreachable, match=message):
        start(empty_place)
    assert (empty_place.data / name).read_text() == text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("shared_buffers = plenty", "shared_buffers"),
        ("hba_file = '{rules}'", "does not let labmart in: pg_hba.conf rejects"),
    ],
)
def test_ones_own_settings_are_told_when_they_are_wrong_and_hold_when_right(
    place: ServerPaths, settings: str, message: str
) -> None:
    stop(place)
    rules = place.home / "rules.conf"
    rules.write_text("local all all reject\n")
    place.user_settings.write_text(settings.format(rules=rules))
    with pytest.raises(DatabaseUnreachable, match=message):
        start(place)
    stop(place)
    place.user_settings.write_text("work_mem = 77MB\n")
    start(place)
    assert ask(place, "show work_mem") == "77MB"


def test_a_directory_that_others_could_have_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(DatabaseUnreachable, match="something put in its place"):
        require_private(tmp_path / "link", [os.geteuid()], close=True)
    with pytest.raises(DatabaseUnreachable, match="belongs to another user"):
        require_private(tmp_path, [os.geteuid() + 1], close=True)


def test_folders_that_a_backup_opened_are_named_and_closed(
    place: ServerPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    start(place)
    place.run.chmod(0o777)
    with pytest.raises(DatabaseUnreachable, match=rf"open to other users.*chmod 700 '{place.run}'"):
        status(place)
    assert start(place) is False
    stop(place)
    place.data.chmod(0o755)
    start(place)
    assert capsys.readouterr().err.count("it is closed now") == 2
    assert {path.stat().st_mode & 0o777 for path in (place.run, place.data)} == {0o700}


@AS_ROOT
def test_a_socket_of_another_user_is_not_trusted(place: ServerPaths) -> None:
    start(place)
    os.chown(place.socket, 65534, 65534)
    with pytest.raises(DatabaseUnreachable, match=r"belongs to another user \(uid 65534\)"):
        start(place)
    os.chown(place.socket, 0, 0)


def test_a_socket_that_goes_while_it_is_looked_at_is_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, exists = server_paths(tmp_path), Path.exists
    place.run.mkdir(mode=0o700, parents=True)
    monkeypatch.setattr(Path, "exists", lambda path: path == place.socket or exists(path))
    assert not status(place).running


def test_two_clones_in_any_folder_have_two_servers_and_one_that_is_moved_goes_on(
    open_folder: Path, stopped_cluster: ServerPaths
) -> None:
    odd = open_folder / "with space quote ' and \" double Ünïcode-実験 back\\slash"
    odd.mkdir()
    first, second = server_paths(odd), copied(stopped_cluster, open_folder / ("long-" * 20))
    moved = server_paths(open_folder / "moved")
    try:
        start(first)
        start(second)
        ask(first, "create table only_here as select 7 as x")
        assert ask(second, "select to_regclass('only_here')") is None
        odd.rename(open_folder / "moved")
        start(moved)
        assert ask(moved, "select x from only_here") == 7
        assert ask(moved, "show data_directory") == str(moved.data)
        stop(moved)
        assert ask(second, "select 1") == 1
    finally:
        for place in (first, second, moved):
            stop(place)
        if second.run.parent != second.home:
            shutil.rmtree(second.run, ignore_errors=True)


def test_a_port_is_open_to_the_reader_with_the_password_and_while_it_is_asked_for(
    place: ServerPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGHOST", raising=False)
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    project = loading_project(place.home.parent)

    def as_seen(user: str, password: str | None, database: str = "labmart") -> str:
        try:
            psycopg2.connect(
                host="127.0.0.1", port=port, user=user, password=password, dbname=database
            ).close()
        except psycopg2.OperationalError as error:
            return str(error)
        return "in"

    start(place)
    ask(place, "create schema labmart; create table labmart.users as select 7 as user_id")
    # Another test may open the port that is the default one at the same time.
    told = labmart(project, "db", "expose", "--port", str(free_port()))
    found = re.search(r"port (\d+)\n.*^password  (\S+)", told.out, re.MULTILINE | re.DOTALL)
    assert found, told.err
    port, password = found[1], found[2]
    assert as_seen("labmart_reader", password) == "in"
    # As a BI tool asks: by the name alone, in a transaction of its own.
    dsn = f"host=127.0.0.1 port={port} dbname=labmart user=labmart_reader"
    with closing(psycopg2.connect(dsn, password=password)) as reader, reader.cursor() as cursor:
        cursor.execute("select user_id from users")
        assert cursor.fetchall() == [(7,)]
        with pytest.raises(psycopg2.Error, match="read-only transaction"):
            cursor.execute("create table mine as select 1")
    assert "password" in as_seen("labmart_reader", None)
    assert "authentication failed" in as_seen("labmart_reader", "wrong")
    assert "no pg_hba.conf entry" in as_seen("labmart_reader", password, "postgres")
    for tried in (None, password):
        assert "no pg_hba.conf entry" in as_seen("labmart", tried)
    # Our own way in stays, and a second call changes nothing.
    assert ask(place, "show port") == port
    pid = pid_of(place)
    assert password not in labmart(project, "db", "expose").out
    assert pid_of(place) == pid
    assert labmart(project, "db", "expose", "--off").code == 0
    assert "refused" in as_seen("labmart_reader", password)
    # A person who opens the network by hand opens it to nobody.
    stop(place)
    place.user_settings.write_text("listen_addresses = '127.0.0.1'\n")
    start(place)
    port = str(ask(place, "show port"))
    for user in ("labmart", "labmart_reader"):
        assert as_seen(user, password) != "in"


@AS_ROOT
def test_data_made_as_root_can_be_given_to_an_account_which_runs_it_from_then_on(
    open_folder: Path, stopped_cluster: ServerPaths
) -> None:
    place = copied(stopped_cluster, open_folder / "project")
    try:
        start(place)
        ask(place, "create table kept as select 7 as x")
        stop(place)
        for path in (place.home, *place.home.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
        start(place)
        assert ask(place, "select x from kept") == 7
        assert Path(f"/proc/{pid_of(place)}").stat().st_uid == 65534
    finally:
        stop(place)


@AS_ROOT
def test_a_closed_directory_above_is_named_and_stays_closed(
    open_folder: Path,
) -> None:
    closed = open_folder / "closed"
    data = server_paths(closed / "project").data
    data.mkdir(parents=True)
    # Data of somebody's: no user namespace helps.
    os.chown(data, 65534, 65534)
    closed.chmod(0o700)
    with pytest.raises(DatabaseUnreachable, match=f"{closed} is closed to it"):
        start(server_paths(closed / "project"))
    assert closed.stat().st_mode & 0o777 == 0o700


@AS_ROOT
@pytest.mark.parametrize("owner", [0, 65534])
def test_root_in_a_closed_project_runs_it_as_its_owner(open_folder: Path, owner: int) -> None:
    if owner == 0:
        program = shutil.which("unshare") or "false"
        asked = subprocess.run([program, "--user", "true"], capture_output=True, check=False)
        if asked.returncode:
            pytest.skip("no user namespaces here")
    os.chown(open_folder, owner, owner)
    open_folder.chmod(0o700)
    place = server_paths(open_folder)
    try:
        start(place)
        assert place.data.stat().st_uid == owner
        assert ask(place, "select 1") == 1
    finally:
        stop(place)


@AS_ROOT
def test_an_ordinary_user_can_do_all_of_it(open_folder: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from loader.embedded import server_paths, start, stop, status\n"
        "p = server_paths(Path(sys.argv[2]))\n"
        "print(start(p), status(p).running, stop(p), status(p).running)\n"
    )
    os.chown(open_folder, 65534, 65534)
    packages = Path(psycopg2.__file__).parents[1]
    # The virtual environment's Python may lie in root's home, closed to others.
    system_python = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, system_python):
        try:
            done = subprocess.run(
                [python, "-c", code, str(ROOT), str(open_folder)],
                user=65534,
                group=65534,
                extra_groups=[],
                cwd="/",
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(packages)},
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError:
            continue
        if "ModuleNotFoundError" not in done.stderr:
            assert done.stdout.split() == ["True", "True", "True", "False"], done.stderr
            return
    pytest.skip("Python or the project is closed to other users")


def of_machine(memory: int, cores: int = 2, *, disk: int = 900, shm: int | None = 12) -> Machine:
    """Sizes in GiB."""
    return Machine(memory << 30, cores, disk << 30, None if shm is None else shm << 30)


@pytest.mark.parametrize(
    ("machine", "settings"),
    [
        (of_machine(24), {"shared_buffers": "4096MB", "work_mem": "1024MB"}),
        (of_machine(24), {"max_parallel_workers": "4", "dynamic_shared_memory_type": None}),
        (of_machine(512, 64), {"shared_buffers": "8192MB", "max_wal_size": "16384MB"}),
        (of_machine(24, disk=20), {"max_wal_size": "2048MB"}),
        (of_machine(24, shm=0), {"dynamic_shared_memory_type": "mmap"}),
        (of_machine(24, shm=None), {"dynamic_shared_memory_type": None}),
    ],
)
def test_settings_follow_memory_cores_and_disk(
    tmp_path: Path, machine: Machine, settings: dict[str, str | None]
) -> None:
    text = render(machine, server_paths(tmp_path))
    told = dict(re.findall(r"^(\w+) = (.*?)\s+#", text, re.MULTILINE))
    assert {name: told.get(name) for name in settings} == settings


def test_the_server_accepts_every_setting_on_a_small_machine_with_small_shm(
    place: ServerPaths,
) -> None:
    stop(place)
    text = render(of_machine(1, 1, disk=5, shm=0), place)
    place.user_settings.write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith("include"))
    )
    start(place)
    assert ask(place, "show dynamic_shared_memory_type") == "mmap"
    assert ask(place, "select count(*) from pg_file_settings where error is not null") == 0


def test_the_machine_is_measured(tmp_path: Path) -> None:
    found = this_machine(ServerPaths(home=tmp_path, run=tmp_path))
    assert found.memory > 100 * 1024**2
    assert 1 <= found.cores <= (os.cpu_count() or 1)
