"""The lake's raw tables: loaders at once, killed ones, and what prune leaves of them.

Histories through the command are in test_load_histories.py, marts in engines/test_lake_builds.py.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest
from support.engines import Lake
from support.project import ROOT, loading_project
from support.raw_store import load_one, process, write_one

from loader import ledger
from loader.contract import Column
from loader.database import Database
from loader.diff import show_changes
from loader.engines import open_engine
from loader.engines.raw_store import open_store
from loader.errors import DatabaseFault, DatabaseUnreachable, UsageError
from loader.project import Profile, open_project
from loader.publications import (
    NOTHING,
    WHOLE,
    GreenBuild,
    Mart,
    Relation,
    open_publications,
)

pytestmark = pytest.mark.slow

RAW = "labmart_raw"


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    made = Lake(tmp_path)
    monkeypatch.setenv("LABMART_LAKE", str(made.place))
    return made


def left(lake: Lake) -> set[str]:
    """The files of the raw tables."""
    return {
        path.relative_to(lake.place / RAW).as_posix()
        for path in (lake.place / RAW).rglob("*")
        if path.is_file()
    }


def statuses(profile: Profile) -> dict[int, str]:
    with open_store(profile, write=False) as store:
        return {load.load_id: load.status for load in store.loads()}


def mark(profile: Profile, *load_ids: int, undone: bool) -> None:
    with open_store(profile) as store:
        store.mark(load_ids, undone=undone)
        store.commit()


def prune(profile: Profile) -> list[int]:
    with open_store(profile) as store:
        gone = ledger.not_current(store.loads())
        store.delete(gone)
        store.commit()
    return [load.load_id for load in gone]


def test_a_load_that_was_given_up_leaves_nothing_not_even_its_number(lake: Lake) -> None:
    with open_store(lake.profile()) as store:
        assert write_one(store) == 1
    assert left(lake) == set()
    assert load_one(lake.profile()) == 1
    assert left(lake) == {"people/1/0.parquet", "loads/000000000001.parquet"}


def test_the_ledger_is_the_same_when_its_entries_are_gathered(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loader.engines.lake._COMPLETE_EVERY", 4)
    profile = lake.profile()
    assert [load_one(profile) for _ in range(11)] == list(range(1, 12))
    mark(profile, 2, 11, undone=True)
    assert len([name for name in left(lake) if name.startswith("loads/")]) == 5
    assert prune(profile) == [2, 11]
    assert [*statuses(profile)] == [1, 3, 4, 5, 6, 7, 8, 9, 10]
    # The number of a load that is gone is not given again.
    assert load_one(profile) == 12


def test_loads_and_changes_that_end_while_another_load_writes_stay(lake: Lake) -> None:
    profile = lake.profile()
    with open_store(profile) as long, open_store(profile) as late:
        assert write_one(long, mode=ledger.REPLACE) == 1
        assert [load_one(profile), load_one(profile)] == [2, 3]
        mark(profile, 2, undone=True)
        # It began before these, and takes the next number all the same.
        assert write_one(late, mode=ledger.REPLACE) == 4
        late.commit()
        long.commit()
    # Of calls that replace, the later number wins, whichever ends first.
    assert statuses(profile) == {
        **dict.fromkeys((1, 3), ledger.SUPERSEDED),
        2: ledger.REVERTED,
        4: ledger.CURRENT,
    }
    counts = lake.rows(f"select load_id, count(*) from {RAW}.people group by 1 order by 1")
    assert counts == [(number, 3) for number in (1, 2, 3, 4)]


def test_an_undo_of_what_a_prune_deletes_meanwhile_is_refused(lake: Lake) -> None:
    profile = lake.profile()
    load_one(profile)
    with open_store(profile) as late:
        late.mark([1], undone=True)
        mark(profile, 1, undone=True)
        prune(profile)
        with pytest.raises(DatabaseFault, match="a prune has deleted"):
            late.commit()


def test_a_prune_spares_what_is_loaded_or_made_current_meanwhile(lake: Lake) -> None:
    profile = lake.profile()
    assert [load_one(profile), load_one(profile)] == [1, 2]
    mark(profile, 2, undone=True)
    with open_store(profile) as late:
        gone = ledger.not_current(late.loads())
        assert [load.load_id for load in gone] == [2]
        mark(profile, 2, undone=False)
        assert load_one(profile) == 3
        late.delete(gone)
        late.commit()
    assert [*statuses(profile)] == [1, 2, 3]
    assert {f"people/{number}/0.parquet" for number in (1, 2, 3)} <= left(lake)


def test_prune_spares_who_is_at_work_and_voids_who_was_killed_or_is_too_slow(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = lake.profile()
    killed = process(
        profile,
        """
        with open_store(profile) as store:
            write_one(store)
            store.settle()
            print("written", flush=True)
            time.sleep(60)
        """,
    )
    assert killed.stdout is not None
    assert killed.stdout.readline() == "written\n", killed.communicate()
    with open_store(profile) as store, open_store(profile) as slow:
        assert (write_one(store), write_one(slow)) == (2, 3)
        store.settle()
        slow.settle()
        assert prune(profile) == []
        assert {f"people/{number}/0.parquet" for number in (1, 2, 3)} <= left(lake)
        killed.kill()
        killed.communicate()
        store.commit()
        # A day later.
        monkeypatch.setattr("loader.engines.lake._LONGEST_LOAD_SECONDS", -1.0)
        assert prune(profile) == []
        with pytest.raises(DatabaseFault, match="given this load up"):
            slow.commit()
    assert [*statuses(profile)] == [2]
    assert left(lake) == {
        "people/2/0.parquet",
        *(f"loads/{number:012d}.parquet" for number in (1, 2)),
    }


def publish(lake: Lake, number: int, *, is_empty: bool = False) -> None:
    """As dbt does: the tables of a build, then a file that names them."""
    name = f"2024010{number}T000000.000000-{number:08d}"
    table = lake.place / "labmart" / "builds" / name / "labmart" / "users"
    pointer = lake.place / "labmart" / "published" / name
    contents = {
        table: f"select {number} as user_id",
        pointer: f"select '{name}' as build, 'labmart' as schema_name, 'users' as name, "
        "'`user_id` bigint' as columns",
    }
    # Of a relation without rows there is no file, only its columns.
    for folder in (pointer,) if is_empty else contents:
        folder.mkdir(parents=True)
        duckdb.execute(f"copy ({contents[folder]}) to '{folder}/0.parquet'")


def note(lake: Lake, number: int, *, keep: int = 1, meanwhile: Callable[[], object] = int) -> None:
    """As labmart does after that."""
    users = Relation("", "users", rows="select count(*) from {place}.users")
    with open_publications(lake.profile()) as publications:
        assert publications.begin().startswith("labmart__")
        meanwhile()
        green = GreenBuild(
            *("labmart", (users,), (Mart("users", 2),)),
            invocation_id=f"{number:08d}x",
            code="code",
            can_grow=True,
        )
        publications.publish(green, keep)


def test_a_build_is_done_again_after_a_load_or_a_publication(lake: Lake) -> None:
    profile = lake.profile()
    load_one(profile)

    def build(number: int, meanwhile: Callable[[], object] = int) -> None:
        publish(lake, number)
        note(lake, number, meanwhile=meanwhile)

    def due(code: str = "code") -> str:
        with open_publications(profile) as publications:
            return publications.next_build(code)

    assert due() == WHOLE
    build(1)
    assert (due(), due("other code")) == (NOTHING, WHOLE)
    load_one(profile)
    assert due() == WHOLE
    # What came while it ran, it may not have seen.
    build(2, lambda: load_one(profile))
    assert due() == WHOLE
    build(3)
    assert due() == NOTHING
    publish(lake, 9, is_empty=True)
    assert due() == WHOLE
    with open_engine(profile) as engine:
        assert engine.columns("users") == (Column("user_id", "bigint"),)


def test_what_is_published_at_once_is_all_noted_and_the_last_to_begin_is_seen(lake: Lake) -> None:
    numbers = [5, 4, 3, 2, 1]
    for number in numbers:
        publish(lake, number)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: note(lake, number, keep=9), numbers))
    with open_publications(lake.profile()) as publications:
        known = publications.all()
    assert [one.build for one in known] == [1, 2, 3, 4, 5]
    assert {one.place[7]: one.status for one in known} == {
        **dict.fromkeys("1234", "kept"),
        "5": "current",
    }


def test_what_is_published_is_noted_compared_and_can_be_put_back(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = lake.profile()
    # Of somebody who was killed long ago while he noted a build.
    (lake.place / "labmart").mkdir(parents=True)
    (lake.place / "labmart" / "publishing").write_text("1")

    def seen() -> tuple[object, object]:
        with open_engine(profile) as engine:
            _, [(user,)] = engine.query("select user_id from labmart.users", 1)
            _, [row] = engine.query("select mart, build, mart_rows from labmart.mart_status", 1)
        assert (row[0], row[2]) == ("users", 1)
        return user, row[1]

    for number in (1, 2, 3):
        publish(lake, number)
        note(lake, number)
        assert seen() == (number, number)
    project = loading_project(tmp_path / "project")
    shutil.copytree(ROOT / "models" / "marts", project / "models" / "marts")
    database = Database(open_project(project), profile, None)
    show_changes(database, (), mart="users", format_="csv", limit=None)
    told = capsys.readouterr()
    assert told.out.splitlines()[1:] == ["users,removed,user_id=2,,,", "users,added,user_id=3,,,"]
    assert told.err == "users: 1 added, 1 removed\n"
    with open_publications(profile) as publications:
        assert [one.status for one in publications.all()] == ["gone", "kept", "current"]
        before, now = publications.roll_back(None)
        assert (before.build, now.build, seen()) == (3, 2, (2, 2))
        publications.roll_back(3)
        assert seen() == (3, 3)
        with pytest.raises(UsageError, match="kept: 2"):
            publications.roll_back(1)


def test_an_answer_that_was_lost_is_no_other_load(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loader.engines.lake import Storage

    create = Storage.create

    def deaf(self: Storage, name: str, content: bytes) -> bool:
        return create(self, name, content) and "/loads/" not in name

    monkeypatch.setattr(Storage, "create", deaf)
    assert load_one(lake.profile()) == 1
    assert lake.rows(f"select count(*) from {RAW}.people") == [(3,)]


def test_a_lake_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABMART_LAKE", str(tmp_path / "file" / "lake"))
    with pytest.raises(DatabaseUnreachable, match="LABMART_LAKE"):
        load_one(Lake(tmp_path).profile())


@pytest.mark.usefixtures("s3_environment")
def test_a_lake_may_be_an_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).mkdir("bench")
    monkeypatch.setenv("LABMART_LAKE", "s3://bench/a lab")
    profile = Profile(Path("profiles.yml"), "t", "spark", {"schema": "labmart"}, RAW)
    assert [load_one(profile), load_one(profile)] == [1, 2]
    with open_store(profile) as one, open_store(profile) as other:
        for store in (one, other):
            write_one(store)
        other.commit()
        one.commit()
    mark(profile, 1, undone=True)
    assert prune(profile) == [1]
    files = s3fs.S3FileSystem(skip_instance_cache=True).find(f"bench/a lab/{RAW}/people")
    assert [Path(file).parent.name for file in files] == ["2", "3", "4"]
    assert [*statuses(profile)] == [2, 3, 4]


@pytest.mark.prove("two loaders at once are killed at random for a minute")
def test_two_loaders_at_once_that_are_killed_leave_each_load_whole_or_not_there(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, rng = lake.profile(), random.Random(5)
    code = """
    print(flush=True)
    while True:
        with open_store(profile) as store:
            store.prepare([PEOPLE])
            load_id = store.next_load_id()
            rows = [batch(load_id, at * 100 + 1, 100) for at in range(30)]
            store.write_records(PEOPLE, PEOPLE.column_names, ",", iter(rows))
            store.add(entry_of(load_id, sha256=f"{load_id}", records_read=3000))
            store.commit()
        print(load_id, flush=True)
    """
    told: list[int] = []
    kills = 0
    while kills < 12 or len(told) <= 20:
        kills += 1
        loaders = [process(profile, code) for _ in range(2)]
        for loader in loaders:
            assert loader.stdout is not None
            loader.stdout.readline()
        time.sleep(2 * rng.random())
        for loader in loaders:
            loader.send_signal(signal.SIGKILL)
        for loader in loaders:
            out, err = loader.communicate()
            assert "Error" not in err
            told += [int(line) for line in out.split()]
        known = [*statuses(profile)]
        assert set(told) <= set(known)
        if not known:
            continue
        counted = lake.rows(
            f"select load_id, count(*) from {RAW}.people where load_id in {tuple(known)} group by 1"
        )
        assert dict(counted) == dict.fromkeys(known, 3000)  # type: ignore[arg-type]
    monkeypatch.setattr("loader.engines.lake._LONGEST_LOAD_SECONDS", -1.0)
    prune(profile)
    folders = {int(path.name) for path in (lake.place / RAW / "people").iterdir()}
    assert (folders, left(lake) & {"claims"}) == (set(statuses(profile)), set())
    assert not list((lake.place / RAW).glob("claims/*"))
