"""Where a line, a cell and a record of delimited text end.

A record ends with LF, CRLF or CR. A cell is quoted if it begins with a quote character, blanks
before it allowed; in it delimiters and line ends are text and a doubled quote is one. Every other
cell is the text up to the next delimiter, quote characters included.

What is legal by RFC 4180 is read as it says, a cell over several lines too, whatever these look
like; `doubted` tells the ones that look like records. A line whose record is not right (its
quotes, its number of cells, bytes that are no text) is rejected alone, and reading goes on with the
line below it. So a quote that is opened and never closed costs one line, not the rest of the file.
A record of nothing but empty cells is none. `="007"`, which keeps Excel from taking a text for a
number, is its text.

A record that is a header ends the splitting: what follows it is read by a Splitter of its own.

`Grammar.record` is the definition. It costs a microsecond a cell, so runs of plain lines are
matched by one regular expression each, or by counting delimiters where there is no quote, and pass
on as they are (`PlainLines`); tests hold both against each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import repeat
from operator import add

from loader.parsers.records import (
    SWALLOWED,
    RejectedLine,
    csv_cell,
    extra_of,
    formula_text,
    is_filled,
    not_text,
    verbatim,
)
from loader.sources import BLANKS, ID_LIKE, Headers

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
# So many cells that may have swallowed records are told by their lines.
_SWALLOWED_SHOWN = 100


@dataclass(frozen=True)
class Dialect:
    """How cells stand in a line: the delimiter, and the quote character or ""."""

    delimiter: str
    quote: str = '"'

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
        blanks = f"[{re.escape(dialect.blanks)}]*+"
        stop = f"({delimiter}|\r\n|\n|\r|\\Z)"
        begin = f"{blanks}{quote}" if quote else "(?!)"
        body = f"(?:[^{quote}]++|{quote}{quote})*+" if quote else ""
        self._begin = re.compile(begin)
        self._quoted = re.compile(f"{begin}({body}){quote}{blanks}{stop}")
        self._open = re.compile(f"{begin}{body}\\Z")
        self._plain = re.compile(f"([^{delimiter}\r\n]*+){stop}")

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
                cells.append(formula_text(match[1].replace(quote + quote, quote)))
            else:
                match = self._plain.match(text, at, limit)
                assert match is not None, "any text has a plain cell"
                cells.append(formula_text(match[1] or None))
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


class PlainLines:
    """Runs of lines that the definition reads one by one as they stand.

    Cells without line ends and without anything odd about quotation marks. `pick` are the cells of
    a record that pass on, in this order, -1 for an empty one; the lines are cleaned of the others.
    With `extra` they get one more cell, see `records.extra_of`.
    """

    def __init__(
        self, dialect: Dialect, width: int, pick: Sequence[int], extra: Mapping[int, str] | None
    ) -> None:
        self._dialect, self._delimiters = dialect, width - 1
        self._pick, self._extra = pick, extra or {}
        self._special = {*'"\r\0', *dialect.quote}
        delimiter = re.escape(dialect.delimiter)
        # The output knows one quotation mark, so cells of another kind may have neither.
        plain = f'[^{delimiter}"{re.escape(dialect.quote)}\r\n\0]*+'
        quoted = f'"(?![{BLANKS}]*+="")(?:[^"\r\n\0]++|"")*+"' if dialect.quote == '"' else "(?!)"
        cells = delimiter.join([f"(?:{quoted}|{plain})"] * width)
        self._run = re.compile(f"(?:{cells}(?:\n|\r\n?+))*+")
        self._clean: re.Pattern[str] | None = None
        if list(pick) != list(range(width)) or extra is not None:
            self._clean = re.compile(delimiter.join([f"({quoted}|{plain})"] * width) + "\n")
            picked = [f"\\g<{at + 1}>" if at >= 0 else "" for at in pick]
            template = dialect.delimiter.replace("\\", "\\\\").join(picked) + "\n"
            self._template = template if extra is None else self._with_extra

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
        counted = set(map(str.count, lines, repeat(delimiter)))
        return lines if counted == {self._delimiters} else None

    def lines(self, run: str) -> list[str]:
        """The lines of a run, all ended by LF, as they pass on."""
        lines = (self._clean.sub(self._template, run) if self._clean else run).split("\n")
        lines.pop()
        return lines

    def _with_extra(self, line: re.Match[str]) -> str:
        """A line as it passes on, with its further cells as JSON."""
        cells = line.groups()
        further = (
            (name, cell[1:-1].replace('""', '"') if cell[:1] == '"' else cell)
            for at, name in self._extra.items()
            for cell in [cells[at]]
        )
        kept = [cells[at] if at >= 0 else "" for at in self._pick]
        return self._dialect.delimiter.join([*kept, csv_cell(extra_of(further))]) + "\n"


@dataclass
class Splitter:
    """Splits a text that comes in portions; `line` is the number of the next line.

    Of the `width` cells of a record `pick` are written, in this order (-1: an empty one). `extra`
    names the cells that are written as JSON behind these, if it is not None. `key` is the cell with
    the record's id.
    With `headers` it stops behind a record that is a header, and `header` has its cells.
    """

    dialect: Dialect
    width: int
    pick: tuple[int, ...]
    load_id: int
    line: int = 1
    extra: Mapping[int, str] | None = None
    key: int | None = None
    headers: Headers | None = None
    records: int = 0
    rejected: list[RejectedLine] = field(default_factory=list)
    header: tuple[str, ...] | None = None
    header_line: int = 0
    # Records that may have swallowed others.
    doubted: list[RejectedLine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._grammar = Grammar(self.dialect)
        self._unquoted = Grammar(replace(self.dialect, quote=""))
        self._delimiter = output_delimiter(self.dialect)
        self._plain: PlainLines | None = None
        if self.dialect.copyable and 1 < self.width <= _PLAIN_COLUMNS:
            self._plain = PlainLines(self.dialect, self.width, self.pick, self.extra)
        # What empty cells are made of.
        self._nothing = BLANKS + self.dialect.delimiter + self.dialect.quote
        # A line whose id begins with no digit: it may be a header, or empty.
        delimiter = re.escape(self.dialect.delimiter)
        before = f"[^{delimiter}\n]*+{delimiter}" * (self.key or 0)
        self._odd = re.compile(f"\n{before}(?![ \"']*+(?:[0-9]|[A-Za-z]{{1,8}}[-_]?[0-9])|\\Z)")

    def split(self, text: str, *, final: bool) -> tuple[str, int]:
        """Records of a text that begins with a record and, unless `final`, ends with a line.

        Returns them as CSV, and how much of the text was used: a record that may go on behind its
        end is left for the next call, as is all that follows a header. `records`, `rejected` and
        `doubted` are those of this text.
        """
        self.records, self.rejected, self.doubted = 0, [], []
        out: list[str] = []
        at = 0
        # Bytes that could not be decoded are looked for line by line.
        plain = None if _has_undecodable(text) else self._plain
        # Most texts have no quotation marks at all.
        if plain and (lines := plain.all_lines(text)) is not None:
            at = self._run(text, lines, out)
        while at < len(text) and self.header is None:
            begun = at
            if plain and (end := plain.end(text, at)) > at:
                run = text[at:end]
                if "\r" in run:
                    run = run.replace("\r\n", "\n").replace("\r", "\n")
                used = self._run(run, plain.lines(run), out)
                at = end if used == len(run) else _begin_of(text, at, run.count("\n", 0, used))
            if at == begun:
                at = self._one_record(text, at, out, final=final)
            if at == begun:
                break
        return "".join(out), at

    def _run(self, run: str, lines: list[str], out: list[str]) -> int:
        """Number the lines of a run, ended by LF, as they pass on; how much of it was used.

        That is all of it, or up to a line that the definition has to read.
        """
        if not self._odd.search("\n" + run):
            out.append(self._number(lines))
            return len(run)
        may_be_header = self.headers is not None and self.headers.may_be_in(run)
        begun = at = 0
        for number, line in enumerate(run.split("\n")[:-1]):
            if not line.strip(self._nothing) and self._is_empty(line):
                out.append(self._number(lines[begun:number]))
                self.line += 1
                begun = number + 1
            elif may_be_header and self._is_header(self._cells(line)):
                out.append(self._number(lines[begun:number]))
                # At the head of a run: or the same run would begin there again.
                return at or self._one_record(run, 0, out, final=True)
            at += len(line) + 1
        out.append(self._number(lines[begun:]))
        return at

    def _is_empty(self, line: str) -> bool:
        # Two quotation marks are nothing, four are a cell with one.
        return not is_filled(self._grammar.record(line, 0, len(line)).cells)

    def _cells(self, line: str) -> list[str]:
        """The cells of a plain line, roughly."""
        cells = line.split(self.dialect.delimiter)
        return [cell.strip(BLANKS + self.dialect.quote) for cell in cells]

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
        is_long = record.end > after
        written = text[at : record.end] if is_long else "\n"
        # The text may end without a line end.
        lines = count_lines(written) + (not written.endswith(("\r", "\n")))
        if not record.fault and self._is_header(record.cells):
            self.header = tuple(cell or "" for cell in record.cells)
            self.header_line = self.line
        elif record.fault or (is_long and not self._is_whole(record, text, limit)):
            return self._reject(line, after, "broken_quoting", _broken(line, self.dialect.quote))
        elif is_filled(record.cells):
            if len(record.cells) != self.width:
                has = "1 cell" if len(record.cells) == 1 else f"{len(record.cells)} cells"
                detail = f"The line has {has}, the header {self.width}."
                return self._reject(line, after, "wrong_column_count", detail)
            if is_long and self._swallows(written):
                detail = (
                    f"Lines {self.line} to {self.line + lines - 1} are one record, and a quoted "
                    "cell of it has lines that look like records. Is a quotation mark missing?"
                )
                content = verbatim(written.rstrip("\r\n"))
                self.doubted.append(RejectedLine(self.line, SWALLOWED, detail, content))
            self._write(record.cells, out)
        self.line += lines
        return record.end

    def _is_header(self, cells: Sequence[str | None]) -> bool:
        return self.headers is not None and self.headers.is_header([cell or "" for cell in cells])

    def _is_whole(self, record: Record, text: str, limit: int) -> bool:
        """Whether a record over several lines is one, and not a quote that was left open."""
        return (
            len(record.cells) == self.width
            and not any(cell and not_text(cell) for cell in record.cells)
            and not (record.end == limit < len(text))
        )

    def _swallows(self, record: str) -> bool:
        """Whether a line within a record looks like one: two stray quotes may have made it."""
        if self.width == 1 or len(self.doubted) >= _SWALLOWED_SHOWN:
            return False
        for _, at, end in lines_of(record):
            if at and record.count(self.dialect.delimiter, at, end) >= self.width - 1:
                for grammar in (self._grammar, self._unquoted):
                    inner = grammar.record(record, at, end)
                    if not inner.fault and len(inner.cells) == self.width:
                        cell = inner.cells[self.key or 0] or ""
                        if self.key is None or ID_LIKE.match(cell.strip(BLANKS)):
                            return True
        return False

    def _write(self, cells: tuple[str | None, ...], out: list[str]) -> None:
        kept = [csv_cell(cells[at], self._delimiter) if at >= 0 else "" for at in self.pick]
        if self.extra is not None:
            kept.append(csv_cell(extra_of((name, cells[at]) for at, name in self.extra.items())))
        out.append(self._delimiter.join([str(self.line), str(self.load_id), *kept]) + "\n")
        self.records += 1

    def _reject(self, content: str, after: int, rule: str, detail: str) -> int:
        self.rejected.append(RejectedLine(self.line, rule, detail, verbatim(content)))
        self.line += 1
        return after


def output_delimiter(dialect: Dialect) -> str:
    """The delimiter of what a Splitter writes: the file's own unless COPY refuses it."""
    return dialect.delimiter if dialect.copyable else ","


def _begin_of(text: str, at: int, lines: int) -> int:
    """Where so many lines behind `at` end."""
    for _ in range(lines):
        match = LINE.match(text, at)
        assert match is not None, "any text has a line"
        at = match.end()
    return at


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
