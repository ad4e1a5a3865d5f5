"""Marts as tables, csv, json, Arrow, parquet and xlsx: the same from every engine."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch
from xml.etree import ElementTree

import duckdb
import nanoarrow
import pytest
from support.engines import Engine as TestEngine

from loader import export as export_module
from loader.contract import Column, mart_contract
from loader.database import Database
from loader.engines import Engine, Row, Selection, Value, open_engine
from loader.errors import NotBuilt, QueryFailed, UnknownColumn, UnknownMart, UsageError
from loader.export import export, relation
from loader.project import Project
from loader.query import select
from loader.show import display, layout, show, text_width, write_json

MARTS = """
models:
  - name: accepted_things
    description: One row per thing (`id`).
    config:
      alias: things
      meta: {order_by: [name, id]}
    columns:
      - {name: id, data_type: bigint, description: The key.}
      - {name: name, data_type: text}
  - name: elsewhere
"""
COLUMNS = (
    'id bigint, name text, "run time" numeric(18, 6), "a ""b"", c" text, day date, known boolean'
)
ROWS = """
    (1, 'a', 123456789012.123456, 'b', date '2023-01-01', true),
    (2, null, -0.5, null, null, null), (3, 'B;c', 12.5, '''z''', null, true),
    (4, 'A,b', 3, 'x' || chr(13) || 'y', null, true),
    (5, '"q"', null, chr(10), date '0001-02-03', false),
    (6, '', 1, '\\.', null, null), (7, ' x ', 0, 'NULL', null, null),
    (8, 'é' || chr(9), 0.000001, '#', null, null),
    (9, '😀', null, '\ufeff', date '9999-12-31', null),
    (9007199254740993, null, null, null, null, null),
    (10, '=1+1', 1, null, null, null), (11, 'http://example.org', 1, null, null, null)
