"""What a person sees on stderr while a load or a build is at work, and what became of each file.

On a terminal a last line tells what is going on right now, and is written over again and again.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loader.printable import printable

if TYPE_CHECKING:
    from loader.load import Table

# The last line is written anew so many seconds apart.
_PACE = 0.1
TESTS = ("test", "unit_test")
# dbt's words of a node, as a person is told them.
_WORDS = {"success": "done", "pass": "passed", "warn": "WARNS", "error": "FAILED", "fail": "FAILED"}


@dataclass(frozen=True)
class NodeResult:
    """How one node of a dbt run ended: dbt's word for it, and seconds."""

    kind: str
    name: str
    status: str
    seconds: float


class Report:
    """Tells a person on stderr how a load or a build goes on; the service overrides it for a job.

    Each model and seed has its line; tests that pass are only counted: there are hundreds of them.
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._written_at = 0.0
        self._table: Table | None = None
        self._begun_at = 0.0
        self._passed = 0

    def say(self, text: str) -> None:
        """A sentence, which stays."""
        self._clear()
        print(printable(text), file=sys.stderr, flush=True)

    def working(self, text: str) -> None:
        """What is going on right now, until something else does; '' when nothing is."""
        now = time.monotonic()
        if not text:
            self._clear()
        elif self._live and now - self._written_at >= _PACE:
            self._written_at = now
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[2K{printable(text)[:width]}")
            sys.stderr.flush()

    def begin(self, table: Table) -> None:
        self._table, self._begun_at = table, time.monotonic()

    def advance(self, position: int, records: int) -> None:
        """So many bytes of the file and records have been read; comes from another thread."""
        if self._live and self._table is not None:
            seconds = time.monotonic() - self._begun_at
            self.working(progress_line(self._table, position, records, seconds))

    def end(self, table: Table) -> None:
        for line in describe(table, time.monotonic() - self._begun_at):
            self.say(line)

    def built(self, node: NodeResult) -> None:
        """A node of a build has ended."""
        if node.kind in TESTS and node.status in ("pass", "success"):
            self._passed += 1
            self.working(f"{self._passed} tests passed")
        elif node.status != "skipped":
            word = _WORDS.get(node.status, node.status)
            self.say(f"{node.kind:<9} {node.name:<40} {word:<8} {node.seconds:6.1f} s")

    def _clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[2K")
            self._written_at = 0.0


def progress_line(table: Table, position: int, records: int, seconds: float) -> str:
    """How far a table is: share, records, and the time left at the pace so far."""
    size = table.entry.bytes
    if not position or not size:
        return f"{table.name}: {records:,} records"
    share = min(position / size, 1)
    left = duration(seconds / share - seconds)
    return f"{table.name}: {share:.0%} of {size_of(size)}, {records:,} records, {left} left"


def describe(table: Table, seconds: float) -> Iterator[str]:
    """What a table was recognised as, and what became of its records."""
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
        f"{_count(len(rejections), 'rejected line')}, {duration(seconds)}"
    )
    for line in rejections.first:
        yield f"    line {line.line}, {line.rule}: {line.detail}"
    if more := len(rejections) - len(rejections.first):
        rules = sorted(rejections.by_rule.items(), key=lambda item: (-item[1], item[0]))
        yield f"    and {more:,} more; {', '.join(f'{count:,} {rule}' for rule, count in rules)}"


def summary(tables: Sequence[Table], *, check: bool) -> str:
    """What became of all tables of a call that was not refused."""
    unwritten = " Nothing was written (--check)." if check else ""
    new = [table for table in tables if table.state != "known"]
    if not new:
        return f"Nothing new to load.{unwritten}"
    kept = sum(table.records for table in new)
    what = f"{_count(kept, 'record')} of {_count(len(new), 'file')}"
    if check:
        return f"{what} can be read.{unwritten}"
    ids = [table.entry.load_id for table in new]
    which = f"load {ids[0]}" if len(ids) == 1 else f"loads {ids[0]} to {ids[-1]}"
    return f"Loaded {what} as {which}."


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


def size_of(count: int) -> str:
    """Bytes in a person's words."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds in a person's words: `4.2 s`, `3 min 10 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
