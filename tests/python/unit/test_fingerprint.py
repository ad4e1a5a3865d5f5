"""What marts are made by is known by a digest: any change of the code makes another one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from support.project import ROOT

from loader import dbt
from loader.dbt import code_of
from loader.project import Profile, Project, load_profile, open_project

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


@dataclass(frozen=True)
class Lab:
    """A project that nobody builds."""

    project: Project

    @property
    def root(self) -> Path:
        return self.project.root

    @property
    def profile(self) -> Profile:
        return load_profile(self.project, "postgres")

    def code(self, variables: str | None = None) -> str:
        found = code_of(self.project, self.profile, variables)
        assert found
        return found


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    root = tmp_path / "made" / "tiny"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    shutil.copy(ROOT / "profiles.yml.example", root / "profiles.yml")
    return Lab(open_project(root))


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
    for package in ("dbt-core", "dbt-postgres"):
        with monkeypatch.context() as patch:
            newer = {name: "9.9" if name == package else version(name) for name in PACKAGES}
            patch.setattr(dbt, "version", newer.__getitem__)
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


def test_what_this_project_reads_can_be_told() -> None:
    project = open_project(ROOT)
    assert code_of(project, load_profile(project), None)


def test_to_know_it_takes_no_dbt() -> None:
    """Importing it takes longer than all the rest."""
    call_ = "import sys, loader.cli.data, loader.build; print('dbt' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", call_], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
