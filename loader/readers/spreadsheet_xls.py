"""The rows of xls workbooks (Excel 2.0 to 2003), by xlrd."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from loader.readers.spreadsheet_cells import (
    Row,
    Unreadable,
    date_format,
    date_text,
    finished,
    number_text,
)

if TYPE_CHECKING:
    import xlrd

# An xlsx or docx with a password is a part of this name in the same kind of container as an xls.
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_EMPTY, _TEXT, _NUMBER, _DATE, _BOOLEAN, _ERROR, _BLANK = range(7)


def previews(path: Path, limit: int) -> Iterator[tuple[str, bool, list[Row], bool]]:
    """Each sheet: name, hidden, its first rows, and whether these are all. Raises Unreadable."""
    book = _open(path)
    for index, name in enumerate(book.sheet_names()):
        sheet = book.sheet_by_index(index)
        found: list[Row] = []
        for row in _rows(book, sheet):
            found.append(row)
            if len(found) > limit:
                break
        yield name, sheet.visibility != 0, found[:limit], len(found) <= limit
        book.unload_sheet(index)


def rows(path: Path, index: int) -> Iterator[Row]:
    """The rows of one sheet that are not empty. Raises Unreadable."""
    book = _open(path)
    yield from _rows(book, book.sheet_by_index(index))


def _open(path: Path) -> xlrd.Book:
    import xlrd
    from xlrd.biffh import XLRDError
    from xlrd.compdoc import CompDocError

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_ENCRYPTED) >= 0:
            raise Unreadable(
                "It is protected by a password. Save it without one and load it again."
            )
    try:
        return xlrd.open_workbook(
            str(path), logfile=io.StringIO(), formatting_info=True, on_demand=True, ragged_rows=True
        )
    except (XLRDError, CompDocError) as fault:
        if "encrypted" in str(fault):
            raise Unreadable(
                "It is protected by a password. Save it without one and load it again."
            ) from fault
        raise Unreadable(
            f"It is damaged, or no workbook of Excel: {fault}. "
            "Open it in Excel, save it as .xlsx and load that."
        ) from fault


def _rows(book: xlrd.Book, sheet: xlrd.sheet.Sheet) -> Iterator[Row]:
    from xlrd.biffh import error_text_from_code

    shows: dict[int, str] = {}

    def text(kind: int, value: object, style: int) -> str | None:
        if kind == _TEXT:
            return str(value)
        if kind in (_NUMBER, _DATE):
            if style not in shows:
                shows[style] = _shows(book, style)
            if shows[style]:
                return date_text(repr(value), shows[style], from_1904=book.datemode == 1)
            return number_text(repr(value))
        if kind == _BOOLEAN:
            return "TRUE" if value else "FALSE"
        if kind == _ERROR:
            known = error_text_from_code.get(value) if isinstance(value, int) else None
            return known or "#ERROR"
        return None

    for at in range(sheet.nrows):
        kinds, values = sheet.row_types(at), sheet.row_values(at)
        cells = [
            text(kind, value, sheet.cell_xf_index(at, column))
            for column, (kind, value) in enumerate(zip(kinds, values, strict=True))
        ]
        if complete := finished(at + 1, cells):
            yield complete


def _shows(book: xlrd.Book, style: int) -> str:
    if not 0 <= style < len(book.xf_list):
        return ""
    format_ = book.format_map.get(book.xf_list[style].format_key)
    return date_format(format_.format_str) if format_ else ""
