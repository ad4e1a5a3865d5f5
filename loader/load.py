"""One call of `labmart load` from start to end.

All files are recognised before anything is written. They are then written in one transaction, each
with its ledger row, recounted, and committed together. If one file is refused, nothing is
committed, but the others are still read to the end so that all problems are reported at once.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from loader import ledger
from loader.database import Database
from loader.engines.raw_store import RawStore, open_store
from loader.errors import (
    DatabaseFault,
    FileRefused,
    FilesRefused,
    NoTable,
    RefusedHeader,
)
from loader.files import Collected, collect
from loader.files.content import LocalFile, cannot_open, cannot_write, sha256_of
from loader.ledger import APPEND, CURRENT, NAMES, REPLACE, SHEET, Load, Step
from loader.parsers import recognise
from loader.parsers.records import Batch, Parser, Rejections
from loader.printable import plural, printable
from loader.progress import Report, duration, size_of
from loader.project import person
from loader.sources import EXTRA, Input, ReadOptions, read_inputs, restricted

# What may help when a rule rejects many lines because the file was read the wrong way.
_HINTS = {
    "undecodable": " If the encoding is another one, say it with --encoding.",
    "broken_quoting": " If the marks are part of the text, say --quote none.",
    "wrong_column_count": (
        " If the header does not name each cell (R's row names), write it with a name for each."
    ),
}
# How many rejected lines a refusal shows.
_EXAMPLES = 3
# How many remembered sets of header names are tried on a file.
_REMEMBERED = 20
# Beyond this many files, only the first ones and the last are named.
_NAMED = 6


@dataclass(frozen=True)
class MaxRejected:
    """How many of a file's records may be rejected: a number, or a share in percent."""

    number: float
    is_share: bool

    @classmethod
    def parse(cls, text: str) -> MaxRejected:
        """Parse `20` or `10%`. Raises ValueError with a readable message."""
        match = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*(%?)\s*", text)
        if match is None or (not match[2] and "." in match[1]):
            raise ValueError(f"{text!r} is neither a number of lines (20) nor a share (10%).")
        return cls(float(match[1]), is_share=bool(match[2]))

    def allows(self, rejected: int, read: int) -> bool:
        """Whether this many rejected records are within the limit."""
        return rejected <= (self.number * read / 100 if self.is_share else self.number)

    def __str__(self) -> str:
        return f"{self.number:g}%" if self.is_share else f"{self.number:g}"


@dataclass(frozen=True)
class LoadOptions:
    """What a call asks for; `input` restricts the files to one input.

    `max_rejected` defaults to 10 % of the lines; if given, `check` applies it to rejected rows as
    well. `allow_empty` lets files without records replace everything that was loaded. `names` maps
    a PATH to its name in the ledger, where they differ. `loaded_by` is recorded in the ledger; ''
    means the account that runs the call.
    """

    replace: bool = False
    allow_empty: bool = False
    check: bool = False
    max_rejected: MaxRejected | None = None
    exclude: tuple[str, ...] = ()
    input: str | None = None
    read: ReadOptions = field(default_factory=ReadOptions)
    names: Mapping[str, str] = field(default_factory=dict)
    loaded_by: str = ""


