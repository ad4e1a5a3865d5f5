"""OpenDocument workbooks, written as LibreOffice does and as it does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from support.workbooks import ods_cell, ods_parts, ods_table, read_rows, rows_of, write_zip

from loader.parsers.workbook_formats import ods_sheets
from loader.parsers.workbooks import sheets


def test_ods_cells_of_every_type(tmp_path: Path) -> None:
    cells: Sequence[tuple[str, str | None]] = [
        (ods_cell("7.00", 'office:value-type="float" office:value="7"'), "7"),
        (ods_cell("50%", 'office:value-type="percentage" office:value="0.5"'), "0.5"),
        (ods_cell("x", 'office:value-type="currency" office:value="0.30000000000000004"'), "0.3"),
        (
            ods_cell("1.1.23", 'office:value-type="date" office:date-value="2023-01-01"'),
            "2023-01-01",
        ),
        (
            ods_cell(
                "x", 'office:value-type="date" office:date-value="2023-01-01T08:30:00.500000000"'
            ),
            "2023-01-01T08:30:00.5",
        ),
        (
            ods_cell("x", 'office:value-type="date" office:date-value="2023-01-01T08:30:00.000"'),
            "2023-01-01T08:30:00",
        ),
        (ods_cell("x", 'office:value-type="time" office:time-value="PT08H30M00S"'), "08:30:00"),
        (
            ods_cell("x", 'office:value-type="time" office:time-value="PT36H00M01.250000000S"'),
            "36:00:01.250",
        ),
        (ods_cell("WAHR", 'office:value-type="boolean" office:boolean-value="true"'), "TRUE"),
        (ods_cell("007"), "007"),
        (ods_cell('a<text:s text:c="3"/>b<text:tab/>c<text:line-break/>d'), "a   b\tc\nd"),
        (ods_cell("x</text:p><text:p>y <text:span>z</text:span><text:a>!</text:a>"), "x\ny z!"),
        (
            ods_cell(
                "#N/A",
                'office:value-type="string" office:string-value="" calcext:value-type="error"',
            ),
            "#N/A",
        ),
        (
            '<table:table-cell office:value-type="string"><office:annotation><text:p>note</text:p>'
            "</office:annotation><text:p>seen<text:note><text:p>foot</text:p></text:note>!</text:p>"
            "<draw:frame><text:p>drawn</text:p></draw:frame></table:table-cell>",
            "seen!",
        ),
        ('<table:table-cell table:number-columns-repeated="2"/>', None),
        ("", None),
        ("<table:covered-table-cell><text:p>under</text:p></table:covered-table-cell>", None),
        (ods_cell("r", 'office:value-type="string" table:number-columns-repeated="2"'), "r"),
        ("", "r"),
        ('<table:table-cell table:number-columns-repeated="16000"/>', None),
    ]
    rows = (
        "<table:shapes><text:p>NO</text:p></table:shapes>"
        '<table:table-row table:number-rows-repeated="4">'
        "<table:table-cell/></table:table-row><table:table-header-rows><table:table-row>"
        f"{''.join(xml for xml, _ in cells)}</table:table-row></table:table-header-rows>"
        f'<table:table-row table:number-rows-repeated="2">{ods_cell("twice")}</table:table-row>'
        f"<table:table-row-group><table:table-row>{ods_cell('end')}</table:table-row>"
        '</table:table-row-group><table:table-row table:number-rows-repeated="1048000">'
        "<table:table-cell/></table:table-row>"
    )
    row = f"<table:table-row>{ods_cell('NO')}</table:table-row>"
    tracked = f"<table:tracked-changes>{row}</table:tracked-changes>"
    hidden = ods_table(f"<table:table-row>{ods_cell('h')}</table:table-row>", "H")
    path = write_zip(
        tmp_path / "a.ods",
        ods_parts(
            tracked
            + ods_table(rows)
            + hidden.replace("table:name", 'table:style-name="t" table:name'),
            styles='<style:style style:name="t"><style:table-properties table:display="false"/>'
            "</style:style>",
        ),
    )
    wanted = [cell for _, cell in cells]
    while wanted[-1] is None:
        wanted.pop()
    found = sheets(path, "a", "ods")
    assert rows_of(found[0]) == [(5, wanted), (6, ["twice"]), (7, ["twice"]), (8, ["end"])]
    assert found[1].kind == "ods, hidden sheet 'H'"
    assert rows_of(found[1]) == [(1, ["h"])]


def test_an_ods_in_utf_16_is_read_to_its_last_sheet(tmp_path: Path) -> None:
    row = f"<table:table-row>{ods_cell('é')}</table:table-row>"
    parts = ods_parts(ods_table(row * 500, "A") + ods_table(row, "B"))
    content = parts["content.xml"].replace("UTF-8", "UTF-16").encode("utf-16")
    path = write_zip(tmp_path / "a.ods", {"content.xml": content})
    assert [name for name, *_ in ods_sheets(path)] == ["A", "B"]
    assert read_rows(path)["B"] == [(1, ["é"])]
