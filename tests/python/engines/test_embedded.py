"""The embedded PostgreSQL: real servers, started, killed, moved, exposed and started again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest
from support.embedded import AS_ROOT, ask, pid_of
from support.in_process import labmart
from support.project import loading_project

from loader.embedded import (
    DATABASE,
    ROLE,
    Place,
    is_embedded,
    make_private,
    place_of,
    programs,
    server_process,
    start,
    status,
    stop,
    url_of,
)
from loader.errors import DatabaseUnreachable

pytestmark = pytest.mark.slow


def kill(place: Place) -> int:
    pid = pid_of(place)
    os.kill(pid, signal.SIGKILL)
    while server_process(place.data):
        time.sleep(0.01)
    return pid


def test_first_start_gives_an_empty_utf8_database_and_no_network_port(empty_place: Place) -> None:
    assert start(empty_place) is True
    assert start(empty_place) is False
    assert (
        ask(empty_place, "select current_user || '@' || current_database()") == f"{ROLE}@{DATABASE}"
    )
    assert ask(empty_place, "show server_encoding") == "UTF8"
    assert ask(empty_place, "show listen_addresses") == ""
    assert (
        ask(empty_place, "select datlocprovider::text || datlocale from pg_database limit 1")
        == "bC.UTF-8"
    )
    assert ask(empty_place, "select upper('é')") == "É"


def test_data_survives_a_stop(place: Place) -> None:
    start(place)
    ask(place, "create table kept as select 7 as x")
    assert stop(place) is True
    assert stop(place) is False
    assert status(place).running is False
    start(place)
    assert ask(place, "select x from kept") == 7


def test_status_tells_pid_version_size_and_uptime(place: Place) -> None:
    assert status(place).running is False
    start(place)
    found = status(place)
    assert found.running
    assert found.pid == pid_of(place)
    assert (found.version or "").startswith("18.")
    assert (found.size or 0) > 10 * 1024**2
    assert found.uptime is not None
    assert 0 <= found.uptime < 60


def test_it_starts_again_after_kill_9(place: Place) -> None:
    start(place)
    ask(place, "create table kept as select 7 as x")
    kill(place)
    assert start(place) is True
    assert ask(place, "select x from kept") == 7


def test_a_pid_file_whose_number_is_now_another_process_does_not_hinder(place: Place) -> None:
    start(place)
    old = kill(place)
    for name in (place.data / "postmaster.pid", Path(f"{place.socket}.lock")):
        lines = name.read_text().splitlines()
        assert lines[0] == str(old)
        # The process that runs this test is alive, but no postgres.
        name.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert server_process(place.data) is None
    assert stop(place) is False
    assert start(place) is True
    assert ask(place, "select 1") == 1


def test_a_server_that_is_just_ending_is_waited_for_and_another_one_started(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(place)
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


def test_two_starts_at_once_make_one_server(empty_place: Place) -> None:
    outcomes: list[bool] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(start(empty_place))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False, False, False, True]
    assert ask(empty_place, "select 1") == 1


def test_a_killed_initdb_is_made_good(empty_place: Place) -> None:
    empty_place.home.mkdir()
    unfinished = empty_place.home / "data.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    start(empty_place)
    assert ask(empty_place, "select 1") == 1
    assert not unfinished.exists()


def test_foreign_files_in_the_data_directory_are_left_alone(empty_place: Place) -> None:
    empty_place.data.mkdir(parents=True)
    (empty_place.data / "thesis.doc").write_text("years of work")
    with pytest.raises(DatabaseUnreachable, match=r"no PostgreSQL data directory.*Move it away"):
        start(empty_place)
    assert (empty_place.data / "thesis.doc").read_text() == "years of work"


def test_data_of_another_major_version_is_refused(empty_place: Place) -> None:
    older = replace(empty_place, major=16)
    start(older)
    assert ask(older, "select current_setting('server_version_num')::int / 10000") == 16
    stop(older)
    with pytest.raises(DatabaseUnreachable, match=r"made by PostgreSQL 16.*brings PostgreSQL 18"):
        start(empty_place)


def test_a_wrong_setting_of_ones_own_is_told_with_the_last_lines_of_the_log(
    place: Place,
) -> None:
    place.user_settings.write_text("shared_buffers = plenty\n")
    with pytest.raises(DatabaseUnreachable, match="shared_buffers"):
        start(place)
    place.user_settings.write_text("work_mem = 77MB\n")
    start(place)
    assert ask(place, "show work_mem") == "77MB"


ODD_NAMES = ("with space", "quote ' and \" double", "Ünïcode-実験", "back\\slash")


@pytest.mark.parametrize(
    "name",
    [
        " ".join(ODD_NAMES),
        "long-" * 20,
        *(
            pytest.param(
                name, marks=pytest.mark.prove("a cluster each; all in one name in make test")
            )
            for name in ODD_NAMES
        ),
    ],
)
def test_any_path_will_do(open_folder: Path, name: str) -> None:
    folder = open_folder / name
    folder.mkdir()
    place = place_of(folder)
    try:
        start(place)
        assert ask(place, "select 1") == 1
        shown = subprocess.run(
            [programs() / "psql", "-Atc", "select 2", url_of(place)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout == "2\n"
    finally:
        stop(place)
        if place.run.parent != place.home:
            shutil.rmtree(place.run, ignore_errors=True)


def test_a_long_path_gets_a_private_directory_in_tmp(tmp_path: Path) -> None:
    place = place_of(tmp_path / ("x" * 90))
    assert place.run.parent == Path("/tmp")
    assert place.run.name.startswith("labmart-")
    assert is_embedded(str(place.run), tmp_path / ("x" * 90))
    assert not is_embedded("localhost", tmp_path)
    assert not is_embedded("/var/run/postgresql", tmp_path)


def test_a_directory_that_others_could_have_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatabaseUnreachable, match="something put in its place"):
        make_private(tmp_path / "link")
    make_private(tmp_path / "mine")
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    make_private(tmp_path / "mine")


@AS_ROOT
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 65534, 65534)
    with pytest.raises(DatabaseUnreachable, match="belongs to another user"):
        make_private(tmp_path / "theirs")


def test_a_server_whose_socket_is_gone_is_told_and_started_anew(place: Place) -> None:
    start(place)
    ask(place, "create table kept as select 7 as x")
    shutil.rmtree(place.run)
    assert status(place).word == "not answering"
    assert start(place) is True
    assert ask(place, "select x from kept") == 7


def test_folders_that_a_backup_opened_are_named_and_closed(
    place: Place, capsys: pytest.CaptureFixture[str]
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
def test_a_socket_of_another_user_is_not_trusted(place: Place) -> None:
    start(place)
    os.chown(place.socket, 65534, 65534)
    with pytest.raises(DatabaseUnreachable, match=r"belongs to another user \(uid 65534\)"):
        start(place)


def test_a_server_that_lets_nobody_in_says_so(place: Place) -> None:
    (place.home / "rules.conf").write_text("local all all reject\n")
    place.user_settings.write_text(f"hba_file = '{place.home / 'rules.conf'}'\n")
    with pytest.raises(DatabaseUnreachable, match=r"does not let labmart in: pg_hba.conf rejects"):
        start(place)


def test_its_files_are_private(empty_place: Place) -> None:
    start(empty_place)
    for path in (empty_place.home, empty_place.data, empty_place.run):
        assert path.stat().st_mode & 0o077 == 0, path
    assert empty_place.log.stat().st_mode & 0o077 == 0


def test_two_clones_have_two_servers(open_folder: Path) -> None:
    places = []
    for name in ("a", "b"):
        (open_folder / name).mkdir()
        places.append(place_of(open_folder / name))
    first, second = places
    try:
        start(first)
        start(second)
        ask(first, "create table only_here ()")
        assert ask(second, "select to_regclass('only_here')") is None
        stop(first)
        assert ask(second, "select 1") == 1
    finally:
        stop(first)
        stop(second)


def test_a_project_that_was_moved_while_the_server_ran_goes_on(open_folder: Path) -> None:
    (open_folder / "before").mkdir()
    start(place_of(open_folder / "before"))
    ask(place_of(open_folder / "before"), "create table kept as select 7 as x")
    (open_folder / "before").rename(open_folder / "after")
    place = place_of(open_folder / "after")
    try:
        start(place)
        assert ask(place, "select x from kept") == 7
        assert ask(place, "show data_directory") == str(place.data)
    finally:
        stop(place)


def test_a_port_is_open_to_the_reader_with_the_password_and_while_it_is_asked_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
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
    told = labmart(project, "db", "expose").out
    found = re.search(r"port (\d+)\n.*^password  (\S+)", told, re.MULTILINE | re.DOTALL)
    assert found
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
