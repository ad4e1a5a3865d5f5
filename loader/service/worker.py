"""`labmart worker`: does the work of jobs, one at a time; and what keeps it running.

One worker per schema works and holds an advisory lock meanwhile; a second one waits for it. It
works in its main thread, so that a job is interrupted as Ctrl-C interrupts the command; a second
thread watches for new jobs, requests to cancel, the end of the parent process, and the loss of the
lock. After an interruption the process ends, since it may have come anywhere, and `keep_worker`
starts another, as it does after a kill.

A job may be repeated after an interruption or a kill at any moment, and still takes effect once:

* A load's rows and its ledger row, whose `loaded_by` names the job, are one transaction. What the
  ledger has of a job is not loaded again.
* Undo and redo are repeated only if the load's status is not yet their result.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from shutil import rmtree
from typing import Any, Literal

import psycopg2

from loader import ledger
from loader.build import BuildOptions, build_and_publish, stand_by, summary
from loader.database import Database
from loader.dbt import FAILED, Standby
from loader.engines import quote
from loader.engines.postgres import one_line
from loader.engines.raw_store import open_store
from loader.errors import DatabaseFault, DatabaseUnreachable, FilesRefused, LabmartError
from loader.files.names import in_reading_order
from loader.load import LoadReport, Table, load
from loader.locks import wait_until
from loader.printable import printable
from loader.progress import NodeResult
from loader.service.jobs import (
    LOCAL,
    WORKING,
    BuildReport,
    Failure,
    FileResult,
    IssueCount,
    Job,
    JobStore,
    Progress,
    RejectedExample,
    Result,
    Settings,
    connect_to_tables,
    prepared,
    run_on,
)
from loader.service.problems import Problem, of_error
from loader.service.uploads import options_of, spooled, upload_folders
from loader.show import COUNTS, accounts, mart_rows

_LOG = logging.getLogger("labmart.worker")

# Seconds. The pause before a worker that ended is replaced.
_PAUSE = 2.0
# How often to look for work whose notification was lost.
_LOOK = 2.0
_TICK = 0.5
_SWEEP = 60.0
# When the worker is told to end, its job is interrupted after this time, and done later.
_GRACE = 3.0
# How long an interrupted job may take to end: dbt cancels its queries.
_PATIENCE = 45.0
# How long the worker may take to end.
_LAST_SECONDS = 60.0
# Between two writes of progress.
_PACE = 0.5
# A job fails on a database fault after this many attempts.
_PATIENT_ATTEMPTS = 3
# An upload in progress writes within this time, and by then a transaction whose connection broke
# during its commit is decided.
_UNDECIDED_SECONDS = 3600.0


async def keep_worker(settings: Settings) -> None:
    """Keep a worker process running until cancelled; then end it, which may take some time."""
    command = [sys.executable, "-P", "-m", "loader"]
    command += ["--project-dir", str(settings.database.project.root), "worker", "--with-parent"]
    command += ["--spool", str(settings.spool_folder), "--target", settings.database.profile.target]
    while True:
        process = await asyncio.create_subprocess_exec(
            *command,
            # If we are killed, it sees the end of this pipe and ends too.
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
        # With 0 it has interrupted a job, and another one can start at once.
        if code:
            _LOG.warning("the worker has ended (%s); another one starts in %.0f s", code, _PAUSE)
            await asyncio.sleep(_PAUSE)


def run_workers(settings: Settings) -> None:
    """Keep a worker running until a signal comes. Raises as `prepared` does at the start."""
    with prepared(settings):
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    asyncio.run(keep_worker(settings))


def work(settings: Settings) -> None:
    """Run as the worker until a signal comes or stdin ends; also ends after an interrupted job.

    Raises DatabaseUnreachable or DatabaseFault if the database is gone.
    """
    # This thread's connection, and one for the progress that loads report from another thread.
    with prepared(settings, connections=2) as tables:
        worker, watch = Worker(settings, JobStore(tables)), _Watch(settings)
        try:
            watch.start()
            print("labmart worker started", file=sys.stderr, flush=True)
            worker.run(watch)
        except KeyboardInterrupt:
            # Another fault could only keep this one from being reported.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if watch.fault is not None:
                raise _lost(watch.fault) from None
            worker.tell_interrupted(watch.jobs)
        except psycopg2.OperationalError as error:
            raise _lost(watch.fault or error) from None


def _lost(error: psycopg2.Error) -> DatabaseUnreachable:
    return DatabaseUnreachable(
        f"The worker lost its connection to the database: {one_line(error)} What it was at is done "
        "again once it works again: start the database, then the worker."
    )


class _Watch(threading.Thread):
    """Holds the worker's lock, and watches for requests meanwhile.

    It ends when the jobs or the worker are to end, or the lock is lost, and then interrupts the
    main thread as Ctrl-C does. That may have begun another job by then, which the next worker
    repeats.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        # Set when there may be work.
        self.news = threading.Event()
        # The jobs in progress.
        self.jobs: list[Job] = []
        self.fault: psycopg2.Error | None = None
        self._ending_since: float | None = None
        # A shell starts a background job with SIGINT ignored, which we would inherit.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._connection = connect_to_tables(settings)
        self._run = partial(run_on, self._connection)
        # Without them the database would not notice that a worker's machine is gone.
        self._run("set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5")
        self._run(f"set tcp_keepalives_count = 3; listen {quote(f'labmart {settings.schema}')}")
        lock = f"select 1 where pg_try_advisory_lock({WORKING})"
        wait_until(lambda: self._run(lock), waiting="another worker is at work; waiting …")
        # This only sets a field, since the signal may come while this thread holds a lock.
        signal.signal(signal.SIGTERM, lambda *_: self._end())

    def run(self) -> None:
        try:
            while not self._is_over():
                self._hear()
        except psycopg2.Error as error:
            self.fault = error
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(_PATIENCE)
        # The main thread is stuck.
        os.kill(os.getpid(), signal.SIGKILL)

    def _end(self) -> None:
        self._ending_since = self._ending_since or time.monotonic()

    def _is_over(self) -> bool:
        """Whether the jobs, or the worker, are to end."""
        jobs, since = self.jobs, self._ending_since
        if not jobs:
            return since is not None
        if since is not None and time.monotonic() - since > _GRACE:
            return True
        wish = "cancel_requested and finished_at is null"
        sql = f"select 1 from jobs where id = any(%(jobs)s::uuid[]) and {wish}"
        return bool(self._run(sql, jobs=[job.id for job in jobs]))

    def _hear(self) -> None:
        """Wait a moment for news: of work, or of the end of the parent process."""
        heard: list[Any] = [self._connection]
        # Nothing is ever sent there: it closes when the parent ends.
        heard += [sys.stdin] if self._ending_since is None else []
        ready, _, _ = select.select(heard, [], [], _TICK)
        if sys.stdin in ready:
            self._end()
        if self._connection in ready:
            self._connection.poll()
            self._connection.notifies.clear()
            self.news.set()


