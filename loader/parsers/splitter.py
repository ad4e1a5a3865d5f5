r"""Where a line, a cell and a record of delimited text end.

A record ends with LF, CRLF or CR. A cell is quoted if it begins with a quote character, blanks
before it allowed; in it delimiters and line ends are text and a doubled quote is one. Every other
cell is the text up to the next delimiter, quote characters included. Behind an escape character a
quote, a delimiter or another escape character is text.

A line whose record is not right (its quotes, its number of cells, bytes that are no text) is
rejected alone, and reading goes on with the line below it. So a quote that is opened and never
closed costs one line, not the rest of the file, and two stray ones do not make one record of all
that stands between them.

`Grammar.record` is the definition. It costs a microsecond a cell, so runs of plain lines are
matched by one regular expression each, or by counting delimiters where there is no quote, and pass
on as they are (`PlainLines`); tests hold both against each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import add

from loader.parsers.records import RejectedLine, csv_cell, not_text, verbatim
from loader.sources import BLANKS

# See Splitter._number.
_DIGITS = 4
# Fewer lines are numbered one by one.
_FEW_LINES = 500
_NUMBERS = 10**_DIGITS
# The regular expressions below grow with the columns; wider tables are read by definition.
_PLAIN_COLUMNS = 256
# A record of more lines than go into so many characters is one whose quotation mark is not closed.
RECORD_LIMIT = 1 << 20
_LINE_END = re.compile("\r\n|\n|\r")
LINE = re.compile("([^\r\n]*+)(?:\r\n|\n|\r|\\Z)")


@dataclass(frozen=True)
class Dialect:
    """How cells stand in a line: delimiter, quote, escape; one character each or none."""

    delimiter: str
    quote: str = '"'
    escape: str = ""

    @property
    def blanks(self) -> str:
        """What may stand between a delimiter and a quotation mark."""
        return BLANKS.translate({ord(char): None for char in f"\r\n{self.delimiter}"})

    @property
    def copyable(self) -> bool:
        """Whether COPY takes the delimiter, with our numbers before the cells."""
        return (
            self.delimiter.isascii()
            and not self.delimiter.isdigit()
            and self.delimiter not in '"\r\n\0'
        )


@dataclass(frozen=True)
class Record:
    """One record: its cells (None: nothing at all, not even quotation marks) and where it ends.

    `fault` is "" or what is wrong with its quotation marks: "open" or "misplaced".
    """

    cells: tuple[str | None, ...]
    end: int
    fault: str = ""


class Grammar:
    """The definition of a record under one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        delimiter, quote = re.escape(dialect.delimiter), re.escape(dialect.quote)
        escape = re.escape(dialect.escape)
        # In quotation marks any character may be escaped, a line end too; elsewhere no line end.
        inside = f"|{escape}[^\0]" if escape else ""
        bare = f"[^{delimiter}{escape}\r\n]"
        bare = f"(?:{bare}++|{escape}[^\r\n]?)*+" if escape else f"{bare}*+"
        stop = f"({delimiter}|\r\n|\n|\r|\\Z)"
        begin = f"[{re.escape(dialect.blanks)}]*+{quote}" if quote else "(?!)"
        body = f"(?:[^{quote}{escape}]++|{quote}{quote}{inside})*+" if quote else ""
        self._begin = re.compile(begin)
        self._quoted = re.compile(f"{begin}({body}){quote}[{re.escape(dialect.blanks)}]*+{stop}")
        self._open = re.compile(f"{begin}{body}\\Z")
        self._plain = re.compile(f"({bare}){stop}")
        # What stands behind an escape, or behind the first of two quotation marks, is meant.
        self._bare_escapes = re.compile(f"{escape}([{escape}{delimiter}{quote}])")
        self._escapes = re.compile(f"{escape}([{escape}{delimiter}{quote}])|{quote}({quote})")

    def record(self, text: str, start: int, limit: int) -> Record:
        """The record that begins at `start`; nothing behind `limit` is looked at."""
        cells: list[str | None] = []
        at, quote = start, self.dialect.quote
        while True:
            if self._begin.match(text, at, limit):
                match = self._quoted.match(text, at, limit)
                if match is None:
                    fault = "open" if self._open.match(text, at, limit) else "misplaced"
                    return Record(tuple(cells), at, fault)
                cells.append(
                    self._escapes.sub(_meant, match[1])
                    if self.dialect.escape
                    else match[1].replace(quote + quote, quote)
                )
            else:
                match = self._plain.match(text, at, limit)
                assert match is not None, "any text has a plain cell"
                cell = match[1] or None
                if cell and self.dialect.escape:
                    cell = self._bare_escapes.sub(_meant, cell)
                cells.append(cell)
            at = match.end()
            if match[2] != self.dialect.delimiter:
                return Record(tuple(cells), at)


