r"""Delimited text into records.

A line whose record is not right (its quotation marks, its number of cells, bytes that are no text)
is rejected alone, and reading goes on with the line below it. So a mark that is opened and never
closed costs one line, not the rest of the file, and two stray marks do not make one record of all
that stands between them.

`Grammar.record` is the definition. It costs a microsecond a cell, so runs of plain lines are found
by one regular expression each, or by counting delimiters where there is no quotation mark, and pass
on as they are (`PlainLines`); tests hold both against each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import add

from loader.parsers import RejectedLine
from loader.parsers.batches import csv_cell, not_text, verbatim
from loader.parsers.grammar import LINE, Grammar, Record, Shape, count_lines, lines_of
from loader.sources import BLANKS

# See Splitter._number.
_DIGITS = 4
_NUMBERS = 10**_DIGITS
# The regular expressions below grow with the columns; wider tables are read by definition.
_PLAIN_COLUMNS = 256
# A record of more lines than go into so many characters is one whose quotation mark is not closed.
RECORD_LIMIT = 1 << 20


class PlainLines:
    """Runs of lines that the definition reads one by one as they stand.

    Cells without line ends and without anything odd about quotation marks; `padded` allows blanks
    around quoted cells. The lines are cleaned of these blanks and of cells that are not kept.
    """

    def __init__(self, shape: Shape, keep: tuple[bool, ...], *, padded: bool) -> None:
        self._shape, self._delimiters = shape, len(keep) - 1
        self._marks = [*f'"\r\0{shape.quote}{shape.escape}']
        delimiter = re.escape(shape.delimiter)
        # The output knows one quotation mark, so cells of another kind may have neither.
        marks = re.escape(f'"{shape.quote}{shape.escape}')
        plain = f"[^{delimiter}{marks}\r\n\0]*+"
        text = f'[^"{re.escape(shape.escape)}\r\n\0]'
        quoted = f'"(?:{text}++|"")*+"' if shape.quote == '"' else "(?!)"
        blanks = f"[{re.escape(shape.blanks)}]*+" if padded else ""
        cell = f"(?:{blanks}{quoted}{blanks}|{plain})"
        self._run = re.compile(f"(?:{delimiter.join([cell] * len(keep))}(?:\n|\r\n?+))*+")
        self._clean: re.Pattern[str] | None = None
        if padded or not all(keep):
            grouped = f"(?:{blanks}({quoted}){blanks}|({plain}))"
            self._clean = re.compile(delimiter.join([grouped] * len(keep)) + "\n")
            kept = [
                f"\\g<{2 * at + 1}>\\g<{2 * at + 2}>" for at, is_kept in enumerate(keep) if is_kept
            ]
            self._template = shape.delimiter.replace("\\", "\\\\").join(kept) + "\n"

    def end(self, text: str, start: int) -> int:
        """Where the run that begins at `start` ends."""
        found = self._run.match(text, start)
        return found.end() if found else start

    def all_lines(self, text: str) -> list[str] | None:
        """All lines of a text, if none has anything but plain cells; None if one may."""
        if self._clean or not text.endswith("\n") or any(mark in text for mark in self._marks):
            return None
        lines = text.split("\n")
        lines.pop()
        delimiter = self._shape.delimiter
        return lines if {line.count(delimiter) for line in lines} == {self._delimiters} else None

    def lines(self, run: str) -> list[str]:
        """The lines of a run as they pass on."""
        if "\r" in run:
            run = run.replace("\r\n", "\n").replace("\r", "\n")
        if self._clean is not None:
            run = self._clean.sub(self._template, run)
        lines = run.split("\n")
        lines.pop()
        return lines


@dataclass
class Splitter:
    """Splits a text that comes in portions; `line` is the number of the next line.

    `keep` says for each cell of a record whether it is written.
    """

    shape: Shape
    keep: tuple[bool, ...]
    load_id: int
    line: int = 1
    records: int = 0
    rejected: list[RejectedLine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._grammar = Grammar(self.shape)
        self._unquoted = Grammar(replace(self.shape, quote=""))
        self._delimiter = output_delimiter(self.shape)
        self._plain: list[PlainLines] = []
        if self.shape.copyable and 1 < len(self.keep) <= _PLAIN_COLUMNS:
            self._plain.append(PlainLines(self.shape, self.keep, padded=False))
            if self.shape.quote == '"':
                self._plain.append(PlainLines(self.shape, self.keep, padded=True))

    def split(self, text: str, *, final: bool) -> tuple[str, int]:
        """Records of a text that begins with a record and, unless `final`, ends with a line.

        Returns them as CSV, and how much of the text was used: a record that may go on behind its
        end is left for the next call.
        """
        out: list[str] = []
        at = 0
        # Bytes that could not be decoded are looked for line by line.
        plain = [] if _has_undecodable(text) else self._plain
        # Most texts have no quotation marks at all.
        if plain and (lines := plain[0].all_lines(text)) is not None:
            return self._number(lines), len(text)
        while at < len(text):
            begun = at
            for kind in plain:
                end = kind.end(text, at)
                if end > at:
                    out.append(self._number(kind.lines(text[at:end])))
                    at = end
                    break
            else:
                at = self._one_record(text, at, out, final=final)
            if at == begun:
                break
        return "".join(out), at

    def _number(self, lines: list[str]) -> str:
        """The lines with their numbers and the load in front: all that is done for a plain one.

        The numbers' last digits are made once and their first ones are the same for thousands of
        lines, so that a line costs one concatenation. Zeros in front do not matter to COPY.
        """
        out = []
        done, count = 0, len(lines)
        while done < count:
            first, last = divmod(self.line, _NUMBERS)
            portion = min(_NUMBERS - last, count - done)
            numbers = self._numbers[last : last + portion]
            numbered = map(add, numbers, lines[done : done + portion])
            out.append(f"{first}" + f"\n{first}".join(numbered) + "\n")
            done += portion
            self.line += portion
        self.records += count
        return "".join(out)

    @cached_property
    def _numbers(self) -> list[str]:
        between = f"{self._delimiter}{self.load_id}{self._delimiter}"
        return [f"{number:0{_DIGITS}d}{between}" for number in range(_NUMBERS)]

    def _one_record(self, text: str, at: int, out: list[str], *, final: bool) -> int:
        """Read one record by definition. Returns where the next begins; `at`: wait for more."""
        found = LINE.match(text, at)
        assert found is not None, "any text has a line"
        line, after = found[1], found.end()
        if fault := not_text(line):
            return self._reject(line, after, *fault)
        if not line.strip(self.shape.blanks):
            self.line += 1
            return after
        limit = max(after, at + RECORD_LIMIT)
        record = self._grammar.record(text, at, limit)
        if record.fault == "open" and not final and len(text) < limit:
            return at
        if record.fault or (record.end > after and not self._is_right(record, text, at, limit)):
            return self._reject(line, after, "broken_quoting", _broken(line, self.shape.quote))
        if len(record.cells) != len(self.keep):
            has = "1 cell" if len(record.cells) == 1 else f"{len(record.cells)} cells"
            detail = f"The line has {has}, the header {len(self.keep)}."
            return self._reject(line, after, "wrong_column_count", detail)
        self._write(record.cells, out)
        self.line += 1 if record.end == after else count_lines(text[at : record.end])
        return record.end

    def _is_right(self, record: Record, text: str, at: int, limit: int) -> bool:
        """Whether a record over several lines is one, and not a mark that was left open."""
        return (
            len(record.cells) == len(self.keep)
            and not any(cell and not_text(cell) for cell in record.cells)
            and not (record.end == limit < len(text))
            and not self._swallows(text[at : record.end])
        )

    def _swallows(self, record: str) -> bool:
        """Whether two stray quotation marks have made one record of lines that are records.

        Then all lines between them are right by themselves, or the first and the last one are as
        soon as quotation marks are taken for text.
        """
        if len(self.keep) == 1:
            return False
        lines = [record[at:end] for _, at, end in lines_of(record)]
        inner = [line for line in lines[1:-1] if line.strip(BLANKS)]
        ends = (lines[0], lines[-1])
        return all(self._has_width(self._unquoted, line) for line in ends) or (
            bool(inner) and all(self._has_width(self._grammar, line) for line in inner)
        )

    def _has_width(self, grammar: Grammar, line: str) -> bool:
        record = grammar.record(line, 0, len(line))
        return not record.fault and len(record.cells) == len(self.keep)

    def _write(self, cells: tuple[str | None, ...], out: list[str]) -> None:
        kept = [
            csv_cell(cell, self._delimiter)
            for cell, is_kept in zip(cells, self.keep, strict=True)
            if is_kept
        ]
        out.append(self._delimiter.join([str(self.line), str(self.load_id), *kept]) + "\n")
        self.records += 1

    def _reject(self, content: str, after: int, rule: str, detail: str) -> int:
        self.rejected.append(RejectedLine(self.line, rule, detail, verbatim(content)))
        self.line += 1
        return after


def output_delimiter(shape: Shape) -> str:
    """The delimiter of what a Splitter writes: the file's own unless COPY refuses it."""
    return shape.delimiter if shape.copyable else ","


def complete_lines(text: str) -> int:
    """How much of a text is whole lines, though a CR at its end may be half of a CRLF."""
    after = text.rfind("\n") + 1
    return max(after, text.rfind("\r", after, max(after, len(text) - 1)) + 1)


def _broken(line: str, quote: str) -> str:
    if line.count(quote) % 2:
        return f"A quotation mark ({quote}) is opened and not closed."
    return f"Something follows a closing quotation mark ({quote}) before the next delimiter."


def _has_undecodable(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
