"""What docs/operating.md offers beside building: freshness and metrics."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.dbt_project import DbtProject
from support.engines import Engine
from support.in_process import environment, labmart, program
from support.project import ROOT, copy_of_project

SAME = pytest.mark.prove("the same SQL on DuckDB, which whole builds run in make test")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize(
        "shared_engine", ["postgres", pytest.param("duckdb", marks=SAME)], indirect=True
    ),
]

Artifact = dict[str, Any]


@pytest.fixture(scope="module")
def project(
    shared_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DbtProject]:
    """A project on a database of each engine in turn."""
    with environment(shared_engine.environment, alone=True):
        made = DbtProject(copy_of_project(tmp_path_factory.mktemp("operating")), shared_engine.name)
        made.parse()
        yield made


@pytest.fixture(autouse=True)
def same_environment(shared_engine: Engine) -> Iterator[None]:
    """Each test has the environment of the module: another fixture takes it away."""
    with environment(shared_engine.environment):
        yield


@pytest.fixture(scope="module")
def artifacts(project: DbtProject) -> tuple[Artifact, Artifact]:
    """The manifest and the catalog of all models and seeds, built."""
    project.dbt("build", "--resource-type", "model", "--resource-type", "seed")
    project.dbt("docs", "generate")
    manifest, catalog = (
        json.loads((project.artifacts / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("manifest", "catalog")
    )
    return manifest, catalog


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

    assert labmart(project.root, "undo", "2").code == 0
    assert freshness(project) == (False, {**fresh, experiments: "error"})
    assert labmart(project.root, "redo", "2").code == 0
    age(8)
    assert freshness(project) == (True, {**fresh, experiments: "warn"})
    age(31)
    assert freshness(project) == (False, {**fresh, experiments: "error"})


@pytest.mark.usefixtures("artifacts")
def test_metrics_are_the_sums_of_the_mart_by_user_and_month_of_sign_up(
    project: DbtProject, shared_engine: Engine, tmp_path: Path
) -> None:
    """By MetricFlow itself, as a person calls it."""
    days = shared_engine.rows(
        "select cast(date_day as varchar) from labmart_staging.time_spine_daily order by 1"
    )
    spine = date(2000, 1, 1).toordinal(), date(2050, 1, 1).toordinal()
    assert [day for (day,) in days] == [date.fromordinal(n).isoformat() for n in range(*spine)]
    shown = labmart(project.root, "show", "user_features", "--format", "csv")
    assert shown.code == 0, shown.err
    users = list(csv.DictReader(shown.out.splitlines()))
    assert len(users) > 1

    # Where `mf` looks for what dbt has written.
    (project.root / "target" / "semantic_manifest.json").write_bytes(
        (project.artifacts / "semantic_manifest.json").read_bytes()
    )
    metrics = ("users", "active_users", "experiments", "run_time", "compounds")
    per_user = ("experiments_per_user", "run_time_per_user", "compounds_per_user")

    def query(group_by: str) -> list[dict[str, str]]:
        output = tmp_path / "output.csv"
        call = ("query", "--metrics", ",".join((*metrics, *per_user)), "--group-by", group_by)
        mf = Path(sys.executable).with_name("mf")
        # It asks for a newer version of itself at each call, and works without an answer.
        env = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "PGCONNECT_TIMEOUT": "10"}
        done = program(mf, *call, "--csv", output, cwd=project.root, env=env)
        assert done.code == 0, done.out + done.err
        with output.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def total(rows: list[dict[str, str]], column: str) -> Decimal:
        return sum((Decimal(row[column]) for row in rows), Decimal())

    # By month of sign-up, and by user; an id is no longer than a month.
    for column, key in (("user__signup_date__month", "signup_date"), ("user", "user_id")):
        groups: dict[str, list[dict[str, str]]] = defaultdict(list)
        for user in users:
            groups[user[key][:7]].append(user)
        found = {row[column][:7]: row for row in query(column)}
        assert found.keys() == groups.keys()
        for name, rows in groups.items():
            expected = {
                "users": Decimal(len(rows)),
                "active_users": Decimal(sum(row["total_exp_per_user"] != "0" for row in rows)),
                "experiments": total(rows, "total_exp_per_user"),
                "run_time": total(rows, "total_exp_time_per_user"),
                "compounds": total(rows, "distinct_compounds"),
            }
            assert {metric: Decimal(found[name][metric]) for metric in metrics} == expected, name
            for metric in per_user:
                mean = expected[metric.removesuffix("_per_user")] / len(rows)
                assert abs(Decimal(found[name][metric]) - mean) < Decimal("1e-9"), (name, metric)


def test_the_columns_are_the_declared_ones(artifacts: tuple[Artifact, Artifact]) -> None:
    """In the database too, under every model, seed and source: no more, no fewer, same order."""
    manifest, catalog = artifacts
    actual = {
        name: sorted(node["columns"], key=lambda column: node["columns"][column]["index"])
        for name, node in [*catalog["nodes"].items(), *catalog["sources"].items()]
    }
    declared = {
        node["unique_id"]: list(node["columns"])
        for node in [*manifest["nodes"].values(), *manifest["sources"].values()]
        if node["resource_type"] in ("model", "seed", "source")
        and node["config"].get("materialized") != "ephemeral"
    }
    assert actual == declared
