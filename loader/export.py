"""Writes rows to a file or to memory: csv, json, xlsx, and with DuckDB Parquet and Arrow.

The file is written beside its place and renamed when complete, so that no reader sees a partial
file. Rows are streamed: memory does not grow with their number.
"""

from __future__ import annotations

import secrets
import tempfile
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader.contract import mart_contract
from loader.database import Database
from loader.engines import Engine, Selection, Value, literal
from loader.errors import UsageError
from loader.query import select
from loader.show import write_json

if TYPE_CHECKING:
    import duckdb

ENDINGS = (".csv", ".json", ".parquet", ".xlsx")
# A worksheet has 1,048,576 rows; one is the header.
XLSX_ROWS = 1_048_575
XLSX_CELL = 32_767
# Excel keeps 15 digits of a number; a longer one stays text so that it does not change.
_XLSX_DIGITS = 15
_XLSX_FIRST_DAY = date(1900, 3, 1)


def export(database: Database, mart: str, file: Path) -> str:
    """Write all rows of a mart to a file whose suffix is one of ENDINGS; a sentence about it.

    Raises UnknownMart, UsageError or the engine's errors.
    """
    contract, ending = mart_contract(database.project, mart), file.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(
            f"{file}: the ending says what to write, and {ending or 'no ending'!r} is none of "
            f"{', '.join(ENDINGS)}."
        )
    # Not by tempfile, which makes files private: this one gets the permissions of any new file.
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with database.open() as source:
            selection = select(contract, source)
            count = source.count(selection)
            if ending == ".parquet":
                write_columnar(source, selection, unfinished, str(file))
            elif ending == ".xlsx":
                write_xlsx(source, selection, unfinished, str(file))
            else:
                with unfinished.open("wb") as out:
                    if ending == ".csv":
                        source.write_csv(selection, out)
                    else:
                        write_json(selection.columns, source.rows(selection), out)
        unfinished.replace(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}.") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return f"{file}: {count:,} rows of {mart}"


def write_xlsx(source: Engine, selection: Selection, out: Path, name: str) -> None:
    """Write a workbook; messages call it `name`.

    Raises UsageError for what a worksheet cannot hold.
    """
    import xlsxwriter  # type: ignore[import-untyped]  # it carries no types

    def too_large(problem: str) -> UsageError:
        return UsageError(f"{name}: {problem} Nothing was written. Use csv or parquet.")

    def write_text(sheet: Any, row: int, column: int, text: str, *style: object) -> int:
        # Excel must not take it for a formula, an address, a number or nothing.
        if len(text) > XLSX_CELL:
            raise too_large(
                f"row {row}, column {column + 1} has {len(text):,} characters, and a cell holds "
                f"{XLSX_CELL:,}."
            )
        return int(sheet.write_string(row, column, text, *style))

    limit = selection.limit
    if (limit is None or limit > XLSX_ROWS) and (count := source.count(selection)) > XLSX_ROWS:
        raise too_large(f"{count:,} rows do not fit into a worksheet, which holds {XLSX_ROWS:,}.")
    with _folder_beside(out) as folder:
        # Rows go to disk one by one.
        options = {"constant_memory": True, "tmpdir": folder, "default_date_format": "yyyy-mm-dd"}
        with xlsxwriter.Workbook(str(out), options) as book:
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
    match value:
        case datetime():
            return value.isoformat()
        case date() if value < _XLSX_FIRST_DAY:
            # Its calendar begins in 1900 and includes 29 February of that year.
            return value.isoformat()
        case Decimal():
            is_kept = value.is_finite() and len(value.normalize().as_tuple().digits) <= _XLSX_DIGITS
            return float(value) if is_kept else f"{value:f}"
        case int() if len(str(abs(value))) > _XLSX_DIGITS:
            return str(value)
    return value


def write_columnar(source: Engine, selection: Selection, out: Path, name: str) -> None:
    """Write Parquet; messages call it `name`.

    Raises UsageError for what DuckDB cannot write, and the engine's errors.
    """
    # Imported here: it takes a quarter of a second that no other call needs.
    import duckdb

    with _folder_beside(out) as folder:
        # Without a limit it takes most of the memory, which the database may be using.
        settings: dict[str, Any] = {"memory_limit": "1GB", "temp_directory": folder}
        rows = _rows_by_csv(source, selection, Path(folder))
        try:
            with duckdb.connect(":memory:", config=settings) as engine:
                options = "(format parquet, compression zstd)"
                engine.execute(f"copy ({rows}) to {literal(str(out))} {options}")
        except duckdb.Error as error:
            message = str(error).strip().splitlines()[0]
            raise UsageError(f"{name} cannot be written: {message} Use csv.") from None


def _folder_beside(file: Path) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=f"{file.name}.", dir=file.parent)


def relation(source: Engine, selection: Selection) -> duckdb.DuckDBPyRelation:
    """The rows in an in-memory database that lives as long as the relation."""
    import duckdb

    engine = duckdb.connect(":memory:")
    with tempfile.TemporaryDirectory(prefix="labmart-") as folder:
        engine.execute(f"create table mart as {_rows_by_csv(source, selection, Path(folder))}")
    return engine.table("mart")


def _rows_by_csv(source: Engine, selection: Selection, folder: Path) -> str:
    """SQL for DuckDB: the rows, from a CSV file in the folder, with the columns' types.

    NULL is an empty cell, an empty text is "" in quotes; everything else is as typed.
    """
    # Imported here for the same reason.
    from loader.engines.duckdb import own_type

    csv = folder / "rows.csv"
    with csv.open("wb") as out:
        source.write_csv(selection, out)
    pairs = (
        f"{literal(column.name)}: {literal(own_type(column.type))}" for column in selection.columns
    )
    return (
        f"select * from read_csv({literal(str(csv))}, auto_detect=false, "
        "header=true, delim=',', quote='\"', escape='\"', nullstr='', "
        "allow_quoted_nulls=false, parallel=false, max_line_size=100000000, "
        f"columns={{{', '.join(pairs)}}})"
    )