class Worker:
    """Does the claimed jobs."""

    def __init__(self, settings: Settings, store: JobStore) -> None:
        self._settings = settings
        self._store = store
        self._build_options = BuildOptions(standby=Standby())

    def run(self, watch: _Watch) -> None:
        """Work until the watch interrupts it."""
        stand_by(self._settings.database, self._build_options)
        swept = -_SWEEP
        while True:
            jobs = watch.jobs = self._store.claim()
            if not jobs or time.monotonic() - swept >= _SWEEP:
                self.sweep()
                self._store.forget_old()
                swept = time.monotonic()
            if jobs:
                self.do(jobs)
                watch.jobs = []
            else:
                watch.news.wait(_LOOK)
                watch.news.clear()

    def do(self, jobs: Sequence[Job]) -> None:
        """Do the claimed jobs. Raises DatabaseFault or DatabaseUnreachable if they are to be
        repeated. KeyboardInterrupt may end it anywhere; see `tell_interrupted`.
        """
        if jobs[0].awaits_build:
            self._build(jobs)
        elif jobs[0].cancel_requested:
            self.tell_interrupted(jobs)
        else:
            self._write(jobs[0])

    def tell_interrupted(self, jobs: Sequence[Job]) -> None:
        """Either the jobs were cancelled, or the worker is to end and they are done later."""
        for job in jobs:
            if self._store.find(job.id).cancel_requested:
                result = None if job.awaits_build else self._loaded(job)
                self._store.end(job.id, "cancelled", result)

    def sweep(self) -> None:
        """Delete uploads that no job needs any more."""
        folders = upload_folders(self._settings.spool_folder)
        needed = self._store.uploads_needed(folders) if folders else {}
        for job_id, (path, written_at) in folders.items():
            is_recent = time.time() - written_at < _UNDECIDED_SECONDS
            if not needed.get(job_id, is_recent):
                rmtree(path, ignore_errors=True)

    def _write(self, job: Job) -> None:
        """Write what a job brings or changes to the raw tables."""
        report = _JobReport(self._store, [job], "loading")
        try:
            if job.kind in ("undo", "redo"):
                result = self._change(job, again=job.attempts > 1)
            else:
                # What an earlier attempt committed before it was killed stays.
                result = self._loaded(job) or self._load(job, report)
        except (DatabaseFault, DatabaseUnreachable) as error:
            if job.attempts < _PATIENT_ATTEMPTS:
                # The server may be restarting.
                raise
            self._store.end(job.id, "failed", error=of_error(error))
        except LabmartError as error:
            files = []
            if isinstance(error, FilesRefused):
                files = [_file_result(table, refused=True) for table in report.tables]
            self._store.end(job.id, "failed", Result(files=files), of_error(error))
        else:
            self._store.keep_written(job, result)

    def _load(self, job: Job, report: _JobReport) -> Result:
        spool = self._settings.spool_folder
        names = {
            str(spooled(spool, job.id, number)): file.name for number, file in enumerate(job.files)
        }
        # Files uploaded together have no order.
        paths = in_reading_order(names, names.__getitem__)
        options = replace(options_of(job.options), loaded_by=_loaded_by(job), names=names)
        tables = load(paths, self._settings.database, options, report)
        return Result(files=[_file_result(table) for table in tables])

    def _loaded(self, job: Job) -> Result | None:
        names = ("file", "input", "load_id", "dialect", "records_read", "records_rejected")
        with open_store(self._settings.database.profile, write=False) as store:
            files = [
                FileResult(state="loaded", **{name: getattr(row, name) for name in names})
                for row in store.loads()
                if row.loaded_by == _loaded_by(job)
            ]
        return Result(files=files) if files else None

    def _change(self, job: Job, *, again: bool) -> Result:
        """Undo or redo a load; `again` if it may have been done before the worker was killed."""
        options, undo = job.options, job.kind == "undo"
        assert options.load_id is not None
        with open_store(self._settings.database.profile) as store:
            loads = store.loads()
            asked = [load for load in loads if load.load_id == options.load_id]
            calls = {load.call_id for load in asked}
            if options.together:
                asked = [load for load in loads if load.call_id in calls]
            # Of files that came together, some may have been undone separately.
            due = [load.load_id for load in asked if (load.status == ledger.REVERTED) != undo]
            if again and asked and not due:
                return Result(loads={load.load_id: load.status for load in asked})
            changed = store.mark(due or [options.load_id], undone=undo)
            store.commit()
        return Result(loads=changed)

    def _build(self, jobs: Sequence[Job]) -> None:
        database = self._settings.database
        report, problem = None, None
        # A caller without a token has no name.
        callers = dict.fromkeys(job.created_by for job in jobs if job.created_by != LOCAL)
        options = replace(
            self._build_options,
            # A requested build always runs; after a load, changes are enough.
            full=any(job.kind == "build" for job in jobs),
            by=", ".join(callers),
        )
        try:
            progress = _JobReport(self._store, jobs, "building")
            progress.working("")
            outcome = build_and_publish(database, options, progress)
            if outcome is not None:
                run, failed = outcome.run, outcome.failures
                report = BuildReport(
                    passed=run.count("success", "pass", "warn"),
                    failed=run.count(*FAILED),
                    skipped=run.count("skipped"),
                    seconds=round(run.seconds, 3),
                    failures=[
                        Failure(name=node.name, message="\n".join(node.lines)) for node in failed
                    ],
                )
                if failed:
                    names = ", ".join(node.name for node in failed)
                    detail = f"The build failed: {names}. {summary(run)}."
                    problem = Problem(500, "build-failed", detail)
            if problem is None:
                # An error in this report does not make the build fail.
                with suppress(LabmartError):
                    _add_accounts(jobs, database)
        except LabmartError as error:
            problem = of_error(error)
        for job in jobs:
            done = (job.result or Result()).model_copy(update={"build": report})
            self._store.end(job.id, "failed" if problem else "done", done, problem)
        stand_by(database, self._build_options)


