"""Where a line, a cell and a record of delimited text end.

A record ends with LF, CRLF or CR. A cell is quoted if it begins with a quote character, optionally
after blanks; inside it, delimiters and line ends are text and a doubled quote is one quote. Every
other cell is the text up to the next delimiter, quote characters included.

Whatever RFC 4180 allows is read accordingly, including multi-line cells; if their lines look like
records, the record is doubted (SWALLOWED). If a record is faulty (its quotes, its number of cells,
undecodable bytes), only its first line is rejected, and reading resumes on the next line. So a
quote that is never closed costs one line, not the rest of the file. A record of only empty cells is
not a record. `="007"`, which keeps Excel from reading text as a number, is read as its text.

Records after a header are read under that header.

`Grammar.record` is the definition. It costs a microsecond per cell, so runs of plain lines are
matched by one regular expression each, or by counting delimiters if there is no quote, and copied
unchanged (`PlainLines`); tests compare the two paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, repeat
from operator import add

from loader.parsers.headers import ID_LIKE, HeaderMatch
from loader.parsers.records import (
    SWALLOWED,
    Parser,
    RejectedLine,
    csv_cell,
    csv_line,
    extra_of,
    formula_text,
    is_filled,
    not_text,
    verbatim,
)
from loader.sources import BLANKS

# See Splitter._number.
_DIGITS = 3
_NUMBERS = 10**_DIGITS
# The regular expressions below grow with the columns; wider tables use the definition.
_PLAIN_COLUMNS = 256
# A multi-line record longer than this (characters) counts as one with an unclosed quotation mark.
RECORD_LIMIT = 1 << 20
_LINE_END = re.compile("\r\n|\n|\r")
LINE = re.compile("([^\r\n]*+)(?:\r\n|\n|\r|\\Z)")
# How many cells that may have swallowed records are reported.
_SWALLOWED_SHOWN = 100


@dataclass(frozen=True)
class Dialect:
    """How a line is split into cells: the delimiter, and the quote character or ""."""

    delimiter: str
    quote: str = '"'

    @property
    def blanks(self) -> str:
        """Characters allowed between a delimiter and a quotation mark."""
        return BLANKS.translate({ord(char): None for char in f"\r\n{self.delimiter}"})

    @property
    def output(self) -> str:
        """The output delimiter: the same if COPY accepts it beside our numbers, else a comma."""
        taken = self.delimiter.isascii() and not self.delimiter.isdigit()
        return self.delimiter if taken and self.delimiter not in '"\r\n\0' else ","


@dataclass(frozen=True)
class Record:
    """One record: its cells (None: empty, without quotation marks) and where it ends.

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
        """The record that begins at `start`; nothing beyond `limit` is read."""
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
    """How many lines a text has; the last may lack its end."""
    return len(_LINE_END.findall(text)) + (not text.endswith(("\r", "\n")))


class PlainLines:
    """Runs of lines that the definition would read one by one, unchanged.

    Their cells have no line ends and no unusual quotation marks. `pick` are the cells of a record
    to keep, in this order, with -1 for an empty one; the others are removed. With `extra`, lines
    get one more cell, see `records.extra_of`.
    """

    def __init__(
        self,
        dialect: Dialect,
        width: int,
        pick: Sequence[int],
        extra: Mapping[int, str] | None,
        surplus: int = 0,
    ) -> None:
        self._dialect, self._delimiters = dialect, width - 1
        self._pick, self._extra = pick, extra or {}
        self._special = {*'"\r\0', *dialect.quote}
        delimiter = re.escape(dialect.delimiter)
        # The output has only one quotation mark, so with another in the input, cells may have
        # neither.
        plain = f'[^{delimiter}"{re.escape(dialect.quote)}\r\n\0]*+'
        quoted = f'"(?![{BLANKS}]*+="")(?:[^"\r\n\0]++|"")*+"' if dialect.quote == '"' else "(?!)"
        cells = delimiter.join([f"(?:{quoted}|{plain})"] * (width - surplus))
        cells += f"{delimiter}[{re.escape(dialect.blanks)}]*+" * surplus
        self._run = re.compile(f"(?:{cells}(?:\n|\r\n?+))*+")
        self._clean: re.Pattern[str] | None = None
        if list(pick) != list(range(width)) or extra is not None:
            self._clean = re.compile(delimiter.join([f"({quoted}|{plain})"] * width) + "\n")
            picked = [f"\\g<{at + 1}>" if at >= 0 else "" for at in pick]
            template = dialect.delimiter.replace("\\", "\\\\").join(picked) + "\n"
            self._template = template if extra is None else self._with_extra

    def end(self, text: str, start: int) -> int:
        """The end of the run that begins at `start`."""
        match = self._run.match(text, start)
        return match.end() if match else start

    def all_lines(self, text: str) -> list[str] | None:
        """All lines of a text if they surely have only plain cells, else None."""
        if self._clean or not text.endswith("\n") or any(char in text for char in self._special):
            return None
        lines = text.split("\n")
        lines.pop()
        delimiter = self._dialect.delimiter
        counted = set(map(str.count, lines, repeat(delimiter)))
        return lines if counted == {self._delimiters} else None

    def lines(self, run: str) -> list[str]:
        """The output lines of a run whose lines all end with LF."""
        lines = (self._clean.sub(self._template, run) if self._clean else run).split("\n")
        lines.pop()
        return lines

    def _with_extra(self, line: re.Match[str]) -> str:
        cells = line.groups()
        further = (
            (name, cell[1:-1].replace('""', '"') if cell[:1] == '"' else cell)
            for at, name in self._extra.items()
            for cell in [cells[at]]
        )
        kept = [cells[at] if at >= 0 else "" for at in self._pick]
        return self._dialect.delimiter.join([*kept, csv_cell(extra_of(further))]) + "\n"


