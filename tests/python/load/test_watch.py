"""What lands in a folder or a bucket is loaded once, whatever happens meanwhile."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support.engines import DuckDB
from support.load_processes import wait_for
from support.person import USERS, Person, person_in
from support.watching import LONG_AGO, drop, files, user, watch

from loader import watch as watch_module
from loader.errors import EXIT_INTERRUPTED, BuildFailed, FileRefused
from loader.files.content import ListedFile
from loader.watch import Folder, WatchOptions, is_being_written

pytestmark = pytest.mark.slow


@pytest.fixture
def person(postgres_person: Person) -> Person:
    """Engines are told apart by the loader; here one is enough."""
    return postgres_person


def test_a_loaded_file_moves_a_refused_one_has_its_report_and_none_is_overwritten(
    person: Person, box: Path
) -> None:
    for number in range(3):
        drop(box, "users.csv", user(number))
        drop(box, "press/bad.csv", f"bad {number}\n")
        assert watch(person, box).code == 3
    ends = ("-2", "-3", "")
    assert files(box) == [
        *(f"loaded/DAY/users{end}.csv" for end in ends),
        *(f"rejected/DAY/press/bad{end}.csv{of}" for end in ends for of in ("", ".report.txt")),
    ]
    texts = {path.read_text() for path in box.glob("loaded/*/*.csv")}
    assert texts == {user(number) for number in range(3)}
    for report in box.glob("rejected/*/press/*.report.txt"):
        assert "no line of the first 100 names columns" in report.read_text()
    assert person.names() == ["User 0", "User 1", "User 2"]
    assert watch(person, box).code == 0


def test_another_engine_is_watched_for_as_well(
    loading_copy: Path, tmp_path: Path, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = person_in(tmp_path, loading_copy, DuckDB(tmp_path / "lab" / "a.duckdb"), monkeypatch)
    drop(box, "users.csv")
    assert watch(person, box).code == 0
    assert files(box) == ["loaded/DAY/users.csv"]
    assert person.names() == ["Ada", "Béla"]


def test_files_come_in_the_order_in_which_a_person_reads_them_and_again_as_the_newest(
    person: Person, box: Path
) -> None:
    drop(box, "users_10.csv", user(1), written=LONG_AGO)
    drop(box, "users_9.csv", user(2), written=LONG_AGO + 10)
    assert watch(person, box).code == 0
    # What was sent earlier.
    drop(box, "again.csv", user(2), written=LONG_AGO + 20)
    for _ in range(2):
        assert watch(person, box).code == 0
    loaded = person.rows("select file, status from raw.loads order by load_id")
    assert [(str(name).rpartition("/")[2], status) for name, status in loaded] == [
        ("users_9.csv", "superseded"),
        ("users_10.csv", "current"),
        ("again.csv", "current"),
    ]


def test_what_is_unfinished_or_nobodys_stays(person: Person, box: Path) -> None:
    kept = [".hidden.csv", "a.csv.part", "b.tmp", "d.crdownload", "growing.csv", "~$c.xlsx"]
    for name in kept:
        drop(box, name)
    path = box / "growing.csv"
    with path.open("a") as file:
        assert is_being_written(path)
        assert "still being written" in watch(person, box).err
        assert files(box) == kept
        assert not person.has_tables()
        file.write("3,Cy,,\n")
    assert not is_being_written(path)
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert watch(person, box).code == 0
    assert person.names() == ["Ada", "Béla", "Cy"]


def test_a_file_is_complete_when_it_has_not_changed_for_an_interval(box: Path) -> None:
    """By its time of writing, or by what was seen where a clock is ahead."""
    patient, hasty = (Folder(str(box), WatchOptions(interval=n)) for n in (9_999, 0.1))
    for written in (time.time(), time.time() + 10_000):
        drop(box, "users.csv", written=written)
        for _ in range(2):
            assert not patient.is_complete(patient.scan()[0])
        wait_for(lambda: hasty.is_complete(hasty.scan()[0]))


@pytest.mark.parametrize("moment", ["kept", "not movable", "ended before it was moved"])
def test_what_stays_is_loaded_once_and_an_undo_stays_one(
    person: Person, box: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Also when the bytes would be loaded anew, because somebody has undone the load meanwhile."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    def end(*_: object) -> str:
        raise KeyboardInterrupt

    drop(box, "users.csv")
    options = ["--keep"] if moment == "kept" else []
    with monkeypatch.context() as patch:
        if moment == "not movable":
            patch.setattr(Path, "rename", refuse)
        elif moment != "kept":
            patch.setattr(Folder, "move", end)
        done = watch(person, box, *options)
    assert done.code == (EXIT_INTERRUPTED if "ended" in moment else 0)
    assert (
        "cannot be moved: Operation not permitted. It stays, and is not read again." in done.err
    ) == ("not" in moment)
    assert person.labmart("undo", "1").code == 0
    assert "it had been loaded already" in watch(person, box, *options).err
    assert person.rows("select load_id, status from raw.loads") == [(1, "reverted")]
    if moment == "kept":
        assert files(box) == ["users.csv"]
        return
    # What is put there once more is loaded again.
    assert files(box) == ["loaded/DAY/users.csv"]
    [loaded] = box.glob("loaded/*/users.csv")
    loaded.rename(box / "users.csv")
    assert watch(person, box).code == 0
    assert person.rows("select load_id, status from raw.loads order by load_id") == [
        (1, "reverted"),
        (2, "current"),
    ]


def test_a_newer_file_that_comes_under_the_name_is_loaded_too(
    person: Person, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = Folder.move

    def late(self: Folder, file: ListedFile, folder: str, report: str | None) -> str:
        drop(box, "new", user(7)).rename(box / "users.csv")
        return move(self, file, folder, report)

    drop(box, "users.csv", user(1))
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "move", late)
        assert "it has changed or gone" in watch(person, box).err
    assert watch(person, box).code == 0
    assert person.names() == ["User 1", "User 7"]
    assert files(box) == ["loaded/DAY/users.csv"]


def test_a_report_that_was_just_written_is_taken_up_again(box: Path) -> None:
    place = Folder(str(box), WatchOptions(interval=1))
    drop(box, "bad.csv", "no table\n")
    [found] = place.scan()
    day = time.strftime("%Y-%m-%d", time.gmtime())
    drop(box, f"rejected/{day}/bad.csv.report.txt", "why\n")
    place.move(found, "rejected", "why\n")
    assert files(box) == ["rejected/DAY/bad.csv", "rejected/DAY/bad.csv.report.txt"]
    drop(box, f"rejected/{day}/other.csv.report.txt", "a file of somebody\n")
    drop(box, "other.csv", "no table\n")
    place.move(place.scan()[0], "rejected", "why\n")
    assert "rejected/DAY/other-2.csv" in files(box)
    # By now it has gone.
    with pytest.raises(FileRefused):
        place.move(found, "loaded", None)


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
    builds: list[bool] = []
    green = True

    def build(database: object, _: object) -> tuple[bool, object]:
        builds.append(green)
        return green, database

    monkeypatch.setattr(watch_module, "run_and_report", build)
    once = ("watch", str(box), "--once", "--interval", "0.1")
    assert person.labmart(*once).code == 0
    assert builds == []
    drop(box, "a.csv", user(1))
    drop(box, "b.csv", user(2))
    assert person.labmart(*once).code == 0
    assert builds == [True]
    green = False
    drop(box, "c.csv", user(3))
    # Whoever comes later asks for a build, which is left out where nothing has changed: the last
    # one may have been killed.
    for number in (1, 2):
        assert person.labmart(*once).code == BuildFailed.exit_code
        assert builds == [True, *[False] * number]


# A prefix of an object store.


def objects() -> list[str]:
    import s3fs

    found = s3fs.S3FileSystem(skip_instance_cache=True).find("watched/incoming")
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return sorted(path.removeprefix("watched/incoming/").replace(day, "DAY") for path in found)


@pytest.mark.usefixtures("s3_environment")
def test_objects_are_loaded_once_and_move_where_it_is_asked_for(person: Person) -> None:
    import s3fs

    system = s3fs.S3FileSystem(skip_instance_cache=True)
    system.mkdir("watched")
    system.pipe("watched/incoming/users.csv", USERS.encode())
    system.pipe("watched/incoming/plate #1?/bad.csv", b"no table\n")
    prefix = "s3://watched/incoming/"
    for _ in range(2):
        # What is refused and stays is read again by each call.
        assert watch(person, prefix).code == 3
    assert objects() == ["plate #1?/bad.csv", "users.csv"]
    loads = "select load_id, file from raw.loads"
    assert person.rows(loads) == [(1, "s3://watched/incoming/users.csv")]
    assert watch(person, prefix, "--move").code == 3
    assert objects() == [
        "loaded/DAY/users.csv",
        "rejected/DAY/plate #1?/bad.csv",
        "rejected/DAY/plate #1?/bad.csv.report.txt",
    ]
    assert watch(person, prefix, "--move").code == 0
    assert len(person.rows(loads)) == 1