class _JobReport(LoadReport):
    """The progress of jobs, reported at its own pace."""

    def __init__(
        self, store: JobStore, jobs: Sequence[Job], step: Literal["loading", "building"]
    ) -> None:
        super().__init__()
        self._tell = partial(store.tell_progress, [job.id for job in jobs])
        self._progress = Progress(step=step)
        self._told = 0.0
        self.tables: list[Table] = []

    def say(self, text: str) -> None:
        """Messages are in the job's result."""

    def working(self, text: str) -> None:
        # Fetching and unpacking is reported as work on a file.
        if self._progress.step == "loading":
            self._advance(file=printable(text), records=0, bytes=0, bytes_total=0)
        elif dbt_says := re.match(r"\d+ of (\d+): ", text):
            self._advance(nodes_total=int(dbt_says[1]))
        else:
            # At the end of a build its progress is written at once.
            self._advance(now=not text)

    def advance(self, position: int, records: int) -> None:
        if self._table is not None:
            size, done = self._table.entry.bytes, min(position, self._table.entry.bytes)
            self._advance(file=self._table.name, records=records, bytes=done, bytes_total=size)

    def end(self, table: Table) -> None:
        self.tables.append(table)

    def built(self, node: NodeResult) -> None:  # noqa: ARG002 -- which one is not told
        self._advance(nodes_done=self._progress.nodes_done + 1)

    def _advance(self, *, now: bool = False, **changes: object) -> None:
        self._progress = self._progress.model_copy(update=changes)
        if now or time.monotonic() - self._told >= _PACE:
            self._told = time.monotonic()
            self._tell(self._progress)


