r"""Delimited text for an engine that reads lines by itself, many at once and in no order.

Most lines are records by themselves, or blank: the engine tells them by the patterns given here,
and splits them. Every other line is odd. What an odd line means the Splitter decides, which is the
definition; a quote that is opened in one may make a record of it and of lines below, which are then
no records of their own.

A line here ends with LF, and may have a CR before it. A text in which CR stands alone cannot be
read this way, nor one with escapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from loader.parsers.records import Batch, RejectedLine
from loader.parsers.splitter import Dialect, Splitter

# The patterns grow with the columns.
_MOST_COLUMNS = 256
# So many lines behind an odd one are looked at first, and so many times more each time after that.
_CONTEXT = 32
_GROWTH = 32
_LONGEST_RUN = 1000

Context = Callable[[Sequence[range]], Mapping[int, str]]


def is_by_line(dialect: Dialect, width: int) -> bool:
    """Whether the patterns tell the lines of such a text."""
    return not dialect.escape and 1 < width <= _MOST_COLUMNS


def blank_pattern(dialect: Dialect) -> str:
    """Matches a line that is no record; for Java and Python, as all patterns here."""
    return f"^[{re.escape(dialect.blanks + dialect.delimiter)}]*+$"


def record_pattern(dialect: Dialect, width: int) -> str:
    """Matches a line, without its end, that is a record of so many cells by itself."""
    cell, delimiter = _cell(dialect), re.escape(dialect.delimiter)
    # A line of nothing but empty cells is none; a text for Excel (="007") is odd.
    empty = re.escape(dialect.blanks + dialect.delimiter + dialect.quote)
    return f'^(?![{empty}]*+$)(?!.*=")(?:{cell}{delimiter}){{{width - 1}}}{cell}$'


def begins_with_id(dialect: Dialect, at: int) -> str:
    """Matches a line whose cell number `at` (from 0) begins with a digit; most records have one."""
    delimiter = re.escape(dialect.delimiter)
    return f"^(?:[^{delimiter}]*+{delimiter}){{{at}}}[ \"']*+[0-9]"


def cell_pattern(dialect: Dialect, at: int) -> str:
    """Its first group is cell number `at` (from 0) of such a line, as it is written."""
    cell, delimiter = _cell(dialect), re.escape(dialect.delimiter)
    return f"^(?:{cell}{delimiter}){{{at}}}({cell})"


def quoted_pattern(dialect: Dialect) -> str:
    """Matches a cell with quotation marks; its first group is what stands between them."""
    blanks, quote = f"[{re.escape(dialect.blanks)}]*+", re.escape(dialect.quote)
    return f"(?s)^{blanks}{quote}(.*){quote}{blanks}$" if quote else "(?!)"


def _cell(dialect: Dialect) -> str:
    bare = f"[^{re.escape(dialect.delimiter)}\r\n]*+"
    if not dialect.quote:
        return bare
    blanks, quote = f"[{re.escape(dialect.blanks)}]*+", re.escape(dialect.quote)
    quoted = f"{blanks}{quote}(?:[^{quote}\r\n]++|{quote}{quote})*+{quote}{blanks}"
    return f"(?:{quoted}|(?!{blanks}{quote}){bare})"


@dataclass
class OddLines:
    """What the Splitter makes of the odd lines of a text whose last line is number `last`.

    The lines of `taken` are no records of their own; what is one is in `batches`, what is none in
    `rejected`.
    """

    dialect: Dialect
    keep: tuple[bool, ...]
    load_id: int
    last: int
    taken: set[int] = field(default_factory=set)
    rejected: list[RejectedLine] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    def decide(self, lines: Mapping[int, str], context: Context) -> None:
        """Decide about odd lines, by number and without LF.

        `context` gives all lines of some ranges; it is asked for what stands behind a line whose
        record may go on, for more each time.
        """
        runs = list(_runs(lines))
        size = _CONTEXT
        while runs:
            for run in runs:
                run.result = run.result or self._split(run)
            if unfinished := [run for run in runs if run.result is None]:
                self._extend(unfinished, size, context)
                size *= _GROWTH
            else:
                runs = self._accept(runs)

    def _extend(self, runs: Sequence[_Run], size: int, context: Context) -> None:
        ranges = [range(run.end, min(run.end + size, self.last + 1)) for run in runs]
        lines = context(ranges)
        for run, span in zip(runs, ranges, strict=True):
            run.lines += [lines[number] for number in span]

    def _split(self, run: _Run) -> _Result | None:
        """What becomes of a run; None if its last record may go on behind what is known."""
        text = "".join(f"{line}\n" for line in run.lines)
        splitter = Splitter(self.dialect, self.keep, self.load_id, line=run.first)
        records, used = splitter.split(text, final=run.end > self.last)
        end = run.first + text.count("\n", 0, used)
        if end < run.first + run.odd:
            return None
        return _Result(end, Batch(records, splitter.records, tuple(splitter.rejected), 0))

    def _accept(self, runs: Sequence[_Run]) -> list[_Run]:
        """Keep what has become of the runs; those that are left, from one on that is shortened.

        A record that began in the run before has taken its first lines, so the others are to be
        split anew.
        """
        for at, run in enumerate(runs):
            if run.result is None:
                return list(runs[at:])
            result = run.result
            self.taken.update(range(run.first, result.end))
            self.rejected += result.batch.rejected
            self.batches.append(result.batch)
            following = at + 1
            while following < len(runs) and runs[following].first < result.end:
                following += 1
            if following > at + 1:
                rest = runs[following - 1].behind(result.end)
                return [*([rest] if rest.odd else []), *runs[following:]]
        return []


@dataclass
class _Run:
    """Lines that follow each other; the first `odd` of them are odd, the rest is context."""

    first: int
    lines: list[str]
    odd: int
    result: _Result | None = None

    @property
    def end(self) -> int:
        return self.first + len(self.lines)

    def behind(self, after: int) -> _Run:
        """Those from the line `after` on."""
        gone = after - self.first
        return _Run(after, self.lines[gone:], max(self.odd - gone, 0))


@dataclass(frozen=True)
class _Result:
    """What a run has become; `end` is the first line that is not in it."""

    end: int
    batch: Batch


def _runs(lines: Mapping[int, str]) -> Iterator[_Run]:
    run: _Run | None = None
    for number in sorted(lines):
        if run is not None and number == run.end and run.odd < _LONGEST_RUN:
            run.lines.append(lines[number])
            run.odd += 1
            continue
        if run is not None:
            yield run
        run = _Run(number, [lines[number]], 1)
    if run is not None:
        yield run