"""
CSV = (
    'id,name,run time,"a ""b"", c",day,known\n'
    "2,,-0.500000,,,\n"
    "9007199254740993,,,,,\n"
    '6,"",1.000000,\\.,,\n'
    "7, x ,0.000000,NULL,,\n"
    '5,"""q""",,"\n",0001-02-03,false\n'
    "10,=1+1,1.000000,,,\n"
    '4,"A,b",3.000000,"x\ry",,true\n'
    "3,B;c,12.500000,'z',,true\n"
    "1,a,123456789012.123456,b,2023-01-01,true\n"
    "11,http://example.org,1.000000,,,\n"
    "8,é\t,0.000001,#,,\n"
    "9,😀,,\ufeff,9999-12-31,\n"
)

Shown = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def marts(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(root=tmp_path_factory.mktemp("project"), profiles_dir=Path())
    project.marts_file.parent.mkdir(parents=True)
    project.marts_file.write_text(MARTS)
    return project


@pytest.fixture(scope="module")
def lab(shared_engine: TestEngine, marts: Project) -> Database:
    """A mart with every kind of cell, and one with a long text."""
    # Whoever asks for all rows of this one does not get the first.
    cell = "cast(case when g = 900000 then 'no number' else '1' end as bigint)"
    shared_engine.rows(
        f"create schema lab; create table lab.things ({COLUMNS}); insert into lab.things values "
        f"{ROWS}; create table lab.elsewhere as select repeat('x', 32768) as text; "
        f"create view lab.endless as select {cell} from generate_series(1, 900000) as t (g)"
    )
    return Database(project=marts, profile=shared_engine.profile("lab"), embedded=None)


@pytest.fixture
def source(lab: Database) -> Iterator[Engine]:
    with open_engine(lab.profile) as opened:
        yield opened


@pytest.fixture
def shown(lab: Database, capfdbinary: pytest.CaptureFixture[bytes]) -> Shown:
    """What `show` prints of the mart: stdout and stderr."""

    def call(format_: str = "table", **options: Any) -> tuple[str, str]:
        show(lab, "things", format_, **options)
        out, err = capfdbinary.readouterr()
        return out.decode(), err.decode()

    return call


@pytest.mark.slow
class TestWithDatabase:
    """Everything that reads rows."""

    def test_csv_is_the_same_to_the_byte(
        self, shown: Shown, source: Engine, marts: Project
    ) -> None:
        out, err = shown("csv")
        # DuckDB puts quotation marks around a # as well.
        assert (out.replace('"#"', "#"), err) == (CSV, "")
        selected = select(mart_contract(marts, "things"), source, equal=(("name", "a"),))
        file = BytesIO()
        source.write_csv(selected, file)
        assert file.getvalue().decode().splitlines()[1:] == [CSV.splitlines()[-4]]

    def test_values_are_pythons_own_and_come_in_order(self, source: Engine, marts: Project) -> None:
        types = [column.type for column in source.columns("things")]
        assert types == ["bigint", "text", "numeric(18,6)", "text", "date", "boolean"]
        columns = ("id", "run time", "day", "known")
        selection = select(mart_contract(marts, "things"), source, columns=columns, limit=5)
        rows = list(source.rows(selection))
        assert rows == [
            (2, Decimal("-0.500000"), None, None),
            (9007199254740993, None, None, None),
            (6, Decimal("1.000000"), None, None),
            (7, Decimal("0.000000"), None, None),
            (5, None, date(1, 2, 3), False),
        ]
        assert str(rows[0][1]) == "-0.500000"
        assert source.count(selection) == 12
        found, values = source.query('select id, "run time" from lab.things order by id', 2)
        assert values[0] == (1, Decimal("123456789012.123456"))
        assert [column.name for column in found] == ["id", "run time"]

    def test_what_cannot_be_read_is_told(self, source: Engine) -> None:
        with pytest.raises(NotBuilt, match=r"lab\.users"):
            source.columns("users")
        with pytest.raises(QueryFailed, match="no_such"):
            source.query("select no_such from lab.things", 1)
        assert source.query("select 1 as one", 1)[1] == [(1,)]

    def test_python_gets_arrow_with_every_digit(self, source: Engine, marts: Project) -> None:
        selection = select(mart_contract(marts, "things"), source)
        found = relation(source, selection)
        assert found.fetchall() == list(source.rows(selection))
        names = [field.name for field in nanoarrow.ArrayStream(found).schema.fields]
        assert names == ["id", "name", "run time", 'a "b", c', "day", "known"]

    def test_json_keeps_every_digit(self, shown: Shown) -> None:
        out, _ = shown("json")
        rows = json.loads(out, parse_float=Decimal)
        assert len(rows) == 12
        assert rows[1] == dict.fromkeys(rows[1]) | {"id": 9007199254740993}
        values = (Decimal("123456789012.123456"), "2023-01-01", True)
        assert tuple(rows[8][name] for name in ("run time", "day", "known")) == values
        assert '"run time": 12.500000' in out

    def test_table_has_a_footer_apart_from_the_data(self, shown: Shown) -> None:
        out, err = shown(columns=("id", "run time"))
        assert out.splitlines()[:4] == [
            "              id         run time",
            "----------------  ---------------",
            "               2            -0.50",
            "9007199254740993                –",
        ]
        assert err == "things: 12 rows\n"
        out, err = shown(limit=3)
        assert len(out.splitlines()) == 5
        assert "the first 3 of 12 rows" in err

    def test_columns_are_chosen_in_the_given_order_and_must_exist(self, shown: Shown) -> None:
        out, _ = shown("csv", columns=("name", "id"), limit=1)
        assert out == "name,id\n,2\n"
        with pytest.raises(UnknownColumn, match=r"no column 'nam'. Did you mean 'name'\?"):
            shown(columns=("nam",))

    def test_export_csv_and_json(self, lab: Database, tmp_path: Path) -> None:
        assert export(lab, "things", tmp_path / "t.csv").endswith("t.csv: 12 rows of things")
        assert (tmp_path / "t.csv").read_bytes().decode().replace('"#"', "#") == CSV
        export(lab, "things", tmp_path / "t.json")
        assert len(json.loads((tmp_path / "t.json").read_bytes())) == 12
        assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.json"]

    def test_export_parquet_has_types_and_values(self, lab: Database, tmp_path: Path) -> None:
        file = tmp_path / "it's.parquet"
        export(lab, "things", file)
        read = duckdb.read_parquet(str(file))
        assert [*map(str, read.types)] == [
            *("BIGINT", "VARCHAR", "DECIMAL(18,6)", "VARCHAR", "DATE", "BOOLEAN")
        ]
        rows = read.fetchall()
        assert rows[1] == (9007199254740993, None, None, None, None, None)
        assert rows[2] == (6, "", Decimal("1.000000"), "\\.", None, None)
        assert rows[8][2:5] == (Decimal("123456789012.123456"), "b", date(2023, 1, 1))
        assert [path.name for path in tmp_path.iterdir()] == [file.name]

    def test_export_xlsx_has_no_formula_and_loses_no_digit(
        self, lab: Database, tmp_path: Path
    ) -> None:
        file = tmp_path / "t.xlsx"
        export(lab, "things", file)
        with zipfile.ZipFile(file) as book:
            sheet = book.read("xl/worksheets/sheet1.xml").decode()
        assert "<f>" not in sheet
        assert "hyperlink" not in sheet
        elements = ElementTree.fromstring(sheet).iter()
        texts = {element.text for element in elements if element.tag.endswith("}t")}
        assert {"=1+1", "http://example.org", "9007199254740993", "123456789012.123456"} <= texts
        assert "<v>12.5</v>" in sheet
        assert re.search(r'<c r="E10" s="\d+"><v>44927</v>', sheet)

    @pytest.mark.parametrize(
        ("mart", "most", "message"),
        [
            ("things", 7, "12 rows do not fit.*Use csv or parquet"),
            ("elsewhere", 100, "32,768 characters.*Use csv or parquet"),
        ],
    )
    def test_what_a_worksheet_cannot_hold_writes_nothing(
        self, lab: Database, tmp_path: Path, mart: str, most: int, message: str
    ) -> None:
        (tmp_path / "t.xlsx").write_text("earlier")
        with (
            patch.object(export_module, "XLSX_ROWS", most),
            pytest.raises(UsageError, match=message),
        ):
            export(lab, mart, tmp_path / "t.xlsx")
        assert (tmp_path / "t.xlsx").read_text() == "earlier"
        assert [path.name for path in tmp_path.iterdir()] == ["t.xlsx"]

    def test_a_folder_that_is_not_there_is_a_sentence(self, lab: Database, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot be written: No such file"):
            export(lab, "things", tmp_path / "no" / "t.csv")

    def test_rows_are_fetched_in_portions(self, source: Engine) -> None:
        endless = Selection(relation="endless", columns=source.columns("endless"))
        assert next(source.rows(endless)) == (1,)


def test_an_unknown_mart_names_what_there_is(marts: Project) -> None:
    with pytest.raises(UnknownMart, match=r"Did you mean 'things'\? The marts are: things, "):
        mart_contract(marts, "thing")
    with pytest.raises(UnknownMart):
        mart_contract(marts, "accepted_things")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("2.005000"), "2.01"),
        (Decimal("-0.005000"), "-0.01"),
        (Decimal(12), "12"),
        (None, "–"),
        ("a\tb\x1b[31m", "a\\tb\\x1b[31m"),
        (date(2023, 1, 2), "2023-01-02"),
    ],
)
def test_values_for_the_eye(value: Value, text: str) -> None:
    assert display(value) == text


HEADS = (Column("id", "bigint"), Column("a_long_header_name", "text"), Column("last", "text"))
LONG: list[Row] = [(1, "実験" * 20, "x" * 30), (22, "b", "y")]


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_a_table_fits_the_width(width: int) -> None:
    table = layout(HEADS, LONG, width)
    assert max(text_width(line) for line in table.lines) <= width
    assert any("…" in line for line in table.lines)


def test_a_table_tells_the_columns_that_do_not_fit() -> None:
    assert layout(HEADS, LONG, 16).left_out == ["last"]
    assert layout(HEADS, LONG, None).left_out == []


def test_headers_break_after_underscores_and_stand_at_the_bottom() -> None:
    assert layout(HEADS, [(1, "b", "y")], None).lines == [
        "    a_long_",
        "id  header_name  last",
        "--  -----------  ----",
        " 1  b            y",
    ]


def test_json_is_utf8_and_of_nothing_an_empty_array() -> None:
    for rows, text in (([("é",)], '[\n  {"ü": "é"}\n]\n'), ([], "[]\n")):
        out = BytesIO()
        write_json([Column("ü", "text")], rows, out)
        assert out.getvalue().decode() == text
