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
import logging
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from shutil import rmtree
from typing import Any

import psycopg2

from loader import ledger
from loader.contract import mart_contract
from loader.dbt import BuildOptions, Standby
from loader.dbt_report import BuildOutcome, build_and_publish, stand_by, summary
from loader.engines import Engine, open_store
from loader.engines.postgres import one_line
from loader.engines.sql import quote
from loader.errors import DatabaseFault, DatabaseUnreachable, FilesRefused, LabmartError
from loader.files.names import in_reading_order
from loader.load import Table, load
from loader.locks import wait_until
from loader.printable import printable
from loader.progress import NodeResult
from loader.project import Project
from loader.seeds import check_seeds
from loader.service.jobs import (
    LOCAL,
    WORKING,
    JobStore,
    Settings,
    Task,
    connect_to_tables,
    prepared,
)
from loader.service.model import (
    BuildReport,
    Failure,
    FileResult,
    IssueCount,
    Job,
    Problem,
    Progress,
    RejectedExample,
    Result,
    load_options,
    of_error,
)
from loader.service.uploads import spooled, upload_folders
from loader.show import COUNTS, accounts
from loader.show import select as select_rows
from loader.sources import read_inputs

_LOG = logging.getLogger("labmart.worker")
_NAME = "labmart service worker"

# Seconds. After so long a worker that ended is followed by another one.
_PAUSE = 2.0
# What a worker may take to end.
_LAST_SECONDS = 60.0
# How often is looked for work whose notification was lost.
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
# An upload that goes on writes within this time, and a transaction whose connection broke while it
# was committed is decided by then.
_UNDECIDED_SECONDS = 3600.0


