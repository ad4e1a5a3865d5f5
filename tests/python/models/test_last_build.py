"""A build is left out only when nothing at all has changed since the last green one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from support.engines import Engine
from support.in_process import Done, labmart
from support.project import ROOT

from loader import dbt_report, last_build
from loader.database import find_database
from loader.dbt import BuildOptions, BuildResult, build
from loader.last_build import code_of
from loader.profile import Profile, load_profile
from loader.project import Project, open_project

pytestmark = pytest.mark.slow

postgres_alone = pytest.mark.parametrize("shared_engine", ["postgres"], indirect=True)
duckdb_alone = pytest.mark.parametrize("shared_engine", ["duckdb"], indirect=True)

PACKAGES = ("dbt-core", "dbt-common", "dbt-adapters", "dbt-postgres", "dbt-duckdb")

FILES = {
    "dbt_project.yml": (
        "name: tiny\nprofile: labmart\nversion: 1.0.0\nmodels: {+materialized: table}\n"
        "seeds: {+schema: seeds}\n"
    ),
    "seeds/numbers.csv": "n\n1\n2\n",
    "macros/twice.sql": "{% macro twice(n) %}{{ n }} * 2{% endmacro %}\n",
    "models/_sources.yml": (
        "sources:\n  - name: raw\n    schema: '{{ target.schema }}_raw'\n"
        "    tables: [{name: loads}, {name: rows}]\n"
    ),
    "models/counted.sql": (
        "{{ config(materialized='view') }} select r.n from {{ source('raw', 'rows') }} as r "
        "inner join {{ source('raw', 'loads') }} as l on r.load_id = l.load_id "
        "where l.status = 'current'\n"
    ),
    "models/doubled.sql": (
        "select n, {{ twice('n') }} as twice, '{{ env_var(\"LABMART_WORD\", \"\") }}' as word "
        "from {{ ref('numbers') }} union all select n, n, '' from {{ ref('counted') }}\n"
    ),
}
RAW = (
    "create schema labmart_raw; "
    "create table labmart_raw.loads (load_id bigint, status text); "
    "create table labmart_raw.rows (load_id bigint, n integer); "
    "insert into labmart_raw.loads values (1, 'current'); "
    "insert into labmart_raw.rows values (1, 3)"
)


@dataclass(frozen=True)
class Lab:
    """A project that has been built once, for real."""

    project: Project
    engine: Engine
    invocation_id: str

    @property
    def root(self) -> Path:
        return self.project.root

    @property
    def profile(self) -> Profile:
        return find_database(self.project, self.engine.name).profile

    @property
    def manifest(self) -> Path:
        return self.project.target / "manifest.json"

    def code(self, variables: str | None = None) -> str:
        found = code_of(self.project, self.profile, variables)
        assert found
        return found

    def keep(self, meanwhile: str = "") -> None:
        """What a green build does, its tables taken as they are."""
        with last_build.last_build(self.profile) as last:
            last.begin()
            if meanwhile:
                self.engine.rows(meanwhile)
            last.keep(self.code(), self.manifest, self.invocation_id)

    def is_current(self) -> bool:
        with last_build.last_build(self.profile) as last:
            return last.is_current(self.code())


@pytest.fixture(scope="module")
def built(shared_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    root = tmp_path_factory.mktemp("lab") / "tiny"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    shutil.copy(ROOT / "profiles.yml.example", root / "profiles.yml")
    shared_engine.rows(RAW)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shared_engine.environment.items():
            patch.setenv(name, value)
        project = open_project(root)
        done = build(project, BuildOptions(target=shared_engine.name))
        assert done.exit_code == 0, done.errors
    return Lab(project, shared_engine, done.invocation_id)


@pytest.fixture
def lab(built: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The same, its last build known and nothing changed."""
    for name, value in built.engine.environment.items():
        monkeypatch.setenv(name, value)
    built.keep()
    assert built.is_current()
    return built


