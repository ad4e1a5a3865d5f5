"""What readers see is one whole build, tested, and what others have made on it stands."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import psycopg2
import pytest
from support.databases import small_tablespace
from support.engines import Engine, Postgres
from support.in_process import Done, labmart
from support.project import ROOT
from support.raw_store import process

from loader import build as on_build
from loader.dbt import DbtRun, Plan
from loader.errors import DatabaseFault, UsageError
from loader.progress import NodeResult
from loader.project import Profile, Project
from loader.publications import (
    CURRENT,
    GONE,
    INCREMENT,
    NOTHING,
    WHOLE,
    GreenBuild,
    Mart,
    Publication,
    Relation,
    open_publications,
)
from loader.publications import postgres as on_postgres

pytestmark = pytest.mark.slow

postgres_alone = pytest.mark.parametrize("shared_engine", ["postgres"], indirect=True)

SCHEMA = "lab"
RELATIONS = (
    Relation("", "users"),
    Relation("", "runs"),
    Relation("", "counted", is_view=True),
    Relation("_staging", "stg_users"),
)
RAW = (
    "create schema if not exists {s}_raw; "
    "create table {s}_raw.loads (load_id bigint, status text, records_read bigint); "
    "insert into {s}_raw.loads values (1, 'current', 90), (2, 'reverted', 9)"
)


def tables(place: str, number: int) -> str:
    """SQL that makes a build whose every row says the number of it."""
    return (
        f"create schema {place}; create schema {place}_staging; "
        f"create table {place}_staging.stg_users as select 1 as user_id, {number} as version; "
        f"create table {place}.users as select user_id, version, 'Ada' as name "
        f"from {place}_staging.stg_users union all select 1 + {number}, {number}, 'Bob'; "
        f"create table {place}.runs as select 1 as run_id, {number} as version; "
        f"create view {place}.counted as select count(*) as users from {place}.users"
    )


@dataclass
class Lab:
    """A schema of its own, without dbt: builds are made by hand, and put in place for real."""

    engine: Engine
    schema: str
    built: int = 0

    @property
    def profile(self) -> Profile:
        return self.engine.profile(self.schema)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        return self.engine.rows(sql.format(s=self.schema))

    def green(self, place: str, *relations: Relation) -> GreenBuild:
        marts = [Mart(one.name, 2) for one in RELATIONS if not one.suffix]
        return GreenBuild(
            place=place,
            relations=relations or RELATIONS,
            marts=tuple(mart for mart in marts if not relations or mart.name in str(relations)),
            models_built=4,
            tests_passed=7,
            tests_warned=0,
            seconds=1.5,
            invocation_id="x",
            code="code",
        )

    def build(self, change: str = "", *relations: Relation, keep: int = 1) -> int:
        """Make a build and publish it; `change` is SQL for its tables, {p} their schema."""
        self.built += 1
        with open_publications(self.profile) as publications:
            place = publications.begin()
            self.rows(f"{tables(place, self.built)}; {change.format(p=place, s=self.schema)}")
            return publications.publish(self.green(place, *relations), keep) or 0

    def seen(self) -> set[object]:
        """The numbers of the builds whose rows readers see."""
        rows = self.rows(
            "select version from {s}.users union all select version from {s}.runs "
            "union all select version from {s}_staging.stg_users"
        )
        return {number for (number,) in rows}

    def publications(self) -> list[Publication]:
        with open_publications(self.profile, write=False) as publications:
            return publications.all()

    def places(self) -> list[str]:
        """The schemas beside those that readers know, without the ends of their names."""
        found = [name for name in self.engine.schemas("") if f"{self.schema}__" in name]
        return sorted({name.removesuffix("_staging") for name in found})

    def due(self, code: str = "code") -> str:
        with open_publications(self.profile) as publications:
            return publications.next_build(code)


@pytest.fixture
def lab(shared_engine: Engine, request: pytest.FixtureRequest) -> Lab:
    number = abs(hash(request.node.nodeid)) % 10**9
    made = Lab(shared_engine, f"{SCHEMA}{number}")
    made.rows(RAW)
    return made


def test_a_build_is_seen_when_it_is_published_and_says_which_it_is(lab: Lab) -> None:
    assert lab.build() == 1
    assert lab.seen() == {1}
    with open_publications(lab.profile) as publications:
        lab.rows(tables(publications.begin(), 9))
    assert lab.seen() == {1}, "what is built is not what is published"
    assert lab.build() == 2
    assert lab.seen() == {2}
    status = lab.rows("select mart, build, tests_passed, mart_rows from {s}.mart_status order by 1")
    assert status == [("counted", 2, 2, 1), ("runs", 2, 2, 1), ("users", 2, 2, 2)]
    current = lab.publications()[-1]
    assert (current.status, current.tests_passed, current.place) == (
        CURRENT,
        7,
        lab.places()[-1],
    )


def test_so_many_builds_are_kept_and_each_can_be_put_back(lab: Lab) -> None:
    for _ in range(4):
        lab.build(keep=2)
    assert len(lab.places()) == 3
    with open_publications(lab.profile) as publications:
        before, now = publications.roll_back(None)
        assert (before.build, now.build, lab.seen()) == (4, 3, {3})
        assert publications.next_build("code") == WHOLE
        assert lab.rows("select distinct build from {s}.mart_status") == [(3,)]
        publications.roll_back(2)
        assert lab.seen() == {2}
        # The one before is what readers saw before.
        publications.roll_back(None)
        assert lab.seen() == {3}
        with pytest.raises(UsageError, match=r"no build 1 that is not current.*kept: 4, 2"):
            publications.roll_back(1)
    lab.build(keep=1)
    assert [one.build for one in lab.publications() if one.status != "gone"] == [3, 5]
    lab.build(keep=0)
    with (
        open_publications(lab.profile) as publications,
        pytest.raises(UsageError, match=r"no earlier build.*none is kept"),
    ):
        publications.roll_back(None)


@contextmanager
def fault() -> Iterator[None]:
    """A statement fails while a build is put in place, and with it the publication."""
    missing = "select * from no_such_table"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loader.publications.Publications.entry", lambda *_: missing)
        with pytest.raises(DatabaseFault, match="no_such_table"):
            yield


def test_a_fault_while_it_is_put_in_place_leaves_what_was(lab: Lab) -> None:
    lab.build()
    with fault():
        lab.build()
    assert lab.seen() == {1}
    assert [one.build for one in lab.publications()] == [1]
    lab.build()
    assert lab.seen() == {3}


# Makes a build and publishes it, and is killed before its n-th statement.
KILLED = """
import signal
from loader.publications import GreenBuild, Mart, Publications, Relation, open_publications

