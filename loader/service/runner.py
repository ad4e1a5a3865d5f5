"""The process that does the work of jobs: `python -m loader.service.runner`.

A worker starts it and writes it lines, `work <job>` or `build <job>`; it answers `done` or `again`.
It is a process of its own so that a job can be interrupted as Ctrl-C interrupts the command, and
stays for the next job because starting it takes a second. It ends when the worker does.

A job may come again after a kill at any moment, and is done once all the same:

* A load's rows and its row of the ledger, whose `loaded_by` names the job, are one transaction.
  What the ledger has of a job is not loaded again.
* Undo and redo are asked for again only if the load's status is not what they make of it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from loader import ledger
from loader.database import find_database
from loader.dbt import BuildOptions, build, one_build_at_a_time
from loader.dbt_report import failures, summary
from loader.engines import Load, open_store
from loader.errors import DatabaseFault, DatabaseUnreachable, FilesRefused, LabmartError
from loader.load import LoadOptions, MaxRejected, load
from loader.project import open_project
from loader.seeds import check_seeds
from loader.service.database import connected
from loader.service.journal import Journal
from loader.service.model import BuildReport, Failure, FileResult, JobState, Options, Result
from loader.service.problems import Problem, of_error
from loader.service.reporting import BuildEvents, LoadEvents, file_result
from loader.service.settings import Settings
from loader.service.spool import path_of, remove
from loader.sources import read_inputs

_NAME = "labmart service runner"
# A job is told of a fault of the database when it has met one so often.
_PATIENT_ATTEMPTS = 3


def main() -> None:
    """Do what the lines on stdin say until there are no more."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tasks: queue.Queue[str] = queue.Queue()
    settings = _settings(sys.stdin.readline())
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    try:
        with connected(settings, _NAME) as connection:
            Journal(connection).take_turn()
            while line := tasks.get():
                what, _, job_id = line.partition(" ")
                runner = Runner(settings, Journal(connection))
                {"work": runner.work, "build": runner.build}[what](UUID(job_id))
                print("done", flush=True)
    except (DatabaseFault, DatabaseUnreachable) as error:
        print(f"labmart: {error}", file=sys.stderr)
        print("again", flush=True)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _listen(tasks: queue.Queue[str]) -> None:
    """Hand on what the worker says; when it has gone, end as if interrupted."""
    for line in sys.stdin:
        tasks.put(line.strip())
    tasks.put("")
    os.kill(os.getpid(), signal.SIGINT)


def _settings(line: str) -> Settings:
    given = json.loads(line)
    project = open_project(Path(given["project"]))
    return Settings(
        database=find_database(project, given["target"]),
        target=given["target"],
        spool=Path(given["spool"]),
        landing=Path(given["landing"]) if given["landing"] else None,
    )


