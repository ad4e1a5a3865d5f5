"""`labmart worker`: does the work of jobs, one after the other; and what keeps it running.

One worker per schema works, and holds an advisory lock while it does; a second one waits for it.
It does the work in its main thread, so that a job is interrupted as Ctrl-C interrupts the command;
a thread beside it hears of new jobs and wishes to cancel, and of the end of whoever started it.
After an interruption the process ends, since it may have come anywhere, and `keep_worker` starts
another one, as it does after a kill.

A job may come again after a kill at any moment, and is done once all the same:

* A load's rows and its row of the ledger, whose `loaded_by` names the job, are one transaction.
  What the ledger has of a job is not loaded again.
* Undo and redo are asked for again only if the load's status is not what they make of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal
from uuid import UUID

import psycopg2
from sqlalchemy.exc import OperationalError

from loader import ledger
from loader.dbt import BuildOptions, build, one_build_at_a_time
from loader.dbt_report import failures, summary
from loader.engines import Load, open_store
from loader.engines.postgres import one_line, open_connection
from loader.engines.sql import quote
from loader.errors import DatabaseFault, DatabaseUnreachable, FilesRefused, LabmartError
from loader.load import LoadOptions, MaxRejected, Outcome, Table, load
from loader.printable import printable
from loader.progress import NodeResult
from loader.project import Project
from loader.seeds import check_seeds
from loader.service.database import enter_schema, prepared
from loader.service.jobs import WORKING, JobStore, Task
from loader.service.model import (
    BuildReport,
    Failure,
    FileResult,
    JobState,
    Progress,
    RejectedExample,
    Result,
)
from loader.service.problems import Problem, of_error
from loader.service.settings import Settings, check
from loader.service.uploads import abandoned_folders, remove_upload, spooled_file
from loader.sources import read_inputs

_LOG = logging.getLogger("labmart.worker")
_NAME = "labmart service worker"

# Seconds. A worker that ended is followed by another one, later each time unless it was well.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
_WELL = 60.0
# What a worker may take to end.
_LAST_SECONDS = 60.0

# How often is looked for work, and for wishes, whose notification was lost.
_LOOK = 2.0
_TICK = 0.5
_SWEEP = 60.0
# When the worker is told to end, its job is interrupted after so long, and done later.
_GRACE = 3.0
# What an interrupted job may take to end: dbt cancels its queries.
_PATIENCE = 45.0
# Between two writes of progress.
_PACE = 0.5
# A job is told of a fault of the database when it has met one so often.
_PATIENT_ATTEMPTS = 3
# A transaction whose connection broke while it was committed is decided by then.
_UNDECIDED_SECONDS = 600.0
# Not nodes of a build to a person.
_NO_NODE = ("analysis", "operation")


async def keep_worker(settings: Settings) -> None:
    """Keep a worker's process running until cancelled; then end it, which may take some time."""
    wait = 0.0
    while True:
        begun = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *_command(settings),
            # When we have gone, however, it sees the end of this pipe and ends too.
            stdin=asyncio.subprocess.PIPE,
            # Ctrl-C in a terminal reaches us alone, and the worker gets exactly one signal.
            start_new_session=True,
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _LAST_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
            raise
        if code == 0:
            # It has interrupted a job.
            continue
        wait = 0.0 if time.monotonic() - begun > _WELL else wait
        wait = min(max(2 * wait, _FIRST_WAIT), _LONGEST_WAIT)
        _LOG.warning("the worker has ended (%s); another one starts in %.1f s", code, wait)
        await asyncio.sleep(wait)


def _command(settings: Settings) -> list[str]:
    command = [sys.executable, "-P", "-m", "loader"]
    command += ["--project-dir", str(settings.database.project.root), "worker", "--with-parent"]
    command += ["--spool", str(settings.spool_folder)]
    if settings.landing is not None:
        command += ["--landing", str(settings.landing)]
    if settings.target is not None:
        command += ["--target", settings.target]
    return command


