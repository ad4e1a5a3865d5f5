"""What lands in a folder or a bucket is loaded once, whatever happens meanwhile."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Database
from engines import DuckDB, Postgres
from in_process import Done
from load_processes import begin, end_of, held_in_copy, nobody_loads, wait_for, write_table
from person import HEADER, USERS, Person, person_in

from loader.errors import BuildFailed
from loader.watch import folder as folder_module
from loader.watch import rounds as rounds_module
from loader.watch.complete import is_being_written
from loader.watch.folder import Folder
from loader.watch.memory import BEGUN, Entry, remembering
from loader.watch.places import CannotMove, Found

pytestmark = pytest.mark.slow

# Before any test: conftest takes such variables away.
SEED = os.environ.get("LABMART_KILLS_SEED") or str(random.randrange(10**9))
LONG_AGO = 1_700_000_000


@pytest.fixture
def person(
    loading_copy: Path, shared_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Person:
    """Somebody with a schema of their own. Engines are told apart by the loader, not here."""
    return person_in(tmp_path, loading_copy, Postgres(shared_database), monkeypatch)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """The folder that is watched."""
    made = tmp_path / "box"
    made.mkdir()
    return made


@pytest.fixture(autouse=True)
def no_memory(loading_copy: Path) -> Iterator[None]:
    """The tests share a project, and each of them begins with nothing remembered."""
    yield
    forget(loading_copy)


def forget(project: Path) -> None:
    for path in (project / ".labmart" / "watch").glob("*"):
        path.unlink()


def drop(box: Path, name: str, content: str = USERS, *, written: float = LONG_AGO) -> Path:
    """A file that was written long ago, so that it is complete."""
    path = box / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (written, written))
    return path


def user(number: int) -> str:
    return f"{HEADER}{number},User {number},,\n"


def watch(person: Person, place: Path | str, *options: str) -> Done:
    """One round without a build."""
    arguments = ("--once", "--no-build", "--interval", "0.1", *options)
    return person.labmart("watch", str(place), *arguments)


def files(box: Path) -> list[str]:
    """What lies below, with the dates of folders as DAY."""
    names = [str(path.relative_to(box)) for path in box.rglob("*") if path.is_file()]
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return sorted(name.replace(day, "DAY") for name in names)


def test_a_loaded_file_moves_and_a_refused_one_has_its_report(person: Person, box: Path) -> None:
    drop(box, "users.csv")
    drop(box, "press/notes.txt", "no table\n")
    done = watch(person, box)
    assert done.code == 3
    assert files(box) == [
        "loaded/DAY/users.csv",
        "rejected/DAY/press/notes.txt",
        "rejected/DAY/press/notes.txt.report.txt",
    ]
    [report] = box.glob("rejected/*/press/*.report.txt")
    assert "no line of the first 100 names columns" in report.read_text()
    assert person.names() == ["Ada", "Béla"]
    assert watch(person, box).code == 0


def test_another_engine_is_watched_for_as_well(
    loading_copy: Path, tmp_path: Path, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = person_in(tmp_path, loading_copy, DuckDB(tmp_path / "lab" / "a.duckdb"), monkeypatch)
    drop(box, "users.csv")
    assert watch(person, box).code == 0
    assert files(box) == ["loaded/DAY/users.csv"]
    assert person.names() == ["Ada", "Béla"]


def test_no_file_is_overwritten(person: Person, box: Path) -> None:
    for number in range(3):
        drop(box, "users.csv", user(number))
        drop(box, "bad.csv", f"bad {number}\n")
        watch(person, box)
    assert files(box) == [
        *(f"loaded/DAY/users{end}.csv" for end in ("-2", "-3", "")),
        "rejected/DAY/bad-2.csv",
        "rejected/DAY/bad-2.csv.report.txt",
        "rejected/DAY/bad-3.csv",
        "rejected/DAY/bad-3.csv.report.txt",
        "rejected/DAY/bad.csv",
        "rejected/DAY/bad.csv.report.txt",
    ]
    texts = {path.read_text() for path in box.glob("loaded/*/*.csv")}
    assert texts == {user(number) for number in range(3)}


def test_files_are_loaded_in_the_order_in_which_they_were_written(
    person: Person, box: Path
) -> None:
    drop(box, "a.csv", user(1), written=LONG_AGO + 10)
    drop(box, "b.csv", user(2), written=LONG_AGO)
    assert watch(person, box).code == 0
    loaded = person.rows("select file from raw.loads order by load_id")
    assert [str(name).rpartition("/")[2] for (name,) in loaded] == ["b.csv", "a.csv"]


def test_what_is_unfinished_or_nobodys_stays(person: Person, box: Path) -> None:
    kept = ["a.csv.part", "b.tmp", ".hidden.csv", "~$c.xlsx", "d.crdownload"]
    for name in kept:
        drop(box, name)
    assert watch(person, box).code == 0
    assert files(box) == sorted(kept)
    assert not person.has_tables()


def test_a_file_that_is_open_for_writing_is_not_complete(person: Person, box: Path) -> None:
    path = drop(box, "growing.csv")
    with path.open("a") as file:
        assert is_being_written(path)
        done = watch(person, box)
        assert "still being written" in done.err
        file.write("3,Cy,,\n")
    assert not is_being_written(path)
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert watch(person, box).code == 0
    assert person.names() == ["Ada", "Béla", "Cy"]


def test_a_new_file_waits_for_an_interval_and_a_renamed_one_does_not(box: Path) -> None:
    place = Folder(box, interval=60, moves=True)
    now = time.time()
    drop(box, "direct.csv", written=now)
    drop(box, "renamed.csv.part", written=now)
    [direct] = place.look()
    assert not place.is_complete(direct)
    (box / "renamed.csv.part").rename(box / "renamed.csv")
    complete = {found.name: place.is_complete(found) for found in place.look()}
    assert complete == {"direct.csv": False, "renamed.csv": True}


def test_a_file_of_a_clock_that_is_ahead_is_complete_after_an_interval(box: Path) -> None:
    place = Folder(box, interval=0.05, moves=True)
    drop(box, "users.csv", written=time.time() + 10_000)
    [found] = place.look()
    assert not place.is_complete(found)
    wait_for(lambda: place.is_complete(place.look()[0]))
    drop(box, "users.csv", USERS + "9,Zoe,,\n", written=time.time() + 10_001)
    assert not place.is_complete(place.look()[0])


def test_what_is_kept_is_loaded_once_and_an_undo_stays_one(
    person: Person, box: Path, loading_copy: Path
) -> None:
    drop(box, "users.csv")
    drop(box, "bad.csv", "no table\n")
    assert watch(person, box, "--keep").code == 3
    assert watch(person, box, "--keep").code == 0
    assert files(box) == ["bad.csv", "users.csv"]
    assert person.labmart("undo", "1").code == 0
    forget(loading_copy)
    again = watch(person, box, "--keep")
    assert "its content is in the ledger already" in again.err
    assert person.rows("select load_id, status from raw.loads") == [(1, "reverted")]


def test_what_cannot_be_moved_is_remembered(
    person: Person, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    drop(box, "users.csv")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        done = watch(person, box)
        assert "cannot be moved away. It stays, and is remembered." in done.err
    assert person.labmart("undo", "1").code == 0
    # Now that it can be moved it is, and not loaded a second time.
    assert watch(person, box).code == 0
    assert files(box) == ["loaded/DAY/users.csv"]
    assert person.rows("select load_id, status from raw.loads") == [(1, "reverted")]


def test_an_end_between_commit_and_move_loads_nothing_twice(
    person: Person, box: Path, loading_copy: Path
) -> None:
    """Also when somebody has undone the load meanwhile, so that its bytes would be loaded anew."""
    path = drop(box, "users.csv")
    assert person.labmart("load", str(path)).code == 0
    assert person.labmart("undo", "1").code == 0
    [found] = Folder(box, interval=1, moves=True).look()
    memory_of = loading_copy / ".labmart" / "watch"
    database = f"postgres/{os.environ['LABMART_SCHEMA']}"
    with remembering(memory_of, str(box), database) as memory:
        memory.put("users.csv", Entry(found.identity, BEGUN, last_load=0), build_due=True)
    assert "it had been loaded already" in watch(person, box).err
    assert files(box) == ["loaded/DAY/users.csv"]
    assert person.rows("select load_id, status from raw.loads") == [(1, "reverted")]


def test_a_newer_file_that_comes_under_the_name_is_loaded_too(
    person: Person, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = folder_module.Folder.move

    def late(self: Folder, found: Found, folder: str, report: str | None) -> str:
        if found.name == "users.csv" and not (box / "loaded").exists():
            drop(box, "new", user(7)).rename(box / "users.csv")
        return move(self, found, folder, report)

    monkeypatch.setattr(folder_module.Folder, "move", late)
    drop(box, "users.csv", user(1))
    done = watch(person, box)
    assert "a newer file has come under its name" in done.err
    assert watch(person, box).code == 0
    assert person.names() == ["User 1", "User 7"]
    assert files(box) == ["loaded/DAY/users.csv"]


def test_a_report_that_was_just_written_is_taken_up_again(box: Path) -> None:
    place = Folder(box, interval=1, moves=True)
    drop(box, "bad.csv", "no table\n")
    [found] = place.look()
    day = time.strftime("%Y-%m-%d", time.gmtime())
    drop(box, f"rejected/{day}/bad.csv.report.txt", "why\n")
    place.move(found, "rejected", "why\n")
    assert files(box) == ["rejected/DAY/bad.csv", "rejected/DAY/bad.csv.report.txt"]
    drop(box, f"rejected/{day}/other.csv.report.txt", "a file of somebody\n")
    drop(box, "other.csv", "no table\n")
    place.move(place.look()[0], "rejected", "why\n")
    assert "rejected/DAY/other-2.csv" in files(box)


def test_only_one_watches_a_place(person: Person, box: Path, loading_copy: Path) -> None:
    memory_of = loading_copy / ".labmart" / "watch"
    with remembering(memory_of, str(box), f"postgres/{os.environ['LABMART_SCHEMA']}"):
        done = watch(person, box)
    assert (done.code, "watches this place already" in done.err) == (2, True)


def test_a_damaged_memory_is_told(person: Person, box: Path, loading_copy: Path) -> None:
    drop(box, "users.csv")
    watch(person, box, "--keep")
    [memory] = (loading_copy / ".labmart" / "watch").glob("*.json")
    memory.write_text("{")
    done = watch(person, box, "--keep")
    assert (done.code, "is damaged. Remove it" in done.err) == (2, True)


@pytest.mark.parametrize("place", ["nowhere", "https://lab.example/x", "ftp://x/y", "s3://a/*.csv"])
def test_what_cannot_be_watched_is_told(person: Person, place: str) -> None:
    assert watch(person, place).code == 2


def test_a_database_that_is_down_is_no_fault_of_the_file(
    person: Person, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(box, "users.csv")
    with monkeypatch.context() as patch:
        patch.setenv("PGPORT", "1")
        assert watch(person, box).code == 4
    assert files(box) == ["users.csv"]
    assert watch(person, box).code == 0
    assert person.names() == ["Ada", "Béla"]


def test_one_build_follows_all_that_was_loaded(
    person: Person, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = []

    def build(result: bool) -> Callable[..., bool]:
        def run(*_: object) -> bool:
            builds.append(result)
            return result

        return run

    monkeypatch.setattr(rounds_module, "check_seeds", lambda _: None)
    monkeypatch.setattr(rounds_module, "run_and_report", build(result=True))
    once = ("watch", str(box), "--once", "--interval", "0.1")
    assert person.labmart(*once).code == 0
    assert builds == []
    drop(box, "a.csv", user(1))
    drop(box, "b.csv", user(2))
    assert person.labmart(*once).code == 0
    assert builds == [True]
    # What is known already changes nothing, and needs no build.
    drop(box, "a.csv", user(1))
    assert person.labmart(*once).code == 0
    assert builds == [True]
    monkeypatch.setattr(rounds_module, "run_and_report", build(result=False))
    drop(box, "c.csv", user(3))
    assert person.labmart(*once).code == BuildFailed.exit_code
    assert builds == [True, False]
    assert person.labmart(*once).code == 0
    assert builds == [True, False]
    # A load without its build, as after a kill, is followed by one.
    drop(box, "d.csv", user(4))
    assert watch(person, box).code == 0
    assert person.labmart(*once).code == 1
    assert builds == [True, False, False]


def test_sigterm_ends_it_between_two_files(
    database: Database, box: Path, loading_copy: Path
) -> None:
    first = write_table(box / "a.csv", "users", range(1, 6))
    write_table(box / "b.csv", "users", range(6, 9))
    for path, written in (("a.csv", LONG_AGO), ("b.csv", LONG_AGO + 1)):
        os.utime(box / path, (written, written))
    command = ("--project-dir", loading_copy)
    done = end_of(
        begin(database, *command, "load", write_table(box.parent / "0.csv", "users", [0]))
    )
    assert done.code == 0
    with held_in_copy(database, "users") as wait_until_held:
        process = begin(
            database, *command, "watch", str(box), "--no-build", "--interval", "0.1", "--once"
        )
        wait_until_held()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
    ended = end_of(process)
    assert ended.code == 128 + signal.SIGTERM
    assert "ending after this file" in ended.err
    assert not first.exists()
    assert files(box) == ["b.csv", "loaded/DAY/a.csv"]


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


def test_kills_at_any_moment_lose_nothing_and_load_nothing_twice(
    database: Database, box: Path, loading_copy: Path
) -> None:
    moments = random.Random(SEED)
    good = {write_table(box / f"g{n:02}.csv", "users", [n]).read_text() for n in range(24)}
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
        assert cursor.fetchall() == sorted((str(n), 1) for n in range(24)), f"seed {SEED}"


@pytest.fixture
def incoming(s3_environment: str) -> str:
    """An empty prefix of a bucket."""
    assert s3_environment
    import s3fs

    system = s3fs.S3FileSystem(skip_instance_cache=True)
    if not system.exists("watched"):
        system.mkdir("watched")
    for path in system.find("watched"):
        system.rm_file(path)
    system.pipe("watched/incoming/users.csv", USERS.encode())
    system.pipe("watched/incoming/plate #1?/bad.csv", b"no table\n")
    return "s3://watched/incoming/"


def objects() -> list[str]:
    import s3fs

    found = s3fs.S3FileSystem(skip_instance_cache=True).find("watched/incoming")
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return sorted(path.removeprefix("watched/incoming/").replace(day, "DAY") for path in found)


def test_objects_are_loaded_once_and_stay(person: Person, incoming: str) -> None:
    assert watch(person, incoming).code == 3
    assert watch(person, incoming).code == 0
    assert objects() == ["plate #1?/bad.csv", "users.csv"]
    assert person.rows("select load_id, file from raw.loads") == [
        (1, "s3://watched/incoming/users.csv")
    ]


def test_objects_move_where_it_is_asked_for(person: Person, incoming: str) -> None:
    assert watch(person, incoming, "--move").code == 3
    assert objects() == [
        "loaded/DAY/users.csv",
        "rejected/DAY/plate #1?/bad.csv",
        "rejected/DAY/plate #1?/bad.csv.report.txt",
    ]
    assert watch(person, incoming, "--move").code == 0


def test_a_move_that_cannot_be_is_told(box: Path) -> None:
    place = Folder(box, interval=1, moves=True)
    drop(box, "users.csv")
    [found] = place.look()
    (box / "users.csv").unlink()
    with pytest.raises(CannotMove):
        place.move(found, "loaded", None)