CHANGES = {
    "a mart's row is deleted": "delete from labmart.doubled where n = 3",
    "a mart's row says something else": "update labmart.doubled set twice = 7 where n = 3",
    "a row is added to a mart": "insert into labmart.doubled select n, twice, word from "
    "labmart.doubled",
    "a mart is dropped": "drop table labmart.doubled",
    "a mart is made anew, as plain dbt does": "create table labmart.other as select * from "
    "labmart.doubled; drop table labmart.doubled; alter table labmart.other rename to doubled",
    "a mart's column has another name": "alter table labmart.doubled rename column word to words",
    "a view says something else": "create or replace view labmart.counted as select 4 as n",
    "a seed's table is written to": "update labmart_seeds.numbers set n = 5 where n = 1",
    "a load came": "insert into labmart_raw.loads values (2, 'current')",
    "a load was undone": "update labmart_raw.loads set status = 'reverted' where load_id = 1",
    "raw rows are gone": "delete from labmart_raw.rows",
    "all is gone": "drop schema labmart cascade",
}


RESTORE = (
    "create schema if not exists labmart; drop table if exists labmart.doubled; "
    "drop view if exists labmart.counted; "
    "delete from labmart_raw.loads; insert into labmart_raw.loads values (1, 'current'); "
    "delete from labmart_raw.rows; insert into labmart_raw.rows values (1, 3); "
    "delete from labmart_seeds.numbers; insert into labmart_seeds.numbers values (1), (2); "
    "create view labmart.counted as select n from labmart_raw.rows; "
    "create table labmart.doubled as select n, n * 2 as twice, '' as word "
    "from labmart_seeds.numbers union all select 3, 3, ''"
)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_the_database_is_seen(lab: Lab, change: str) -> None:
    lab.engine.rows(change)
    assert not lab.is_current()
    # What dbt made is not what a person makes, were it equal.
    lab.engine.rows(RESTORE)
    assert not lab.is_current()


def test_looking_changes_nothing(lab: Lab) -> None:
    lab.engine.rows("select * from labmart.doubled")
    if lab.engine.name == "postgres":
        lab.engine.rows("vacuum analyze labmart.doubled")
    with find_database(lab.project, lab.engine.name).open() as source:
        source.query("select * from labmart.counted", 10)
    assert lab.is_current()


# On DuckDB nobody else has the file while dbt has it.
@postgres_alone
def test_a_load_during_the_build_is_not_what_was_built(lab: Lab) -> None:
    lab.keep(meanwhile="insert into labmart_raw.loads values (3, 'current')")
    assert not lab.is_current()
    lab.engine.rows(RESTORE)


@pytest.mark.parametrize("is_loaded", [False, True], ids=["empty", "loaded meanwhile"])
def test_a_raw_table_that_dbt_has_made_is_known_while_it_is_empty(
    lab: Lab, is_loaded: bool
) -> None:
    lab.engine.rows("drop view labmart.counted; drop table labmart_raw.loads")
    made = (
        "create table labmart_raw.loads (load_id bigint, status text); "
        "create view labmart.counted as select load_id from labmart_raw.loads; "
    )
    rows = "insert into labmart_raw.loads values (1, 'current')" if is_loaded else ""
    lab.keep(meanwhile=made + rows)
    # On DuckDB nobody else has the file while dbt has it.
    assert lab.is_current() == (not is_loaded or lab.engine.name == "duckdb")
    lab.engine.rows(RESTORE)


def test_a_build_that_did_not_come_to_its_end_is_not_known(lab: Lab) -> None:
    with last_build.last_build(lab.profile) as last:
        last.begin()
    assert not lab.is_current()


@postgres_alone
def test_of_two_builds_at_once_neither_is_known(lab: Lab) -> None:
    with last_build.last_build(lab.profile) as first, last_build.last_build(lab.profile) as second:
        first.begin()
        second.begin()
        first.keep(lab.code(), lab.manifest, lab.invocation_id)
        assert not lab.is_current()
        second.keep(lab.code(), lab.manifest, lab.invocation_id)
        assert not lab.is_current()
    lab.keep()
    assert lab.is_current()


