"""Workbooks for tests, put together by hand, and what labmart reads in a workbook."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from loader.parsers.sheets import Sheet
from loader.parsers.workbooks import sheets

Rows = list[tuple[int, list[str | None]]]

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_ODF = "urn:oasis:names:tc:opendocument:xmlns"


def write_zip(path: Path, parts: Mapping[str, str | bytes]) -> Path:
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
    found = sheets(path, path.name, path.suffix[1:].replace("xlsm", "xlsx"))
    return {sheet.part: rows_of(sheet) for sheet in found}


def rows_of(sheet: Sheet) -> Rows:
    """The rows of a sheet."""
    return [(row.number, list(row.cells)) for row in sheet.rows()]
