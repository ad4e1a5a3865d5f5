"""Tables that come split into cells, as workbooks and Parquet files have them, into batches."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, product

from loader.errors import FileRefused, RefusedHeader
from loader.parsers.records import (
    NO_TEXT,
    Batch,
    RejectedLine,
    columns_of,
    csv_cell,
    extra_columns,
    extra_of,
    formula_text,
    ignored_columns,
    ignored_names,
    is_filled,
    listed,
    lost_columns,
    not_text,
    refuse_records_above,
    verbatim,
)
from loader.sources import (
    BLANKS,
    ID_LIKE,
    HeaderMatch,
    Headers,
    Input,
    columns_alike,
    match_header,
    mistaken_name,
    named_columns,
    near_miss,
    refused_header,
)

# A header further down than this is not looked for.
HEADER_WITHIN = 100
_ROWS_PER_BATCH = 10_000
# A text that a spreadsheet program has put into one cell.
_DELIMITED = re.compile("[,;\t|]")

Row = tuple[int, Sequence[str | None]]


@dataclass(frozen=True)
class Marks:
    """What a row is beside its cells: hidden (or filtered out), and cells that add up others."""

    is_hidden: bool = False
    totals: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sheet:
    """A table that comes split into cells.

    `kind` says what it is ("xlsx, sheet 'Plate 1'"). `rows()` starts anew each time and gives the
    row number that a person sees and the cells, of which trailing empty ones may be left out; the
    header is among the first rows. `marks` has what is to be known of rows, as soon as they are
    given; the formulas of totals are by column, from 0.
    """

    part: str
    kind: str
    rows: Callable[[], Iterator[Row]]
    hidden: bool = False
    marks: Mapping[int, Marks] = field(default_factory=dict)


@dataclass
class SheetParser:
    """Parses a recognised sheet; see the protocol `Parser`. `beside`: notes on other sheets."""

    name: str
    sheet: Sheet
    match: HeaderMatch
    header: tuple[str, ...]
    header_row: int | None
    inputs: Sequence[Input]
    above: tuple[int, ...] = ()
    beside: tuple[str, ...] = ()
    _rows_beyond: int = 0
    _rows_hidden: int = 0
    _headers: list[int] = field(default_factory=list)
    # What the header in force, and all those below the first one, name beyond the declared columns.
    _extra: dict[int, str] = field(default_factory=dict)
    _further: list[str] = field(default_factory=list)

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
        return f"{self.sheet.kind}, {where}{self.input.said}"

    @property
    def ignored(self) -> tuple[str, ...]:
        return (*ignored_names(self.header, self.match), *self._further)

    @cached_property
    def has_extra(self) -> bool:
        return bool(ignored_names(self.header, self.match))

    @property
    def notes(self) -> tuple[str, ...]:
        # A table that begins further to the right is no table with nameless columns.
        begin = next(at for at, cell in enumerate(self.header) if cell.strip())
        inner = HeaderMatch(self.match.input, self.match.columns[begin:])
        notes = (*self.beside, *ignored_columns(self.header[begin:], inner))
        if self.above:
            rows = listed([str(row) for row in self.above])
            notes += (f"passed over row {rows} above the header",)
        if self._rows_beyond:
            rows = f"{self._rows_beyond:,} rows"
            notes += (f"cells to the right of the header were left out in {rows}",)
        if self._rows_hidden:
            notes += (f"{self._rows_hidden:,} hidden or filtered rows are read like the others",)
        if self._headers:
            rows = listed([str(row) for row in self._headers])
            notes += (f"a header stands again in row {rows}; what follows is read under it",)
        if self._further and not self.has_extra:
            notes += (lost_columns(self._further),)
        return notes

    def batches(self, load_id: int) -> Iterator[Batch]:
        above = -1 if self.header_row is None else self.header_row
        rows = (row for row in self.sheet.rows() if row[0] > above)
        self._rows_beyond = self._rows_hidden = 0
        self._headers, self._further = [], []
        self._extra = extra_columns(self.header, self.match)
        headers = Headers(self.match, self.inputs)
        match = self.match
        while portion := list(islice(rows, _ROWS_PER_BATCH)):
            records: list[str] = []
            rejected: list[RejectedLine] = []
            for row in portion:
                match = self._read(row, match, headers, load_id, records, rejected)
            yield Batch("".join(records), len(records), tuple(rejected), position=0)

    def _read(
        self,
        row: Row,
        match: HeaderMatch,
        headers: Headers,
        load_id: int,
        records: list[str],
        rejected: list[RejectedLine],
    ) -> HeaderMatch:
        """Put a row where it belongs; what the rows below it mean. Raises FileRefused."""
        number, cells = row
        if not is_filled(cells):
            return match
        width, key = len(match.columns), match.key
        id_ = cells[key] if key is not None and key < len(cells) else None
        if not (id_ and ID_LIKE.match(id_.strip(BLANKS))) and headers.is_header(
            names := _header_cells(cells)
        ):
            self._headers.append(number)
            match = headers.following(self.name, f"row {number}", names)
            self._extra = extra_columns(names, match)
            named = self.ignored
            self._further += [cell for cell in ignored_names(names, match) if cell not in named]
            return HeaderMatch(match.input, match.columns)
        padded = [*cells[:width], *[None] * (width - len(cells))]
        if marks := self.sheet.marks.get(number):
            self._rows_hidden += marks.is_hidden
            if key is not None and key in marks.totals:
                # `=COUNT(A2:A9)` is no id, whatever it counts.
                padded[key] = marks.totals[key]
        self._rows_beyond += any(cells[width:])
        by_name = dict(zip(match.columns, padded, strict=True))
        record = ",".join([csv_cell(by_name.get(name)) for name in self.columns])
        if '=""' in record:
            texts = (formula_text(by_name.get(name)) for name in self.columns)
            record = ",".join(map(csv_cell, texts))
        if NO_TEXT.search(record) and (problem := not_text(record)):
            content = verbatim(",".join(map(csv_cell, cells)))
            rejected.append(RejectedLine(number, *problem, content))
        else:
            if self.has_extra:
                further = ((name, formula_text(padded[at])) for at, name in self._extra.items())
                record += f",{csv_cell(extra_of(further))}"
            records.append(f"{number},{load_id},{record}\n")
        return match


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
        left_out = [sheet for sheet in sheets if parser_of[sheet.part] not in visible]
        for sheet in left_out:
            _refuse_forgotten(name, sheet, visible, inputs)
        parsers[0].beside = tuple(f"left out the sheet {sheet.part!r}" for sheet in left_out)
    if not parsers:
        looked_at = ", ".join(sheet.kind for sheet in sheets) or "no sheet"
        problem, header = _nothing_found(sheets, inputs)
        raise FileRefused(name, f": {problem} Looked at: {looked_at}.", header)
    return parsers


def _refuse_forgotten(
    name: str, sheet: Sheet, parsers: Sequence[SheetParser], inputs: Sequence[Input]
) -> None:
    """Raise FileRefused if a sheet without a header is not to be left out without asking.

    It may go on with the records of another one, or name the columns almost as they are called.
    """
    filled = [row for row in islice(sheet.rows(), HEADER_WITHIN) if is_filled(row[1])]
    if sheet.hidden or not filled:
        return
    where = f", sheet {sheet.part!r}, row"
    apart = "Name the sheets to be read with --sheet, in a call for each."
    first, cells = filled[0]
    for parser in parsers:
        width = len(parser.match.columns)
        if parser.match.is_record([*cells, *[None] * (width - len(cells))]):
            raise FileRefused(
                name, f"{where} {first}: it has records and no header. Give it one. {apart}"
            )
    headers = [(number, _header_cells(cells)) for number, cells in filled]
    for (number, header), table in product(headers, inputs):
        alike = columns_alike(header, table)
        if all(column in alike for column in table.columns if column.required):
            miss = near_miss(header, table)
            what = f"{miss[1]}. {miss[2]}" if miss else f"it names the columns of {table.name}."
            raise FileRefused(name, f"{where} {number}: {what} {apart}")


def _nothing_found(
    sheets: Sequence[Sheet], inputs: Sequence[Input]
) -> tuple[str, RefusedHeader | None]:
    rows = [
        (number, _header_cells(cells))
        for sheet in sheets
        for number, cells in islice(sheet.rows(), HEADER_WITHIN)
    ]
    best = max(rows, key=lambda row: (named_columns(row[1], inputs), len(row[1])), default=(0, []))
    misses = [miss for table in inputs if (miss := near_miss(best[1], table))]
    nothing = f"none of the first {HEADER_WITHIN} rows names all columns of an input"
    for number, cells in rows:
        if any(named_columns(_DELIMITED.split(cell), inputs) > 1 for cell in cells):
            return (
                f"row {number} has several names in one cell: its text was never split into "
                "columns. Load the text file that it came from, or split it in the spreadsheet "
                "program (Text to Columns)."
            ), None
    header = refused_header(f"row {best[0]}", best[1], inputs) if best[1] else None
    if not misses:
        return (
            f"{nothing} ({columns_of(inputs)}). Columns of sheets without a header are named with "
            "--columns."
        ), header
    _, what, advice = max(misses)
    advice = advice or "A column of another name is said with --map NAME=COLUMN."
    return f"{nothing}. Closest is row {best[0]}: {what}. {advice}", header


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
        where = f", row {number}" if number is not None else ""
        if len(matches) > 1:
            both = " and ".join(match.input.name for match in matches)
            raise FileRefused(name, f"{where}: the header means {both}. Say which with --input.")
        if matches:
            if sentence := mistaken_name(header, matches[0]):
                refused = refused_header(where.removeprefix(", "), header, inputs)
                raise FileRefused(name, f"{where}: {sentence}", refused)
            above = [row for row in first if number is not None and row[0] < number]
            width = len(matches[0].columns)
            rows = ((at, [*cells, *[None] * (width - len(cells))]) for at, cells in above)
            refuse_records_above(name, matches[0], f"row {number}", rows)
            passed = tuple(row for row, cells in above if is_filled(cells))
            return SheetParser(name, sheet, matches[0], header, number, inputs, passed)
    return None


def _header_cells(cells: Sequence[str | None]) -> list[str]:
    """A row as a header: no NULL, nothing after the last name."""
    names = [cell or "" for cell in cells]
    while names and not names[-1].strip():
        names.pop()
    return names
