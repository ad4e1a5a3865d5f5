"""A mart in a file: csv, json, parquet or xlsx, by the file's ending.

The file is written beside its place and renamed when complete, so that a reader never meets half
of it. Rows are streamed: memory does not grow with their number.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from loader.columnar import write_columnar
from loader.contract import Contract
from loader.engines import Engine, Selection, Value
from loader.errors import UsageError
from loader.show import select, write_json

# A worksheet has 1,048,576 rows; one is the header.
XLSX_ROWS = 1_048_575
XLSX_CELL = 32_767
# Excel keeps 15 digits of a number; one with more stays text rather than become another.
_XLSX_DIGITS = 15
_XLSX_FIRST_DAY = date(1900, 3, 1)

Writer = Callable[[Selection, Engine, Path, Path], None]


def export(mart: Contract, source: Engine, file: Path) -> int:
    """Write all rows of a mart; the number of rows. Raises UsageError or the engine's errors."""
    write = writer_for(file)
    selection = select(mart, source)
    count = source.count(selection)
    try:
        with _written_beside(file) as unfinished:
            write(selection, source, unfinished, file)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}.") from None
    return count


def writer_for(file: Path) -> Writer:
    """The writer of the file's ending. Raises UsageError."""
    writer = _WRITERS.get(file.suffix.lower())
    if writer is None:
        raise UsageError(
            f"{file}: the ending says what to write, and {file.suffix or 'no ending'!r} is none "
            f"of {', '.join(_WRITERS)}."
        )
    return writer


def _too_large(file: Path, problem: str) -> UsageError:
    return UsageError(f"{file}: {problem} Nothing was written. Use csv or parquet.")


@contextmanager
def _written_beside(file: Path) -> Iterator[Path]:
    # Not by tempfile, which closes a file to others: this one is as open as any new file.
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _csv(selection: Selection, source: Engine, unfinished: Path, _: Path) -> None:
    with unfinished.open("wb") as out:
        source.write_csv(selection, out)


def _json(selection: Selection, source: Engine, unfinished: Path, _: Path) -> None:
    with unfinished.open("wb") as out:
        write_json(selection.columns, source.rows(selection), out)


def _parquet(selection: Selection, source: Engine, unfinished: Path, file: Path) -> None:
    import duckdb

    try:
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
            write_columnar(source, selection, Path(folder), unfinished)
    except duckdb.Error as error:
        message = str(error).strip().splitlines()[0]
        raise UsageError(f"{file}: Parquet cannot be written: {message} Use csv.") from None


def write_xlsx(selection: Selection, source: Engine, unfinished: Path, file: Path) -> None:
    """Write a workbook to `unfinished`; `file` is what it will be called.

    Raises UsageError for what a worksheet cannot hold.
    """
    import xlsxwriter  # type: ignore[import-untyped]  # it carries no types

    limit = selection.limit
    if (limit is None or limit > XLSX_ROWS) and (count := source.count(selection)) > XLSX_ROWS:
        raise _too_large(
            file, f"{count:,} rows do not fit into a worksheet, which holds {XLSX_ROWS:,}."
        )

    def write_text(sheet: Any, row: int, column: int, text: str, *style: object) -> int:
        # It is not taken for a formula, an address, a number or nothing.
        if len(text) > XLSX_CELL:
            raise _too_large(
                file,
                f"row {row}, column {column + 1} has {len(text):,} characters, and a cell holds "
                f"{XLSX_CELL:,}.",
            )
        return int(sheet.write_string(row, column, text, *style))

    with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
        # Rows go to disk one by one.
        options = {"constant_memory": True, "tmpdir": folder, "default_date_format": "yyyy-mm-dd"}
        with xlsxwriter.Workbook(str(unfinished), options) as book:
            sheet = book.add_worksheet(selection.relation[:31])
            sheet.add_write_handler(str, write_text)
            sheet.freeze_panes(1, 0)
            bold = book.add_format({"bold": True})
            for index, column in enumerate(selection.columns):
                sheet.write(0, index, column.name, bold)
                sheet.set_column(index, index, max(10, len(column.name) + 2))
            for number, row in enumerate(source.rows(selection), start=1):
                sheet.write_row(number, 0, map(_xlsx_value, row))


def _xlsx_value(value: Value) -> Value:
    """The value as a worksheet can hold it without loss, else as text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, date):
        # Its calendar begins in 1900 and believes in 29 February of that year.
        return value if value >= _XLSX_FIRST_DAY else value.isoformat()
    if isinstance(value, Decimal):
        if not value.is_finite():
            return str(value)
        digits = value.normalize().as_tuple().digits
        return float(value) if len(digits) <= _XLSX_DIGITS else f"{value:f}"
    if isinstance(value, int) and len(str(abs(value))) > _XLSX_DIGITS:
        return str(value)
    return value


_WRITERS: dict[str, Writer] = {
    ".csv": _csv,
    ".json": _json,
    ".parquet": _parquet,
    ".xlsx": write_xlsx,
}