@dataclass
class Table:
    """A recognised file, or a sheet of one, and its outcome.

    `entry` is its ledger row; its numbers are 0 until the file has been read, and `load_id` stays 0
    if it is not written. `file_state` is the file's size, modification time and inode when it was
    recognised. `named_as` is an earlier load with the same header, whose `--map` names apply here.
    `state` is "loaded", "read" (with `check`), "known" (`step` says where) or "refused".
    """

    file: LocalFile
    parser: Parser
    entry: Load
    file_state: tuple[int, int, int]
    named_as: Load | None = None
    step: Step = field(default_factory=Step)
    state: str = ""
    rejections: Rejections = field(default_factory=Rejections)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user; complete after the last batch."""
        if self.named_as is None:
            return self.parser.notes
        names = ", ".join(self.named_as.names)
        as_then = f"load {self.named_as.load_id}, and so its names are those that were said then"
        return (f"its header was that of {as_then}: {names}; --map says others", *self.parser.notes)

    @property
    def name(self) -> str:
        return self.entry.file

    @property
    def records(self) -> int:
        """How many records were read and not rejected."""
        return self.entry.records_read - self.entry.records_rejected


class LoadReport(Report):
    """Also reports on a load: the progress and the outcome of each table."""

    def __init__(self) -> None:
        super().__init__()
        self._table: Table | None = None
        self._begun_at = 0.0

    def begin(self, table: Table) -> None:
        self._table, self._begun_at = table, time.monotonic()

    def advance(self, position: int, records: int) -> None:
        """Report the bytes and records read so far. Called from another thread."""
        if self._live and self._table is not None:
            seconds = time.monotonic() - self._begun_at
            self.working(_progress_line(self._table, position, records, seconds))

    def end(self, table: Table) -> None:
        for line in _describe(table, time.monotonic() - self._begun_at):
            self.say(line)


# Called before anything is written. The function it returns is called with the written tables,
# reports what would become of them, and returns the problems that refuse them.
Judge = Callable[[RawStore], Callable[[Sequence[Table]], list[str]]]


def load(
    paths: Sequence[str],
    database: Database,
    options: LoadOptions,
    report: LoadReport,
    judge: Judge | None = None,
) -> list[Table]:
    """Load the files at the paths; with `check`, only read and judge them.

    Raises ConfigError, FilesRefused with all problems, NothingToLoad, DatabaseUnreachable or
    DatabaseFault; in that case nothing has been written.
    """
    inputs = restricted(read_inputs(database.project.sources_file), options.input)
    database.ready()
    with collect(
        paths, exclude=options.exclude, names=options.names, progress=report.working
    ) as collected:
        for name in collected.skipped:
            report.say(f"{name}: left out")
        writing = judge is not None or not options.check
        with open_store(database.profile, write=writing) as store:
            call = _Call(store, inputs, options, report, writing, judge, store.loads())
            tables = call.recognise(paths, collected)
            call.run(tables)
        if call.problems:
            raise FilesRefused(call.problems, undone="loaded", headers=call.headers)
        return tables


@dataclass
class _Call:
    """The tables of one call in one transaction; `loads` is the ledger before it.

    `problems` and the `headers` of refused files are collected along the way.
    """

    store: RawStore
    inputs: Sequence[Input]
    options: LoadOptions
    report: LoadReport
    writing: bool
    judge: Judge | None
    loads: Sequence[Load]
    problems: list[str] = field(default_factory=list)
    headers: dict[str, RefusedHeader] = field(default_factory=dict)

    def recognise(self, paths: Sequence[str], collected: Collected) -> list[Table]:
        """The tables of all files.

        A file that is already loaded is read as it was then, unless the options say otherwise. A
        text that is no table, such as a README, is skipped if other files are tables and it was not
        itself given as a PATH.
        """
        tables: list[Table] = []
        self.problems += collected.problems
        no_tables: list[str] = []
        named = {*map(printable, paths), *self.options.names.values()}
        remembered = ledger.said_of(self.loads), ledger.named(self.loads)
        for file in collected.files:
            try:
                tables += self._tables(file, *remembered)
            except FileRefused as error:
                passed = isinstance(error, NoTable) and file.name not in named
                (no_tables if passed else self.problems).append(str(error))
                if error.header is not None:
                    self.headers[error.name] = error.header
            except OSError as error:
                self.problems.append(f"{file.name}{cannot_open(error)}")
        if tables:
            for problem in no_tables:
                self.report.say(f"{problem} It is passed over.")
        else:
            self.problems += no_tables
        self.writing = self.writing and not self.problems
        return tables

    def _tables(
        self,
        file: LocalFile,
        earlier: Mapping[str, Mapping[str, object]],
        named: Sequence[Load],
    ) -> Iterator[Table]:
        """The tables of a file; `earlier` has readings by SHA-256. Raises FileRefused, OSError."""
        options = self.options.read
        file_state = _state_of(file.path)
        sha256 = sha256_of(file.path, file.name)
        reading: dict[str, object] = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(options).items()
            if name != SHEET and value not in (None, ())
        }
        before = earlier.get(sha256)
        if before is not None and reading.items() <= before.items():
            reading, named = dict(before), ()
        if NAMES in reading:
            named = ()
        read = msgspec.convert({**reading, SHEET: options.sheet}, ReadOptions)
        inputs = [replace(table, formats=read.or_else(table.formats)) for table in self.inputs]
        try:
            parsers, named_as = _recognise(file, inputs, read, named)
        except FileRefused:
            # A file that was loaded with --input is still known without it.
            current = {
                load.input
                for load in self.loads
                if load.sha256 == sha256 and load.status == CURRENT
            }
            inputs = [table for table in inputs if table.name in current]
            if not inputs:
                raise
            parsers, named_as = _recognise(file, inputs, read, named)
        if named_as:
            reading[NAMES] = named_as.names
        now = datetime.now(UTC)
        for parser in parsers:
            part = ledger.escaped(parser.part)
            entry = Load(
                load_id=0,
                call_id=0,
                input=parser.input.name,
                file=f"{file.name}#{part}" if part else file.name,
                sha256=sha256,
                bytes=file_state[0],
                dialect=parser.dialect,
                mode=REPLACE if self.options.replace else APPEND,
                status=CURRENT,
                records_read=0,
                records_rejected=0,
                started_at=now,
                finished_at=now,
                loaded_by=self.options.loaded_by or person(),
                reading=json.dumps({**reading, SHEET: part} if part else reading),
                arrived_at=datetime.fromtimestamp(file.changed_at, UTC),
                **asdict(parser.input.formats),
            )
            yield Table(file, parser, entry, file_state, named_as)

    def run(self, tables: Sequence[Table]) -> None:
        """Read all tables, write them until a problem is found, and commit if there is none."""
        entries = [table.entry for table in tables]
        steps = ledger.plan(self.loads, entries, replace=self.options.replace)
        refused_by = None
        if self.writing and not all(step.known for step in steps):
            self.store.prepare(self.inputs)
            if self.judge is not None:
                self.report.working("working out the figures as they are …")
                refused_by = self.judge(self.store)
        call_id = 0
        for table, step in zip(tables, steps, strict=True):
            self.report.begin(table)
            table.step = step
            if step.known:
                table.state = "known"
            else:
                load_id = self.store.next_load_id() if self.writing else 0
                call_id = call_id or load_id
                self._load(table, load_id, call_id)
            self.report.end(table)
        new = [table for table in tables if table.state in ("loaded", "read")]
        self._look_over(new)
        if self.writing and call_id:
            for table in new:
                self._count_again(table)
            self.store.set_status(ledger.changes(self.store.loads()))
            if refused_by is not None:
                self.report.working("working out what would change …")
                self.problems += refused_by(new)
            else:
                self.store.commit()

    def _look_over(self, tables: Sequence[Table]) -> None:
        """Report which files take precedence, and refuse to replace an input with nothing."""
        for name in dict.fromkeys(table.parser.input.name for table in tables):
            of_input = [table for table in tables if table.parser.input.name == name]
            names = [table.name for table in of_input]
            if len(names) > 1:
                if len(names) > _NAMED:
                    names[2:-1] = [f"… {len(names) - 3:,} more …"]
                self.report.say(
                    f"{name}: where files have the same key, the later wins: {', '.join(names)}"
                )
            brings = any(table.records for table in of_input)
            if self.options.replace and not self.options.allow_empty and not brings:
                self.problems.append(
                    f"{names[0]}: it brings no record, and would replace all that was loaded into "
                    f"{name} by nothing. If that is meant, say --allow-empty."
                )
                self.writing = False

    def _load(self, table: Table, load_id: int, call_id: int) -> None:
        begun = datetime.now(UTC)
        parser, rejections = table.parser, table.rejections
        try:
            with closing(rejections):
                batches = self._counted(table, load_id)
                if self.writing:
                    columns = (*parser.columns, EXTRA) if parser.has_extra else parser.columns
                    written = (parser.input, columns, parser.delimiter, batches)
                    read = self.store.write_records(*written)
                    self.store.write_rejected(load_id, rejections)
                else:
                    read = sum(batch.records for batch in batches)
                read += len(rejections)
                self._check(table, read)
        except FileRefused as error:
            # What was written is never committed; from here on the rest is only read.
            self.problems.append(str(error))
            self.writing = False
            table.state, table.rejections = "refused", Rejections()
            return
        ignored = parser.ignored
        table.entry = replace(
            table.entry,
            load_id=load_id,
            call_id=call_id,
            dialect=parser.dialect,
            records_read=read,
            records_rejected=len(rejections),
            started_at=begun,
            finished_at=datetime.now(UTC),
            header=json.dumps(parser.header),
            columns_ignored=json.dumps(ignored, ensure_ascii=False) if ignored else None,
        )
        if self.writing:
            self.store.add(table.entry)
        table.state = "loaded" if self.writing and not self.options.check else "read"

    def _counted(self, table: Table, load_id: int) -> Iterator[Batch]:
        records = 0
        for batch in table.parser.batches(load_id):
            try:
                table.rejections.add(batch)
            except OSError as error:
                raise FileRefused(table.name, cannot_write(error)) from None
            records += batch.records
            self.report.advance(batch.position, records + len(table.rejections))
            yield batch

    def _count_again(self, table: Table) -> None:
        """Raise DatabaseFault unless everything that was sent has arrived."""
        sent = table.records, len(table.rejections) + table.rejections.doubted
        counted = self.store.count(table.parser.input, table.entry.load_id)
        if counted != sent:
            raise DatabaseFault(
                "after the load",
                f"{table.name}: {sent[0]:,} records and {sent[1]:,} lines kept apart were "
                f"sent, {counted[0]:,} and {counted[1]:,} are there.",
                "Call again; if it happens again, a trigger or rule on the raw table is at work.",
            )

    def _check(self, table: Table, read: int) -> None:
        """Raise FileRefused if too much was rejected or the file has changed."""
        path, rejections = table.file.path, table.rejections
        if not path.exists() or _state_of(path) != table.file_state:
            raise FileRefused(
                table.name, ": it changed while it was read. Load it when it is complete."
            )
        limit = self.options.max_rejected or MaxRejected(10, is_share=True)
        if not limit.allows(len(rejections), read):
            hint = _HINTS.get(max(rejections.by_rule, key=rejections.by_rule.__getitem__), "")
            examples = " ".join(
                f"Line {line.line}: {line.detail}" for line in rejections.first[:_EXAMPLES]
            )
            raise FileRefused(
                table.name,
                f": {len(rejections):,} of {read:,} records cannot be split, and {limit} are "
                f"allowed (--max-rejected). {examples} It was read as {table.parser.dialect}."
                f"{hint}",
            )


def _recognise(
    file: LocalFile, inputs: Sequence[Input], read: ReadOptions, named: Sequence[Load]
) -> tuple[Sequence[Parser], Load | None]:
    """The parsers of a file, and the earlier load whose header names they need, if any.

    Raises FileRefused.
    """
    columns = {name for table in inputs for name in table.column_names}
    usable = [
        load
        for load in named
        if columns.issuperset(text.rpartition("=")[2].strip() for text in load.names)
    ]
    refused = None
    parsers: Sequence[Parser] = ()
    try:
        parsers = recognise(file, inputs, read)
        headers = {json.dumps(parser.header) for parser in parsers}
        # Names are needed for these headers, or for a sheet that has no header without them.
        if not any(getattr(parser, "beside", ()) for parser in parsers):
            usable = [load for load in usable if load.header in headers]
    except FileRefused as error:
        refused = error
        if error.header is None:
            raise
    for load in usable[:_REMEMBERED]:
        with suppress(FileRefused):
            others = recognise(file, inputs, replace(read, names=tuple(load.names)))
            if any(json.dumps(parser.header) == load.header for parser in others):
                return others, load
    if refused:
        raise refused
    return parsers, None


def _state_of(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


# Outcomes in words.


def _progress_line(table: Table, position: int, records: int, seconds: float) -> str:
    """The progress of a table: share, records, and the time left at the current pace."""
    size = table.entry.bytes
    if not position or not size:
        return f"{table.name}: {records:,} records"
    share = min(position / size, 1)
    left = duration(seconds / share - seconds)
    return f"{table.name}: {share:.0%} of {size_of(size)}, {records:,} records, {left} left"


def _describe(table: Table, seconds: float) -> Iterator[str]:
    """What a table was recognised as, and the outcome of its records."""
    parser, rejections = table.parser, table.rejections
    yield f"{table.name} → {parser.input.name}"
    yield f"    {parser.dialect}: {', '.join(parser.columns)}"
    for note in table.notes:
        yield f"    {note}"
    words = {"known": f"already loaded ({table.step.known}), nothing to do", "refused": "refused"}
    if table.state in words:
        yield f"    {words[table.state]}"
        return
    if table.step.takes:
        yield f"    {table.step.takes}"
    yield (
        f"    {table.entry.records_read:,} records read, "
        f"{plural(len(rejections), 'rejected line')}, {duration(seconds)}"
    )
    for line in rejections.first:
        yield f"    line {line.line}, {line.rule}: {line.detail}"
    if more := len(rejections) - len(rejections.first):
        rules = sorted(rejections.by_rule.items(), key=lambda item: (-item[1], item[0]))
        yield f"    and {more:,} more; {', '.join(f'{count:,} {rule}' for rule, count in rules)}"


def summary(tables: Sequence[Table], *, check: bool) -> str:
    """The outcome of all tables of a call that was not refused."""
    unwritten = " Nothing was written (--check)." if check else ""
    new = [table for table in tables if table.state != "known"]
    if not new:
        return f"Nothing new to load.{unwritten}"
    kept = sum(table.records for table in new)
    what = f"{plural(kept, 'record')} of {plural(len(new), 'file')}"
    if check:
        return f"{what} can be read.{unwritten}"
    ids = [table.entry.load_id for table in new]
    which = f"load {ids[0]}" if len(ids) == 1 else f"loads {ids[0]} to {ids[-1]}"
    return f"Loaded {what} as {which}."
