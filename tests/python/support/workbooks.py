"""Workbooks for tests, of other programs and put together by hand, and what is read in one."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple, TypeVar
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

import openpyxl
import xlsxwriter  # type: ignore[import-untyped]
import xlwt

from loader.parsers.sheets import Sheet, workbook_sheets

File = TypeVar("File", Path, io.BytesIO)
Rows = list[tuple[int, list[str | None]]]

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_ODF = "urn:oasis:names:tc:opendocument:xmlns"


class Styled(NamedTuple):
    """A value under a number format."""

    value: object
    format: str


Grids = Sequence[tuple[str, Sequence[Sequence[object]]]]


def workbook(writer: str, sheets: Grids, hidden: Collection[str] = ()) -> bytes:
    """A workbook of these sheets; None is no cell, and a text is one whatever it begins with.

    `hidden` are the titles of sheets that openpyxl hides.
    """
    out = io.BytesIO()
    if writer == "ods":
        tables = "".join(ods_table("".join(map(_ods_row, grid)), title) for title, grid in sheets)
        write_zip(out, ods_parts(tables))
    elif writer == "openpyxl":
        book = openpyxl.Workbook()
        book.remove(book.active)
        for title, grid in sheets:
            sheet = book.create_sheet(title)
            sheet.sheet_state = "hidden" if title in hidden else "visible"
            for row, column, value, code in _cells(grid):
                cell = sheet.cell(row + 1, column + 1, value)
                if code:
                    cell.number_format = code
                if isinstance(value, str):
                    cell.data_type = "s"
        book.save(out)
    elif writer == "xls":
        old = xlwt.Workbook()
        for title, grid in sheets:
            page = old.add_sheet(title)
            for row, column, value, code in _cells(grid):
                page.write(row, column, value, *[xlwt.easyxf(num_format_str=code)] * bool(code))
        old.save(out)
    else:
        with xlsxwriter.Workbook(out) as new:
            for title, grid in sheets:
                page = new.add_worksheet(title)
                for row, column, value, code in _cells(grid):
                    write = page.write_string if isinstance(value, str) else page.write
                    write(row, column, value, *[new.add_format({"num_format": code})] * bool(code))
    return out.getvalue()


def _cells(grid: Sequence[Sequence[object]]) -> list[tuple[int, int, object, str]]:
    """Row, column, value and number format of the cells, from 0."""
    found = []
    for row, cells in enumerate(grid):
        for column, cell in enumerate(cells):
            code = "yyyy-mm-dd" if isinstance(cell, date) else ""
            value, code = cell if isinstance(cell, Styled) else (cell, code)
            if value is not None:
                found.append((row, column, value, code))
    return found


def _ods_row(cells: Sequence[object]) -> str:
    written = "".join(ods_cell(escape("" if cell is None else str(cell))) for cell in cells)
    return f"<table:table-row>{written or '<table:table-cell/>'}</table:table-row>"


def write_zip(path: File, parts: Mapping[str, str | bytes]) -> File:
    """An archive of these parts."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def xlsx_parts(
    sheet_data: str, *, shared: str = "", styles: str = "", book: str = ""
) -> dict[str, str]:
    """The parts of a workbook with one sheet `S`, given the XML inside of its `sheetData`."""
    return {
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}"><Relationship Id="r1" '
        f'Type="{_RELATIONS}/officeDocument" Target="/xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}">{book}<sheets>'
        '<sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}">'
        f'<Relationship Id="r1" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/>'
        f'<Relationship Id="r2" Type="{_RELATIONS}/sharedStrings" Target="sharedStrings.xml"/>'
        f'<Relationship Id="r3" Type="{_RELATIONS}/styles" Target="styles.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": '<?xml version="1.0" encoding="UTF-8"?>'
        f'<worksheet xmlns="{_MAIN}"><sheetData>{sheet_data}</sheetData></worksheet>',
        "xl/sharedStrings.xml": f'<sst xmlns="{_MAIN}">{shared}</sst>',
        "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}">{styles}</styleSheet>',
    }


def ods_parts(tables: str, *, styles: str = "", prolog: str = "") -> dict[str, str]:
    """The parts of an ods workbook, given the XML inside of `office:spreadsheet`."""
    names = " ".join(
        f'xmlns:{prefix}="{_ODF}:{prefix}:1.0"' for prefix in ("office", "table", "text", "style")
    )
    return {
        "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
        "content.xml": f'<?xml version="1.0" encoding="UTF-8"?>{prolog}<office:document-content '
        f'{names} xmlns:calcext="urn:calcext" xmlns:draw="urn:draw"><office:automatic-styles>'
        f"{styles}</office:automatic-styles><office:body><office:spreadsheet>{tables}"
        "</office:spreadsheet></office:body></office:document-content>",
    }


def ods_table(rows: str, name: str = "S") -> str:
    return f'<table:table table:name="{name}">{rows}</table:table>'


def ods_cell(text: str, attributes: str = 'office:value-type="string"') -> str:
    """A cell that shows a text."""
    return f"<table:table-cell {attributes}><text:p>{text}</text:p></table:table-cell>"


def read_rows(path: Path) -> dict[str, Rows]:
    """All sheets of a workbook, by name; the ending tells the format."""
    found = workbook_sheets(path, path.name, path.suffix[1:].replace("xlsm", "xlsx"))
    return {sheet.part: rows_of(sheet) for sheet in found}


def rows_of(sheet: Sheet) -> Rows:
    """The rows of a sheet."""
    return [(row.number, list(row.cells)) for row in sheet.rows()]