left = {moment}

def kills(run):
    def run_or_die(*arguments):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return run(*arguments)
    return run_or_die

Publications.run = kills(Publications.run)
with open_publications(profile) as publications:
    place = publications.begin()
    with publications.opened():
        publications.run({sql!r}.replace("PLACE", place))
    green = GreenBuild(place, {relations!r}, (Mart("users", 1),), code="code", can_grow=True,
        is_increment={grows})
    publications.publish(green, 1)
"""


@pytest.mark.prove("a process killed before each of its statements: a start of Python for each")
@pytest.mark.parametrize("grows", [False, True], ids=["whole", "increment"])
def test_whenever_it_is_killed_readers_see_one_whole_build(lab: Lab, grows: bool) -> None:
    lab.build()
    seen: set[object] = {1}
    for moment in range(1, 200):
        number = 100 + moment
        sql = tables("PLACE", number)
        code = KILLED.format(moment=moment, sql=sql, relations=RELATIONS, grows=grows)
        publishing = process(lab.profile, code)
        _, err = publishing.communicate()
        assert lab.seen() in (seen, {number}), moment
        seen = lab.seen()
        [build] = {row[0] for row in lab.rows("select distinct build from {s}.mart_status")}
        current = next(one for one in lab.publications() if one.status == CURRENT)
        assert build == current.build
        if publishing.returncode == 0:
            break
        assert publishing.returncode == -signal.SIGKILL, err
        if moment % 7 == 0:
            lab.build()
            seen = {lab.built}
            assert lab.seen() == seen
    assert 15 < moment < 199
    assert len(lab.places()) == 2, "what was killed has left nothing beside these"


# Increments.

COUNTS = (
    "create table {p}.input_reconciliation as select load_id, 0 as rejected_lines, "
    "0 as rejected_rows from {s}_raw.loads where status = 'current'; "
    "create table {p}.input_issues as select 'open' as status where 1 = 0"
)
COUNTED = (Relation("", "input_reconciliation"), Relation("", "input_issues"))
# The row of a user is replaced, the others stay; what is no part of it is whole.
CHANGED = tuple(
    replace(one, replaced=("exists (select 1 from {next}.users as gone where gone.user_id = 1 "
                           "and old.user_id = 1)",)) if one.name == "users" else one
    for one in RELATIONS
)  # fmt: skip
ONE_OF_EACH = (
    "select version from {s}.users where user_id = 1 union all select version from {s}.runs "
    "union all select version from {s}_staging.stg_users"
)


def grow(lab: Lab, *, keep: int = 1, change: str = "") -> int:
    """Build whole where nothing is published, else an increment; its number."""
    lab.built += 1
    with open_publications(lab.profile) as publications:
        grows = publications.next_build("code") == INCREMENT
        place = publications.begin()
        lab.rows(f"{tables(place, lab.built)}; {(COUNTS + change).format(p=place, s=lab.schema)}")
        green = lab.green(place, *(CHANGED if grows else RELATIONS), *COUNTED)
        marts = (*green.marts, *(Mart(one.name, 1) for one in COUNTED))
        green = replace(green, marts=marts, can_grow=True, is_increment=grows)
        return publications.publish(green, keep) or 0


def load(lab: Lab, load_id: int, status: str = "current") -> None:
    lab.rows(f"update {{s}}_raw.loads set status = '{status}' where load_id = {load_id}")


def test_an_increment_changes_the_published_tables_and_says_so(lab: Lab) -> None:
    grow(lab)
    load(lab, 2)
    before = lab.places()
    assert grow(lab) == 2
    assert lab.rows("select user_id, version from {s}.users order by 1, 2") == [
        *((1, 2), (2, 1), (3, 2)),
    ]
    assert lab.rows(ONE_OF_EACH) == [(2,)] * 3
    status = lab.rows("select mart, build, mart_rows, newest_load from {s}.mart_status order by 1")
    assert [row for row in status if "input" not in str(row[0])] == [
        *(("counted", 2, 1, 2), ("runs", 2, 1, 2), ("users", 2, 3, 2)),
    ]
    told = [(one.build, one.status, one.based_on) for one in lab.publications()]
    assert told == [(1, GONE, None), (2, CURRENT, 1)]
    assert lab.places() == before
    assert lab.due() == NOTHING
    load(lab, 2, "reverted")
    assert grow(lab) == 3
    with (
        open_publications(lab.profile) as publications,
        pytest.raises(UsageError, match=r"increment of build 2, .*labmart undo LOAD"),
    ):
        publications.roll_back(None)
    # The next whole build is beside it, and can make way for it.
    lab.build()
    with open_publications(lab.profile) as publications:
        assert publications.roll_back(None)[1].build == 3
    assert lab.rows(ONE_OF_EACH) == [(3,)] * 3
    lab.rows(f"drop schema {lab.schema} cascade; create schema {lab.schema}")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param("select 1", "code", id="no other loads"),
        pytest.param("{two}", "other", id="other code"),
        pytest.param("update {s}_raw.loads set status = 'x'", "code", id="no load left"),
        pytest.param("{two}; drop view {s}.runs", "code", id="a mart is gone"),
        pytest.param(
            "{two}; update {s}_raw.loads set records_read = 99", "code", id="too many rows"
        ),
        pytest.param(
            "{two}; drop view {s}.runs; create table {s}.runs as select 1 as run_id, 1 as version",
            "code",
            id="plain dbt has built",
        ),
    ],
)
def test_what_is_no_increment_is_built_whole(lab: Lab, change: str, code: str) -> None:
    grow(lab)
    two = f"update {lab.schema}_raw.loads set status = 'current' where load_id = 2"
    lab.rows(change.format(two=two, s="{s}"))
    assert lab.due(code) == (NOTHING if change == "select 1" else WHOLE)


def test_a_table_of_an_earlier_version_is_built_on_whole(lab: Lab) -> None:
    grow(lab)
    load(lab, 2)
    for column in ("based_on", "can_grow", "ledger"):
        lab.rows(f"alter table {{s}}.publications drop column {column}")
    assert [one.based_on for one in lab.publications()] == [None]
    assert grow(lab) == 2
    load(lab, 2, "reverted")
    assert grow(lab) == 3
    assert [one.based_on for one in lab.publications()] == [None, None, 2]


PART: dict[str, object] = {"config": {"meta": {"increment": [{"changed": ["id"]}]}}}
READS: dict[str, object] = {"depends_on": {"nodes": ["part"]}}


@pytest.mark.parametrize(
    ("node", "knows"),
    [
        ({"depends_on": {"nodes": ["other"]}}, True),
        (READS, False),
        (READS | {"config": {"meta": {"increment": "part"}}}, True),
        (READS | {"test_metadata": {"name": "not_null"}}, True),
        ({"config": {"materialized": "materialized_view"}}, False),
    ],
)
def test_whatever_reads_changed_rows_alone_has_to_say_that_it_can(
    node: dict[str, object], knows: bool
) -> None:
    nodes = {"part": PART, "other": {}, "node": node}
    whole: dict[str, object] = {"config": {}, "depends_on": {}}
    assert on_build._knows_increments({name: whole | one for name, one in nodes.items()}) is knows


@postgres_alone
def test_an_increment_that_fails_changes_nothing_and_nobody_waits_for_one(lab: Lab) -> None:
    grow(lab)
    load(lab, 2)
    with fault():
        grow(lab)
    with pytest.raises(DatabaseFault, match=r"was changed while.*Nothing was published"):
        grow(lab, change="; drop view {s}.counted")
    assert lab.seen() == {1}
    lab.build(keep=0)
    grow(lab)
    with reading(lab, "select * from {s}.users") as cursor:
        load(lab, 2, "reverted")
        grow(lab)
        cursor.execute(ONE_OF_EACH.format(s=lab.schema))
        assert len(set(cursor.fetchall())) == 1, "a transaction sees one build"


@postgres_alone
@pytest.mark.prove("needs the right to mount a disk")
def test_an_increment_that_fills_the_disk_changes_nothing(lab: Lab) -> None:
    assert isinstance(lab.engine, Postgres)
    with small_tablespace(lab.engine.database) as (disk, enlarge):
        grow(lab, change=f"; alter table {{p}}.users set tablespace {disk}")
        load(lab, 2)
        many = "; insert into {p}.users select 5, 2, 'Cy' from generate_series(1, 50000)"
        with pytest.raises(DatabaseFault, match="No space left on device"):
            grow(lab, change=many)
        assert lab.seen() == {1}
        assert lab.rows("select distinct build from {s}.mart_status") == [(1,)]
        enlarge()
        assert grow(lab, change=many) == 2
        assert lab.rows("select count(*) from {s}.users where name = 'Cy'") == [(50000,)]
        lab.rows(f"drop schema {{s}} cascade; drop schema {lab.places()[0]} cascade")


def test_columns_and_relations_come_and_go(lab: Lab) -> None:
    lab.build()
    lab.build("alter table {p}.users add column more text")
    lab.build("alter table {p}.users drop column name")
    found = lab.rows(
        "select column_name from information_schema.columns "
        "where table_schema = '{s}' and table_name = 'users' order by ordinal_position"
    )
    assert [name for (name,) in found] == ["user_id", "version"]
    assert lab.seen() == {3}
    lab.build("drop table {p}.runs", RELATIONS[0], *RELATIONS[2:])
    with pytest.raises((psycopg2.Error, duckdb.Error), match="runs"):
        lab.rows("select * from {s}.runs")
    assert lab.rows("select distinct version from {s}.users") == [(4,)]


def test_what_plain_dbt_has_built_makes_way(lab: Lab) -> None:
    lab.rows(tables(lab.schema, 0) if not lab.engine.schemas(lab.schema) else "select 1")
    lab.build()
    lab.rows("drop view {s}.users; create table {s}.users as select 5 as version")
    status = "select mart from {s}.mart_status order by 1"
    assert lab.rows(status) == [("counted",), ("runs",)], "users is of no publication now"
    lab.build()
    assert len(lab.rows(status)) == 3
    assert lab.seen() == {2}


@dataclass(frozen=True)
class Command:
    """The command in a project whose builds are made by hand; `code` is how dbt ends."""

    lab: Lab
    project: Path
    # Of each build the place, or '' where dbt builds where readers look.
    builds: list[str]
    code: list[int]

    def __call__(self, *words: str) -> Done:
        return labmart(self.project, *words)


@pytest.fixture
def command(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    project = tmp_path / "project"
    (project / "models" / "marts").mkdir(parents=True)
    (project / "seeds").mkdir()
    (project / "dbt_project.yml").write_text("name: tiny\nprofile: labmart\nversion: 1.0.0\n")
    (project / "profiles.yml").write_text((ROOT / "profiles.yml.example").read_text())
    unique = "[{unique_combination_of_columns: {arguments: {combination_of_columns: [%s]}}}]"
    (project / "models" / "marts" / "_marts.yml").write_text(
        f"models:\n  - {{name: users, data_tests: {unique % 'user_id'}}}\n  - name: counted\n"
    )
    shutil.copytree(ROOT / "models" / "staging", project / "models" / "staging")
    lab.engine.enter(monkeypatch)
    monkeypatch.setenv("LABMART_SCHEMA", lab.schema)
    monkeypatch.setenv("LABMART_RAW_SCHEMA", f"{lab.schema}_raw")
    made = Command(lab, project, [], [0])

    def build(_: Project, __: Profile, plan: Plan, *___: object) -> DbtRun:
        place = plan.place
        assert not plan.is_increment
        assert plan.code or not place
        lab.built += 1
        made.builds.append(place)
        if place:
            lab.rows(tables(place, lab.built))
        users = NodeResult("model", "users", "success", 0.0)
        return DbtRun(project, exit_code=made.code[0], nodes=[users])

    def read_build(_: Profile, plan: Plan, __: DbtRun, by: str) -> GreenBuild:
        return replace(lab.green(plan.place), code=plan.code, by=by)

    monkeypatch.setattr(on_build, "build", build)
    monkeypatch.setattr(on_build, "read_build", read_build)
    monkeypatch.setattr(on_build, "_tell_dbt", lambda *_: None)
    return made


def test_a_build_is_left_out_when_it_would_do_the_same(command: Command) -> None:
    lab = command.lab
    done = command("build")
    assert (done.code, done.out) == (0, "")
    assert "published as build 1" in done.err
    assert command("build").err.splitlines()[-1] == on_build.UNCHANGED
    assert "published as build 2" in command("build", "--vars", "{factor: 5}").err
    # The last green build had other variables.
    assert "published as build 3" in command("build").err
    assert "published as build 4" in command("build", "--full").err
    assert len(command.builds) == lab.built == 4
    assert "" not in command.builds
    # A selection of one's own is always done, and publishes nothing.
    for _ in range(2):
        assert command("build", "--", "--select", "users").code == 0
    assert command.builds[4:] == ["", ""]
    assert lab.publications()[-1].build == 4
    # A red build changes nothing, and is done again.
    command.code[0] = 1
    for _ in range(2):
        done = command("build", "--full")
        assert done.code == 1
        assert on_build.NOT_PUBLISHED in done.err
        assert lab.seen() == {4}
    command.code[0] = 0
    assert command("build", "--full", "--keep", "0").code == 0
    assert lab.seen() == {lab.built}
    assert len(lab.places()) == 1


def test_a_difference_is_told_by_mart_and_key(lab: Lab, command: Command) -> None:
    call = command
    assert "Run `labmart build` first" in call("diff").err
    lab.build()
    assert "No other build is kept" in call("diff").err
    lab.build("insert into {p}.users values (7, 2, 'Cy')")
    done = call("diff", "--format", "csv")
    assert done.out.splitlines() == [
        "mart,change,key,column_name,before,after",
        "users,changed,user_id=1,version,1,2",
        "users,removed,user_id=2,,,",
        "users,added,user_id=3,,,",
        "users,added,user_id=7,,,",
        "counted,removed,users=2,,,",
        "counted,added,users=3,,,",
    ]
    assert done.err.splitlines() == [
        "users: 2 added, 1 changed, 1 removed",
        "counted: 1 added, 1 removed",
    ]
    assert call("diff", "2", "--mart", "users").err.endswith("users: no change\n")
    assert "Build 9 is not kept" in call("diff", "9").err
    done = call("rollback")
    assert (done.code, lab.seen()) == (0, {1})
    assert "`labmart rollback 2` undoes that" in done.err
    done = call("status", "--format", "csv")
    assert done.out.splitlines()[0].startswith("mart,build,published_at,tests_passed,mart_rows")
    assert [line.split(",")[:2] for line in done.out.splitlines()[1:]] == [
        ["counted", "1"],
        ["runs", "1"],
        ["users", "1"],
    ]
    assert "kept: build 2 of the seeds" in done.err
    lab.build("alter table {p}.users add column more text")
    done = call("diff", "--mart", "users", "--format", "csv")
    assert "users,column added,,more,," in done.out.splitlines()
    # On a screen a change that many rows share is told once.
    for name in ("x", "y"):
        rows = ", ".join(f"({number})" for number in range(21, 27))
        lab.build(f"insert into {{p}}.users select n, 3, '{name}' from (values {rows}) as t (n)")
    shown = [line.split() for line in call("diff", "--mart", "users").out.splitlines()]
    assert ["users", "changed", "6", "rows", "alike", "name", "x", "y"] in shown
    assert sum("name" in words for words in shown) == 1


# What others have made, on PostgreSQL.

OWN = """
    create schema own_{s};
    create view own_{s}.people as select user_id, name from {s}.users;
    create view own_{s}.letters as select upper(name) as name from own_{s}.people;
    create materialized view own_{s}.days as select version, count(*) from {s}.users group by 1;
    grant select (user_id) on {s}.users to pg_monitor;
    grant select on {s}.runs to public;
    grant select on own_{s}.people to pg_monitor with grant option;
    comment on view own_{s}.people is 'mine';