def lines_of(text: str, *, limit: int = 1 << 62) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end (before the line end) of the first lines of a text."""
    at = 0
    for number in range(1, limit + 1):
        match = LINE.match(text, at)
        if match is None or at == len(text):
            return
        yield number, at, match.end(1)
        at = match.end()


def count_lines(text: str) -> int:
    """How many line ends a text has."""
    return len(_LINE_END.findall(text))


def _meant(match: re.Match[str]) -> str:
    return match[match.lastindex or 0]


class PlainLines:
    """Runs of lines that the definition reads one by one as they stand.

    Cells without line ends and without anything odd about quotation marks; `padded` allows blanks
    around quoted cells. The lines are cleaned of these blanks and of cells that are not kept.
    """

    def __init__(self, dialect: Dialect, keep: tuple[bool, ...], *, padded: bool) -> None:
        self._dialect, self._delimiters = dialect, len(keep) - 1
        self._special = [*f'"\r\0{dialect.quote}{dialect.escape}']
        delimiter = re.escape(dialect.delimiter)
        # The output knows one quotation mark, so cells of another kind may have neither.
        quotes = re.escape(f'"{dialect.quote}{dialect.escape}')
        plain = f"[^{delimiter}{quotes}\r\n\0]*+"
        text = f'[^"{re.escape(dialect.escape)}\r\n\0]'
        quoted = f'"(?:{text}++|"")*+"' if dialect.quote == '"' else "(?!)"
        blanks = f"[{re.escape(dialect.blanks)}]*+" if padded else ""
        cell = f"(?:{blanks}{quoted}{blanks}|{plain})"
        self._run = re.compile(f"(?:{delimiter.join([cell] * len(keep))}(?:\n|\r\n?+))*+")
        self._clean: re.Pattern[str] | None = None
        if padded or not all(keep):
            grouped = f"(?:{blanks}({quoted}){blanks}|({plain}))"
            self._clean = re.compile(delimiter.join([grouped] * len(keep)) + "\n")
            kept = [
                f"\\g<{2 * at + 1}>\\g<{2 * at + 2}>" for at, is_kept in enumerate(keep) if is_kept
            ]
            self._template = dialect.delimiter.replace("\\", "\\\\").join(kept) + "\n"

    def end(self, text: str, start: int) -> int:
        """Where the run that begins at `start` ends."""
        match = self._run.match(text, start)
        return match.end() if match else start

    def all_lines(self, text: str) -> list[str] | None:
        """All lines of a text, if none has anything but plain cells; None if one may."""
        if self._clean or not text.endswith("\n") or any(char in text for char in self._special):
            return None
        lines = text.split("\n")
        lines.pop()
        delimiter = self._dialect.delimiter
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

    dialect: Dialect
    keep: tuple[bool, ...]
    load_id: int
    line: int = 1
    records: int = 0
    rejected: list[RejectedLine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._grammar = Grammar(self.dialect)
        self._unquoted = Grammar(replace(self.dialect, quote=""))
        self._delimiter = output_delimiter(self.dialect)
        self._plain: list[PlainLines] = []
        if self.dialect.copyable and 1 < len(self.keep) <= _PLAIN_COLUMNS:
            self._plain.append(PlainLines(self.dialect, self.keep, padded=False))
            if self.dialect.quote == '"':
                self._plain.append(PlainLines(self.dialect, self.keep, padded=True))

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
            for pattern in plain:
                end = pattern.end(text, at)
                if end > at:
                    out.append(self._number(pattern.lines(text[at:end])))
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
        if count < _FEW_LINES:
            between = f"{self._delimiter}{self.load_id}{self._delimiter}"
            out = [f"{number}{between}{line}\n" for number, line in enumerate(lines, self.line)]
            self.line += count
            done = count
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
        match = LINE.match(text, at)
        assert match is not None, "any text has a line"
        line, after = match[1], match.end()
        if fault := not_text(line):
            return self._reject(line, after, *fault)
        if not line.strip(self.dialect.blanks):
            self.line += 1
            return after
        limit = max(after, at + RECORD_LIMIT)
        record = self._grammar.record(text, at, limit)
        if record.fault == "open" and not final and len(text) < limit:
            return at
        if record.fault or (record.end > after and not self._is_right(record, text, at, limit)):
            return self._reject(line, after, "broken_quoting", _broken(line, self.dialect.quote))
        if len(record.cells) != len(self.keep):
            has = "1 cell" if len(record.cells) == 1 else f"{len(record.cells)} cells"
            detail = f"The line has {has}, the header {len(self.keep)}."
            return self._reject(line, after, "wrong_column_count", detail)
        self._write(record.cells, out)
        self.line += 1 if record.end == after else count_lines(text[at : record.end])
        return record.end

    def _is_right(self, record: Record, text: str, at: int, limit: int) -> bool:
        """Whether a record over several lines is one, and not a quote that was left open."""
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


def output_delimiter(dialect: Dialect) -> str:
    """The delimiter of what a Splitter writes: the file's own unless COPY refuses it."""
    return dialect.delimiter if dialect.copyable else ","


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