def _file_result(table: Table, *, refused: bool = False) -> FileResult:
    """What became of a table. `refused`: nothing was loaded, perhaps because of another table."""
    parser, rejections, known = table.parser, table.rejections, table.state == "known"
    notes = [*table.notes, table.step.takes]
    if known:
        notes.append(f"already loaded ({table.step.known})")
    elif refused and table.state != "refused":
        notes.append("not loaded, because another file was refused")
    return FileResult(
        file=table.name,
        input=parser.input.name,
        state="known" if known else "refused" if refused else "loaded",
        load_id=None if refused else table.entry.load_id or None,
        dialect=printable(parser.dialect),
        columns=[column or "" for column in parser.columns],
        records_read=table.entry.records_read,
        records_rejected=len(rejections),
        rejected_by_rule=dict(rejections.by_rule),
        notes=[printable(note) for note in notes if note],
        rejected_examples=[
            RejectedExample(line=line.line, rule=line.rule, detail=line.detail)
            for line in rejections.first
        ],
    )


def _add_accounts(jobs: Sequence[Job], database: Database) -> None:
    """Add to the jobs' loads what the build has found in their rows."""
    results = [job.result for job in jobs if job.result]
    files: dict[object, FileResult] = {
        file.load_id: file for result in results for file in result.files if file.state == "loaded"
    }
    if not files:
        return
    project, columns = database.project, ("load_id", *IssueCount.model_fields)
    with database.open() as source:
        for load_id, (_, account) in accounts(project, source).items():
            if file := files.get(load_id):
                file.rows_accepted, file.rows_rejected = account.accepted, account.rejected_rows
                file.issues = []
        for of_load, *cells in mart_rows(project, source, COUNTS, *columns):
            issue = IssueCount.model_validate(
                dict(zip(IssueCount.model_fields, cells, strict=True))
            )
            if issue.open_issues and (file := files.get(of_load)):
                file.issues = [*(file.issues or ()), issue]


def _loaded_by(job: Job) -> str:
    """The value of `loaded_by` in the ledger."""
    return f"{job.created_by} (job {job.id})"
