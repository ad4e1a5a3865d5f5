"""One call of `labmart load` from start to end.

All files are recognised before anything is written. Then they are written in one transaction, each
with its row of the ledger, counted again, and committed together. As soon as one file is refused
nothing can be committed any more; the others are still read to the end, so that the person gets
every problem of every file at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from loader.engines import Load, open_store
from loader.engines.raw_store import RawStore
from loader.errors import (
    DatabaseFault,
    FileRefused,
    FilesRefused,
    NoTable,
    RefusedHeader,
    UsageError,
)
from loader.files import Collected, collect
from loader.files.content import LocalFile, sha256_of
from loader.ledger import (
    APPEND,
    CURRENT,
    NAMES,
    REPLACE,
    SHEET,
    IncomingFile,
    SaidNames,
    changes,
    escaped,
    file_name,
    names_of_headers,
    plan,
    said_of,
)
from loader.parsers import recognise
from loader.parsers.records import Batch, Parser, RejectedLine, Rejections
from loader.printable import printable
from loader.progress import Report
from loader.project import Profile, person
from loader.sources import EXTRA, Input, ReadOptions

if TYPE_CHECKING:
    from loader.check import Verdict

# What helps if many lines are rejected by a rule and the file was not read as it is meant.
_HINTS = {
    "undecodable": " If the encoding is another one, say it with --encoding.",
    "broken_quoting": " If the marks are part of the text, say --quote none.",
    "wrong_column_count": (
        " If the header does not name each cell (R's row names), write it with a name for each."
    ),
}
# A refusal tells so many of the rejected lines.
_EXAMPLES = 3
# So many of what was said of headers are tried on a file that is refused without it.
_REMEMBERED = 20
# Of more files of one call only the first and the last are named.
_NAMED = 6


@dataclass(frozen=True)
class MaxRejected:
    """How many of a file's records may be rejected: a number, or a share in percent."""

    number: float
    is_share: bool

    @classmethod
    def parse(cls, text: str) -> MaxRejected:
        """Read `20` or `10%`. Raises ValueError with a sentence."""
        match = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*(%?)\s*", text)
        if match is None or (not match[2] and "." in match[1]):
            raise ValueError(f"{text!r} is neither a number of lines (20) nor a share (10%).")
        return cls(float(match[1]), is_share=bool(match[2]))

    def allows(self, rejected: int, read: int) -> bool:
        """Whether so many of the records read are few enough."""
        return rejected <= (self.number * read / 100 if self.is_share else self.number)

    def __str__(self) -> str:
        return f"{self.number:g}%" if self.is_share else f"{self.number:g}"


@dataclass(frozen=True)
class LoadOptions:
    """What a call asks for; `input` restricts the files to one input.

    `max_rejected` is 10 % of the lines if it is not said; if it is, `check` judges rejected rows by
    it as well. `allow_empty` lets files without a record replace all that was loaded.
    `names` is what the ledger calls a PATH, where that is not the PATH itself. `loaded_by` is told
    in the ledger; '' means the account that runs the call.
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


@dataclass(frozen=True)
class Table:
    """A recognised file, or a sheet of one.

    `incoming` is what the ledger is to say of it. `file_state` is what the file was like when it
    was looked at: its size, when it was written, and which file it is. `remembered` is what was
    said of an earlier file with the same header.
    """

    file: LocalFile
    parser: Parser
    incoming: IncomingFile
    file_state: tuple[int, int, int]
    remembered: SaidNames | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know; complete after the last batch."""
        if self.remembered is None:
            return self.parser.notes
        names = ", ".join(self.remembered.names)
        remembered = (
            f"its header was that of load {self.remembered.load_id}, and so its names are those "
            f"that were said then: {names}; --map says others"
        )
        return (remembered, *self.parser.notes)

    @property
    def name(self) -> str:
        return self.incoming.file

    @property
    def bytes(self) -> int:
        return self.file_state[0]


@dataclass(frozen=True)
class Outcome:
    """What became of a table.

    `state` is "loaded", "read" (with `check`), "known" (the ledger has `same_as`) or "refused";
    `takes` says whose place it takes, if anybody's.
    """

    table: Table
    state: str
    load_id: int | None = None
    records_read: int = 0
    rejected_by_rule: Mapping[str, int] = field(default_factory=dict)
    first_rejected: tuple[RejectedLine, ...] = ()
    records_doubted: int = 0
    same_as: str = ""
    takes: str = ""

    @property
    def records_rejected(self) -> int:
        return sum(self.rejected_by_rule.values())


def load(
    paths: Sequence[str],
    inputs: Sequence[Input],
    profile: Profile,
    options: LoadOptions,
    report: Report,
    judge: Verdict | None = None,
) -> list[Outcome]:
    """Load the files that the paths mean, or with `check` only read them and have them judged.

    Raises FilesRefused with all problems, NothingToLoad, DatabaseUnreachable or DatabaseFault;
    nothing has been written then.
    """
    inputs = restricted(inputs, options.input)
    with collect(
        paths,
        exclude=options.exclude,
        names=options.names,
        progress=report.working,
    ) as collected:
        for name in collected.skipped:
            report.say(f"{name}: left out")
        writing = judge is not None or not options.check
        with open_store(profile, write=writing) as store:
            call = _Call(store, inputs, options, report, writing, judge)
            outcomes = call.run(call.recognise(paths, collected))
        if call.problems:
            raise FilesRefused(call.problems, undone="loaded", headers=call.headers)
        return outcomes


