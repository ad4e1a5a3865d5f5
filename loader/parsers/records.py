"""What every parser yields: batches of CSV for COPY, and rejected lines; how cells are written."""

from __future__ import annotations

import json
import re
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

from loader.errors import FileRefused
from loader.parsers.headers import (
    ID_LIKE,
    HeaderMatch,
    columns_alike,
    match_header,
    most_like,
    single_match,
)
from loader.printable import listed
from loader.sources import BLANKS, Input, header_key

# The cells of a row, or a line that is not split yet.
Cells = TypeVar("Cells", bound=Sequence[str | None])

# A header is looked for only within these first lines or rows.
HEADER_WITHIN = 100
# Characters that need quotation marks under any delimiter.
_NEEDS_QUOTES = re.compile('["\r\n]')
# Bytes that the file's encoding could not decode (see loader.parsers.delimited), and unpaired
# surrogates.
UNDECODABLE = re.compile("[\ud800-\udfff]")
NO_TEXT = re.compile("[\ud800-\udfff\0]")
_TEXT_FORMULA = re.compile(f'[{BLANKS}]*+="([^"\r\n]*+)"[{BLANKS}]*+')
# How much of an ignored column's name is shown.
_LONGEST_NAME = 60
# The rule for doubted records: they are loaded, with a warning that they may have swallowed others.
SWALLOWED = "swallowed_records"
_to_json = json.JSONEncoder(ensure_ascii=False).encode
# Beyond this many bytes, rejected lines go to disk: a whole file may be damaged.
_REJECTED_IN_MEMORY = 4 << 20
# How many of them are reported immediately.
_REJECTED_SHOWN = 10


@dataclass(frozen=True)
class RejectedLine:
    """A line that could not be split into the declared columns, or a doubted record (SWALLOWED).

    `line` is the line number in an editor (for a spreadsheet, the row), `detail` a sentence.
    `content` is the line verbatim, without its end. If it has undecodable bytes, they are written
    as \\xNN and every backslash is doubled.
    """

    line: int
    rule: str
    detail: str
    content: str


@dataclass(frozen=True)
class Batch:
    """Some of a file's records, ready for COPY.

    `text` is CSV, one record per line (LF): line, load_id, cells and, with `Parser.has_extra`, one
    more cell (see `extra_of`); an empty cell without quotation marks is NULL. `position` is how
    many bytes of the file have been read. Doubted records are both in `text` and in `rejected`.
    """

    text: str
    records: int
    rejected: tuple[RejectedLine, ...]
    position: int


class Row(NamedTuple):
    """A row of a table that is already split into cells.

    `number` is the row number the user sees; trailing empty cells may be missing.
    """

    number: int
    cells: Sequence[str | None]


