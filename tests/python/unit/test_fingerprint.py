"""What marts are made by is known by a digest: any change of the code makes another one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from support.project import ROOT

from loader import dbt
from loader.build import read_build
from loader.dbt import DbtRun, Plan, code_of
from loader.project import load_profile, open_project

PACKAGES = ("dbt-core", "dbt-common", "dbt-adapters", "dbt-postgres", "dbt-duckdb")

FILES = {
    "dbt_project.yml": (
        "name: tiny\nprofile: labmart\nversion: 1.0.0\nmodels: {+materialized: table}\n"
    ),
    "seeds/numbers.csv": "n\n1\n2\n",
    "macros/twice.sql": "{% macro twice(n) %}{{ n }} * 2{% endmacro %}\n",
    "models/_sources.yml": "sources: [{name: raw, tables: [{name: loads}, {name: rows}]}]\n",
    "models/doubled.sql": (
        "select {{ twice('n') }} as twice, '{{ env_var(\"LABMART_WORD\", \"\") }}' as word "
        "from {{ ref('numbers') }} union all select n, '' from {{ source('raw', 'rows') }}\n"
    ),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project that nobody builds."""
    folder = tmp_path / "tiny"
    for name, text in FILES.items():
        write(folder, name, text)
    shutil.copy(ROOT / "profiles.yml.example", folder / "profiles.yml")
    return folder


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def code(root: Path, variables: str | None = None, **changes: object) -> str | None:
    """What `code_of` says, with changes of the profile."""
    project = open_project(root)
    profile = replace(load_profile(project, "postgres"), **changes)  # type: ignore[arg-type]
    return code_of(project, profile, variables)


CODE = {
    "seeds/numbers.csv": "n\n1\n3\n",
    "models/doubled.sql": "select 1 as n",
    "models/_new.yml": "models: [{name: doubled, description: Twice.}]\n",
    "macros/twice.sql": "{% macro twice(n) %}{{ n }} + {{ n }}{% endmacro %}\n",
    "tests/none.sql": "select 1 as n where false\n",
    "packages.yml": "packages: []\n",
    "dbt_packages/other/macros/it.sql": "{% macro it() %}{% endmacro %}\n",
    "dbt_project.yml": "name: tiny\nprofile: labmart\nmodel-paths: [models, ../shared]\n",
    # A folder of another name and place.
    "../shared/more.sql": "select 1",
}


def test_a_change_of_the_code_is_seen(root: Path, tmp_path: Path) -> None:
    codes = [code(root)]
    # The same files elsewhere are the same code.
    copy = open_project(shutil.copytree(root, tmp_path / "copy"))
    assert code_of(copy, load_profile(open_project(root), "postgres"), None) == codes[0]
    for name, text in CODE.items():
        write(root, name, text)
        codes.append(code(root))
    assert None not in codes
    assert len(set(codes)) == len(CODE) + 1


def test_what_code_is_read_with_is_part_of_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [code(root), code(root, "{factor: 5}"), code(root, target="other")]
    for name in ("LABMART_WORD", "DBT_FULL_REFRESH", "LABMART_SCHEMA"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            codes.append(code(root))
    for package in ("dbt-core", "dbt-postgres"):
        with monkeypatch.context() as patch:
            newer = {name: "9.9" if name == package else version(name) for name in PACKAGES}
            patch.setattr(dbt, "version", newer.__getitem__)
            codes.append(code(root))
    assert len(set(codes)) == len(codes)
    # What dbt does not read and a password are no code.
    write(root, "notes.txt", "Call Ada.")
    write(root, "macros/__pycache__/x.pyc", "")
    values = load_profile(open_project(root), "postgres").values
    assert code(root, values={**values, "password": "secret"}) == codes[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("models/odd.sql", "select '{{ env_var(var('name')) }}' as word"),
        ("dbt_project.yml", "name: tiny\nprofile: labmart\nmodel-paths: ['{{ var(\"x\") }}']\n"),
    ],
)
def test_what_cannot_be_told_is_never_known(root: Path, name: str, text: str) -> None:
    write(root, name, text)
    assert code(root) is None


def test_what_this_project_reads_can_be_told() -> None:
    project = open_project(ROOT)
    assert code_of(project, load_profile(project), None)


@pytest.mark.parametrize(
    ("source", "language", "is_known"),
    [
        ({}, "sql", True),
        ({}, "python", False),
        ({"identifier": "loads", "config": {"meta": {}}}, "sql", True),
        ({"config": {"meta": {}}}, "sql", False),
        ({"schema": "elsewhere"}, "sql", False),
        ({"database": "another"}, "sql", False),
    ],
    ids=["an input", "Python", "the ledger", "no input", "another schema", "another database"],
)
def test_what_neither_code_nor_ledger_says_is_built_each_time(
    tmp_path: Path, source: dict[str, object], language: str, is_known: bool
) -> None:
    profile = load_profile(open_project(ROOT), "postgres")
    there = {"database": "lab", "schema": profile.raw_schema, "identifier": "users"}
    model = {
        **{"name": "m", "alias": "m", "resource_type": "model", "language": language},
        **{"database": "lab", "schema": "labmart__next", "depends_on": {"nodes": ["s"]}},
        "config": {"materialized": "table", "meta": {}},
    }
    sources = {"s": there | {"config": {"meta": {"input": True}}} | source}
    manifest = {"nodes": {"model.m": model}, "sources": sources}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "run_results.json").write_text('{"results": []}')
    green = read_build(profile, Plan("labmart__next", code="code"), DbtRun(tmp_path))
    assert green.code == ("code" if is_known else None)
