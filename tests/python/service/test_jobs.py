"""Jobs as rows: what is claimed, when, and how often; without a server or a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from support.databases import Database

from loader.build import BuildOutcome, FailedNode
from loader.database import find_database
from loader.dbt import DbtRun
from loader.progress import NodeResult, Report
from loader.project import Project
from loader.service import worker
from loader.service.jobs import (
    MOST_ATTEMPTS,
    JobStore,
    Kind,
    Options,
    Result,
    Settings,
    prepared,
)
from loader.service.problems import Problem

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(
    loading_copy: Path, shared_database: Database, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A schema of the test's own."""
    for name, value in shared_database.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LABMART_SCHEMA", f"j{uuid4().hex[:10]}")
    return Settings(find_database(Project(loading_copy, loading_copy), None))


@pytest.fixture
def jobs(settings: Settings) -> Iterator[JobStore]:
    with prepared(settings, connections=2) as tables:
        yield JobStore(tables)


def accept(jobs: JobStore, kind: Kind = "load", *, build: bool = True) -> UUID:
    """Queue a job."""
    return jobs.accept(uuid4(), kind, "local", Options(build=build)).id


def write(jobs: JobStore) -> UUID:
    """Do the next job as far as the build."""
    [job] = jobs.claim()
    assert not job.awaits_build
    jobs.keep_written(job, Result())
    return job.id


def test_all_that_waits_is_written_in_order_before_one_build(jobs: JobStore) -> None:
    kinds: tuple[Kind, ...] = ("load", "build", "undo", "load")
    accepted = [accept(jobs, kind) for kind in kinds]
    assert [write(jobs) for _ in range(3)] == [accepted[0], accepted[2], accepted[3]]
    build = jobs.claim()
    assert all(job.awaits_build for job in build)
    assert [job.id for job in build] == accepted
    for job in build:
        jobs.end(job.id, "done")
    assert {jobs.find(job).state for job in accepted} == {"done"}
    assert jobs.claim() == []


def test_a_job_that_ends_its_worker_each_time_is_given_up(jobs: JobStore) -> None:
    job = accept(jobs)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert [(claimed.id, claimed.attempts) for claimed in jobs.claim()] == [(job, attempt)]
    assert jobs.claim() == []
    ended = jobs.find(job)
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error.type == "urn:labmart:problem:given-up"
    assert ended.error.instance == ended.links["self"]


def test_who_waits_for_a_build_with_others_is_cancelled_at_once(jobs: JobStore) -> None:
    first, second = accept(jobs), accept(jobs)
    write(jobs), write(jobs)
    jobs.claim()
    assert jobs.cancel(first).state == "cancelled"
    # Alone now: the build itself has to end, which only its worker can do.
    assert jobs.cancel(second).state == "running"
    assert [jobs.find(job).cancel_requested for job in (first, second)] == [False, True]
    # The wish outlives the worker: another one comes, and finds nothing to build.
    assert jobs.claim() == []
    jobs.end(first, "done")
    assert [jobs.find(job).state for job in (first, second)] == ["cancelled", "cancelled"]
    with pytest.raises(Problem) as ended:
        jobs.cancel(first)
    assert ended.value.status == 409


def test_odd_names_of_schemas_are_names(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABMART_SCHEMA", os.environ["LABMART_SCHEMA"] + ' "%s :x\\')
    odd = Settings(find_database(settings.database.project, None))
    with prepared(odd) as tables:
        jobs = JobStore(tables)
        job = accept(jobs, build=False)
        assert write(jobs) == job
        assert jobs.find(job).state == "done", "no build is waited for"


def test_a_red_build_fails_its_jobs_by_the_names_of_its_tests(
    jobs: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [NodeResult("test", "wrong", "fail", 0.1), NodeResult("model", "right", "success", 0.2)]

    def build(_database: object, _options: object, report: Report) -> BuildOutcome:
        for node in nodes:
            report.built(node)
        result = DbtRun(settings.database.project.target, exit_code=1, seconds=3, nodes=nodes)
        failed = FailedNode("wrong", ["1 offending rows", "value: 1"])
        return BuildOutcome(result, settings.database, [failed])

    monkeypatch.setattr(worker, "build_and_publish", build)
    accepted = [accept(jobs), accept(jobs, "build")]
    write(jobs)
    worker.Worker(settings, jobs).do(jobs.claim())
    for job in map(jobs.find, accepted):
        assert job.state == "failed"
        assert job.error is not None
        assert job.error.title == "The build failed"
        assert job.error.detail == (
            "The build failed: wrong. 1 models and seeds built, 0 tests passed, 1 failed, "
            "0 skipped, 3.0 s."
        )
        assert job.result is not None
        assert job.result.build is not None
        [failure] = job.result.build.failures
        assert (failure.name, failure.message) == ("wrong", "1 offending rows\nvalue: 1")