def run_workers(settings: Settings) -> None:
    """Keep a worker running until a signal comes. Raises as `prepared` does at the start."""
    check(settings)
    with prepared(settings):
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    asyncio.run(keep_worker(settings))


def work(settings: Settings) -> None:
    """Be the worker, until a signal comes or stdin ends; also ends after an interrupted job.

    Raises DatabaseUnreachable or DatabaseFault when the database has gone.
    """
    check(settings)
    # This thread's connection, and one for the progress that loads tell from another thread.
    with prepared(settings, connections=2, name=_NAME) as engine:
        worker = Worker(settings, JobStore(engine))
        watch = _Watch(settings)
        if watch.goes_on():
            print("labmart worker started", file=sys.stderr, flush=True)
        try:
            worker.run(watch)
        except KeyboardInterrupt:
            # Another one could only keep this from being told.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if watch.fault is None and watch.task is not None:
                worker.tell_interrupted(watch.task)
        except OperationalError as error:
            watch.fault = watch.fault or error
    if watch.fault is not None:
        raise DatabaseUnreachable(
            f"The worker lost its connection to the database: {one_line(watch.fault)} What it was "
            "at is done again once it works again: start the database, then the worker."
        )


class _Watch:
    """Holds the lock of the one who works, and hears beside the work what others want."""

    def __init__(self, settings: Settings) -> None:
        self._channel = f"labmart {settings.schema}"
        # Set when there may be work, and when there is none any more.
        self._wake = threading.Event()
        self._ending_since: float | None = None
        self._interrupted_at: float | None = None
        self._lock = threading.Lock()
        # What is being worked on; kept when the work is interrupted.
        self.task: Task | None = None
        self.fault: Exception | None = None
        # A shell starts a background job with SIGINT ignored, which we would inherit.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Only that is noted here, since the signal may come while this thread holds a lock.
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        self._connection = open_connection(settings.profile, _NAME)
        enter_schema(self._connection, settings)
        self._connection.autocommit = True
        self._take_lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def goes_on(self) -> bool:
        """Whether nobody wants the worker to end, and the lock is held."""
        return self._ending_since is None and self.fault is None

    def wait(self) -> None:
        """Wait until there may be something to do."""
        self._wake.wait(_LOOK)
        self._wake.clear()

    @contextmanager
    def over(self, task: Task) -> Iterator[None]:
        """Interrupt this thread as Ctrl-C does when somebody wants the task to end."""
        with self._lock:
            if self.fault is not None:
                raise KeyboardInterrupt
            self.task = task
        yield
        with self._lock:
            self.task = None

    def _take_lock(self) -> None:
        waits = False
        with self._connection.cursor() as cursor:
            # Of a worker whose machine has gone the database hears by these alone.
            cursor.execute("set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5")
            cursor.execute("set tcp_keepalives_count = 3")
            cursor.execute(f"listen {quote(self._channel)}")
            while self._ending_since is None:
                cursor.execute(f"select pg_try_advisory_lock({WORKING})")
                if cursor.fetchone() == (True,):
                    return
                if not waits:
                    print("another worker is at work; waiting …", file=sys.stderr, flush=True)
                    waits = True
                if select.select([sys.stdin], [], [], _TICK)[0]:
                    # Whoever has started us has gone.
                    self._end()

    def _end(self) -> None:
        if self._ending_since is None:
            self._ending_since = time.monotonic()

    def _watch(self) -> None:
        heard: list[object] = [self._connection, sys.stdin]
        try:
            while True:
                ready, _, _ = select.select(heard, [], [], _TICK)
                if sys.stdin in ready:
                    # Nothing is ever sent: it ends with whoever has started us.
                    heard.remove(sys.stdin)
                    self._end()
                if self._connection in ready:
                    self._connection.poll()
                    self._connection.notifies.clear()
                    self._wake.set()
                if self._ending_since is not None:
                    self._wake.set()
                self._look_after_task()
        except psycopg2.Error as error:
            self.fault = error
            self._wake.set()
        while True:
            self._look_after_task()
            time.sleep(_TICK)

    def _look_after_task(self) -> None:
        now = time.monotonic()
        if self._interrupted_at is not None:
            if now - self._interrupted_at > _PATIENCE:
                # It does not come back from wherever it is.
                os.kill(os.getpid(), signal.SIGKILL)
            return
        with self._lock:
            if self.task is not None and self._is_to_end(self.task, now):
                self._interrupted_at = now
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, signal.SIGINT)

    def _is_to_end(self, task: Task, now: float) -> bool:
        if self.fault is not None:
            return True
        if self._ending_since is not None and now - self._ending_since > _GRACE:
            return True
        with self._connection.cursor() as cursor:
            cursor.execute(
                "select 1 from jobs where id = any(%s::uuid[]) and cancel_requested",
                ([str(job.id) for job in task.jobs],),
            )
            return cursor.fetchone() is not None


