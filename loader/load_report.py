"""What a person sees of a load, on stderr: progress, and what became of each file."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence

from loader.load import Outcome, Table
from loader.printable import printable

# The line on a terminal is written anew so many seconds apart.
_PACE = 0.1
_UNWRITTEN = " Nothing was written (--check)."


class LoadReport:
    """Writes to stderr; see the protocol `Report`."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._table: Table | None = None
        self._begun = self._shown = 0.0

    def say(self, text: str) -> None:
        """See `Report`."""
        self._clear()
        print(printable(text), file=sys.stderr, flush=True)

    def working(self, text: str) -> None:
        """See `Report`; shown on a terminal only, and not for long."""
        now = time.monotonic()
        if not self._live or now - self._shown < _PACE:
            return
        self._shown = now
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[2K{printable(text)[:width]}")
        sys.stderr.flush()

    def begin(self, table: Table) -> None:
        """See `Report`."""
        self._table, self._begun = table, time.monotonic()

    def advance(self, position: int, records: int) -> None:
        """See `Report`."""
        if self._live and self._table is not None:
            seconds = time.monotonic() - self._begun
            self.working(progress_line(self._table, position, records, seconds))

    def end(self, outcome: Outcome) -> None:
        """See `Report`."""
        for line in describe(outcome, time.monotonic() - self._begun):
            self.say(line)

    def _clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[2K")


def progress_line(table: Table, position: int, records: int, seconds: float) -> str:
    """How far a table is: share, bytes, records, and the time left at the pace so far."""
    size = table.bytes
    if not position or not size:
        return f"{table.name}: {records:,} records"
    share = min(position / size, 1)
    left = seconds / share - seconds
    return (
        f"{table.name}: {share:4.0%} {_bar(share)} {size_of(position)} of {size_of(size)}, "
        f"{records:,} records, {_time(left)} left"
    )


def describe(outcome: Outcome, seconds: float) -> Iterator[str]:
    """What a table was recognised as, and what became of its records."""
    table = outcome.table
    reader = table.reader
    yield f"{table.name} → {reader.input.name}"
    yield f"    {reader.dialect}: {', '.join(reader.columns)}"
    for note in reader.notes:
        yield f"    {note}"
    if outcome.state == "known":
        yield f"    already loaded ({outcome.same_as}), nothing to do"
        return
    if outcome.state == "refused":
        yield "    refused"
        return
    yield (
        f"    {outcome.records_read:,} records read, {outcome.records_rejected:,} rejected, "
        f"{_time(seconds)}"
    )
    for one in outcome.first_rejected:
        yield f"    line {one.line}, {one.rule}: {one.detail}"
    if more := outcome.records_rejected - len(outcome.first_rejected):
        rules = sorted(outcome.rejected_by_rule.items(), key=lambda item: (-item[1], item[0]))
        yield f"    and {more:,} more; {', '.join(f'{count:,} {rule}' for rule, count in rules)}"


def summary(outcomes: Sequence[Outcome], *, check: bool) -> str:
    """What became of all tables of a call that was not refused."""
    new = [outcome for outcome in outcomes if outcome.state != "known"]
    if not new:
        return "Nothing new to load." + (_UNWRITTEN if check else "")
    kept = sum(outcome.records_read - outcome.records_rejected for outcome in new)
    what = f"{_count(kept, 'record')} of {_count(len(new), 'file')}"
    if check:
        return f"{what} can be loaded.{_UNWRITTEN}"
    ids = [outcome.load_id for outcome in new]
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


def _bar(share: float) -> str:
    full = round(share * 20)
    return f"[{'#' * full}{'.' * (20 - full)}]"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
