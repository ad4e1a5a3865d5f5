"""Raw tables lie apart from the target; those of earlier versions, which followed it, are moved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.dbt_project import DbtProject
from support.engines import Engine
from support.in_process import labmart
from support.person import HEADER, USERS
from support.project import copy_of_project

MOVED = "moved the raw tables from the schema lab_raw to labmart_raw, which all targets read\n"


@pytest.fixture
def person(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Somebody with a fresh database whose target schema is `lab`, and two files."""
    for variable, value in engine.environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("LABMART_SCHEMA", "lab")
    monkeypatch.chdir(tmp_path)
    Path("users.csv").write_text(USERS, encoding="utf-8")
    Path("more.csv").write_text(f"{HEADER}3,Cy,,\n", encoding="utf-8")
    return engine


def load_into(project: Path, raw_schema: str, file: str, patch: pytest.MonkeyPatch) -> None:
    with patch.context() as inner:
        inner.setenv("LABMART_RAW_SCHEMA", raw_schema)
        done = labmart(project, "load", file)
    assert done.code == 0, done.err


@pytest.mark.slow
def test_every_target_reads_the_same_loads(
    person: Engine, loading_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert labmart(loading_copy, "load", "users.csv").code == 0
    monkeypatch.setenv("LABMART_SCHEMA", "dev_ana")
    assert "users.csv" in labmart(loading_copy, "loads").out
    assert person.schemas("_raw") == ["labmart_raw"]


@pytest.mark.slow
def test_raw_tables_of_an_earlier_version_are_moved_and_nothing_is_lost(
    person: Engine, loading_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_into(loading_copy, "lab_raw", "users.csv", monkeypatch)
    load_into(loading_copy, "lab_raw", "more.csv", monkeypatch)
    before = person.everything("lab_raw")
    first = labmart(loading_copy, "loads")
    assert (first.code, first.err.count(MOVED)) == (0, 1)
    assert person.schemas("_raw") == ["labmart_raw"]
    assert person.everything("labmart_raw") == before
    again = labmart(loading_copy, "load", "users.csv")
    assert again.code == 0
    assert "already loaded" in again.err
    assert "moved" not in again.err


@pytest.mark.slow
def test_the_loads_of_two_laboratories_are_never_mixed(
    person: Engine, loading_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_into(loading_copy, "lab_raw", "users.csv", monkeypatch)
    load_into(loading_copy, "labmart_raw", "more.csv", monkeypatch)
    before = [person.everything(name) for name in ("lab_raw", "labmart_raw")]
    for call in (("loads",), ("load", "users.csv"), ("undo", "1")):
        refused = labmart(loading_copy, *call)
        assert refused.code == 2
        assert "lab_raw and labmart_raw both hold loads" in refused.err
        assert "Set LABMART_RAW_SCHEMA=lab_raw" in refused.err
    assert [person.everything(name) for name in ("lab_raw", "labmart_raw")] == before
    for name, file in (("lab_raw", "users.csv"), ("labmart_raw", "more.csv")):
        monkeypatch.setenv("LABMART_RAW_SCHEMA", name)
        assert file in labmart(loading_copy, "loads").out


@pytest.mark.slow
def test_an_empty_new_schema_is_not_taken_for_the_old_one(
    person: Engine, loading_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_into(loading_copy, "lab_raw", "users.csv", monkeypatch)
    person.rows("create schema labmart_raw")
    refused = labmart(loading_copy, "loads")
    assert refused.code == 2
    assert "Drop labmart_raw and call again" in refused.err
    person.rows("drop schema labmart_raw")
    assert labmart(loading_copy, "loads").err.count(MOVED) == 1


@pytest.mark.slow
def test_a_schema_of_that_name_that_is_not_ours_stays(person: Engine, loading_copy: Path) -> None:
    person.rows("create schema lab_raw")
    person.rows("create table lab_raw.loads (load_id bigint, weight bigint)")
    assert "moved" not in labmart(loading_copy, "load", "users.csv").err
    assert person.schemas("_raw") == ["lab_raw", "labmart_raw"]


@pytest.mark.slow
def test_dbt_by_itself_builds_nothing_beside_loads_of_an_earlier_version(
    person: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = copy_of_project(tmp_path)
    load_into(project, "lab_raw", "users.csv", monkeypatch)
    dbt = DbtProject(project, person.name)
    dbt.parse()
    kinds = ("--resource-type", "model", "--resource-type", "seed")
    call = ("build", "--select", "+stg_rejected_lines", *kinds)
    assert not dbt.run(*call).success
    assert "The loads of this target are in the schema lab_raw" in capsys.readouterr().out
    assert person.schemas("_raw") == ["lab_raw"]
    assert person.everything("lab_staging") == {}
    assert labmart(project, "loads").err.count(MOVED) == 1
    dbt.dbt(*call)
    shutil.rmtree(project)
