"""Load and build on a cluster as a person would, a worker killed amid the build: marts unharmed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.project import copy_of_project
from support.spark import Spark, need_java
from support.workbench import Workbench, open_workbench, session

from benchmarks.cluster import Cluster, cluster
from benchmarks.generate import Laboratory, write

pytestmark = [pytest.mark.slow, pytest.mark.prove("a cluster of processes, and a death in it")]

# What stands before it is read from the files; the marts are still to be built.
_KILL_AFTER = "int_users"


def build_and_kill(bench: Workbench, made: Cluster) -> None:
    """`dbt build` as a process of its own; a worker dies as soon as a model is done."""
    dbt = Path(sys.executable).with_name("dbt")
    tests = ("--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")
    with subprocess.Popen(
        [str(dbt), "--no-use-colors", "build", "--target", "spark", *tests],
        cwd=bench.project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "OK created" in line and f".{_KILL_AFTER} " in line:
                assert made.status()["coresused"] == 2, "both workers have an executor"
                made.kill_worker()
    assert process.returncode == 0, "".join(said)
    assert len(made.workers) == 1, "".join(said)


def test_marts_are_equal_and_complete_though_a_worker_dies(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_java()
    files = tmp_path / "files"
    files.mkdir()
    write(Laboratory(experiments=20_000, users=200, compounds=50, dirty=0.05), files)

    (tmp_path / "alone").mkdir()
    with open_workbench(
        "duckdb", lambda: request.getfixturevalue("server"), tmp_path / "alone"
    ) as alone:
        alone.labmart("load", str(files))
        alone.build()
        right = alone.all_shown()

    with cluster(tmp_path / "cluster", workers=2) as made:
        bench = Workbench(copy_of_project(tmp_path), Spark(tmp_path))
        bench.enter(monkeypatch)
        monkeypatch.setenv("SPARK_MASTER", made.address)
        monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        monkeypatch.setenv("SPARK_EXECUTOR_MEMORY", "512m")
        bench.labmart("load", str(files))
        build_and_kill(bench, made)
        with session(bench.profile):
            found = bench.all_shown()
    assert right["input_issues"].count("\n") > 100
    for mart, text in right.items():
        assert found[mart] == text, mart