class Splitter:
    """Splits a text that arrives in portions, once `expect` has said what its records look like.

    `line` is the number of the next line; `records` and `rejected` belong to the last portion.
    `parser` decides which records are headers, and what they mean.
    """

    def __init__(
        self,
        dialect: Dialect,
        load_id: int,
        line: int = 1,
        parser: Parser | None = None,
        surplus: int = 0,
    ) -> None:
        self.line = line
        self.records = 0
        self.rejected: list[RejectedLine] = []
        self._doubted = 0
        self._dialect, self._load_id, self._parser = dialect, load_id, parser
        self._usual_surplus = surplus
        self._grammar = Grammar(dialect)
        self._delimiter = dialect.output
        # The characters of empty cells.
        self._nothing = BLANKS + dialect.delimiter + dialect.quote

    def follow(self, match: HeaderMatch) -> None:
        """Expect the records below a header of the parser's file."""
        assert self._parser is not None, "tests split without headers"
        at_of = {name: at for at, name in enumerate(match.columns)}
        pick = [at_of.get(name, -1) for name in self._parser.columns]
        extra = match.further if self._parser.has_extra else None
        is_as_wide = len(match.columns) == len(self._parser.match.columns)
        surplus = self._usual_surplus if is_as_wide else 0
        self.expect(len(match.columns), pick, extra, match.key, surplus)

    def expect(
        self,
        width: int,
        pick: Sequence[int],
        extra: Mapping[int, str] | None = None,
        key: int | None = None,
        surplus: int = 0,
    ) -> None:
        """Expect records of `width` cells, of which `pick` are written in this order (-1: empty).

        `extra`, if not None, names the cells that are written after these as JSON; `key` is the
        cell with the record's id. After the `width` cells come `surplus` empty ones.
        """
        self._width, self._pick, self._extra, self._key = width, pick, extra, key
        self._plain: PlainLines | None = None
        self._surplus, whole = surplus, width + surplus
        if self._delimiter == self._dialect.delimiter and 1 < whole <= _PLAIN_COLUMNS:
            self._plain = PlainLines(self._dialect, whole, pick, extra, surplus)
        # A line whose id does not look like one: it may be a header, or empty.
        delimiter = re.escape(self._dialect.delimiter)
        before = f'(?:"(?:[^"\n]++|"")*+"|[^{delimiter}"\n]*+){delimiter}' * (key or 0)
        self._odd = re.compile(f"\n{before}(?![ \"']*+(?:[0-9]|[A-Za-z]{{1,8}}[-_]?[0-9])|\\Z)")

    def split(self, text: str, *, final: bool) -> tuple[str, int]:
        """Split a text that begins with a record and, unless `final`, ends with a whole line.

        Returns the records as CSV, and how much of the text was used: a record that may continue
        past its end is left for the next call.
        """
        self.records, self.rejected, self._doubted = 0, [], 0
        out: list[str] = []
        at = 0
        # Undecodable bytes are searched for line by line.
        by_definition = _has_undecodable(text)
        while at < len(text):
            plain, begun = None if by_definition else self._plain, at
            # Most texts have no quotation marks.
            if plain and not at and (lines := plain.all_lines(text)) is not None:
                at = self._run(text, lines, out)
            elif plain and (end := plain.end(text, at)) > at:
                run = text[at:end].replace("\r\n", "\n").replace("\r", "\n")
                used = self._run(run, plain.lines(run), out)
                if used == len(run):
                    at = end
                else:
                    for line in islice(LINE.finditer(text, at), run.count("\n", 0, used)):
                        at = line.end()
            if at == begun:
                at = self._one_record(text, at, out, final=final)
            if at == begun:
                break
        return "".join(out), at

    def _run(self, run: str, lines: list[str], out: list[str]) -> int:
        """Number the lines of a run up to a header; return how many characters they have."""
        if not self._odd.search("\n" + run):
            out.append(self._number(lines))
            return len(run)
        begun = after = 0
        for number, line in enumerate(run.split("\n")[:-1]):
            at, after = after, after + len(line) + 1
            if not self._odd.match(f"\n{line}\n"):
                continue
            has_word = self._parser and self._parser.header_words.search(line)
            if not has_word and line.strip(self._nothing):
                continue
            cells = self._grammar.record(line, 0, len(line)).cells
            is_header = self._parser is not None and self._parser.is_header(cells)
            # Two quotation marks are an empty cell, four are a cell with one.
            if is_header or not is_filled(cells):
                out.append(self._number(lines[begun:number]))
                begun = number + 1
                if is_header:
                    return at
                self.line += 1
        out.append(self._number(lines[begun:]))
        return after

    def _number(self, lines: list[str]) -> str:
        """The lines prefixed with their numbers and the load_id; plain lines need nothing else.

        The last digits of the numbers are prepared once and a thousand lines share the first ones,
        so each line costs one concatenation. COPY ignores leading zeros.
        """
        out = []
        numbers = _numbers(self._delimiter, self._load_id)
        done, count = 0, len(lines)
        while done < count:
            first, last = divmod(self.line, _NUMBERS)
            portion = min(_NUMBERS - last, count - done)
            numbered = map(add, numbers[last : last + portion], lines[done : done + portion])
            out.append(f"{first}" + f"\n{first}".join(numbered) + "\n")
            done += portion
            self.line += portion
        self.records += count
        return "".join(out)

    def _one_record(self, text: str, at: int, out: list[str], *, final: bool) -> int:
        """Read one record by definition. Returns where the next begins; `at`: wait for more."""
        match = LINE.match(text, at)
        assert match is not None, "any text has a line"
        line, after = match[1], match.end()
        if fault := not_text(line):
            return self._reject(line, after, *fault)
        if not line.strip(self._dialect.blanks):
            self.line += 1
            return after
        limit = max(after, at + RECORD_LIMIT)
        record = self._grammar.record(text, at, limit)
        cells, quote, is_long = record.cells, self._dialect.quote, record.end > after
        if record.fault == "open" and not final and len(text) < limit:
            return at
        if len(cells) == self._width + self._surplus and not is_filled(cells[self._width :]):
            cells = cells[: self._width]
        written = text[at : record.end] if is_long else ""
        lines = count_lines(written)
        if self._parser and not record.fault and self._parser.is_header(cells):
            self.follow(self._parser.following(self.line, cells))
            self.line += lines
            return record.end
        # A multi-line record counts only if all of it is right.
        is_torn = is_long and (
            len(cells) != self._width
            or any(cell and not_text(cell) for cell in cells)
            or record.end == limit < len(text)
        )
        is_wrong = record.fault or is_torn or (is_filled(cells) and len(cells) != self._width)
        parser = self._parser
        if is_wrong and parser and len({*parser.header_words.findall(line.lower())}) > 1:
            parser.refuse_joined(self.line, line.split(self._dialect.delimiter), self._width)
        if record.fault or is_torn:
            detail = f"Something follows a closing quotation mark ({quote}) before the delimiter."
            if line.count(quote) % 2:
                detail = f"A quotation mark ({quote}) is opened and not closed."
            return self._reject(line, after, "broken_quoting", detail)
        if is_filled(cells):
            if len(cells) != self._width:
                has = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
                detail = f"The line has {has}, the header {self._width}."
                return self._reject(line, after, "wrong_column_count", detail)
            if is_long and self._swallows(written):
                detail = (
                    f"Lines {self.line} to {self.line + lines - 1} are one record, and a quoted "
                    "cell of it has lines that look like records. Is a quotation mark missing?"
                )
                content = verbatim(written.rstrip("\r\n"))
                self.rejected.append(RejectedLine(self.line, SWALLOWED, detail, content))
                self._doubted += 1
            self._write(cells, out)
        self.line += lines
        return record.end

    def _swallows(self, record: str) -> bool:
        """Whether a line inside a record looks like one; two stray quotes may have enclosed it."""
        if self._width == 1 or self._doubted >= _SWALLOWED_SHOWN:
            return False
        for line in _LINE_END.split(record)[1:]:
            cells = line.split(self._dialect.delimiter)
            if len(cells) >= self._width:
                id_ = cells[self._key or 0].strip(BLANKS + self._dialect.quote)
                if self._key is None or ID_LIKE.match(id_):
                    return True
        return False

    def _write(self, cells: tuple[str | None, ...], out: list[str]) -> None:
        kept = [cells[at] if at >= 0 else None for at in self._pick]
        if self._extra is not None:
            kept.append(extra_of((name, cells[at]) for at, name in self._extra.items()))
        record = csv_line([str(self.line), str(self._load_id), *kept], self._delimiter)
        out.append(f"{record}\n")
        self.records += 1

    def _reject(self, content: str, after: int, rule: str, detail: str) -> int:
        self.rejected.append(RejectedLine(self.line, rule, detail, verbatim(content)))
        self.line += 1
        return after


@lru_cache(maxsize=1)
def _numbers(delimiter: str, load_id: int) -> list[str]:
    between = f"{delimiter}{load_id}{delimiter}"
    return [f"{number:0{_DIGITS}d}{between}" for number in range(_NUMBERS)]


def complete_lines(text: str) -> int:
    """How much of a text is whole lines; a CR at its end may be half of a CRLF."""
    after = text.rfind("\n") + 1
    return max(after, text.rfind("\r", after, max(after, len(text) - 1)) + 1)


def _has_undecodable(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
