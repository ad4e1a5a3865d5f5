"""Workbooks as people's programs write them: each cell is the text that a person sees there."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import xlsxwriter  # type: ignore[import-untyped]
import xlwt
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.utils.datetime import to_excel
from support.workbooks import (
    Rows,
    Styled,
    ods_cell,
    ods_parts,
    ods_table,
    read_rows,
    rows_of,
    workbook,
    write_zip,
    xlsx_parts,
)

from loader.parsers.sheets import workbook_sheets
from loader.parsers.workbook_child import date_text, number_text, ods_sheets, portions, xlsx_sheets

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
    *((3, code, "3") for code in ('0 "days"', '"day" 0', "\\d0", "_d0_-", "[Red]0;[Blue]-0")),
    (4, "[Red][<=100]0;0", "4"),
    *(
        (44927, code, "2023-01-01")
        for code in (
            *("yyyy-mm-dd", "dd.mm.yyyy;@", "mmm-yy", "yyyy-mm-dd hh:mm", "m", "[$-409]mmm\\-yy"),
            "[$-F800]dddd\\,\\ mmmm\\ dd\\,\\ yyyy",
        )
    ),
    (44927 + 30600 / 86400, "m/d/yy h:mm", "2023-01-01T08:30:00"),
    (44927 + 30600 / 86400, "yyyy-mm-dd", "2023-01-01T08:30:00"),
    (44927 + 30601.25 / 86400, "yyyy-mm-dd hh:mm:ss.000", "2023-01-01T08:30:01.250"),
    (44927 + 30600 / 86400, "yyyy\\-mm\\-dd\\Thh:mm", "2023-01-01T08:30:00"),
    *(
        (30600 / 86400, code, "08:30:00")
        for code in ("hh:mm:ss", "[$-409]h:mm AM/PM", "mm:ss.0", "h AM/PM")
    ),
    (0, "hh:mm", "00:00:00"),
    *((1.5, code, "36:00:00") for code in ("[h]:mm:ss", "[mm]:ss", "[hh]:mm", "[ss].00")),
    (61, "yyyy-mm-dd", "1900-03-01"),
    (1.5, "yyyy-mm-dd", "1899-12-31T12:00:00"),
    (-5, "yyyy-mm-dd", "-5"),
    (True, "General", "TRUE"),
    (False, "General", "FALSE"),
    ("007", "General", "007"),
    ("  a\nb\t ", "General", "  a\nb\t "),
    ("=é<&>😀", "@", "=é<&>😀"),
    ("", "General", None),
]


@pytest.mark.parametrize(
    ("name", "writer"), [("a.xlsx", "xlsxwriter"), ("a.xlsm", "openpyxl"), ("a.xls", "xls")]
)
def test_each_cell_is_the_text_that_a_person_sees(tmp_path: Path, name: str, writer: str) -> None:
    grid = [["x", Styled(value, code)] for value, code, _ in CELLS]
    (tmp_path / name).write_bytes(workbook(writer, [("S", grid)]))
    wanted = [(row, ["x", cell] if cell else ["x"]) for row, (_, _, cell) in enumerate(CELLS, 1)]
    assert read_rows(tmp_path / name) == {"S": wanted}


@pytest.mark.parametrize("suffix", ["xlsx", "xls"])
def test_days_are_counted_from_1904_where_the_workbook_says_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    code = "yyyy-mm-dd"
    if suffix == "xlsx":
        with xlsxwriter.Workbook(str(path), {"date_1904": True}) as book:
            style = book.add_format({"num_format": code})
            book.add_worksheet("S").write_row(0, 0, [1, 43465], style)
    else:
        old = xlwt.Workbook()
        old.dates_1904 = True
        sheet = old.add_sheet("S")
        for column, value in enumerate([1, 43465]):
            sheet.write(0, column, value, xlwt.easyxf(num_format_str=code))
        old.save(str(path))
    assert read_rows(path) == {"S": [(1, ["1904-01-02", "2023-01-01"])]}


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
    old = xlwt.Workbook()
    row = old.add_sheet("S").row(0)
    for column, code in enumerate((0x00, 0x07, 0x0F, 0x17, 0x1D, 0x24, 0x2A)):
        row.set_cell_error(column, code)
    old.save(str(tmp_path / "a.xls"))
    names = ["#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"]
    assert read_rows(tmp_path / "a.xls") == {"S": [(1, names)]}


def test_a_formula_that_was_never_calculated_is_its_text_and_no_empty_cell(tmp_path: Path) -> None:
    cells = (
        "<c><f>A2&amp;1</f></c><c><f>B2</f><v></v></c><c><f>C2</f><v/></c>"
        '<c><f t="shared" si="0"/><v/></c><c t="str"><f>""</f><v></v></c><c><v>7</v></c>'
    )
    path = write_zip(tmp_path / "a.xlsx", xlsx_parts(f"<row>{cells}</row>"))
    assert read_rows(path) == {"S": [(1, ["=A2&1", "=B2", "=C2", "=", None, "7"])]}


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
        for row, title in enumerate(("Plate 'é' 1", "Old", "Last")):
            book.add_worksheet(title).write(row, 0, row)
        book.get_worksheet_by_name("Old").hide()
        book.add_worksheet("Empty")
        chart = book.add_chart({"type": "line"})
        chart.add_series({"values": "=Old!$A$1:$A$3"})
        book.add_chartsheet("Chart").set_chart(chart)
    found = workbook_sheets(tmp_path / "a.xlsx", "a", "xlsx")
    assert [(sheet.part, sheet.kind) for sheet in found] == [
        ("Plate 'é' 1", '''xlsx, sheet "Plate 'é' 1"'''),
        ("Old", "xlsx, hidden sheet 'Old'"),
        ("Last", "xlsx, sheet 'Last'"),
    ]
    assert [rows_of(sheet) for sheet in found] == [[(n, [str(n - 1)])] for n in (1, 2, 3)]


@pytest.mark.parametrize("suffix", ["xlsx", "xls", "ods"])
def test_rows_after_the_first_ones_follow_and_every_reading_starts_anew(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    texts = [[f"r{row}", str(row)] for row in range(1, 1501)]
    grids = [(name, [row for cells in texts for row in ([name, *cells], [])]) for name in "AB"]
    path.write_bytes(workbook(suffix, grids))
    found = workbook_sheets(path, "a", suffix)
    for sheet, name in zip(found, ("A", "B"), strict=True):
        beginning = sheet.rows()
        next(beginning)
        wanted = [(2 * row - 1, [name, f"r{row}", str(row)]) for row in range(1, 1501)]
        assert rows_of(sheet) == wanted
        assert rows_of(sheet) == wanted
        assert next(beginning)[:2] == (3, [name, "r2", "2"])


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
        (1, ["1.23457E+17", None, "2023-01-01", "9", "in line", "one", "a\nb&_xD83D_"]),
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
    wanted: Rows = []
    for number, cells in enumerate(grid, 1):
        texts = [str(c).upper() if isinstance(c, bool) else str(c) or None for c in cells]
        while texts and texts[-1] is None:
            texts.pop()
        wanted += [(number, texts)] * bool(texts)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.xlsx"
        path.write_bytes(workbook("xlsxwriter", [("S", grid)]))
        for _, _, rows in xlsx_sheets(path):
            assert [*portions(rows, 100)] == [(wanted, True)]


def of_type(type_: str, value: str = "") -> str:
    return f'office:value-type="{type_}" {value}'


ODS_CELLS: list[tuple[str, str | None]] = [
    (ods_cell("7.00", of_type("float", 'office:value="7"')), "7"),
    (ods_cell("50%", of_type("percentage", 'office:value="0.5"')), "0.5"),
    (ods_cell("x", of_type("currency", 'office:value="0.30000000000000004"')), "0.3"),
    (ods_cell("1.1.23", of_type("date", 'office:date-value="2023-01-01"')), "2023-01-01"),
    (
        ods_cell("x", of_type("date", 'office:date-value="2023-01-01T08:30:00.500000000"')),
        "2023-01-01T08:30:00.500000000",
    ),
    (ods_cell("x", of_type("time", 'office:time-value="PT08H30M00S"')), "PT08H30M00S"),
    (ods_cell("WAHR", of_type("boolean", 'office:boolean-value="true"')), "TRUE"),
    (ods_cell("007"), "007"),
    (ods_cell('a<text:s text:c="3"/>b<text:tab/>c<text:line-break/>d'), "a   b\tc\nd"),
    (ods_cell("x</text:p><text:p>y <text:span>z</text:span><text:a>!</text:a>"), "x\ny z!"),
    (
        ods_cell("#N/A", of_type("string", 'office:string-value="" calcext:value-type="error"')),
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
    (ods_cell("r", of_type("string", 'table:number-columns-repeated="2"')), "r"),
    ("", "r"),
    ('<table:table-cell table:number-columns-repeated="16000"/>', None),
]


def test_ods_cells_of_every_type(tmp_path: Path) -> None:
    rows = (
        "<table:shapes><text:p>NO</text:p></table:shapes>"
        '<table:table-row table:number-rows-repeated="4">'
        "<table:table-cell/></table:table-row><table:table-header-rows><table:table-row>"
        f"{''.join(xml for xml, _ in ODS_CELLS)}</table:table-row></table:table-header-rows>"
        f'<table:table-row table:number-rows-repeated="2">{ods_cell("twice")}</table:table-row>'
        f"<table:table-row-group><table:table-row>{ods_cell('end')}</table:table-row>"
        '</table:table-row-group><table:table-row table:number-rows-repeated="1048000">'
        "<table:table-cell/></table:table-row>"
    )
    row = "<table:table-row>{}</table:table-row>"
    tracked = f"<table:tracked-changes>{row.format(ods_cell('NO'))}</table:tracked-changes>"
    hidden = ods_table(row.format(ods_cell("h")), 'H" table:style-name="t')
    style = (
        '<style:style style:name="t"><style:table-properties table:display="false"/></style:style>'
    )
    parts = ods_parts(tracked + ods_table(rows) + hidden, styles=style)
    cells = [cell for _, cell in ODS_CELLS[:-1]]
    found = workbook_sheets(write_zip(tmp_path / "a.ods", parts), "a", "ods")
    assert rows_of(found[0]) == [(5, cells), (6, ["twice"]), (7, ["twice"]), (8, ["end"])]
    assert found[1].kind == "ods, hidden sheet 'H'"
    assert rows_of(found[1]) == [(1, ["h"])]


def test_an_ods_in_utf_16_is_read_to_its_last_sheet(tmp_path: Path) -> None:
    row = f"<table:table-row>{ods_cell('é')}</table:table-row>"
    parts = ods_parts(ods_table(row * 500, "A") + ods_table(row, "B"))
    content = parts["content.xml"].replace("UTF-8", "UTF-16").encode("utf-16")
    path = write_zip(tmp_path / "a.ods", {"content.xml": content})
    assert [name for name, *_ in ods_sheets(path)] == ["A", "B"]
    assert read_rows(path)["B"] == [(1, ["é"])]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_have_fifteen_digits_and_no_exponent(number: float) -> None:
    found = number_text(repr(number))
    assert found == found.strip()
    assert ("E" in found) == (abs(number) >= 1e15)
    assert "e" not in found
    if abs(number) >= 1e15:
        assert float(found) == pytest.approx(number, rel=1e-5)
        return
    whole = abs(number) < 1e18 and number == int(number)
    assert Decimal(found) == (Decimal(repr(number)) if whole else Decimal(f"{number:.15g}"))


@given(st.datetimes(datetime(1900, 3, 1), datetime(9999, 12, 30)), st.booleans())
def test_dates_are_those_that_their_day_number_means(moment: datetime, from_1904: bool) -> None:
    moment = moment.replace(microsecond=0)
    epoch = datetime(1904, 1, 1) if from_1904 else datetime(1899, 12, 30)
    if moment < epoch + timedelta(1):
        return
    serial = repr(to_excel(moment, epoch))
    wanted = moment.isoformat().removesuffix("T00:00:00")
    assert date_text(serial, "date", from_1904=from_1904) == wanted