@dataclass
class _Call:
    """The tables of one call in one transaction.

    `problems`, and the `headers` of refused files, grow as they are found.
    """

    store: RawStore
    inputs: Sequence[Input]
    options: LoadOptions
    report: Report
    writing: bool
    judge: Verdict | None
    problems: list[str] = field(default_factory=list)
    headers: dict[str, RefusedHeader] = field(default_factory=dict)

    def recognise(self, paths: Sequence[str], collected: Collected) -> list[Table]:
        """The tables of all files.

        Whoever says nothing of how to read what is loaded already means as it was read. A text
        beside tables that is none itself, as a README is, is passed over unless it is a PATH.
        """
        tables: list[Table] = []
        self.problems += collected.problems
        no_tables: list[str] = []
        named = {*map(printable, paths), *self.options.names.values()}
        loads = self.store.loads()
        said = said_of(loads), names_of_headers(loads)
        for file in collected.files:
            try:
                tables += self._tables(file, *said)
            except FileRefused as error:
                passed = isinstance(error, NoTable) and file.name not in named
                (no_tables if passed else self.problems).append(str(error))
                if error.header is not None:
                    self.headers[error.name] = error.header
            except OSError as error:
                self.problems.append(f"{file.name}: it cannot be read: {error.strerror}.")
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
        said_before: Mapping[str, Mapping[str, object]],
        said_of_headers: Sequence[SaidNames],
    ) -> Iterator[Table]:
        """The tables of a file. Raises FileRefused, or OSError."""
        options = self.options.read
        file_state = _state_of(file.path)
        sha256 = sha256_of(file.path, file.name)
        said: dict[str, object] = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(options).items()
            if name != SHEET and value not in (None, ())
        }
        before = said_before.get(sha256)
        if before is not None and said.items() <= before.items():
            said, said_of_headers = dict(before), ()
        if NAMES in said:
            said_of_headers = ()
        read = msgspec.convert({**said, SHEET: options.sheet}, ReadOptions)
        inputs = [replace(table, formats=read.or_else(table.formats)) for table in self.inputs]
        parsers, remembered = _recognise(file, inputs, read, said_of_headers)
        if remembered:
            said[NAMES] = list(remembered.names)
        # When the file was last changed, or came where nothing else is known.
        arrived_at = datetime.fromtimestamp(file.changed_at or file_state[1] / 1e9, UTC)
        for parser in parsers:
            reading = {**said, SHEET: escaped(parser.part)} if parser.part else said
            name = file_name(file.name, parser.part)
            incoming = IncomingFile(parser.input.name, name, sha256, arrived_at, reading)
            yield Table(file, parser, incoming, file_state, remembered)

    def run(self, tables: Sequence[Table]) -> list[Outcome]:
        """Read all tables, write them while there is no problem, commit if there was none."""
        incoming = [table.incoming for table in tables]
        steps = plan(self.store.loads(), incoming, replace=self.options.replace)
        if self.writing and not all(step.known for step in steps):
            self.store.prepare(self.inputs)
            if self.judge is not None:
                self.report.working("working out the figures as they are …")
                self.judge.begin(self.store)
        outcomes = []
        call_id = 0
        for table, step in zip(tables, steps, strict=True):
            self.report.begin(table)
            if step.known:
                outcome = Outcome(table, "known", same_as=step.known)
            else:
                load_id = self.store.next_load_id() if self.writing else 0
                call_id = call_id or load_id
                outcome = replace(self._load(table, load_id, call_id), takes=step.takes)
            outcomes.append(outcome)
            self.report.end(outcome)
        new = [outcome for outcome in outcomes if outcome.state in ("loaded", "read")]
        self._look_over(new)
        if self.writing and call_id:
            for outcome in new:
                self._count_again(outcome)
            self.store.set_status(changes(self.store.loads()))
            if self.judge is not None:
                self.report.working("working out what would change …")
                self.problems += self.judge.end(self.store, new)
            else:
                self.store.commit()
        return outcomes

    def _look_over(self, outcomes: Sequence[Outcome]) -> None:
        """Tell which files overrule others, and refuse to replace an input by nothing."""
        by_input: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            by_input.setdefault(outcome.table.parser.input.name, []).append(outcome)
        for name, those in by_input.items():
            names = [outcome.table.name for outcome in those]
            if len(names) > 1:
                if len(names) > _NAMED:
                    names[2:-1] = [f"… {len(names) - 3:,} more …"]
                self.report.say(
                    f"{name}, where files have the same key the later wins: {', '.join(names)}"
                )
            brought = sum(outcome.records_read - outcome.records_rejected for outcome in those)
            if self.options.replace and not self.options.allow_empty and not brought:
                self.problems.append(
                    f"{names[0]}: it brings no record, and would replace all that was loaded into "
                    f"{name} by nothing. If that is meant, say --allow-empty."
                )
                self.writing = False

    def _load(self, table: Table, load_id: int, call_id: int) -> Outcome:
        begun = datetime.now(UTC)
        parser, rejections = table.parser, Rejections()
        try:
            with closing(rejections):
                batches = self._counted(table, load_id, rejections)
                if self.writing:
                    columns = (*parser.columns, EXTRA) if parser.has_extra else parser.columns
                    written = (parser.input, columns, parser.delimiter, batches)
                    read = self.store.write_records(*written)
                    self.store.write_rejected(load_id, rejections)
                else:
                    read = sum(batch.records for batch in batches)
                read += len(rejections)
                self._check(table, read, rejections)
        except FileRefused as error:
            # What was written stays without a commit; the rest is only read from here on.
            self.problems.append(str(error))
            self.writing = False
            return Outcome(table, "refused")
        if self.writing:
            self.store.add(self._ledger_row(table, load_id, call_id, begun, read, len(rejections)))
        return Outcome(
            table,
            "loaded" if self.writing and not self.options.check else "read",
            load_id or None,
            records_read=read,
            rejected_by_rule=rejections.by_rule,
            first_rejected=tuple(rejections.first),
            records_doubted=rejections.doubted,
        )

    def _counted(self, table: Table, load_id: int, rejections: Rejections) -> Iterator[Batch]:
        records = 0
        for batch in table.parser.batches(load_id):
            try:
                rejections.add(batch)
            except OSError as error:
                raise FileRefused(
                    table.name,
                    f": its rejected lines cannot be kept in a temporary file: {error.strerror}. "
                    "Make room, or set TMPDIR to a folder on a larger disk.",
                ) from None
            records += batch.records
            self.report.advance(batch.position, records + len(rejections))
            yield batch

    def _count_again(self, outcome: Outcome) -> None:
        """Raise DatabaseFault unless all that was sent is there."""
        load_id, rejected = outcome.load_id or 0, outcome.records_rejected
        sent = outcome.records_read - rejected, rejected + outcome.records_doubted
        there = self.store.count(outcome.table.parser.input, load_id)
        if there != sent:
            raise DatabaseFault(
                "after the load",
                f"{outcome.table.name}: {sent[0]:,} records and {sent[1]:,} lines kept apart were "
                f"sent, {there[0]:,} and {there[1]:,} are there.",
                "Call again; if it happens again, a trigger or rule on the raw table is at work.",
            )

    def _check(self, table: Table, read: int, rejections: Rejections) -> None:
        """Raise FileRefused if too much was rejected or the file is not what it was."""
        path = table.file.path
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

    def _ledger_row(
        self, table: Table, load_id: int, call_id: int, begun: datetime, read: int, rejected: int
    ) -> Load:
        incoming, ignored = table.incoming, table.parser.ignored
        return Load(
            load_id=load_id,
            call_id=call_id,
            input=incoming.input,
            file=incoming.file,
            sha256=incoming.sha256,
            bytes=table.bytes,
            dialect=table.parser.dialect,
            mode=REPLACE if self.options.replace else APPEND,
            status=CURRENT,
            records_read=read,
            records_rejected=rejected,
            started_at=begun,
            finished_at=datetime.now(UTC),
            loaded_by=self.options.loaded_by or person(),
            reading=json.dumps(incoming.reading),
            arrived_at=incoming.arrived_at,
            header=json.dumps(table.parser.header),
            columns_ignored=json.dumps(ignored, ensure_ascii=False) if ignored else None,
            **asdict(table.parser.input.formats),
        )