class Runner:
    """Does jobs, one after the other."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._settings = settings
        self._journal = journal

    def work(self, job_id: UUID) -> None:
        """Write what a job brings or changes to the raw tables."""
        job = self._journal.begin(job_id)
        if job is None:
            return
        try:
            if self._journal.is_cancelled(job_id):
                raise KeyboardInterrupt
            result = self._change(job) if job.kind in ("undo", "redo") else self._load(job)
            if result is not None:
                self._journal.written(job, result)
        except KeyboardInterrupt:
            self._interrupted(job)
            raise
        except LabmartError as error:
            database = isinstance(error, (DatabaseFault, DatabaseUnreachable))
            if database and self._journal.attempts(job_id) < _PATIENT_ATTEMPTS:
                # Perhaps the server is being started again.
                raise
            self._journal.end(job_id, "failed", error=of_error(error))
        remove(self._settings.spool_folder, job_id)

    def build(self, job_id: UUID) -> None:
        """Run dbt for all jobs that wait for it."""
        jobs = self._journal.begin_build(job_id)
        if not jobs:
            return
        project = self._settings.database.project
        try:
            if self._journal.is_cancelled(job_id):
                raise KeyboardInterrupt
            check_seeds(project.seeds)
            events = BuildEvents(self._journal, [job.id for job in jobs], project)
            with one_build_at_a_time(project):
                result = build(project, BuildOptions(target=self._settings.target), events)
            found = []
            if result.exit_code:
                opened = self._settings.database.open
                found = failures(project, result, opened)
        except KeyboardInterrupt:
            with connected(self._settings, _NAME) as connection:
                journal = Journal(connection)
                if journal.is_cancelled(job_id):
                    journal.end(job_id, "cancelled")
            raise
        except LabmartError as error:
            for job in jobs:
                self._journal.end(job.id, "failed", error=of_error(error))
            return
        report = BuildReport(
            passed=sum(node.status in ("success", "pass", "warn") for node in result.nodes),
            failed=sum(node.status in ("error", "fail") for node in result.nodes),
            skipped=sum(node.status == "skipped" for node in result.nodes),
            seconds=round(result.seconds, 3),
            failures=[Failure(name=one.name, message="\n".join(one.lines)) for one in found],
        )
        problem = None
        if found:
            names = ", ".join(one.name for one in found)
            said = f"The build failed: {names}. {summary(result)}."
            problem = Problem(500, "build-failed", said)
        self._journal.built(jobs, report, problem)

    def _load(self, job: JobState) -> Result | None:
        """Load the job's files; None when they are refused, and the job has ended."""
        done = self._loaded(job)
        if done:
            return Result(files=done)
        options = job.options
        paths, names, within = self._paths(job)
        report = LoadEvents(self._journal, job.id)
        try:
            outcomes = load(
                paths,
                read_inputs(self._settings.database.project.sources_file),
                self._settings.profile,
                _load_options(options, names, within, _marker(job)),
                report,
            )
        except FilesRefused as refused:
            result = Result(files=_refused(job, report, refused))
            self._tell_files(job, result)
            self._journal.end(job.id, "failed", result=result, error=of_error(refused))
            return None
        result = Result(files=[file_result(outcome) for outcome in outcomes])
        self._tell_files(job, result)
        return result

    def _paths(self, job: JobState) -> tuple[list[str], dict[str, str], Path | None]:
        """What `load` is to read, what the ledger calls it, and the folder it may not leave."""
        if job.kind == "load":
            spool = self._settings.spool_folder
            paths = [str(path_of(spool, job.id, number)) for number in range(len(job.files))]
            names = [file.name for file in job.files]
            return paths, dict(zip(paths, names, strict=True)), None
        landing = self._settings.landing
        if landing is None:
            raise LabmartError("The worker has no landing folder (labmart worker --landing).")
        landing = landing.resolve()
        return [str(landing / path) for path in job.options.paths or ["."]], {}, landing

    def _tell_files(self, job: JobState, result: Result) -> None:
        for file in result.files:
            self._journal.event([job.id], "file", file.model_dump())

    def _loaded(self, job: JobState) -> list[FileResult]:
        """What an earlier attempt has committed before it was killed."""
        with open_store(self._settings.profile, write=False) as store:
            return [_of_ledger(one) for one in store.loads() if one.loaded_by == _marker(job)]

    def _change(self, job: JobState) -> Result:
        load_id = job.options.load_id
        assert load_id is not None
        undo = job.kind == "undo"
        again = self._journal.attempts(job.id) > 1
        with open_store(self._settings.profile) as store:
            status = next((one.status for one in store.loads() if one.load_id == load_id), None)
            if again and status is not None and (status == ledger.REVERTED) == undo:
                return Result(loads={load_id: status})
            new = (ledger.undo if undo else ledger.redo)(store, [load_id])
            store.commit()
        return Result(loads=new)

    def _interrupted(self, job: JobState) -> None:
        """Somebody has cancelled the job, or the worker is to end and the job comes again.

        The interruption may have come in the middle of a statement: a new connection knows.
        """
        with connected(self._settings, _NAME) as connection:
            journal = Journal(connection)
            if journal.is_cancelled(job.id):
                loads = self._loaded(job) if job.kind in ("load", "run") else []
                journal.end(job.id, "cancelled", result=Result(files=loads) if loads else None)


def _load_options(
    options: Options, names: dict[str, str], within: Path | None, marker: str
) -> LoadOptions:
    chosen = LoadOptions(
        replace=options.replace,
        input=options.input,
        names=names,
        within=within,
        loaded_by=marker,
    )
    if options.max_rejected is None:
        return chosen
    return replace(chosen, max_rejected=MaxRejected.parse(options.max_rejected))


def _marker(job: JobState) -> str:
    """What the ledger has in `loaded_by`."""
    return f"{job.created_by} (job {job.id})"


def _of_ledger(one: Load) -> FileResult:
    return FileResult(
        file=one.file,
        input=one.input,
        state="loaded",
        load_id=one.load_id,
        records_read=one.records_read,
        records_rejected=one.records_rejected,
    )


def _refused(job: JobState, report: LoadEvents, refused: FilesRefused) -> list[FileResult]:
    """All files of a job of which nothing was loaded; each problem beside its file."""
    results = [file_result(outcome, refused=True) for outcome in report.outcomes]
    told = {result.file for result in results}
    for file in job.files:
        if not any(name == file.name or name.startswith(f"{file.name}#") for name in told):
            results.append(FileResult(file=file.name, input=None, state="refused"))
    for result in results:
        result.notes += [
            problem
            for problem in refused.problems
            if problem.startswith((f"{result.file}:", f"{result.file},"))
        ]
    return results


if __name__ == "__main__":
    main()
