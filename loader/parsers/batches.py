"""Rows of cells, as spreadsheets and Parquet give them, into batches; and how a cell is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from loader.errors import FileRefused
from loader.parsers import Batch, RejectedLine
from loader.sources import HeaderMatch, Input, match_header, other_header

# A header further down than this is not looked for.
HEADER_WITHIN = 100
_ROWS_PER_BATCH = 10_000
# So much of an ignored column's name is told.
_LONGEST_NAME = 60
# What makes a cell need quotation marks, whatever the delimiter is.
_NEEDS_QUOTES = re.compile('["\r\n]')
# Bytes that were no text in the file's encoding (see loader.parsers.text), and unpaired surrogates.
UNDECODABLE = re.compile("[\ud800-\udfff]")
_NO_TEXT = re.compile("[\ud800-\udfff\0]")


@dataclass(frozen=True)
class Sheet:
    """A table that comes split into cells.

    `kind` says what it is ("xlsx, sheet 'Plate 1'"). `rows()` starts anew each time and gives the
    row number that a person sees and the cells, of which trailing empty ones may be left out; the
    header is among the first rows.
    """

    part: str
    kind: str
    rows: Callable[[], Iterator[tuple[int, Sequence[str | None]]]]
    hidden: bool = False


def csv_cell(cell: str | None, delimiter: str = ",") -> str:
    """A cell as CSV; NULL is nothing at all, an empty text two quotation marks."""
    if cell is None:
        return ""
    if not cell or delimiter in cell or _NEEDS_QUOTES.search(cell):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def close_batches(batches: Iterator[Batch]) -> None:
    """Let go of the files that a generator holds open, in the thread that ran it."""
    close = getattr(batches, "close", None)
    if close is not None:
        close()


def verbatim(text: str) -> str:
    r"""A line for `RejectedLine.content`: unchanged, unless something in it is no text.

    Then bytes without a meaning and NUL stand there as \xNN and every backslash is doubled.
    """
    if not _NO_TEXT.search(text):
        return text
    return _NO_TEXT.sub(_as_escape, text.replace("\\", "\\\\"))


def not_text(text: str) -> tuple[str, str] | None:
    """Rule and detail if a line holds something that no database takes for text."""
    if found := UNDECODABLE.search(text):
        return "undecodable", (
            f"Character {found.start() + 1} of the line is no character of the file's encoding: "
            f"{_as_escape(found)}."
        )
    at = text.find("\0")
    return ("nul_byte", f"Character {at + 1} of the line is a NUL byte.") if at >= 0 else None


@dataclass
class SheetReader:
    """Reads a recognised sheet; see the protocol `Reader`. `beside`: notes on other sheets."""

    name: str
    sheet: Sheet
    match: HeaderMatch
    header: tuple[str, ...]
    header_row: int | None
    inputs: Sequence[Input]
    beside: tuple[str, ...] = ()
    _beyond: int = 0

    delimiter = ","

    @property
    def input(self) -> Input:
        """See `Reader`."""
        return self.match.input

    @property
    def part(self) -> str:
        """See `Reader`."""
        return self.sheet.part

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Reader`."""
        return tuple(name for name in self.match.columns if name is not None)

    @property
    def dialect(self) -> str:
        """See `Reader`."""
        where = f"header in row {self.header_row}" if self.header_row is not None else "no header"
        return f"{self.sheet.kind}, {where}"

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Reader`."""
        # A table that begins further to the right is no table with nameless columns.
        begin = next(at for at, cell in enumerate(self.header) if cell.strip())
        inner = HeaderMatch(self.match.input, self.match.columns[begin:])
        found = (*self.beside, *ignored(self.header[begin:], inner))
        if self._beyond:
            found += (f"cells to the right of the header were left out in {self._beyond:,} rows",)
        return found

    def batches(self, load_id: int) -> Iterator[Batch]:
        """See `Reader`."""
        keep = [at for at, name in enumerate(self.match.columns) if name is not None]
        above = -1 if self.header_row is None else self.header_row
        rows = (entry for entry in self.sheet.rows() if entry[0] > above)
        self._beyond = 0
        while portion := list(islice(rows, _ROWS_PER_BATCH)):
            yield self._batch(portion, keep, load_id)

    def _batch(
        self,
        rows: Iterable[tuple[int, Sequence[str | None]]],
        keep: Sequence[int],
        load_id: int,
    ) -> Batch:
        width = len(self.match.columns)
        lines, rejected = [], []
        for row, cells in rows:
            # An empty row of a sheet is nothing; a Parquet file has a record there.
            if self.part and not any(cells):
                continue
            if next(filter(None, cells), None) in self._heads:
                self._refuse_second_table(row, cells)
            self._beyond += any(cells[width:])
            padded = [*cells[:width], *[None] * (width - len(cells))]
            kept = ",".join([csv_cell(padded[at]) for at in keep])
            if problem := _NO_TEXT.search(kept) and not_text(kept):
                content = verbatim(",".join(map(csv_cell, cells)))
                rejected.append(RejectedLine(row, *problem, content))
            else:
                lines.append(f"{row},{load_id},{kept}\n")
        return Batch("".join(lines), len(lines), tuple(rejected), position=0)

    @cached_property
    def _heads(self) -> frozenset[str]:
        """Column names of other inputs, of which one begins a second table."""
        others = [entry for entry in self.inputs if entry != self.input]
        return frozenset(name for entry in others for name in entry.column_names)

    def _refuse_second_table(self, row: int, cells: Sequence[str | None]) -> None:
        if other := other_header(header_cells(cells), self.input, self.inputs):
            raise FileRefused(
                self.name,
                f", row {row}: a second table begins here, of {other.name}. Put it into a file of "
                "its own.",
            )


def recognise_sheet(
    name: str, sheet: Sheet, inputs: Sequence[Input], columns: tuple[str, ...] = ()
) -> SheetReader | None:
    """The reader of a sheet whose first rows hold a header, or that has these columns and none.

    Raises FileRefused if that means two inputs.
    """
    first = list(islice(sheet.rows(), HEADER_WITHIN))
    headers: list[tuple[int | None, tuple[str, ...]]]
    headers = [(row, tuple(header_cells(cells))) for row, cells in first]
    if columns:
        headers = [(None, columns)] if first else []
    for row, header in headers:
        matches = match_header(header, inputs)
        if len(matches) > 1:
            both = " and ".join(match.input.name for match in matches)
            where = f", row {row}" if row is not None else ""
            raise FileRefused(name, f"{where}: the header means {both}. Say which with --input.")
        if matches:
            return SheetReader(name, sheet, matches[0], header, row, inputs)
    return None


def header_cells(cells: Sequence[str | None]) -> list[str]:
    """A row as a header: no NULL, nothing after the last name."""
    names = [cell or "" for cell in cells]
    while names and not names[-1].strip():
        names.pop()
    return names


def ignored(header: Sequence[str], match: HeaderMatch) -> tuple[str, ...]:
    """A note that names the columns that mean nothing, at most twenty of them."""
    named = [
        _shown(cell.strip()) if cell.strip() else f"number {at + 1} (without a name)"
        for at, (cell, name) in enumerate(zip(header, match.columns, strict=True))
        if name is None
    ]
    if not named:
        return ()
    more = f" and {len(named) - 20} more" if len(named) > 20 else ""
    return (f"ignored columns: {', '.join(named[:20])}{more}",)


def _shown(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…")


def _as_escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    # 0xDC00 + NN is how the decoding marks the byte NN.
    return f"\\x{code - 0xDC00:02x}" if 0xDC00 <= code < 0xDD00 else _other_escape(code)


def _other_escape(code: int) -> str:
    return f"\\u{code:04x}" if code else "\\x00"
