"""A build on Apache Spark's own cluster of processes, one of which is killed on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.engines import Lake
from support.oracle import marts
from support.project import copy_of_project
from support.random_labs import random_lab
from support.spark import end_sessions, session_at
from support.workbench import Workbench

from benchmarks.workers import Cluster, cluster

pytestmark = [pytest.mark.slow, pytest.mark.prove("a cluster of six Java processes")]


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster", 2) as running:
        session_at(running.url)
        yield running
        end_sessions()


def kill_once_both_have_worked(two: Cluster) -> None:
    begun = two.work()
    while not all(now.tasks > then.tasks for now, then in zip(two.work(), begun, strict=True)):
        time.sleep(0.1)
    worker = psutil.Process(two.workers[0].pid)
    # Its executor, which does the work, and the worker, which would start another one.
    for process in (worker, *worker.children(recursive=True)):
        process.kill()


def test_marts_are_right_when_a_worker_is_killed_during_the_build(
    two_workers: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Workbench(copy_of_project(tmp_path), Lake(tmp_path, two_workers.url))
    bench.engine.enter(monkeypatch)
    bench.dbt("run-operation", "create_raw_tables")
    known = bench.fill(random_lab(1, mode="loads"))
    killing = threading.Thread(target=kill_once_both_have_worked, args=(two_workers,), daemon=True)
    killing.start()
    bench.build()
    assert not killing.is_alive()
    assert bench.differences(marts(known)) == []
    killed, other = two_workers.work()
    assert 0 < killed.tasks < other.tasks
