"""Tables that come split into cells, as workbooks and Parquet files have them, into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from loader.errors import FileRefused
from loader.parsers.records import (
    NO_TEXT,
    Batch,
    RejectedLine,
    columns_of,
    csv_cell,
    ignored_columns,
    not_text,
    verbatim,
)
from loader.sources import HeaderMatch, Input, match_header, other_header

# A header further down than this is not looked for.
HEADER_WITHIN = 100
_ROWS_PER_BATCH = 10_000

Row = tuple[int, Sequence[str | None]]


@dataclass(frozen=True)
class Sheet:
    """A table that comes split into cells.

    `kind` says what it is ("xlsx, sheet 'Plate 1'"). `rows()` starts anew each time and gives the
    row number that a person sees and the cells, of which trailing empty ones may be left out; the
    header is among the first rows.
    """

    part: str
    kind: str
    rows: Callable[[], Iterator[Row]]
    hidden: bool = False


@dataclass
class SheetParser:
    """Parses a recognised sheet; see the protocol `Parser`. `beside`: notes on other sheets."""

    name: str
    sheet: Sheet
    match: HeaderMatch
    header: tuple[str, ...]
    header_row: int | None
    inputs: Sequence[Input]
    beside: tuple[str, ...] = ()
    _rows_beyond: int = 0

    delimiter = ","

    @property
    def input(self) -> Input:
        return self.match.input

    @property
    def part(self) -> str:
        return self.sheet.part

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in self.match.columns if name is not None)

    @property
    def dialect(self) -> str:
        where = f"header in row {self.header_row}" if self.header_row is not None else "no header"
        return f"{self.sheet.kind}, {where}"

    @property
    def notes(self) -> tuple[str, ...]:
        # A table that begins further to the right is no table with nameless columns.
        begin = next(at for at, cell in enumerate(self.header) if cell.strip())
        inner = HeaderMatch(self.match.input, self.match.columns[begin:])
        notes = (*self.beside, *ignored_columns(self.header[begin:], inner))
        if self._rows_beyond:
            rows = f"{self._rows_beyond:,} rows"
            notes += (f"cells to the right of the header were left out in {rows}",)
        return notes

    def batches(self, load_id: int) -> Iterator[Batch]:
        keep = [at for at, name in enumerate(self.match.columns) if name is not None]
        above = -1 if self.header_row is None else self.header_row
        rows = (row for row in self.sheet.rows() if row[0] > above)
        self._rows_beyond = 0
        while portion := list(islice(rows, _ROWS_PER_BATCH)):
            yield self._batch(portion, keep, load_id)

    def _batch(self, rows: Iterable[Row], keep: Sequence[int], load_id: int) -> Batch:
        width = len(self.match.columns)
        records, rejected = [], []
        for number, cells in rows:
            # An empty row of a sheet is nothing; a Parquet file has a record there.
            if self.part and not any(cells):
                continue
            if next(filter(None, cells), None) in self._names_of_others:
                self._refuse_second_table(number, cells)
            self._rows_beyond += any(cells[width:])
            padded = [*cells[:width], *[None] * (width - len(cells))]
            record = ",".join([csv_cell(padded[at]) for at in keep])
            if NO_TEXT.search(record) and (problem := not_text(record)):
                content = verbatim(",".join(map(csv_cell, cells)))
                rejected.append(RejectedLine(number, *problem, content))
            else:
                records.append(f"{number},{load_id},{record}\n")
        return Batch("".join(records), len(records), tuple(rejected), position=0)

    @cached_property
    def _names_of_others(self) -> frozenset[str]:
        """Column names of other inputs, of which one begins a second table."""
        others = [other for other in self.inputs if other != self.input]
        return frozenset(name for other in others for name in other.column_names)

    def _refuse_second_table(self, number: int, cells: Sequence[str | None]) -> None:
        if other := other_header(_header_cells(cells), self.input, self.inputs):
            raise FileRefused(
                self.name,
                f", row {number}: a second table begins here, of {other.name}. Put it into a file "
                "of its own.",
            )


def recognise_sheets(
    name: str, sheets: Sequence[Sheet], inputs: Sequence[Input], columns: tuple[str, ...] = ()
) -> list[SheetParser]:
    """The parsers of the sheets that have a header, or these columns and none.

    Hidden ones are left out unless nothing visible has a header: what is hidden is mostly an older
    copy of what can be seen. Raises FileRefused if no sheet has one.
    """
    parser_of = {sheet.part: _recognise_sheet(name, sheet, inputs, columns) for sheet in sheets}
    if len(parser_of) < len(sheets):
        raise FileRefused(name, ": two of its sheets have the same name. Save it anew.")
    parsers = [parser for parser in parser_of.values() if parser]
    visible = [parser for parser in parsers if not parser.sheet.hidden]
    if visible:
        parsers = visible
        left_out = [sheet.part for sheet in sheets if parser_of[sheet.part] not in visible]
        parsers[0].beside = tuple(f"left out the sheet {part!r}" for part in left_out)
    if not parsers:
        looked_at = ", ".join(sheet.kind for sheet in sheets) or "no sheet"
        known = columns_of(inputs)
        raise FileRefused(
            name,
            f": none of the first {HEADER_WITHIN} rows names all columns of an input ({known}). "
            f"Looked at: {looked_at}. Columns of sheets without a header are named with --columns.",
        )
    return parsers


def _recognise_sheet(
    name: str, sheet: Sheet, inputs: Sequence[Input], columns: tuple[str, ...]
) -> SheetParser | None:
    first = list(islice(sheet.rows(), HEADER_WITHIN))
    headers: list[tuple[int | None, tuple[str, ...]]]
    headers = [(number, tuple(_header_cells(cells))) for number, cells in first]
    if columns:
        headers = [(None, columns)] if first else []
    for number, header in headers:
        matches = match_header(header, inputs)
        if len(matches) > 1:
            both = " and ".join(match.input.name for match in matches)
            where = f", row {number}" if number is not None else ""
            raise FileRefused(name, f"{where}: the header means {both}. Say which with --input.")
        if matches:
            return SheetParser(name, sheet, matches[0], header, number, inputs)
    return None


def _header_cells(cells: Sequence[str | None]) -> list[str]:
    """A row as a header: no NULL, nothing after the last name."""
    names = [cell or "" for cell in cells]
    while names and not names[-1].strip():
        names.pop()
    return names