def test_a_build_that_has_left_another_manifest_is_not_known(lab: Lab) -> None:
    with last_build.last_build(lab.profile) as last:
        last.begin()
        last.keep(lab.code(), lab.manifest, "another invocation")
    assert not lab.is_current()


@duckdb_alone
def test_a_backup_of_the_file_is_not_what_was_built(lab: Lab, tmp_path: Path) -> None:
    file = Path(lab.profile.text("path"))
    shutil.copy2(file, tmp_path / "backup")
    lab.engine.rows("update labmart.doubled set twice = twice + 1")
    lab.keep()
    shutil.copy2(tmp_path / "backup", file)
    assert not lab.is_current()


@postgres_alone
def test_a_user_without_rights_gets_no_error(lab: Lab) -> None:
    lab.engine.rows(
        "drop role if exists lab_guest; create role lab_guest; "
        "create or replace function f() returns int return 1"
    )
    guest = lab.profile
    guest = Profile(guest.path, guest.target, guest.engine, {**guest.values, "role": "lab_guest"})
    with last_build.last_build(guest) as last:
        assert not last.is_current(lab.code())
        last.begin()
        last.keep(lab.code(), lab.manifest, lab.invocation_id)
    assert lab.is_current()
    lab.engine.rows("drop role lab_guest")


# Code


CODE = {
    "seeds/numbers.csv": "n\n1\n3\n",
    "models/doubled.sql": "select 1 as n",
    "models/_new.yml": "models: [{name: doubled, description: Twice.}]\n",
    "macros/twice.sql": "{% macro twice(n) %}{{ n }} + {{ n }}{% endmacro %}\n",
    "tests/none.sql": "select 1 as n where false\n",
    "packages.yml": "packages: []\n",
    "dbt_packages/other/macros/it.sql": "{% macro it() %}{% endmacro %}\n",
    "dbt_project.yml": "name: tiny\nprofile: labmart\nversion: 1.0.1\n",
}


@pytest.mark.parametrize("name", CODE)
def test_a_change_of_the_code_is_seen(lab: Lab, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "tiny"
    shutil.copytree(lab.root, copy, symlinks=True)
    project = open_project(copy)
    before = code_of(project, lab.profile, None)
    # The same files elsewhere are the same code.
    assert before == lab.code()
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    (copy / name).write_text(CODE[name])
    assert code_of(project, lab.profile, None) != before


def test_code_in_a_folder_of_another_name_and_place_is_code(lab: Lab, tmp_path: Path) -> None:
    copy = tmp_path / "tiny"
    shutil.copytree(lab.root, copy, symlinks=True)
    (copy / "dbt_project.yml").write_text(
        "name: tiny\nprofile: labmart\nmodel-paths: [models, ../shared]\n"
    )
    model = tmp_path / "shared" / "more.sql"
    model.parent.mkdir()
    codes = []
    for text in ("select 1", "select 2"):
        model.write_text(text)
        codes.append(code_of(open_project(copy), lab.profile, None))
    assert None not in codes
    assert codes[0] != codes[1]


def test_what_code_is_read_with_is_part_of_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [lab.code(), lab.code("{factor: 5}")]
    for name in ("LABMART_WORD", "DBT_FULL_REFRESH", "LABMART_SCHEMA"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            codes.append(lab.code())
    for package in ("dbt-core", f"dbt-{lab.engine.name}"):
        with monkeypatch.context() as patch:
            newer = {name: "9.9" if name == package else version(name) for name in PACKAGES}
            patch.setattr(last_build, "version", newer.__getitem__)
            codes.append(lab.code())
    profile = lab.profile
    other = Profile(profile.path, "other", profile.engine, profile.values)
    codes.append(str(code_of(lab.project, other, None)))
    assert len(set(codes)) == len(codes)
    assert lab.code() == codes[0]


def test_files_that_dbt_does_not_read_are_no_code(lab: Lab) -> None:
    before = lab.code()
    (lab.root / "notes.txt").write_text("Call Ada.")
    (lab.root / "macros" / "__pycache__").mkdir()
    (lab.root / "macros" / "__pycache__" / "x.pyc").write_text("")
    assert lab.code() == before


def test_a_password_is_no_part_of_what_readers_can_see(lab: Lab) -> None:
    profile = lab.profile
    with_password = {**profile.values, "password": "secret"}
    other = Profile(profile.path, profile.target, profile.engine, with_password)
    assert code_of(lab.project, other, None) == lab.code()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("models/odd.sql", "select '{{ env_var(var('name')) }}' as word"),
        ("dbt_project.yml", "name: tiny\nprofile: labmart\nmodel-paths: ['{{ var(\"x\") }}']\n"),
    ],
)
def test_what_cannot_be_told_is_never_known(lab: Lab, tmp_path: Path, name: str, text: str) -> None:
    copy = tmp_path / "tiny"
    shutil.copytree(lab.root, copy, symlinks=True)
    (copy / name).write_text(text)
    assert code_of(open_project(copy), lab.profile, None) is None


