"""Tables already split into cells, such as workbooks (xlsx, xlsm, xls, ods), turned into batches.

A workbook is opened in a child process (loader.parsers.workbook_child) with limits on memory and
time. One child returns the first rows of every sheet, in which the header is searched; another runs
when a sheet is read further. Parent and child work in parallel.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path

import msgspec

from loader.errors import FileRefused
from loader.parsers.headers import (
    Candidate,
    HeaderMatch,
    Likeness,
    columns_alike,
    single_match,
    without_header,
)
from loader.parsers.records import (
    HEADER_WITHIN,
    NO_TEXT,
    Batch,
    NoRecord,
    Parser,
    Row,
    batch_of,
    csv_cell,
    csv_line,
    extra_of,
    formula_text,
    is_filled,
    not_text,
    refuse_records_above,
)
from loader.printable import listed
from loader.sources import Input

_ROWS_PER_BATCH = 10_000
# The child's longest line is one row with at most 8 million characters.
_MAX_LINE = 64 << 20
_CHILD = "loader.parsers.workbook_child"


@dataclass(frozen=True)
class Sheet:
    """A table already split into cells; `kind` says what it is ("xlsx, sheet 'Plate 1'").

    `rows()` starts over each time; the header is among the first rows.
    """

    part: str
    kind: str
    rows: Callable[[], Iterator[Row]]
    hidden: bool = False


@dataclass
class SheetParser(Parser):
    """Parses a recognised sheet; `above` are skipped rows, `beside` notes on other sheets."""

    sheet: Sheet
    header_row: int | None
    above: tuple[int, ...] = ()
    beside: tuple[str, ...] = ()
    _rows_beyond: int = 0
    # The header above the next row.
    _under: HeaderMatch = field(init=False)

    def __post_init__(self) -> None:
        self._under = self.match

    @property
    def part(self) -> str:  # type: ignore[override]  # a sheet has one
        return self.sheet.part

    @property
    def dialect(self) -> str:
        where = f"header in row {self.header_row}" if self.header_row is not None else "no header"
        return f"{self.sheet.kind}, {where}{self.input.said}"

    @property
    def first_column(self) -> int:  # type: ignore[override]  # a table may begin further right
        return next(at for at, cell in enumerate(self.header) if cell.strip())

    @property
    def notes(self) -> tuple[str, ...]:
        notes = (*self.beside, *super().notes)
        if self.above:
            rows = listed([str(row) for row in self.above])
            notes += (f"passed over row {rows} above the header",)
        if count := self._rows_beyond:
            notes += (f"cells to the right of the header were left out in {count:,} rows",)
        return notes

    def batches(self, load_id: int) -> Iterator[Batch]:
        above = -1 if self.header_row is None else self.header_row
        rows = (row for row in self.sheet.rows() if row.number > above and is_filled(row.cells))
        while portion := list(islice(rows, _ROWS_PER_BATCH)):
            yield batch_of(portion, self._record, load_id)

    def _record(self, number: int, written: Sequence[str | None]) -> str | None:
        """The cells of a row as CSV; None for a header. Raises NoRecord, or FileRefused."""
        if self.is_header(written):
            self._under = self.following(number, _names(written))
            return None
        match = self._under
        width = len(match.columns)
        cells = [*written[:width], *[None] * (width - len(written))]
        self._rows_beyond += any(written[width:])
        by_name = dict(zip(match.columns, cells, strict=True))
        kept = [by_name.get(name) for name in self.columns]
        record = csv_line(kept)
        if '=""' in record:
            record = csv_line(map(formula_text, kept))
        if self.has_extra:
            further = ((name, formula_text(cells[at])) for at, name in match.further.items())
            record += f",{csv_cell(extra_of(further))}"
        if NO_TEXT.search(record) and (problem := not_text(record)):
            raise NoRecord(*problem)
        return record


def recognise_sheets(
    name: str, sheets: Sequence[Sheet], inputs: Sequence[Input], columns: tuple[str, ...] = ()
) -> list[SheetParser]:
    """The parsers of the sheets that have a header, or of those read with the given columns.

    Hidden sheets are left out unless no visible one has a header: they are mostly older copies of
    visible ones. Raises FileRefused if no sheet has a header.
    """
    parser_of = {sheet.part: _recognise_sheet(name, sheet, inputs, columns) for sheet in sheets}
    if len(parser_of) < len(sheets):
        raise FileRefused(name, ": two of its sheets have the same name. Save it anew.")
    parsers = [parser for parser in parser_of.values() if parser]
    if visible := [parser for parser in parsers if not parser.sheet.hidden]:
        left_out = [sheet for sheet in sheets if parser_of[sheet.part] not in visible]
        for sheet in left_out:
            _refuse_forgotten(name, sheet, visible, inputs)
        visible[0].beside = tuple(f"left out the sheet {sheet.part!r}" for sheet in left_out)
    elif not parsers:
        rows = [row for sheet in sheets for row in _first(sheet)]
        candidates = [Candidate(f"row {row.number}", _names(row.cells)) for row in rows]
        kinds = ", ".join(sheet.kind for sheet in sheets) or "no sheet"
        raise without_header(
            name,
            f"none of the first {HEADER_WITHIN} rows ({kinds})",
            candidates or [Candidate("", [])],
            inputs,
            "Columns of sheets without a header are named with --columns; a text that was never "
            "split into columns is loaded as the file that it came from.",
        )
    return visible or parsers


def _refuse_forgotten(
    name: str, sheet: Sheet, parsers: Sequence[SheetParser], inputs: Sequence[Input]
) -> None:
    """Raise FileRefused if a sheet without a header may have been meant.

    It may continue the records of another sheet, or name the columns almost correctly.
    """
    filled = [row for row in _first(sheet) if is_filled(row.cells)]
    if sheet.hidden or not filled:
        return
    where = f", sheet {sheet.part!r}, row"
    apart = "Name the sheets to be read with --sheet, in a call for each."
    for parser in parsers:
        if parser.match.is_record(_padded(filled[0], parser.match).cells):
            what = "it has records and no header. Give it one."
            raise FileRefused(name, f"{where} {filled[0].number}: {what} {apart}")
    for row, table in product(filled, inputs):
        alike = columns_alike(names := _names(row.cells), [table])
        if all(column in alike for column in table.columns if column.required):
            what, advice = Likeness(names, table).explained()
            raise FileRefused(name, f"{where} {row.number}: {what}. {advice} {apart}")


def _recognise_sheet(
    name: str, sheet: Sheet, inputs: Sequence[Input], columns: tuple[str, ...]
) -> SheetParser | None:
    first = _first(sheet)
    if columns:
        match = single_match(name, "", columns, inputs) if first else None
        return SheetParser(name, inputs, match, sheet, None) if match else None
    for row in first:
        number = row.number
        if match := single_match(name, f", row {number}", _names(row.cells), inputs):
            above = [row for row in first if row.number < number]
            padded = (_padded(row, match) for row in above)
            refuse_records_above(name, match, f"row {number}", padded)
            passed = tuple(row.number for row in above if is_filled(row.cells))
            return SheetParser(name, inputs, match, sheet, number, passed)
    return None


def _first(sheet: Sheet) -> list[Row]:
    return list(islice(sheet.rows(), HEADER_WITHIN))


def _padded(row: Row, match: HeaderMatch) -> Row:
    return Row(row.number, [*row.cells, *[None] * (len(match.columns) - len(row.cells))])


def _names(cells: Sequence[str | None]) -> list[str]:
    """Cells as a header: without NULLs, up to the last name."""
    names = [cell or "" for cell in cells]
    while names and not names[-1].strip():
        names.pop()
    return names


# workbooks ---------------------------------------------------------------------------------------


class Message(msgspec.Struct):
    """A child's message: some rows of a sheet, `end` after all of them, or why it `refused`.

    `sheet`, `hidden` and `is_whole` are set in a preview.
    """

    rows: list[Row] = []
    sheet: str = ""
    hidden: bool = False
    is_whole: bool = False
    refused: str = ""
    end: bool = False


def workbook_sheets(path: Path, name: str, format_: str) -> list[Sheet]:
    """The sheets of a workbook that have cells, in workbook order, hidden ones included.

    `format_` is xlsx (also for xlsm), xls or ods, `name` the file's name in messages. Raises
    FileRefused, as do the iterators of the sheets' rows.
    """

    def sheet(index: int, preview: Message) -> Sheet:
        def rows() -> Iterator[Row]:
            yield from preview.rows
            if not preview.is_whole:
                with closing(_messages(path, name, format_, "rows", index)) as messages:
                    all_rows = (row for message in messages for row in message.rows)
                    yield from islice(all_rows, len(preview.rows), None)

        kind = f"{format_}, {'hidden ' if preview.hidden else ''}sheet {preview.sheet!r}"
        return Sheet(preview.sheet, kind, rows, preview.hidden)

    previews = list(_messages(path, name, format_, "preview", HEADER_WITHIN))
    return [sheet(index, preview) for index, preview in enumerate(previews) if preview.rows]


def _messages(path: Path, name: str, format_: str, task: str, number: int) -> Generator[Message]:
    """A child's messages up to the end message; closing this generator ends the child."""
    package = Path(__file__).resolve().parents[2]
    search = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.Popen(
        # -P: no module is imported from the current folder.
        [sys.executable, "-P", "-m", _CHILD, format_, str(path.absolute()), task, str(number)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    decoder = msgspec.json.Decoder(Message)
    refused = ""
    try:
        with suppress(msgspec.DecodeError):
            while not refused and (line := child.stdout.readline(_MAX_LINE)):
                message = decoder.decode(line)
                refused = message.refused
                if message.end:
                    return
                yield message
        reason = refused or _ending(child.wait())
        raise FileRefused(name, f": this {format_} file is not read. {reason}")
    finally:
        child.kill()
        child.communicate()


def _ending(code: int) -> str:
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    reasons = {
        -signal.SIGXCPU: "Reading it takes too long.",
        -signal.SIGKILL: "The system ended the reading, most likely because memory ran out.",
    }
    reason = reasons.get(code, f"The process that reads it broke off ({how}).")
    return f"{reason} Open it in a spreadsheet program, save the sheet as CSV and load that."
