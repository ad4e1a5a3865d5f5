"""What lands in a folder or a bucket is loaded once, whatever happens meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.engines import DuckDB
from support.load_processes import wait_for
from support.person import HEADER, Person, person_in
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


def test_files_are_loaded_in_the_order_in_which_a_person_reads_them(
    person: Person, box: Path
) -> None:
    drop(box, "users_10.csv", user(1), written=LONG_AGO)
    drop(box, "users_9.csv", user(2), written=LONG_AGO + 10)
    assert watch(person, box).code == 0
    loaded = person.rows("select file from raw.loads order by load_id")
    names = [str(name).rpartition("/")[2] for (name,) in loaded]
    assert names == ["users_9.csv", "users_10.csv"]


def test_what_was_sent_earlier_and_comes_again_is_the_newest(person: Person, box: Path) -> None:
    for day, name in enumerate(("Ada", "Eda", "Ada")):
        drop(box, f"{day}.csv", HEADER + f"1,{name},,\n", written=LONG_AGO + day)
        assert watch(person, box).code == 0
    assert person.rows("select status from raw.loads order by load_id") == [
        ("superseded",),
        ("current",),
        ("current",),
    ]
    assert watch(person, box).code == 0
    assert len(person.names()) == 3


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


def test_a_file_is_complete_when_it_has_not_changed_for_an_interval(box: Path) -> None:
    """By its time of writing, or by what was seen where a clock is ahead."""
    place = Folder(str(box), WatchOptions(interval=0.1))
    for written in (time.time(), time.time() + 10_000):
        drop(box, "users.csv", written=written)
        assert not place.is_complete(place.scan()[0])
        wait_for(lambda: place.is_complete(place.scan()[0]))


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
        "cannot be moved: Operation not permitted. It stays, and is remembered." in done.err
    ) == ("not" in moment)
    assert person.labmart("undo", "1").code == 0
    assert "it had been loaded already" in watch(person, box, *options).err
    assert files(box) == ["users.csv" if moment == "kept" else "loaded/DAY/users.csv"]
    assert person.rows("select load_id, status from raw.loads") == [(1, "reverted")]


def test_what_was_undone_and_is_put_there_once_more_is_loaded_again(
    person: Person, box: Path
) -> None:
    drop(box, "users.csv")
    assert watch(person, box).code == 0
    assert person.labmart("undo", "1").code == 0
    [loaded] = box.glob("loaded/*/users.csv")
    loaded.rename(box / "users.csv")
    assert watch(person, box).code == 0
    statuses = person.rows("select load_id, status from raw.loads order by load_id")
    assert statuses == [(1, "reverted"), (2, "current")]


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
    builds = []

    def build(result: bool) -> Callable[..., bool]:
        def run(*_: object) -> bool:
            builds.append(result)
            return result

        return run

    monkeypatch.setattr(watch_module, "run_and_report", build(result=True))
    once = ("watch", str(box), "--once", "--interval", "0.1")
    assert person.labmart(*once).code == 0
    assert builds == []
    drop(box, "a.csv", user(1))
    drop(box, "b.csv", user(2))
    assert person.labmart(*once).code == 0
    assert builds == [True]
    monkeypatch.setattr(watch_module, "run_and_report", build(result=False))
    drop(box, "c.csv", user(3))
    assert person.labmart(*once).code == BuildFailed.exit_code
    assert builds == [True, False]
    # Whoever comes later asks for a build, which is left out where nothing has changed: the last
    # one may have been killed.
    assert person.labmart(*once).code == BuildFailed.exit_code
    assert builds == [True, False, False]
