"""A real cluster of a master and two workers: they share the work, and survive a death."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.load_processes import wait_for
from support.spark import held_session, need_java

from benchmarks.cluster import Cluster, cluster
from loader.engines import open_store, spark_lines
from loader.engines.spark_session import open_session
from loader.load import LoadOptions, Outcome, load
from loader.profile import Profile
from loader.progress import StderrReport
from loader.project import open_project
from loader.sources import read_inputs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.slow, pytest.mark.prove("a cluster of processes, and a death in it")]

RECORDS = 2_200_000
ODD_EVERY = 100_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need_java()
    with cluster(tmp_path_factory.mktemp("cluster"), workers=2) as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "experiments.csv"
    with path.open("w") as out:
        out.write("experiment_id,user_id,experiment_compound_ids,experiment_run_time\n")
        for number in range(1, RECORDS + 1):
            if number % ODD_EVERY:
                out.write(f"{number},{number % 977},1;2;3,{number % 1000}.125\n")
            else:
                out.write(f'{number},"{number}\n",1;2;3,"odd, on two lines"\n')
    return path


def load_file(path: Path, profile: Profile) -> list[Outcome]:
    inputs = read_inputs(open_project().sources_file)
    return load([str(path)], inputs, profile, LoadOptions(), StderrReport())


def tasks_done(session: SparkSession) -> list[int]:
    """How many tasks each executor has done, also one that is dead."""
    store: Any = session.sparkContext._jsc.sc().statusStore()
    found = store.executorList(False)
    executors = [found.apply(at) for at in range(found.size())]
    return [int(one.completedTasks()) for one in executors if one.id() != "driver"]


def test_both_workers_read_and_one_may_die(
    made: Cluster, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spark_lines, "LARGE", file.stat().st_size)
    monkeypatch.setattr(spark_lines, "_BLOCK", 8 << 20)
    with held_session(tmp_path, **made.settings) as profile, open_session(profile) as session:
        wait_for(lambda: len(tasks_done(session)) == 2, 120)
        outcomes: list[Outcome] = []
        loading = threading.Thread(target=lambda: outcomes.extend(load_file(file, profile)))
        loading.start()
        # In the middle of the work: both have done something, and more is to be done.
        wait_for(lambda: min(tasks_done(session)) > 0 or not loading.is_alive(), 240)
        assert loading.is_alive()
        made.kill_worker()
        loading.join()
        assert [(one.state, one.records_read) for one in outcomes] == [("loaded", RECORDS)]
        wait_for(lambda: made.alive_workers() == 1, 120)
        found = session.sql(
            "select count(*), count(distinct line), min(line), max(line), "
            "sum(cast(experiment_id as bigint)) from labmart_raw.user_experiments"
        ).collect()[0]
        # Behind the header; the odd records have a second line each.
        last = 1 + RECORDS + RECORDS // ODD_EVERY
        total = RECORDS * (RECORDS + 1) // 2
        assert tuple(found) == (RECORDS, RECORDS, 2, last - 1, total)
        with open_store(profile, write=False) as store:
            [entry] = store.loads()
        assert (entry.records_read, entry.records_rejected) == (RECORDS, 0)
