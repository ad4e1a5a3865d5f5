"""`dbt source freshness` tells of each input when its newest file came."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.engines import Engine
from support.in_process import labmart
from support.operated import DbtProject
from support.project import ROOT, copy_of_project

pytestmark = pytest.mark.slow


@pytest.fixture
def project(shared_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DbtProject:
    for variable, value in shared_engine.environment.items():
        monkeypatch.setenv(variable, value)
    made = DbtProject(copy_of_project(tmp_path), shared_engine.name)
    made.parse()
    return made


def freshness(project: DbtProject) -> tuple[bool, dict[str, str]]:
    """Whether dbt succeeds, and the status of each table of the source."""
    done = project.run("source", "freshness")
    found = json.loads((project.artifacts / "sources.json").read_text(encoding="utf-8"))
    statuses = {r["unique_id"].rpartition(".")[2]: r["status"] for r in found["results"]}
    return done.success, statuses


def test_an_input_is_as_fresh_as_its_newest_load_that_counts(
    project: DbtProject, shared_engine: Engine
) -> None:
    users, experiments, compounds = "users", "user_experiments", "compounds"
    never = (False, {users: "warn", experiments: "error", compounds: "warn"})
    assert freshness(project) == never

    for name in ("users.csv", "thursday.csv"):
        loaded = labmart(project.root, "load", str(ROOT / "examples" / "messy" / name))
        assert loaded.code == 0, loaded.err
    fresh = {users: "pass", experiments: "pass", compounds: "warn"}
    assert freshness(project) == (True, fresh)

    def age(days: int) -> None:
        shared_engine.rows(
            "update labmart_raw.loads set finished_at = "
            f"cast(current_timestamp as timestamp with time zone) - interval '{days}' day"
        )

    age(8)
    assert freshness(project) == (True, {**fresh, experiments: "warn"})
    age(31)
    assert freshness(project) == (False, {**fresh, experiments: "error"})
    age(0)
    assert freshness(project) == (True, fresh)
    assert labmart(project.root, "undo", "2").code == 0
    assert freshness(project) == (False, {**fresh, experiments: "error"})