def _recognise(
    file: LocalFile, inputs: Sequence[Input], read: ReadOptions, said: Sequence[SaidNames]
) -> tuple[Sequence[Parser], SaidNames | None]:
    """The parsers of a file, and what was said of its header before, if they need that.

    Raises FileRefused.
    """
    columns = {name for table in inputs for name in table.column_names}
    usable = [names for names in said if columns.issuperset(names.columns)][:_REMEMBERED]
    refused = None
    parsers: Sequence[Parser] = ()
    try:
        parsers = recognise(file, inputs, read)
        headers = {parser.header for parser in parsers}
        # What was said is needed for a header itself, or for a sheet that has none without it.
        if not any(getattr(parser, "beside", ()) for parser in parsers):
            usable = [names for names in usable if names.header in headers]
    except FileRefused as error:
        refused = error
        if error.header is None:
            raise
    for names in usable:
        with suppress(FileRefused):
            others = recognise(file, inputs, replace(read, names=names.names))
            if any(parser.header == names.header for parser in others):
                return others, names
    if refused:
        raise refused
    return parsers, None


def restricted(inputs: Sequence[Input], name: str | None) -> Sequence[Input]:
    if name is None:
        return inputs
    chosen = [table for table in inputs if table.name == name]
    if not chosen:
        known = ", ".join(table.name for table in inputs)
        raise UsageError(f"There is no input {name!r}. The inputs are: {known}.")
    return chosen


def _state_of(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino
