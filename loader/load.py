"""One call of `labmart load` from start to end.

All files are recognised before anything is written. Then they are written in one transaction, each
with its row of the ledger, counted again, and committed together. As soon as one file is refused
nothing can be committed any more; the others are still read to the end, so that the person gets
every problem of every file at once.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from loader.engines import Load, RawStore, open_store
from loader.errors import DatabaseFault, FileRefused, FilesRefused, UsageError
from loader.files import Collected, LocalFile, collect, sha256_of
from loader.ledger import APPEND, CURRENT, REPLACE, Wanted, changes, file_name, plan
from loader.load_options import LoadOptions
from loader.profile import Profile
from loader.readers import Batch, Reader, RejectedLine
from loader.readers.dialect import ReadOptions
from loader.readers.rejections import Rejections
from loader.recognise import recognise
from loader.sources import Input

# What helps if many lines are rejected by a rule and the file was not read as it is meant.
_HINTS = {
    "undecodable": " If the encoding is another one, say it with --encoding.",
    "broken_quoting": " If the marks are part of the text, say --quote none.",
    "wrong_column_count": (
        " If the header does not name each cell, say --columns, with nothing for a cell to ignore."
    ),
}
# A refusal tells so many of the rejected lines.
_EXAMPLES = 3


@dataclass(frozen=True)
class Table:
    """A recognised file, or a sheet of one. `name` is what the ledger calls it."""

    file: LocalFile
    reader: Reader
    sha256: str
    seen: tuple[int, int, int]

    @property
    def name(self) -> str:
        """The file's name, with that of its sheet."""
        return file_name(self.file.name, self.reader.part)

    @property
    def wanted(self) -> Wanted:
        """What it brings, for the ledger."""
        return Wanted(self.reader.input.name, self.name, self.sha256, self.reader.part)

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return self.seen[0]


@dataclass(frozen=True)
class Outcome:
    """What became of a table.

    `state` is "loaded", "read" (with `check`), "known" (the ledger has `same_as`) or "refused".
    """

    table: Table
    state: str
    load_id: int | None = None
    records_read: int = 0
    rejected_by_rule: Mapping[str, int] = field(default_factory=dict)
    first_rejected: tuple[RejectedLine, ...] = ()
    same_as: str = ""

    @property
    def records_rejected(self) -> int:
        """Lines that could not be split."""
        return sum(self.rejected_by_rule.values())


class Report(Protocol):
    """Tells the person how it goes on."""

    def say(self, text: str) -> None:
        """A sentence."""
        ...

    def working(self, text: str) -> None:
        """What is going on right now, until something else does."""
        ...

    def begin(self, table: Table) -> None:
        """A table is going to be read."""
        ...

    def advance(self, position: int, records: int) -> None:
        """So many bytes of the file and records have been read."""
        ...

    def end(self, outcome: Outcome) -> None:
        """A table has been read."""
        ...


def load(
    paths: Sequence[str],
    inputs: Sequence[Input],
    profile: Profile,
    options: LoadOptions,
    report: Report,
) -> list[Outcome]:
    """Load the files that the paths mean, or with `check` only read them.

    Raises FilesRefused with all problems, NothingToLoad, DatabaseUnreachable or DatabaseFault;
    nothing has been written then.
    """
    inputs = _restricted(inputs, options.input)
    with collect(
        paths,
        exclude=options.exclude,
        names=options.names,
        within=options.within,
        progress=report.working,
    ) as collected:
        for name in collected.skipped:
            report.say(f"{name}: left out")
        tables, problems = _recognise(collected, inputs, options.read)
        writing = not options.check and not problems
        with open_store(profile, write=writing) as store:
            call = _Call(store, options, report, problems, writing)
            outcomes = call.run(tables, inputs)
        if problems:
            raise FilesRefused(problems, undone="loaded")
        return outcomes


@dataclass
class _Call:
    """The tables of one call in one transaction; `problems` grows as they are found."""

    store: RawStore
    options: LoadOptions
    report: Report
    problems: list[str]
    writing: bool

    def run(self, tables: Sequence[Table], inputs: Sequence[Input]) -> list[Outcome]:
        """Read all tables, write them while there is no problem, commit if there was none."""
        wanted = [table.wanted for table in tables]
        known = plan(self.store.loads(), wanted, replace=self.options.replace)
        if self.writing and not all(known):
            self.store.prepare(inputs)
        outcomes = []
        call_id = 0
        for table, same_as in zip(tables, known, strict=True):
            self.report.begin(table)
            if same_as:
                outcome = Outcome(table, "known", same_as=same_as)
            else:
                load_id = self.store.next_load_id() if self.writing else 0
                call_id = call_id or load_id
                outcome = self._one(table, load_id, call_id)
            outcomes.append(outcome)
            self.report.end(outcome)
        if self.writing and call_id:
            self.store.set_status(changes(self.store.loads()))
            self.store.commit()
        return outcomes

    def _one(self, table: Table, load_id: int, call_id: int) -> Outcome:
        begun = datetime.now(UTC)
        rejections = Rejections()
        try:
            with closing(rejections):
                if self.writing:
                    records = self._write(table, load_id, rejections)
                else:
                    batches = self._counted(table, table.reader.batches(load_id), rejections)
                    records = sum(batch.records for batch in batches)
                read = records + len(rejections)
                self._check(table, read, rejections)
        except FileRefused as error:
            # What was written stays without a commit; the rest is only read from here on.
            self.problems.append(str(error))
            self.writing = False
            return Outcome(table, "refused")
        if self.writing:
            self.store.add(self._entry(table, load_id, call_id, begun, read, len(rejections)))
        state = "loaded" if self.writing else "read"
        shown = tuple(rejections.first)
        return Outcome(table, state, load_id or None, read, rejections.by_rule, shown)

    def _counted(
        self, table: Table, batches: Iterator[Batch], rejections: Rejections
    ) -> Iterator[Batch]:
        records = 0
        for batch in batches:
            try:
                rejections.add(batch.rejected)
            except OSError as error:
                raise FileRefused(
                    table.name,
                    f": its rejected lines cannot be kept in a temporary file: {error.strerror}. "
                    "Make room, or set TMPDIR to a folder on a larger disk.",
                ) from None
            records += batch.records
            self.report.advance(batch.position, records + len(rejections))
            yield batch

    def _write(self, table: Table, load_id: int, rejections: Rejections) -> int:
        reader = table.reader
        own = self.store.read_file(table.file, reader, load_id)
        if own is not None:
            written = sum(batch.records for batch in self._counted(table, own, rejections))
        else:
            batches = self._counted(table, reader.batches(load_id), rejections)
            written = self.store.write_records(
                reader.input, reader.columns, reader.delimiter, batches
            )
        self.store.write_rejected(load_id, rejections)
        found = self.store.count(reader.input, load_id)
        if found != (written, len(rejections)):
            raise DatabaseFault(
                "after the load",
                f"{table.name}: {written:,} records and {len(rejections):,} rejected lines were "
                f"sent, {found[0]:,} and {found[1]:,} are there.",
                "Call again; if it happens again, a trigger or rule on the raw table is at work.",
            )
        return written

    def _check(self, table: Table, read: int, rejections: Rejections) -> None:
        """Raise FileRefused if too much was rejected or the file is not what it was."""
        try:
            seen = _seen(table.file.path)
        except OSError:
            raise FileRefused(table.name, ": it has gone while it was read.") from None
        if seen != table.seen:
            raise FileRefused(
                table.name, ": it changed while it was read. Load it when it is complete."
            )
        limit = self.options.max_rejected
        if not limit.allows(len(rejections), read):
            hint = _HINTS.get(max(rejections.by_rule, key=rejections.by_rule.__getitem__), "")
            examples = " ".join(
                f"Line {one.line}: {one.detail}" for one in rejections.first[:_EXAMPLES]
            )
            raise FileRefused(
                table.name,
                f": {len(rejections):,} of {read:,} records cannot be split, and {limit} are "
                f"allowed (--max-rejected). {examples} It was read as {table.reader.dialect}."
                f"{hint}",
            )

    def _entry(
        self, table: Table, load_id: int, call_id: int, begun: datetime, read: int, rejected: int
    ) -> Load:
        return Load(
            load_id=load_id,
            call_id=call_id,
            input=table.reader.input.name,
            file=table.name,
            sha256=table.sha256,
            bytes=table.bytes,
            dialect=table.reader.dialect,
            mode=REPLACE if self.options.replace else APPEND,
            status=CURRENT,
            records_read=read,
            records_rejected=rejected,
            started_at=begun,
            finished_at=datetime.now(UTC),
            loaded_by=self.options.loaded_by or _person(),
        )


def _recognise(
    collected: Collected, inputs: Sequence[Input], options: ReadOptions
) -> tuple[list[Table], list[str]]:
    """The tables of all files, and what is wrong with those that have none."""
    tables, problems = [], list(collected.problems)
    for file in collected.files:
        try:
            seen = _seen(file.path)
            sha256 = sha256_of(file.path, file.name)
            readers = recognise(file, inputs, options)
        except FileRefused as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{file.name}: it cannot be read: {error.strerror}.")
        else:
            tables += [Table(file, reader, sha256, seen) for reader in readers]
    return tables, problems


def _restricted(inputs: Sequence[Input], name: str | None) -> Sequence[Input]:
    if name is None:
        return inputs
    chosen = [entry for entry in inputs if entry.name == name]
    if not chosen:
        known = ", ".join(entry.name for entry in inputs)
        raise UsageError(f"There is no input {name!r}. The inputs are: {known}.")
    return chosen


def _seen(path: Path) -> tuple[int, int, int]:
    """What tells a changed file: its size, when it was written, and which file it is."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _person() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a number without a name.
        return str(os.getuid())
    # LOGNAME and the like can be any bytes.
    return name.encode(errors="backslashreplace").decode()