@dataclass
class Parser(ABC):
    """A recognised file, or a sheet of it called `part`, and what its header means.

    `header` has its cells as written in the file, () if there is none. `columns` are the declared
    columns of the input, in the order of a record's cells. `delimiter` is the ASCII character
    between the cells of Batch.text; the quote is always `"`. `dialect` describes what the file was
    recognised as, for the ledger and the user. `notes` are for the user, such as columns that are
    `ignored`, or kept as JSON if it `has_extra`. All of these are complete after the last batch.
    """

    name: str
    inputs: Sequence[Input]
    match: HeaderMatch
    # Where further headers are, and the undeclared columns that they name.
    _headers: list[int] = field(default_factory=list, init=False)
    _further: list[str] = field(default_factory=list, init=False)

    part = ""
    delimiter = ","
    # The unit of numbering, and where the header begins.
    unit = "row"
    first_column = 0

    @property
    def input(self) -> Input:
        return self.match.input

    @property
    def header(self) -> tuple[str, ...]:
        return self.match.cells

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in self.match.columns if name is not None)

    @property
    @abstractmethod
    def dialect(self) -> str: ...

    @property
    def notes(self) -> tuple[str, ...]:
        cells, first = self.match.cells, self.first_column
        sentences = {
            "further columns, kept in `extra`: {}": [
                _shown(cells[at].strip()) for at in self.match.further
            ],
            "ignored columns, without a name: number {}": [
                str(at) for at, cell in enumerate(cells[first:], 1) if not cell.strip()
            ],
            "without {}: they stay empty": [column.name for column in self.match.lacks],
            f"a header stands again in {self.unit} {{}}; what follows is read under it": [
                str(number) for number in self._headers
            ],
            "not kept, for the first header has no further columns: {}": [
                _shown(name) for name in self._further if not self.has_extra
            ],
        }
        return tuple(text.format(listed(names)) for text, names in sentences.items() if names)

    @property
    def ignored(self) -> tuple[str, ...]:
        return (*(self.match.cells[at].strip() for at in self.match.further), *self._further)

    @property
    def has_extra(self) -> bool:
        return bool(self.match.further)

    @cached_property
    def header_words(self) -> re.Pattern[str]:
        """The longest word of each name: a line with none of them is not a header."""
        names = (name for t in self.inputs for column in t.columns for name in column.all_names)
        words = {max(name.split("_"), key=len) for name in names}
        return re.compile("|".join(map(re.escape, words)), re.IGNORECASE)

    def is_header(self, cells: Sequence[str | None]) -> bool:
        """Whether a record names two columns of an input, and has no id where its id belongs.

        Similar names count too: rows below `UserID` must not be read as if it were not there;
        `following` reports it.
        """
        key = self.match.key
        if key is not None and key < len(cells) and ID_LIKE.match((cells[key] or "").strip(BLANKS)):
            return False
        return len(columns_alike(cells, self.inputs)) >= min(2, len(self.input.columns))

    def following(self, number: int, cells: Sequence[str | None]) -> HeaderMatch:
        """The meaning of a header further down. Raises FileRefused if its rows cannot follow."""
        names = [cell or "" for cell in cells]
        # As at the top of a file, some programs mark it as a comment.
        is_column = self.match.cells[0].strip(BLANKS) == names[0].strip(BLANKS) == "#"
        names[0] = names[0] if is_column else names[0].lstrip(f"#{BLANKS}")
        matches = match_header(names, self.inputs)
        advice = "Put it into a file of its own."
        if match := next((m for m in matches if m.input == self.input), None):
            more = [c.name for c in self.match.lacks if c.name in match.columns]
            lost = [c.name for c in match.lacks if c.name in self.match.columns]
            if not more and not (lost and match.further):
                single_match(self.name, f", {self.unit} {number}", names, self.inputs)
                self._headers.append(number)
                further = dict.fromkeys(match.cells[at].strip() for at in match.further)
                self._further += [name for name in further if name not in self.ignored]
                return match
            problem = f"header begins here, with {', '.join(more)}, which the first one lacks."
            if not more:
                problem = (
                    f"header begins here, without {', '.join(lost)}, which the first one has, and "
                    f"with {', '.join(map(repr, match.further.values()))}. If these are the same, "
                    "say --map NAME=COLUMN."
                )
        elif matches:
            problem = f"table begins here, of {matches[0].input.name}."
        else:
            what, mend = "it is none of an input", ""
            if (closest := most_like(names, self.inputs)).score:
                what, mend = closest.explained()
            problem, advice = f"header begins here: {what}.", mend or advice
        raise FileRefused(self.name, f", {self.unit} {number}: a second {problem} {advice}")

    def refuse_joined(self, number: int, parts: Sequence[str], width: int) -> None:
        """Raise FileRefused if a header begins in the last cell of a faulty line.

        Then two files were joined, and the last line of the first had no line end.
        """
        cells = [part.strip(f"{BLANKS}\"'") for part in parts]
        last = header_key("".join(cells[width - 1 : width]))
        names = (name for t in self.inputs for column in t.columns for name in column.all_names)
        header = [*filter(last.endswith, names), *cells[width:]]
        alike = ((table, columns_alike(header, [table])) for table in self.inputs)
        if any(all(c in named for c in table.columns if c.required) for table, named in alike):
            raise FileRefused(
                self.name,
                f", {self.unit} {number}: a second header begins within the {self.unit}, as when "
                "files are joined of which one has no end of its last line. Load them one by one.",
            )

    @abstractmethod
    def batches(self, load_id: int) -> Iterator[Batch]:
        """All records, once. Raises FileRefused when the rest of the file cannot be read."""


class NoRecord(Exception):  # noqa: N818 -- a name says the fault
    """A row that cannot be split; the arguments are the rule and detail of RejectedLine."""


def batch_of(
    rows: Iterable[tuple[int, Cells]],
    record: Callable[[int, Cells], str | None],
    load_id: int,
    position: int = 0,
) -> Batch:
    """The batch of numbered rows, given as lines of text or as cells.

    `record` returns a row as CSV, or None to skip it, or raises NoRecord.
    """
    records: list[str] = []
    rejected: list[RejectedLine] = []
    for number, row in rows:
        try:
            text = record(number, row)
        except NoRecord as fault:
            rule, detail = fault.args
            content = verbatim(row if isinstance(row, str) else csv_line(row))
            rejected.append(RejectedLine(number, rule, detail, content))
        else:
            if text is not None:
                records.append(f"{number},{load_id},{text}\n")
    return Batch("".join(records), len(records), tuple(rejected), position)