"""
RIGHTS = """
    select c.oid::regclass::text, relacl::text, (select min(attacl::text) from pg_attribute
    where attrelid = c.oid), obj_description(c.oid, 'pg_class')
    from pg_class as c where relnamespace in ('{s}'::regnamespace, 'own_{s}'::regnamespace)
    and relkind in ('v', 'm') order by 1
"""


@postgres_alone
def test_views_and_rights_of_others_survive_ten_builds(lab: Lab) -> None:
    lab.build()
    lab.rows(OWN)
    before, ids = lab.rows(RIGHTS), lab.rows("select 'own_{s}.people'::regclass::oid")
    for _ in range(10):
        lab.build("comment on table {p}.users is 'All of them.'")
    assert lab.rows("select user_id from own_{s}.people order by 1") == [(1,), (12,)]
    assert lab.rows("select * from own_{s}.days") == [(1, 2)]
    lab.rows("refresh materialized view own_{s}.days")
    assert lab.rows("select * from own_{s}.days") == [(11, 2)]
    after = [row if "users" not in str(row[0]) else (*row[:3], None) for row in lab.rows(RIGHTS)]
    assert after == before
    assert lab.rows("select 'own_{s}.people'::regclass::oid") == ids
    assert lab.rows("select obj_description('{s}.users'::regclass)") == [("All of them.",)]


@postgres_alone
def test_other_columns_take_views_along_or_are_refused_by_name(lab: Lab) -> None:
    lab.build()
    lab.rows(OWN)
    lab.rows("drop materialized view own_{s}.days")
    before = lab.rows(RIGHTS)
    new = "drop view {p}.counted; drop table {p}.users; create table {p}.users as select 1 as "
    counted = "; create view {p}.counted as select count(*) as users from {p}.users"
    lab.build(f"{new}version, 8 as more, 2 as user_id, 'Cy' as name{counted}")
    assert lab.rows("select * from own_{s}.letters") == [("CY",)]
    assert lab.rows(RIGHTS) == before
    with pytest.raises(DatabaseFault, match=r"column .*name.*Nothing was dropped"):
        lab.build(f"{new}user_id, 3 as version{counted}")
    assert lab.rows("select * from own_{s}.letters") == [("CY",)]
    lab.rows("create materialized view own_{s}.days as select version from {s}.users")
    with pytest.raises(DatabaseFault, match=r"own_\w+.days depends on .*Nothing was dropped"):
        lab.build(f"{new}user_id, 'Di' as name, 3 as version{counted}")
    assert lab.rows("select * from own_{s}.letters") == [("CY",)]
    assert lab.rows(RIGHTS.replace("('v', 'm')", "('v')")) == before


@postgres_alone
def test_what_stands_on_a_table_of_plain_dbt_stands_on_the_view_then(lab: Lab) -> None:
    lab.rows(
        f"create schema {{s}}; create table {{s}}.users as {'select 1 as user_id, 0 as version'}"
        ", 'Eve' as name; create table {s}.runs as select 1 as run_id, 0 as version"
    )
    lab.rows(OWN)
    lab.rows("drop materialized view own_{s}.days")
    before = [row for row in lab.rows(RIGHTS) if "own" in str(row[0])]
    lab.build()
    assert [row for row in lab.rows(RIGHTS) if "own" in str(row[0])] == before
    assert lab.rows("select name from own_{s}.letters order by 1") == [("ADA",), ("BOB",)]
    rights = lab.rows(
        "select has_column_privilege('pg_monitor', '{s}.users', 'user_id', 'select'), "
        "has_column_privilege('pg_monitor', '{s}.users', 'name', 'select'), "
        "has_table_privilege('pg_monitor', '{s}.runs', 'select')"
    )
    assert rights == [(True, False, True)]


@contextmanager
def reading(lab: Lab, *statements: str) -> Iterator[psycopg2.extensions.cursor]:
    """A reader in an open transaction."""
    assert isinstance(lab.engine, Postgres)
    with closing(lab.engine.database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("begin isolation level repeatable read")
        for statement in statements:
            cursor.execute(statement.format(s=lab.schema))
        yield cursor


@postgres_alone
def test_a_transaction_sees_one_build_and_keeps_nobody_else_waiting(lab: Lab) -> None:
    lab.build()
    with reading(lab, "select * from {s}.users") as cursor:
        publishing = threading.Thread(target=lab.build)
        publishing.start()
        longest = 0.0
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            begun = time.monotonic()
            assert lab.seen() == {1}
            longest = max(longest, time.monotonic() - begun)
        cursor.execute(f"select version from {lab.schema}.runs")
        assert cursor.fetchall() == [(1,)]
        assert publishing.is_alive()
    publishing.join(120)
    assert lab.seen() == {2}
    # Whoever had to wait for the reader would wait for ever.
    assert longest < 20


@postgres_alone
def test_who_reads_for_too_long_is_named(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.build()
    # On a slow machine a try may take a second; who is in the way is told after the first.
    monkeypatch.setattr(on_postgres, "_PATIENCE_SECONDS", 2.0)
    monkeypatch.setattr(on_postgres, "_TOLD_AFTER", 0)
    monkeypatch.setattr(on_postgres, "_MOMENTS", (0.05,))
    monkeypatch.setattr(on_postgres, "_PAUSES", (0.1,))
    with (
        reading(lab, "set application_name = 'a notebook'", "select * from {s}.users"),
        pytest.raises(DatabaseFault, match=r"a notebook\) has used .*users.*End that transaction"),
    ):
        lab.build()
    assert "waiting to publish: process" in capsys.readouterr().err
    assert lab.seen() == {1}


@postgres_alone
@pytest.mark.parametrize(
    ("publications", "readers"),
    [(6, 2), pytest.param(50, 8, marks=pytest.mark.prove("more of them, with more readers"))],
)
def test_no_statement_sees_two_builds_or_waits_for_long(
    lab: Lab, publications: int, readers: int
) -> None:
    assert isinstance(lab.engine, Postgres)
    database = lab.engine.database
    grow(lab)
    # Rows of three tables, and what is said of them.
    every = f"{ONE_OF_EACH} union all select build from {{s}}.mart_status".format(s=lab.schema)
    ended, waits = threading.Event(), [0.0]

    def read(*, keeps: bool) -> None:
        """By one connection, or by a new one each time."""
        connection = database.connect()
        while not ended.is_set():
            begun = time.monotonic()
            with connection.cursor() as cursor:
                cursor.execute(f"select distinct version from ({every}) as x")
                assert len(cursor.fetchall()) == 1
            waits.append(time.monotonic() - begun)
            if not keeps:
                connection.close()
                connection = database.connect()
        connection.close()

    with ThreadPoolExecutor(readers) as pool:
        reading = [pool.submit(read, keeps=bool(number % 2)) for number in range(readers)]
        for number in range(publications):
            # Nothing else can be an increment than what other loads change.
            load(lab, 2, "reverted" if number % 4 == 1 else "current")
            grow(lab, keep=2)
        ended.set()
        for reader in reading:
            reader.result()
    assert len(waits) > publications
    assert {one.based_on is None for one in lab.publications()} == {True, False}
    assert len(lab.publications()) == publications + 1
    assert max(waits) < 20, "a moment, on a machine that does other things too"


@postgres_alone
def test_of_two_builds_at_once_one_waits(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.build()
    with open_publications(lab.profile) as publications:
        place = publications.begin()
        second = threading.Thread(target=lab.build)
        second.start()
        time.sleep(0.5)
        assert second.is_alive()
        lab.rows(tables(place, 8).replace(place, f"{lab.schema}__x"))
        lab.rows(tables(place, 8))
        publications.publish(lab.green(place), 1)
        assert lab.seen() == {8}
    second.join(120)
    assert lab.seen() == {2}
    assert "waiting for another build of the schema" in capsys.readouterr().err


@postgres_alone
def test_a_name_that_would_be_cut_off_is_refused(lab: Lab) -> None:
    long = replace(lab, schema="s" * 50)
    with pytest.raises(UsageError, match="at most 45 bytes"):
        long.build()


# Whether there is anything to build.

UNDONE = "update {s}_raw.loads set status"
CHANGES = {
    "a mart is dropped": "drop view {s}.counted",
    "a mart is made anew, as plain dbt does": "drop view {s}.runs; create table {s}.runs as "
    "select 1 as run_id, 1 as version",
    "a view says something else": "create or replace view {s}.counted as select 4::bigint as users",
    "what a mart is made of is gone": "drop view {s}_staging.stg_users",
    "a table behind the marts is gone": "drop table {p}.runs cascade",
    "a load came": "insert into {s}_raw.loads values (3, 'current', 1)",
    "a load was undone": "update {s}_raw.loads set status = 'reverted' where load_id = 1",
    "all is gone": "drop schema {s} cascade",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_the_database_is_seen(lab: Lab, change: str) -> None:
    assert lab.due() == WHOLE
    lab.build()
    assert (lab.due(), lab.due("other code")) == (NOTHING, WHOLE)
    lab.rows(change.format(s="{s}", p=lab.places()[0]))
    assert lab.due() == WHOLE
    lab.build()
    assert lab.due() == NOTHING


@postgres_alone
@pytest.mark.parametrize(
    ("before", "meanwhile", "due"),
    [
        ("select 1", "insert into {s}_raw.loads values (3, 'current', 1)", WHOLE),
        # Models may have read both.
        ("select 1", f"{UNDONE} = 'reverted'; {UNDONE} = 'current'", WHOLE),
        ("drop table {s}_raw.loads", RAW.rpartition(";")[0], NOTHING),
        ("drop table {s}_raw.loads", RAW, WHOLE),
    ],
    ids=["loaded", "undone and redone", "raw tables that dbt has made", "loaded into these"],
)
def test_what_is_loaded_during_the_build_is_not_what_was_built(
    lab: Lab, before: str, meanwhile: str, due: str
) -> None:
    lab.rows(before)
    lab.build(meanwhile)
    assert lab.due() == due
