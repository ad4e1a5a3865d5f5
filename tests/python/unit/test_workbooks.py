"""Workbooks as people's programs write them: each cell is the text that a person sees there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import openpyxl
import pytest
import xlsxwriter  # type: ignore[import-untyped]
import xlwt
from hypothesis import given, settings
from hypothesis import strategies as st
from support.workbooks import (
    Rows,
    ods_cell,
    ods_parts,
    ods_table,
    read_rows,
    rows_of,
    write_zip,
    xlsx_parts,
)

from loader.parsers.workbook_cells import within_limits
from loader.parsers.workbook_formats import xlsx_sheets
from loader.parsers.workbooks import sheets

# value, number format, text
CELLS: list[tuple[object, str, str | None]] = [
    (1, "General", "1"),
    (7.0, "0.00", "7"),
    (0.1 + 0.2, "General", "0.3"),
    (1 / 3, "General", "0.333333333333333"),
    (-12.5, "#,##0.00 [$€]", "-12.5"),
    (999999999999999, "0", "999999999999999"),
    (1e15, "0.00E+00", "1E+15"),
    (1e-7, "General", "0.0000001"),
    (0.5, "0%", "0.5"),
    (3, '0 "days"', "3"),
    (4, "[Red]0;[Blue]-0", "4"),
    (44927, "yyyy-mm-dd", "2023-01-01"),
    (44927, "dd.mm.yyyy;@", "2023-01-01"),
    (44927, "mmm-yy", "2023-01-01"),
    (44927, "yyyy-mm-dd hh:mm", "2023-01-01T00:00:00"),
    (44927 + 30600 / 86400, "m/d/yy h:mm", "2023-01-01T08:30:00"),
    (44927 + 30600 / 86400, "yyyy-mm-dd", "2023-01-01T08:30:00"),
    (44927 + 30601.25 / 86400, "yyyy-mm-dd hh:mm:ss.000", "2023-01-01T08:30:01.250"),
    (30600 / 86400, "hh:mm:ss", "08:30:00"),
    (30600 / 86400, "[$-409]h:mm AM/PM", "08:30:00"),
    (0, "hh:mm", "00:00:00"),
    (1.5, "[h]:mm:ss", "36:00:00"),
    (1.5, "[mm]:ss", "36:00:00"),
    (61, "yyyy-mm-dd", "1900-03-01"),
    (-5, "yyyy-mm-dd", "-5"),
    (True, "General", "TRUE"),
    (False, "General", "FALSE"),
    ("007", "General", "007"),
    ("  a\nb\t ", "General", "  a\nb\t "),
    ("=é<&>😀", "@", "=é<&>😀"),
    ("", "General", None),
]


def write_xlsx(path: Path) -> None:
    with xlsxwriter.Workbook(str(path), {"strings_to_formulas": False}) as book:
        sheet = book.add_worksheet("S")
        for row, (value, code, _) in enumerate(CELLS):
            sheet.write_string(row, 0, "x")
            style = book.add_format({"num_format": code})
            if isinstance(value, str):
                sheet.write_string(row, 1, value, style)
            elif isinstance(value, bool):
                sheet.write_boolean(row, 1, value, style)
            else:
                assert isinstance(value, (int, float))
                sheet.write_number(row, 1, value, style)


def write_by_openpyxl(path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "S"
    for row, (value, code, _) in enumerate(CELLS, 1):
        book.active.cell(row, 1, "x")
        cell = book.active.cell(row, 2, value)
        cell.number_format = code
        if isinstance(value, str):
            cell.data_type = "s"
    book.save(path)


def write_xls(path: Path) -> None:
    book = xlwt.Workbook()
    sheet = book.add_sheet("S")
    for row, (value, code, _) in enumerate(CELLS):
        sheet.write(row, 0, "x")
        sheet.write(row, 1, value, xlwt.easyxf(num_format_str=code))
    book.save(str(path))


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.xlsx", write_xlsx), ("a.xlsm", write_by_openpyxl), ("a.xls", write_xls)],
)
def test_each_cell_is_the_text_that_a_person_sees(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    wanted = [(row, ["x", cell] if cell else ["x"]) for row, (_, _, cell) in enumerate(CELLS, 1)]
    assert read_rows(tmp_path / name) == {"S": wanted}


@pytest.mark.parametrize("suffix", ["xlsx", "xls"])
def test_days_are_counted_from_1904_where_the_workbook_says_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "xlsx":
        with xlsxwriter.Workbook(str(path), {"date_1904": True}) as book:
            style = book.add_format({"num_format": "yyyy-mm-dd"})
            book.add_worksheet("S").write_row(0, 0, [0, 43465], style)
    else:
        old = xlwt.Workbook()
        old.dates_1904 = True
        sheet = old.add_sheet("S")
        for column, value in enumerate([0, 43465]):
            sheet.write(0, column, value, xlwt.easyxf(num_format_str="yyyy-mm-dd"))
        old.save(str(path))
    assert read_rows(path) == {"S": [(1, ["1904-01-01", "2023-01-01"])]}


def test_the_row_is_the_one_that_excel_shows(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "a.xlsx")) as book:
        sheet = book.add_worksheet("S")
        bold = book.add_format({"bold": True})
        sheet.write("C7", "first")
        sheet.write("C9", "third")
        sheet.write_blank("Z9", None, bold)
        sheet.write_blank("A500", None, bold)
        sheet.set_row(600, 30)
    assert read_rows(tmp_path / "a.xlsx") == {
        "S": [(7, [None, None, "first"]), (9, [None, None, "third"])]
    }


def test_formulas_give_their_value_and_errors_their_name(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "a.xlsx")) as book:
        sheet = book.add_worksheet("S")
        values = ["text", 2, True, "#N/A", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!"]
        for column, value in enumerate([*values, "#VALUE!", "#SPILL!"]):
            sheet.write_formula(0, column, "=1+1", None, value)
    ((_, cells),) = read_rows(tmp_path / "a.xlsx")["S"]
    assert cells == ["text", "2", "TRUE", *values[3:], "#VALUE!", "#SPILL!"]


def test_a_formula_that_was_never_calculated_is_its_text_and_no_empty_cell(tmp_path: Path) -> None:
    cells = (
        "<c><f>A2&amp;1</f></c><c><f>B2</f><v></v></c><c><f>C2</f><v/></c>"
        '<c><f t="shared" si="0"/><v/></c><c t="str"><f>""</f><v></v></c><c><v>7</v></c>'
    )
    path = write_zip(tmp_path / "a.xlsx", xlsx_parts(f"<row>{cells}</row>"))
    assert read_rows(path) == {"S": [(1, ["=A2&1", "=B2", "=C2", "=", None, "7"])]}


def test_errors_of_xls_have_their_name(tmp_path: Path) -> None:
    book = xlwt.Workbook()
    sheet = book.add_sheet("S")
    codes = (0x00, 0x07, 0x0F, 0x17, 0x1D, 0x24, 0x2A)
    names = ["#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"]
    for column, code in enumerate(codes):
        sheet.row(0).set_cell_error(column, code)
    book.save(str(tmp_path / "a.xls"))
    assert read_rows(tmp_path / "a.xls") == {"S": [(1, names)]}


def test_merged_rich_and_inline_text(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "a.xlsx"), {"in_memory": True}) as book:
        sheet = book.add_worksheet("S")
        sheet.merge_range("A1:C2", "merged", book.add_format({"bold": True}))
        sheet.write_rich_string("D1", "one ", book.add_format({"italic": True}), "two", " three")
    with xlsxwriter.Workbook(str(tmp_path / "b.xlsx"), {"constant_memory": True}) as book:
        book.add_worksheet("S").write_row(0, 0, ["inline", " text ", "_x000D_", 1])
    assert read_rows(tmp_path / "a.xlsx") == {"S": [(1, ["merged", None, None, "one two three"])]}
    assert read_rows(tmp_path / "b.xlsx") == {"S": [(1, ["inline", " text ", "_x000D_", "1"])]}


def test_hidden_sheets_are_told_and_those_without_cells_left_out(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "a.xlsx")) as book:
        book.add_worksheet("Plate 'é' 1").write(0, 0, 1)
        hidden = book.add_worksheet("Old")
        hidden.write(1, 0, 2)
        hidden.hide()
        book.add_worksheet("Empty")
        chart = book.add_chart({"type": "line"})
        chart.add_series({"values": "=Old!$A$1:$A$3"})
        book.add_chartsheet("Chart").set_chart(chart)
        book.add_worksheet("Last").write(2, 0, 3)
    found = sheets(tmp_path / "a.xlsx", "a", "xlsx")
    assert [(sheet.part, sheet.kind) for sheet in found] == [
        ("Plate 'é' 1", '''xlsx, sheet "Plate 'é' 1"'''),
        ("Old", "xlsx, hidden sheet 'Old'"),
        ("Last", "xlsx, sheet 'Last'"),
    ]
    assert [rows_of(sheet) for sheet in found] == [[(1, ["1"])], [(2, ["2"])], [(3, ["3"])]]


@pytest.mark.parametrize("suffix", ["xlsx", "xls", "ods"])
def test_rows_after_the_first_ones_follow_and_every_reading_starts_anew(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    values = [[f"r{row}", row] for row in range(1, 5001)]
    if suffix == "xlsx":
        with xlsxwriter.Workbook(str(path)) as book:
            for name in ("A", "B"):
                sheet = book.add_worksheet(name)
                for row, cells in enumerate(values):
                    sheet.write_row(row * 2, 0, [name, *cells])
    elif suffix == "xls":
        old = xlwt.Workbook()
        for name in ("A", "B"):
            sheet = old.add_sheet(name)
            for row, cells in enumerate(values):
                for column, cell in enumerate([name, *cells]):
                    sheet.write(row * 2, column, cell)
        old.save(str(path))
    else:
        empty = "<table:table-row><table:table-cell/></table:table-row>"
        tables = [
            ods_table(
                "".join(
                    f"<table:table-row>{ods_cell(name)}{ods_cell(str(cells[0]))}"
                    f"{ods_cell(str(cells[1]))}</table:table-row>{empty}"
                    for cells in values
                ),
                name,
            )
            for name in ("A", "B")
        ]
        write_zip(path, ods_parts("".join(tables)))
    found = sheets(path, "a", suffix)
    for sheet, name in zip(found, ("A", "B"), strict=True):
        beginning = sheet.rows()
        next(beginning)
        wanted = [(2 * row - 1, [name, f"r{row}", str(row)]) for row in range(1, 5001)]
        assert rows_of(sheet) == wanted
        assert rows_of(sheet) == wanted
        assert next(beginning)[:2] == (3, [name, "r2", "2"])


def test_wide_rows_end_at_their_last_cell(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "a.xlsx")) as book:
        book.add_worksheet("S").write(0, 16383, "last")
    ((number, cells),) = read_rows(tmp_path / "a.xlsx")["S"]
    assert (number, len(cells), cells[-1], set(cells[:-1])) == (1, 16384, "last", {None})


def test_xlsx_of_other_writers(tmp_path: Path) -> None:
    """A prefix before each element, no references, phonetic text, ISO dates, too long numbers."""
    data = """
        <row><c><v>123456789012345678</v></c><c r="C1" t="d"><v>2023-01-01</v></c><c><v>9</v></c>
          <c t="inlineStr"><is><r><t>in</t></r><rPh sb="0"><t>NO</t></rPh><t> line</t></is></c>
          <c t="s"><f>NO</f><v>1</v></c><c t="str"><v>a_x000A_b&amp;_xD83D_</v></c></row>
        <row r="5"><c><v> 1.50 </v></c><c t="b"><v>1</v></c><c t="s"/><c><v/></c>
          <c t="e"><v>#N/A</v></c></row>
        <row><c s="1"><v>44927</v></c><c s="2"><v>44927.5</v></c><c s="99"><v>44927</v></c></row>"""
    parts = xlsx_parts(
        data,
        shared="<si><t>zero</t></si><si><r><t>o</t></r><r><t>ne</t></r><rPh><t>NO</t></rPh></si>",
        styles='<numFmts><numFmt numFmtId="164" formatCode="d\\.m\\.yy"/></numFmts>'
        '<cellStyleXfs><xf numFmtId="22"/></cellStyleXfs>'
        '<cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="22"/></cellXfs>',
    )
    wanted: Rows = [
        (
            1,
            ["1.23457E+17", None, "2023-01-01", "9", "in line", "one", "a\nb&_xD83D_"],
        ),
        (5, ["1.5", "TRUE", None, None, "#N/A"]),
        (6, ["2023-01-01", "2023-01-01T12:00:00", "44927"]),
    ]
    assert read_rows(write_zip(tmp_path / "a.xlsx", parts)) == {"S": wanted}
    sheet = parts["xl/worksheets/sheet1.xml"]
    for tag in ("worksheet", "sheetData", "row", "c", "v", "t", "f", "is", "r", "rPh"):
        for end in (" ", ">", "/"):
            sheet = sheet.replace(f"<{tag}{end}", f"<x:{tag}{end}").replace(
                f"</{tag}>", f"</x:{tag}>"
            )
    parts["xl/worksheets/sheet1.xml"] = sheet.replace("xmlns=", "xmlns:x=")
    assert read_rows(write_zip(tmp_path / "b.xlsx", parts)) == {"S": wanted}
    parts["XL\\Worksheets\\Sheet1.xml"] = parts.pop("xl/worksheets/sheet1.xml")
    assert read_rows(write_zip(tmp_path / "c.xlsx", parts)) == {"S": wanted}


def test_what_is_odd_beside_the_cells_does_not_matter(tmp_path: Path) -> None:
    """Styles, filters and dates of creation as instruments write them; a Strict workbook."""
    parts = xlsx_parts(
        '<row><c s="1"><v>44927</v></c><c t="s" s="x"><v>0</v></c></row>',
        shared="<si><t>a_x000D_b x005F_</t></si>",
        styles='<fonts><font><sz val="x"/></font></fonts><fills><fill odd="1"/></fills>'
        '<cellXfs><xf numFmtId="x"/><xf numFmtId="14"/></cellXfs>',
    )
    parts["docProps/core.xml"] = "<created>bad</created>"
    sheet = "xl/worksheets/sheet1.xml"
    bad_filter = '</sheetData><autoFilter ref="A1:B2"><filterColumn colId="x"/></autoFilter>'
    parts[sheet] = parts[sheet].replace("</sheetData>", bad_filter)
    wanted = {"S": [(1, ["2023-01-01", "a\rb x005F_"])]}
    assert read_rows(write_zip(tmp_path / "a.xlsx", parts)) == wanted
    schemas = "http://schemas.openxmlformats.org"
    strict = {
        name: part.replace(
            f"{schemas}/spreadsheetml/2006", "http://purl.oclc.org/ooxml/spreadsheetml"
        ).replace(f"{schemas}/officeDocument/2006", "http://purl.oclc.org/ooxml/officeDocument")
        for name, part in parts.items()
    }
    assert read_rows(write_zip(tmp_path / "b.xlsx", strict)) == wanted


TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\n\t"), max_size=12
)
CELL_VALUES = TEXTS | st.integers(-(10**15) + 1, 10**15 - 1) | st.booleans()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(CELL_VALUES, max_size=5), max_size=6))
def test_random_cells_come_back(grid: list[list[str | int | bool]]) -> None:
    wanted = [
        (
            row,
            [
                None if cell == "" else str(cell).upper() if isinstance(cell, bool) else str(cell)
                for cell in cells
            ],
        )
        for row, cells in enumerate(grid, 1)
    ]
    for _, texts in wanted:
        while texts and texts[-1] is None:
            texts.pop()
    wanted = [(row, texts) for row, texts in wanted if texts]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.xlsx"
        with xlsxwriter.Workbook(str(path)) as book:
            sheet = book.add_worksheet()
            for row, cells in enumerate(grid):
                for column, cell in enumerate(cells):
                    if isinstance(cell, bool):
                        sheet.write_boolean(row, column, cell)
                    elif isinstance(cell, int):
                        sheet.write_number(row, column, cell)
                    else:
                        sheet.write_string(row, column, cell)
        for _, _, rows in xlsx_sheets(path):
            assert [row[:2] for row, _ in within_limits(rows)] == wanted


def test_dates_of_python_come_back_as_written(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    values = [date(2023, 1, 1), datetime(2023, 1, 1, 8, 30), time(8, 30), timedelta(hours=36)]
    book.active.append(values)
    book.save(tmp_path / "a.xlsx")
    assert read_rows(tmp_path / "a.xlsx")["Sheet"] == [
        (1, ["2023-01-01", "2023-01-01T08:30:00", "08:30:00", "36:00:00"])
    ]


@pytest.mark.slow
@pytest.mark.prove("a workbook of 200,000 rows takes seconds to write and to read")
def test_two_hundred_thousand_rows_come(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "a"), {"constant_memory": True}) as book:
        page = book.add_worksheet()
        for row in range(200_000):
            page.write_row(row, 0, [row, f"user {row}", row * 1.5, "x", "1;2"])
    (sheet,) = sheets(tmp_path / "a", "a", "xlsx")
    assert sum(1 for _ in sheet.rows()) == 200_000