class Rejections:
    """Collects a file's rejected lines; doubted records are kept but do not count as rejected.

    Can be iterated any number of times.
    """

    def __init__(self) -> None:
        self._spool = tempfile.SpooledTemporaryFile(max_size=_REJECTED_IN_MEMORY)  # noqa: SIM115
        self.by_rule: Counter[str] = Counter()
        self.first: list[RejectedLine] = []
        self.doubted = 0

    def __len__(self) -> int:
        return self.by_rule.total()

    def __iter__(self) -> Iterator[RejectedLine]:
        self._spool.seek(0)
        for written in self._spool:
            yield RejectedLine(*json.loads(written))
        self._spool.seek(0, 2)

    def add(self, batch: Batch) -> None:
        """Add the rejected lines of a batch."""
        for line in batch.rejected:
            if line.rule == SWALLOWED:
                self.doubted += 1
            else:
                self.by_rule[line.rule] += 1
                if len(self.first) < _REJECTED_SHOWN:
                    self.first.append(line)
            written = json.dumps([line.line, line.rule, line.detail, line.content])
            self._spool.write(f"{written}\n".encode())

    def close(self) -> None:
        """Free the memory or the file; the counts stay."""
        # Closing retries, in vain, what a full disk did not take.
        with suppress(OSError):
            self._spool.close()


def is_filled(cells: Iterable[str | None]) -> bool:
    """Whether any cell is filled; if not, it is not a record."""
    return any(cell and cell.strip(BLANKS) for cell in cells)


def rounded_text(value: float) -> str:
    """A number with more digits than its cell can hold, as displayed: `1.23457E+17`."""
    digits, _, exponent = f"{value:.5E}".partition("E")
    return f"{digits.rstrip('0').rstrip('.')}E{exponent}"


def formula_text(cell: str | None) -> str | None:
    """The text of `="007"`, a notation that keeps Excel from reading text as a number."""
    formula = _TEXT_FORMULA.fullmatch(cell) if cell else None
    return formula[1] if formula else cell


def csv_cell(cell: str | None, delimiter: str = ",") -> str:
    """A cell as CSV: nothing for NULL, two quotation marks for an empty text."""
    if cell is None:
        return ""
    if not cell or delimiter in cell or _NEEDS_QUOTES.search(cell):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def csv_line(cells: Iterable[str | None], delimiter: str = ",") -> str:
    return delimiter.join([csv_cell(cell, delimiter) for cell in cells])


def verbatim(text: str) -> str:
    r"""A line for `RejectedLine.content`, unchanged unless some of it is not text.

    Then undecodable bytes and NUL are written as \xNN and every backslash is doubled.
    """
    if not NO_TEXT.search(text):
        return text
    return NO_TEXT.sub(_as_escape, text.replace("\\", "\\\\"))


def not_text(text: str) -> tuple[str, str] | None:
    """Rule and detail if a line has something that no database accepts as text."""
    if match := UNDECODABLE.search(text):
        return "undecodable", (
            f"Character {match.start() + 1} of the line is no character of the file's encoding: "
            f"{_as_escape(match)}."
        )
    at = text.find("\0")
    return ("nul_byte", f"Character {at + 1} of the line is a NUL byte.") if at >= 0 else None


def _as_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC00 <= code < 0xDD00:
        # Decoding marks the byte NN as 0xDC00 + NN.
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code else "\\x00"


def extra_of(cells: Iterable[tuple[str, str | None]]) -> str | None:
    """A record's undeclared columns, by name, as JSON; None if there are none.

    What no database accepts as text is written as in `RejectedLine.content`.
    """
    filled = {name: cell for name, cell in cells if cell and cell.strip(BLANKS)}
    if not filled:
        return None
    text = _to_json(filled)
    if UNDECODABLE.search(text) or "\\u0000" in text:
        text = _to_json({verbatim(name): verbatim(cell) for name, cell in filled.items()})
    return text


def refuse_records_above(name: str, match: HeaderMatch, where: str, above: Iterable[Row]) -> None:
    """Raise FileRefused if rows above a header are records, which would be skipped."""
    rows = [str(row.number) for row in above if match.is_record(row.cells)]
    if rows:
        raise FileRefused(
            name,
            f", {where}: the header stands below what has the cells of records, in "
            f"{where.split()[0]} {listed(rows)}. Put the header first, or what is above it into a "
            "file of its own.",
        )


def _shown(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…")
