"""A fourth source with nine columns, declared in a copy of the project, loads like the others."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import openpyxl
import pytest
import yaml
from support.databases import Database, fresh_database
from support.in_process import Done, labmart
from support.project import loading_project

pytestmark = pytest.mark.slow

COLUMNS = (
    *("plate_id", "barcode", "well", "reading", "unit", "operator", "read_at", "instrument"),
    "remark",
)
# Name of a column: other names for it, and whether a file must have it.
META: dict[str, dict[str, object]] = {
    "plate_id": {"header_names": ["Plate", "Plate No."]},
    "barcode": {"header_names": ["code"]},
    "operator": {"required": False, "header_names": ["read by"]},
    "instrument": {"required": False},
    "remark": {"required": False, "header_names": ["comment"]},
}


def declare(project: Path, *columns: str) -> None:
    """Declare the source `plates` with these columns, as a person adds it to the YAML."""
    path = project / "models" / "staging" / "_sources.yml"
    document = yaml.safe_load(path.read_text())
    listed = [
        {
            "name": name,
            "description": "A cell as it stands in the file.",
            "data_type": "text",
            "config": {"meta": META.get(name, {})},
        }
        for name in columns
    ]
    stamps = [
        {"name": name, "description": "Written by the loader.", "data_type": "bigint"}
        for name in ("load_id", "line")
    ]
    (raw,) = document["sources"]
    raw["tables"] = [entry for entry in raw["tables"] if entry["name"] != "plates"]
    raw["tables"].append(
        {
            "name": "plates",
            "description": "One row per reading.",
            "config": {"meta": {"input": True, "natural_key": "plate_id"}},
            "columns": listed + stamps,
        }
    )
    path.write_text(yaml.safe_dump(document, sort_keys=False))


@pytest.fixture(scope="module")
def shared(server: Database) -> Iterator[Database]:
    with fresh_database(server) as database:
        yield database


@pytest.fixture
def database(shared: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The module's database, with a schema of the test's own."""
    for variable, value in shared.environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("LABMART_RAW_SCHEMA", f"s{uuid.uuid4().hex[:12]}")
    return shared


def rows(database: Database, sql: str) -> list[tuple[object, ...]]:
    """The rows of a query; `raw.` means the schema of the test."""
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(sql.replace("raw.", f"{os.environ['LABMART_RAW_SCHEMA']}."))
        return list(cursor)


def load(project: Path, *arguments: str | Path) -> Done:
    done = labmart(project, "load", *map(str, arguments))
    assert done.code == 0, done.err
    return done


CSV = (
    "Readings of June\n"
    "comment;Plate No.;CODE;note;Well;reading;unit;Read-At;Read By\n"
    '"a;b";0007;B-1;x;A01;=1+1;µM;2023-06-01 08:00;Ada\n'
    ';8;;;"A\n02";1.50;;;\n'
    "too;few\n"
)


def test_files_of_a_fourth_source_load_by_the_declaration_alone(
    tmp_path: Path, database: Database
) -> None:
    project = loading_project(tmp_path / "project")
    declare(project, *COLUMNS)
    (tmp_path / "june.csv").write_text(CSV)
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Reader 2"
    sheet.append(["plate_id", "barcode", "well", "reading", "unit", "read_at", "instrument"])
    sheet.append([9, "0042", "B07", 12.5, None, "yesterday", "R2"])
    book.save(tmp_path / "july.xlsx")
    options = ("--max-rejected", "1")
    done = load(project, tmp_path / "june.csv", tmp_path / "july.xlsx", *options)
    assert "june.csv → plates" in done.err
    assert "further columns, kept in `extra`: 'note'" in done.err
    listed = ", ".join(COLUMNS)
    assert rows(database, f"select load_id, line, {listed} from raw.plates order by 1, 2") == [
        (1, 3, "0007", "B-1", "A01", "=1+1", "µM", "Ada", "2023-06-01 08:00", None, "a;b"),
        (1, 4, "8", None, "A\n02", "1.50", None, None, None, None, None),
        (2, 2, "9", "0042", "B07", "12.5", None, None, "yesterday", "R2", None),
    ]
    ledger = "select load_id, call_id, input, status, records_read, records_rejected from raw.loads"
    assert rows(database, f"{ledger} order by 1") == [
        (1, 1, "plates", "current", 3, 1),
        (2, 1, "plates", "current", 1, 0),
    ]
    files = [str(file) for (file,) in rows(database, "select file from raw.loads order by load_id")]
    assert files == [f"{tmp_path}/june.csv", f"{tmp_path}/july.xlsx#Reader 2"]
    rejected = "select load_id, line, rule, content from raw.rejected_lines"
    assert rows(database, rejected) == [(1, 6, "wrong_column_count", "too;few")]
    types = (
        "select column_name, data_type from information_schema.columns "
        "where table_schema || '.' = 'raw.' and table_name = 'plates'"
    )
    wanted = {(name, "text") for name in COLUMNS} | {("load_id", "bigint"), ("line", "bigint")}
    wanted |= {("extra", "text")}
    assert set(rows(database, types)) == wanted


def test_a_column_that_is_declared_no_more_keeps_its_cells(
    tmp_path: Path, database: Database
) -> None:
    project = loading_project(tmp_path / "project")
    declare(project, "plate_id", "well")
    (tmp_path / "old.csv").write_text("plate_id,well\n1,A1\n")
    load(project, tmp_path / "old.csv")
    declare(project, "plate_id")
    (tmp_path / "new.csv").write_text("plate_id\n2\n3\n")
    load(project, tmp_path / "new.csv")
    found = rows(database, "select plate_id, well from raw.plates order by 1")
    assert found == [("1", "A1"), ("2", None), ("3", None)]


@pytest.mark.prove("a whole build for a table that no model reads")
def test_the_build_goes_on_with_a_source_that_no_model_reads(
    project_copy: Path, tmp_path: Path, database: Database
) -> None:
    declare(project_copy, *COLUMNS)
    (tmp_path / "june.csv").write_text(CSV)
    (tmp_path / "users.csv").write_text("user_id,name,email,signup_date\n007,Ada,,2023-01-01\n")
    done = labmart(
        project_copy,
        "run",
        str(tmp_path / "june.csv"),
        str(tmp_path / "users.csv"),
        "--max-rejected",
        "1",
    )
    assert done.code == 0, done.err
    assert "Ada" in labmart(project_copy, "show", "users", "--format", "csv").out
    assert rows(database, "select count(*) from raw.plates") == [(2,)]