class Worker:
    """Does what was claimed."""

    def __init__(self, settings: Settings, store: JobStore) -> None:
        self._settings = settings
        self._store = store

    def run(self, watch: _Watch) -> None:
        """Do what there is to do until the watch says that it is over."""
        swept = -_SWEEP
        while watch.goes_on():
            if time.monotonic() - swept >= _SWEEP:
                self.sweep()
                swept = time.monotonic()
            task = self._store.claim()
            if task is None:
                watch.wait()
            elif task.jobs:
                with watch.over(task):
                    self.do(task)

    def do(self, task: Task) -> None:
        """Do a task to its end. Raises DatabaseFault or DatabaseUnreachable if it is to be again.

        KeyboardInterrupt may end it anywhere; see `tell_interrupted`.
        """
        if task.is_build:
            self._build(task.jobs)
            return
        [job] = task.jobs
        if self._store.is_cancelled(job.id):
            self.tell_interrupted(task)
        else:
            self._write(job, task.attempts)
        remove_upload(self._settings.spool_folder, job.id)

    def tell_interrupted(self, task: Task) -> None:
        """Somebody has cancelled the jobs, or the worker is to end and they are done later."""
        for job in task.jobs:
            if self._store.is_cancelled(job.id):
                files = self._loaded(job) if job.kind in ("load", "run") else []
                result = Result(files=files) if files and not task.is_build else None
                self._store.end(job.id, "cancelled", result=result)

    def sweep(self) -> None:
        """Delete uploads that no job needs any more, and what is known of very old jobs."""
        spool = self._settings.spool_folder
        for job_id in abandoned_folders(spool):
            needed = self._store.needs_upload(job_id)
            if needed is False or (needed is None and _is_old(spool / str(job_id))):
                remove_upload(spool, job_id)
        self._store.forget_old()

    def _write(self, job: JobState, attempts: int) -> None:
        """Write what a job brings or changes to the raw tables."""
        try:
            result: Result | None
            if job.kind in ("undo", "redo"):
                result = self._change(job, again=attempts > 1)
            else:
                result = self._load(job)
            if result is not None:
                self._store.keep_written(job, result)
        except LabmartError as error:
            of_database = isinstance(error, (DatabaseFault, DatabaseUnreachable))
            if of_database and attempts < _PATIENT_ATTEMPTS:
                # Perhaps the server is being started again.
                raise
            self._store.end(job.id, "failed", error=of_error(error))

    def _load(self, job: JobState) -> Result | None:
        """Load the job's files; None when they are refused, and the job has ended."""
        loaded_before = self._loaded(job)
        if loaded_before:
            return Result(files=loaded_before)
        paths, options = self._load_call(job)
        inputs = read_inputs(self._settings.database.project.sources_file)
        report = _LoadEvents(self._store, job.id)
        try:
            outcomes = load(paths, inputs, self._settings.profile, options, report)
        except FilesRefused as refused:
            result = Result(files=_refused_files(job, report.outcomes, refused))
            self._tell_files(job, result)
            self._store.end(job.id, "failed", result=result, error=of_error(refused))
            return None
        result = Result(files=[_file_result(outcome) for outcome in outcomes])
        self._tell_files(job, result)
        return result

    def _load_call(self, job: JobState) -> tuple[list[str], LoadOptions]:
        """What `load` is to read, what the ledger calls it, and the folder it may not leave."""
        asked = job.options
        options = LoadOptions(replace=asked.replace, input=asked.input, loaded_by=_loaded_by(job))
        if asked.max_rejected is not None:
            options = replace(options, max_rejected=MaxRejected.parse(asked.max_rejected))
        if job.kind == "load":
            spool = self._settings.spool_folder
            paths = [str(spooled_file(spool, job.id, number)) for number in range(len(job.files))]
            names = dict(zip(paths, (file.name for file in job.files), strict=True))
            return paths, replace(options, names=names)
        if self._settings.landing is None:
            raise LabmartError("The worker has no landing folder (labmart worker --landing).")
        landing = self._settings.landing.resolve()
        return [str(landing / path) for path in asked.paths or ["."]], replace(
            options, within=landing
        )

    def _loaded(self, job: JobState) -> list[FileResult]:
        """What an earlier attempt has committed before it was killed."""
        with open_store(self._settings.profile, write=False) as store:
            return [_of_ledger(row) for row in store.loads() if row.loaded_by == _loaded_by(job)]

    def _change(self, job: JobState, *, again: bool) -> Result:
        load_id = job.options.load_id
        assert load_id is not None
        undo = job.kind == "undo"
        with open_store(self._settings.profile) as store:
            status = next((row.status for row in store.loads() if row.load_id == load_id), None)
            if again and status is not None and (status == ledger.REVERTED) == undo:
                return Result(loads={load_id: status})
            changed = (ledger.undo if undo else ledger.redo)(store, [load_id])
            store.commit()
        return Result(loads=changed)

    def _build(self, jobs: Sequence[JobState]) -> None:
        """Run dbt for all jobs that wait for it."""
        project = self._settings.database.project
        try:
            check_seeds(project.seeds)
            events = _BuildEvents(self._store, [job.id for job in jobs], project)
            with one_build_at_a_time(project):
                result = build(project, BuildOptions(target=self._settings.target), events)
            failed = []
            if result.exit_code:
                failed = failures(project, result, self._settings.database.open)
        except LabmartError as error:
            for job in jobs:
                self._store.end(job.id, "failed", error=of_error(error))
            return
        report = BuildReport(
            passed=sum(node.status in ("success", "pass", "warn") for node in result.nodes),
            failed=sum(node.status in ("error", "fail") for node in result.nodes),
            skipped=sum(node.status == "skipped" for node in result.nodes),
            seconds=round(result.seconds, 3),
            failures=[Failure(name=node.name, message="\n".join(node.lines)) for node in failed],
        )
        problem = None
        if failed:
            names = ", ".join(node.name for node in failed)
            detail = f"The build failed: {names}. {summary(result)}."
            problem = Problem(500, "build-failed", detail)
        self._store.keep_built(jobs, report, problem)

    def _tell_files(self, job: JobState, result: Result) -> None:
        for file in result.files:
            self._store.tell([job.id], "file", file.model_dump())


