"""Tables, csv, json, parquet and xlsx of a mart, from a real database."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import nanoarrow
import pytest
from support import databases
from support.raw_store import profile_of

from loader import export as export_module
from loader.contract import Column, mart_contract
from loader.database import Database
from loader.engines import Engine, Row, Selection, Value
from loader.engines.postgres import connect
from loader.errors import UnknownColumn, UnknownMart, UsageError
from loader.export import export, relation
from loader.project import Project
from loader.show import display, layout, select, show, text_width, write_json

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
ROWS = """
    (2, 'b', 12.5, date '2023-01-02', true),
    (1, 'B', 123456789012.123456, date '0001-01-01', false),
    (9007199254740993, NULL, NULL, NULL, NULL),
    (3, '', 0, date '9999-12-31', true),
    (4, E'a "quoted", one\\nof two lines', 0.005, NULL, NULL),
    (5, 'ä', 0.1, NULL, NULL),
    (6, '=1+1', 1, NULL, NULL),
    (7, 'http://example.org', 1, NULL, NULL)
"""

Shown = Callable[..., tuple[str, str]]


@pytest.fixture
def marts(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(root=tmp_path_factory.mktemp("project"), profiles_dir=Path())
    project.marts_file.parent.mkdir(parents=True)
    project.marts_file.write_text(MARTS)
    return project


@pytest.fixture
def lab(database: databases.Database, marts: Project) -> Database:
    columns = 'id bigint, name text, "run time" numeric(18,6), day date, known boolean'
    database.rows(f"create schema lab; create table lab.things ({columns})")
    database.rows(f"insert into lab.things values {ROWS}")
    return Database(project=marts, profile=profile_of(database, "lab"), embedded=None)


@pytest.fixture
def source(lab: Database) -> Iterator[Engine]:
    with connect(lab.profile) as opened:
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

    def test_csv_is_plain_and_in_the_declared_order(self, shown: Shown) -> None:
        out, err = shown("csv")
        assert out == (
            "id,name,run time,day,known\n"
            "9007199254740993,,,,\n"
            '3,"",0.000000,9999-12-31,true\n'
            "6,=1+1,1.000000,,\n"
            "1,B,123456789012.123456,0001-01-01,false\n"
            '4,"a ""quoted"", one\nof two lines",0.005000,,\n'
            "2,b,12.500000,2023-01-02,true\n"
            "7,http://example.org,1.000000,,\n"
            "5,ä,0.100000,,\n"
        )
        assert err == ""

    def test_python_gets_arrow_with_every_digit(self, source: Engine, marts: Project) -> None:
        selection = select(mart_contract(marts, "things"), source)
        found = relation(source, selection)
        assert found.fetchall() == list(source.rows(selection))
        names = [field.name for field in nanoarrow.ArrayStream(found).schema.fields]
        assert names == ["id", "name", "run time", "day", "known"]

    def test_json_keeps_every_digit(self, shown: Shown) -> None:
        out, _ = shown("json")
        rows = json.loads(out, parse_float=Decimal)
        assert len(rows) == 8
        assert rows[0] == dict.fromkeys(rows[0]) | {"id": 9007199254740993}
        assert rows[3]["run time"] == Decimal("123456789012.123456")
        assert rows[3]["day"] == "0001-01-01"
        assert rows[3]["known"] is False
        assert '"run time": 12.500000' in out

    def test_table_has_a_footer_apart_from_the_data(self, shown: Shown) -> None:
        out, err = shown(columns=("id", "run time"))
        assert out.splitlines()[:3] == [
            "              id         run time",
            "----------------  ---------------",
            "9007199254740993                –",
        ]
        assert "               2            12.50" in out.splitlines()
        assert err == "things: 8 rows\n"
        out, err = shown(limit=3)
        assert len(out.splitlines()) == 5
        assert "the first 3 of 8 rows" in err

    def test_columns_are_chosen_in_the_given_order_and_must_exist(self, shown: Shown) -> None:
        out, _ = shown("csv", columns=("name", "id"), limit=1)
        assert out == "name,id\n,9007199254740993\n"
        with pytest.raises(UnknownColumn, match=r"no column 'nam'. Did you mean 'name'\?"):
            shown(columns=("nam",))

    def test_export_csv_and_json(self, lab: Database, tmp_path: Path) -> None:
        assert export(lab, "things", tmp_path / "t.csv").endswith("t.csv: 8 rows of things")
        text = (tmp_path / "t.csv").read_text(encoding="utf-8")
        assert next(csv.reader(StringIO(text))) == ["id", "name", "run time", "day", "known"]
        export(lab, "things", tmp_path / "t.json")
        assert len(json.loads((tmp_path / "t.json").read_bytes())) == 8
        assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.json"]

    def test_export_parquet_has_types_and_values(self, lab: Database, tmp_path: Path) -> None:
        file = tmp_path / "it's.parquet"
        export(lab, "things", file)
        read = duckdb.read_parquet(str(file))
        types = "BIGINT VARCHAR DECIMAL(18,6) DATE BOOLEAN"
        assert " ".join(map(str, read.types)) == types
        rows = read.fetchall()
        assert rows[0] == (9007199254740993, None, None, None, None)
        assert rows[1] == (3, "", Decimal("0.000000"), date(9999, 12, 31), True)
        assert rows[3][2] == Decimal("123456789012.123456")
        assert rows[4][1] == 'a "quoted", one\nof two lines'
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    def test_export_xlsx_has_no_formula_and_loses_no_digit(
        self, lab: Database, tmp_path: Path
    ) -> None:
        file = tmp_path / "t.xlsx"
        export(lab, "things", file)
        with zipfile.ZipFile(file) as book:
            sheet = book.read("xl/worksheets/sheet1.xml").decode()
        assert "<f>" not in sheet
        assert "hyperlink" not in sheet
        texts = [
            element.text
            for element in ElementTree.fromstring(sheet).iter()
            if element.tag.endswith("}t")
        ]
        for text in ("=1+1", "http://example.org", "9007199254740993", "123456789012.123456"):
            assert text in texts
        assert "<v>12.5</v>" in sheet
        assert re.search(r'<c r="D7" s="\d+"><v>44928</v>', sheet)

    @pytest.mark.parametrize(
        ("most", "cell", "message"),
        [
            (7, "x", "9 rows do not fit.*Use csv or parquet"),
            (100, "x" * 32768, "32,768 characters.*Use csv or parquet"),
        ],
    )
    def test_what_a_worksheet_cannot_hold_writes_nothing(
        self,
        lab: Database,
        tmp_path: Path,
        database: databases.Database,
        monkeypatch: pytest.MonkeyPatch,
        most: int,
        cell: str,
        message: str,
    ) -> None:
        monkeypatch.setattr(export_module, "XLSX_ROWS", most)
        database.rows(f"insert into lab.things values (8, '{cell}')")
        (tmp_path / "t.xlsx").write_text("earlier")
        with pytest.raises(UsageError, match=message):
            export(lab, "things", tmp_path / "t.xlsx")
        assert (tmp_path / "t.xlsx").read_text() == "earlier"
        assert [path.name for path in tmp_path.iterdir()] == ["t.xlsx"]

    def test_a_folder_that_is_not_there_is_a_sentence(self, lab: Database, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot be written: No such file"):
            export(lab, "things", tmp_path / "no" / "t.csv")

    def test_rows_are_fetched_in_portions(
        self, source: Engine, database: databases.Database
    ) -> None:
        database.rows("create view lab.endless as select g from generate_series(1, 10000000) g")
        columns = source.columns("endless")
        rows = source.rows(Selection(relation="endless", columns=columns))
        assert next(rows) == (1,)


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


COLUMNS = (Column("id", "bigint"), Column("a_long_header_name", "text"), Column("last", "text"))
LONG: list[Row] = [(1, "実験" * 20, "x" * 30), (22, "b", "y")]


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_a_table_fits_the_width(width: int) -> None:
    table = layout(COLUMNS, LONG, width)
    assert max(text_width(line) for line in table.lines) <= width
    assert any("…" in line for line in table.lines)


def test_a_table_tells_the_columns_that_do_not_fit() -> None:
    assert layout(COLUMNS, LONG, 16).left_out == ["last"]
    assert layout(COLUMNS, LONG, None).left_out == []


def test_headers_break_after_underscores_and_stand_at_the_bottom() -> None:
    assert layout(COLUMNS, [(1, "b", "y")], None).lines == [
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