# The command


@pytest.fixture
def builds(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> list[BuildOptions]:
    """The builds that are done from now on; dbt itself is not started."""
    done: list[BuildOptions] = []

    def build_(_: Project, options: BuildOptions) -> BuildResult:
        done.append(options)
        code = int(os.environ.get("EXIT_CODE", "0"))
        return BuildResult(exit_code=code, invocation_id=lab.invocation_id)

    monkeypatch.setattr(dbt_report, "build", build_)
    return done


def call(lab: Lab, *arguments: str) -> Done:
    return labmart(lab.root, "build", "--target", lab.engine.name, *arguments)


def test_a_build_is_left_out_and_says_so(lab: Lab, builds: list[BuildOptions]) -> None:
    done = call(lab)
    assert (done.code, done.out, builds) == (0, "", [])
    assert done.err.splitlines()[-1] == dbt_report.UNCHANGED
    assert call(lab, "--vars", "{factor: 5}").code == 0
    assert len(builds) == 1
    # The last green build had other variables.
    assert call(lab).code == 0
    assert len(builds) == 2
    assert call(lab).err.endswith(f"{dbt_report.UNCHANGED}\n")


def test_to_know_it_takes_no_dbt() -> None:
    """Importing it takes longer than all the rest."""
    call_ = "import sys, loader.cli.loading, loader.dbt_report; print('dbt' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", call_], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_full_builds_all_the_same(lab: Lab, builds: list[BuildOptions]) -> None:
    assert call(lab, "--full").code == 0
    assert [one.full for one in builds] == [True]
    assert call(lab).err.endswith(f"{dbt_report.UNCHANGED}\n")


def test_a_red_build_is_done_again(
    lab: Lab, builds: list[BuildOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("EXIT_CODE", "1")
        assert call(lab, "--full").code == 1
        assert call(lab).code == 1
    assert call(lab).code == 0
    assert len(builds) == 3


def test_one_s_own_selection_is_always_done_and_keeps_nothing(
    lab: Lab, builds: list[BuildOptions]
) -> None:
    assert call(lab, "--", "--select", "doubled").code == 0
    assert len(builds) == 1
    lab.engine.rows("update labmart.doubled set twice = twice + 1")
    assert call(lab, "--", "--select", "doubled").code == 0
    assert call(lab).code == 0
    assert len(builds) == 3


@postgres_alone
def test_what_is_kept_can_be_read_by_a_person(lab: Lab) -> None:
    [(record,)] = lab.engine.rows("select record from labmart.labmart_last_build")
    names = {(schema, name) for schema, name, _ in json.loads(str(record))["state"]}
    assert names == {
        ("labmart", "counted"),
        ("labmart", "doubled"),
        ("labmart_raw", "loads"),
        ("labmart_raw", "rows"),
        ("labmart_seeds", "numbers"),
    }


def test_what_this_project_reads_can_be_told() -> None:
    project = open_project(ROOT)
    assert code_of(project, load_profile(project), None)