class _LoadEvents:
    """A report of `load` as events; see `loader.load.Report`."""

    def __init__(self, store: JobStore, job_id: UUID) -> None:
        self._store = store
        self._jobs = [job_id]
        self._table: Table | None = None
        self._told = 0.0
        self.outcomes: list[Outcome] = []

    def say(self, text: str) -> None:
        self._store.tell(self._jobs, "message", {"text": printable(text)})

    def working(self, text: str) -> None:
        # Fetching and unpacking is told as the work on a file.
        self._tell(Progress(step="loading", file=printable(text)))

    def begin(self, table: Table) -> None:
        self._table = table

    def advance(self, position: int, records: int) -> None:
        """See `Report`; comes from another thread."""
        if self._table is not None:
            self._tell(
                Progress(
                    step="loading",
                    file=self._table.name,
                    records=records,
                    bytes=min(position, self._table.bytes),
                    bytes_total=self._table.bytes,
                )
            )

    def end(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def _tell(self, progress: Progress) -> None:
        if time.monotonic() - self._told >= _PACE:
            self._told = time.monotonic()
            self._store.tell_progress(self._jobs, progress)


class _BuildEvents:
    """The progress of a build as events; see `loader.progress.BuildProgress`."""

    def __init__(self, store: JobStore, jobs: Sequence[UUID], project: Project) -> None:
        self._store = store
        self._jobs = jobs
        self._manifest = project.target / "manifest.json"
        self._total: int | None = None
        self._done = 0
        self._told = 0.0

    def begin(self) -> None:
        self._tell()

    def started(self, name: str) -> None:  # noqa: ARG002 -- the protocol's
        if self._total is None:
            # dbt has written it before the first node. Its own total counts unit tests twice.
            self._total = _nodes_of(self._manifest)
            self._tell()

    def finished(self, node: NodeResult) -> None:
        self._done += 1
        data = {"name": node.name, "kind": node.kind, "status": node.status}
        self._store.tell(self._jobs, "node", {**data, "seconds": node.seconds})
        if time.monotonic() - self._told >= _PACE:
            self._tell()

    def end(self) -> None:
        self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        progress = Progress(step="building", nodes_done=self._done, nodes_total=self._total)
        self._store.tell_progress(self._jobs, progress)


def _nodes_of(manifest: Path) -> int | None:
    """How many nodes a whole build has; None when the manifest cannot be read."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        kinds = [node["resource_type"] for node in content["nodes"].values()]
        return sum(kind not in _NO_NODE for kind in kinds) + len(content["unit_tests"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _file_result(outcome: Outcome, *, refused: bool = False) -> FileResult:
    """What became of a table. `refused`: nothing was loaded, because of another one too."""
    notes = [printable(note) for note in outcome.table.parser.notes]
    state: Literal["loaded", "known", "refused"] = "refused" if refused else "loaded"
    if outcome.state == "known":
        state = "known"
        notes.append(f"already loaded ({printable(outcome.same_as)})")
    elif outcome.state != "refused" and refused:
        notes.append("not loaded, because another file was refused")
    return FileResult(
        file=outcome.table.name,
        input=outcome.table.parser.input.name,
        state=state,
        load_id=None if refused else outcome.load_id,
        records_read=outcome.records_read,
        records_rejected=outcome.records_rejected,
        notes=notes,
        rejected_examples=[
            RejectedExample(line=line.line, rule=line.rule, detail=line.detail)
            for line in outcome.first_rejected
        ],
    )


def _refused_files(
    job: JobState, outcomes: Sequence[Outcome], refused: FilesRefused
) -> list[FileResult]:
    """All files of a job of which nothing was loaded; each problem beside its file."""
    results = [_file_result(outcome, refused=True) for outcome in outcomes]
    names = {result.file for result in results}
    for file in job.files:
        if not any(name == file.name or name.startswith(f"{file.name}#") for name in names):
            results.append(FileResult(file=file.name, input=None, state="refused"))
    for result in results:
        result.notes += [
            problem
            for problem in refused.problems
            if problem.startswith((f"{result.file}:", f"{result.file},"))
        ]
    return results


def _of_ledger(row: Load) -> FileResult:
    return FileResult(
        file=row.file,
        input=row.input,
        state="loaded",
        load_id=row.load_id,
        records_read=row.records_read,
        records_rejected=row.records_rejected,
    )


def _loaded_by(job: JobState) -> str:
    """What the ledger has in `loaded_by`."""
    return f"{job.created_by} (job {job.id})"


def _is_old(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime > _UNDECIDED_SECONDS
    except OSError:
        return False