async def keep_worker(settings: Settings) -> None:
    """Keep a worker's process running until cancelled; then end it, which may take some time."""
    command = [sys.executable, "-P", "-m", "loader"]
    command += ["--project-dir", str(settings.database.project.root), "worker", "--with-parent"]
    command += ["--spool", str(settings.spool_folder)]
    command += ["--target", settings.target] if settings.target else []
    while True:
        process = await asyncio.create_subprocess_exec(
            *command,
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
        # With 0 it has interrupted a job, and another one can begin at once.
        if code:
            _LOG.warning("the worker has ended (%s); another one starts in %.0f s", code, _PAUSE)
            await asyncio.sleep(_PAUSE)


def run_workers(settings: Settings) -> None:
    """Keep a worker running until a signal comes. Raises as `prepared` does at the start."""
    with prepared(settings):
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    asyncio.run(keep_worker(settings))


def work(settings: Settings) -> None:
    """Be the worker, until a signal comes or stdin ends; also ends after an interrupted job.

    Raises DatabaseUnreachable or DatabaseFault when the database has gone.
    """
    # This thread's connection, and one for the progress that loads tell from another thread.
    with prepared(settings, connections=2, name=_NAME) as tables:
        worker = Worker(settings, JobStore(tables))
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
        except psycopg2.OperationalError as error:
            watch.fault = watch.fault or error
    if watch.fault is not None:
        raise DatabaseUnreachable(
            f"The worker lost its connection to the database: {one_line(watch.fault)} What it was "
            "at is done again once it works again: start the database, then the worker."
        )


class _Watch:
    """Holds the lock of the one who works; a thread of its own hears what others want meanwhile."""

    def __init__(self, settings: Settings) -> None:
        # Set when there may be work, and when there is none any more.
        self._wake = threading.Event()
        self._ending_since: float | None = None
        self._lock = threading.Lock()
        # What is being worked on; kept when the work is interrupted.
        self.task: Task | None = None
        self.fault: Exception | None = None
        # A shell starts a background job with SIGINT ignored, which we would inherit.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Only that is noted here, since the signal may come while this thread holds a lock.
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        self._connection = connect_to_tables(settings, _NAME)
        # Of a worker whose machine has gone the database hears by these alone.
        self._run("set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5")
        self._run(f"set tcp_keepalives_count = 3; listen {quote(f'labmart {settings.schema}')}")
        lock = f"select 1 where pg_try_advisory_lock({WORKING})"
        wait_until(
            lambda: self._ending_since or self._run(lock),
            waiting="another worker is at work; waiting …",
        )
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

    def _run(self, sql: str, *values: object) -> bool:
        """Run a statement; whether it has a row."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.description is not None and cursor.fetchone() is not None

    def _end(self) -> None:
        self._ending_since = self._ending_since or time.monotonic()

    def _hear(self) -> None:
        """Wait a moment for news: of work, or of the end of whoever has started us."""
        heard: list[Any] = [self._connection]
        # Nothing is ever sent there: it ends with them.
        heard += [sys.stdin] if self._ending_since is None else []
        ready, _, _ = select.select(heard, [], [], _TICK)
        if sys.stdin in ready:
            self._end()
        if self._connection in ready:
            self._connection.poll()
            self._connection.notifies.clear()
        if ready or self._ending_since is not None:
            self._wake.set()

    def _watch(self) -> None:
        try:
            while not self._interrupted():
                self._hear()
        except psycopg2.Error as error:
            with self._lock:
                self.fault = error
                self._wake.set()
                if self.task is not None:
                    _interrupt_main()
        time.sleep(_PATIENCE)
        # It does not come back from wherever it is.
        os.kill(os.getpid(), signal.SIGKILL)

    def _interrupted(self) -> bool:
        """Interrupt the work if somebody wants that; whether it was."""
        with self._lock:
            if self.task is None:
                return False
            since, ids = self._ending_since, [str(job.id) for job in self.task.jobs]
            is_overdue = since is not None and time.monotonic() - since > _GRACE
            wish = "select 1 from jobs where id = any(%s::uuid[]) and cancel_requested"
            if not is_overdue and not self._run(wish, ids):
                return False
            _interrupt_main()
            return True


def _interrupt_main() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class Worker:
    """Does what was claimed."""

    def __init__(self, settings: Settings, store: JobStore) -> None:
        self._settings = settings
        self._store = store
        self._build_options = BuildOptions(target=settings.target, standby=Standby())

    def run(self, watch: _Watch) -> None:
        """Do what there is to do until the watch says that it is over."""
        stand_by(self._settings.database, self._build_options)
        self._store.forget_old()
        swept = -_SWEEP
        while watch.goes_on():
            task = self._store.claim()
            if task is None or time.monotonic() - swept >= _SWEEP:
                self.sweep()
                swept = time.monotonic()
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
        elif self._store.is_cancelled(task.jobs[0].id):
            self.tell_interrupted(task)
        else:
            self._write(task.jobs[0], task.attempts)

    def tell_interrupted(self, task: Task) -> None:
        """Somebody has cancelled the jobs, or the worker is to end and they are done later."""
        for job in task.jobs:
            if self._store.is_cancelled(job.id):
                result = None if task.is_build else self._loaded(job)
                self._store.end(job.id, "cancelled", result=result)

    def sweep(self) -> None:
        """Delete uploads that no job needs any more."""
        folders = upload_folders(self._settings.spool_folder)
        needed = self._store.uploads_needed(folders) if folders else {}
        for job_id, (path, written_at) in folders.items():
            is_recent = time.time() - written_at < _UNDECIDED_SECONDS
            if not needed.get(job_id, is_recent):
                rmtree(path, ignore_errors=True)

    def _write(self, job: Job, attempts: int) -> None:
        """Write what a job brings or changes to the raw tables."""
        report = _JobReport(self._store, [job])
        result = None
        try:
            if job.kind in ("undo", "redo"):
                result = self._change(job, again=attempts > 1)
            else:
                # What an earlier attempt has committed before it was killed stays as it is.
                result = self._loaded(job) or self._load(job, report)
        except LabmartError as error:
            of_database = isinstance(error, (DatabaseFault, DatabaseUnreachable))
            if of_database and attempts < _PATIENT_ATTEMPTS:
                # Perhaps the server is being started again.
                raise
            if isinstance(error, FilesRefused):
                files = [_file_result(table, refused=True) for table in report.tables]
                result = Result(files=files)
            self._store.end(job.id, "failed", result=result, error=of_error(error))
        else:
            self._store.keep_written(job, result)

    def _load(self, job: Job, report: _JobReport) -> Result:
        database, spool = self._settings.database, self._settings.spool_folder
        names = {
            str(spooled(spool, job.id, number)): file.name for number, file in enumerate(job.files)
        }
        # Whoever uploads several at once has given them no order.
        paths = in_reading_order(names, names.__getitem__)
        options = replace(load_options(job.options), loaded_by=_loaded_by(job), names=names)
        inputs = read_inputs(database.project.sources_file)
        tables = load(paths, inputs, database.profile, options, report)
        return Result(files=[_file_result(table) for table in tables])

    def _loaded(self, job: Job) -> Result | None:
        names = ("file", "input", "load_id", "dialect", "records_read", "records_rejected")
        with open_store(self._settings.profile, write=False) as store:
            files = [
                FileResult(state="loaded", **{name: getattr(row, name) for name in names})
                for row in store.loads()
                if row.loaded_by == _loaded_by(job)
            ]
        return Result(files=files) if files else None

    def _change(self, job: Job, *, again: bool) -> Result:
        load_id = job.options.load_id
        assert load_id is not None
        undo = job.kind == "undo"
        with open_store(self._settings.profile) as store:
            loads = store.loads()
            own = next((row for row in loads if row.load_id == load_id), None)
            # Of files that came together some may have been undone alone.
            due = [
                row.load_id
                for row in loads
                if own is not None
                and row.call_id == own.call_id
                and (row.status == ledger.REVERTED) != undo
                and (job.options.together or row is own)
            ]
            if again and own is not None and not due:
                return Result(loads={load_id: own.status})
            changed = ledger.mark(store, due or [load_id], undone=undo)
            store.commit()
        return Result(loads=changed)

    def _build(self, jobs: Sequence[Job]) -> None:
        database = self._settings.database
        project = database.project
        report, problem = None, None
        try:
            check_seeds(project.seeds)
            told = _JobReport(self._store, jobs)
            told.building()
            # Who called without a token is not known by name.
            callers = dict.fromkeys(job.created_by for job in jobs if job.created_by != LOCAL)
            # Whoever asks for a build has one; after a load what has changed is enough.
            full = any(job.kind == "build" for job in jobs)
            by = ", ".join(callers)
            options = replace(self._build_options, full=full, by=by)
            outcome = build_and_publish(database, options, told)
            failed = outcome.failures if outcome else []
            if not failed:
                # What cannot be told of it does not make the build fail.
                with suppress(LabmartError), database.open() as source:
                    _add_accounts(jobs, source, project)
            report = _build_report(outcome) if outcome else None
            if outcome and failed:
                names = ", ".join(node.name for node in failed)
                detail = f"The build failed: {names}. {summary(outcome.result)}."
                problem = Problem(500, "build-failed", detail)
        except LabmartError as error:
            problem = of_error(error)
        for job in jobs:
            done = (job.result or Result()).model_copy(update={"build": report})
            self._store.end(job.id, "failed" if problem else "done", result=done, error=problem)
        stand_by(database, self._build_options)
        self._store.forget_old()


def _build_report(outcome: BuildOutcome) -> BuildReport:
    nodes = outcome.result.nodes
    return BuildReport(
        passed=sum(node.status in ("success", "pass", "warn") for node in nodes),
        failed=sum(node.status in ("error", "fail") for node in nodes),
        skipped=sum(node.status == "skipped" for node in nodes),
        seconds=round(outcome.result.seconds, 3),
        failures=[
            Failure(name=node.name, message="\n".join(node.lines)) for node in outcome.failures
        ],
    )


class _JobReport:
    """A `Report` as the progress of jobs, at a pace of its own."""

    def __init__(self, store: JobStore, jobs: Sequence[Job]) -> None:
        self._store = store
        self._jobs = [job.id for job in jobs]
        self._progress = Progress(step="loading")
        self._table: Table | None = None
        self._told = 0.0
        self.tables: list[Table] = []

    def building(self) -> None:
        """From now on dbt is at work."""
        self._advance(now=True, step="building", file=None)

    def say(self, text: str) -> None:
        """What there is to say is in the job's result."""

    def working(self, text: str) -> None:
        # Fetching and unpacking is told as the work on a file.
        if self._progress.step == "loading":
            self._advance(file=printable(text), records=0, bytes=0, bytes_total=0)
        elif dbt_says := re.match(r"\d+ of (\d+): ", text):
            self._advance(nodes_total=int(dbt_says[1]))
        else:
            self._advance(now=not text)

    def begin(self, table: Table) -> None:
        self._table = table

    def advance(self, position: int, records: int) -> None:
        if self._table is not None:
            size, done = self._table.entry.bytes, min(position, self._table.entry.bytes)
            self._advance(file=self._table.name, records=records, bytes=done, bytes_total=size)

    def end(self, table: Table) -> None:
        self.tables.append(table)

    def built(self, _node: NodeResult) -> None:
        self._advance(nodes_done=self._progress.nodes_done + 1)

    def _advance(self, *, now: bool = False, **changes: object) -> None:
        self._progress = self._progress.model_copy(update=changes)
        if now or time.monotonic() - self._told >= _PACE:
            self._told = time.monotonic()
            self._store.tell_progress(self._jobs, self._progress)


def _file_result(table: Table, *, refused: bool = False) -> FileResult:
    """What became of a table. `refused`: nothing was loaded, because of another one too."""
    parser, rejections = table.parser, table.rejections
    notes = [*table.notes, table.step.takes]
    if table.state == "known":
        notes.append(f"already loaded ({table.step.known})")
    elif table.state != "refused" and refused:
        notes.append("not loaded, because another file was refused")
    state: Any = table.state if table.state == "known" else "refused" if refused else "loaded"
    return FileResult(
        file=table.name,
        input=parser.input.name,
        state=state,
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


def _add_accounts(jobs: Sequence[Job], source: Engine, project: Project) -> None:
    files: dict[object, FileResult] = {
        file.load_id: file
        for job in jobs
        for file in (job.result.files if job.result else ())
        if file.load_id is not None and file.state == "loaded"
    }
    if not files:
        return
    for load_id, (_, account) in accounts(project, source).items():
        if file := files.get(load_id):
            file.rows_accepted, file.rows_rejected = account.accepted, account.rejected_rows
            file.issues = []
    columns = ("load_id", *IssueCount.model_fields)
    counts = select_rows(mart_contract(project, COUNTS), source, columns=columns)
    for row in source.rows(counts):
        if file := files.get(row[0]):
            issue = IssueCount.model_validate(dict(zip(columns, row, strict=True)))
            if issue.open_issues:
                file.issues = [*(file.issues or ()), issue]


def _loaded_by(job: Job) -> str:
    """What the ledger has in `loaded_by`."""
    return f"{job.created_by} (job {job.id})"
