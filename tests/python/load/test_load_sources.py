"""Inputs are what the YAML declares: a fourth one, columns beyond it, and columns to come."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import openpyxl
import pytest
import yaml
from support.engines import fresh_engine
from support.in_process import labmart
from support.person import Person, person_in
from support.person import write as write_text
from support.project import loading_project

pytestmark = pytest.mark.slow

PLATES = (
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
CSV = (
    "Readings of June\n"
    "comment;Plate No.;CODE;note;Well;reading;unit;Read-At;Read By\n"
    '"a;b";0007;B-1;x;A01;=1+1;µM;2023-06-01 08:00;Ada\n'
    ';8;;;"A\n02";1.50;;;\n'
    "too;few\n"
)
HEADER = ["user_id", "Phone No.", "name", "a/b~'%s", "note", "note", ""]
RECORDS = [
    ["1", "0049 (30)", "Ada", 'say "x", ü \\y', "", "é", "lost"],
    ["2", "", "Béla", " ", "", "", ""],
    ["3", "007", "Cy", "$.x", "hot", "", ""],
]
EXTRA = [
    {"Phone No.": "0049 (30)", "a/b~'%s": 'say "x", ü \\y'},
    None,
    {"Phone No.": "007", "a/b~'%s": "$.x", "note": "hot"},
]


def declare(project: Path, table: str, columns: dict[str, dict[str, object]]) -> None:
    """Declare columns of an input, as a person adds them to the YAML; the input if it is new."""
    path = project / "models" / "staging" / "_sources.yml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    (raw,) = document["sources"]
    entry = next((entry for entry in raw["tables"] if entry["name"] == table), None)
    if entry is None:
        config = {"meta": {"input": True, "natural_key": next(iter(columns))}}
        own = [{"name": name, "data_type": "bigint"} for name in ("load_id", "line")]
        entry = {"name": table, "config": config, "columns": own}
        raw["tables"].append(entry)
    entry["columns"] += [
        {"name": name, "data_type": "text", "config": {"meta": meta}}
        for name, meta in columns.items()
    ]
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


@pytest.fixture(params=["postgres", "duckdb", "lake"])
def person(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Person]:
    """Somebody with a project of their own, on each engine in turn."""
    project = loading_project(tmp_path / "own")
    with fresh_engine(request.param, request, tmp_path) as engine:
        yield person_in(tmp_path, project, engine, monkeypatch)


@pytest.mark.parametrize("person", ["postgres"], indirect=True)
def test_files_of_a_fourth_source_load_by_the_declaration_alone(person: Person) -> None:
    declare(person.project, "plates", {name: META.get(name, {}) for name in PLATES})
    book = openpyxl.Workbook()
    book.active.title = "Reader 2"
    book.active.append(["plate_id", "barcode", "well", "reading", "unit", "read_at", "instrument"])
    book.active.append([9, "0042", "B07", 12.5, None, "yesterday", "R2"])
    book.save("july.xlsx")
    done = person.load(write_text("june.csv", CSV), "july.xlsx", "--max-rejected", "1")
    assert "june.csv → plates" in done.err
    assert "further columns, kept in `extra`: 'note'" in done.err
    listed = ", ".join(PLATES)
    assert person.rows(f"select load_id, line, {listed} from raw.plates order by 1, 2") == [
        (1, 3, "0007", "B-1", "A01", "=1+1", "µM", "Ada", "2023-06-01 08:00", None, "a;b"),
        (1, 4, "8", None, "A\n02", "1.50", None, None, None, None, None),
        (2, 2, "9", "0042", "B07", "12.5", None, None, "yesterday", "R2", None),
    ]
    ledger = "load_id, call_id, input, file, status, records_read, records_rejected"
    assert person.rows(f"select {ledger} from raw.loads order by 1") == [
        (1, 1, "plates", "june.csv", "current", 3, 1),
        (2, 1, "plates", "july.xlsx#Reader 2", "current", 1, 0),
    ]
    rejected = "select load_id, line, rule, content from raw.rejected_lines"
    assert person.rows(rejected) == [(1, 6, "wrong_column_count", "too;few")]


@pytest.mark.prove("a whole build for a table that no model reads")
@pytest.mark.parametrize("person", ["postgres"], indirect=True)
def test_the_build_goes_on_with_a_source_that_no_model_reads(
    person: Person, project_copy: Path
) -> None:
    declare(project_copy, "plates", {name: META.get(name, {}) for name in PLATES})
    write_text("june.csv", CSV)
    write_text("users.csv", "user_id,name,email,signup_date\n007,Ada,,2023-01-01\n")
    done = labmart(project_copy, "run", "june.csv", "users.csv", "--max-rejected", "1")
    assert done.code == 0, done.err
    assert "Ada" in labmart(project_copy, "show", "users", "--format", "csv").out
    assert person.rows("select count(*) from raw.plates") == [(2,)]


def write_all() -> dict[str, list[dict[str, str] | None]]:
    """Write the records in each format; what is beyond the declared columns, by file."""
    for name, dialect, delimiter in [
        ("minimal.csv", "excel", ","),
        ("all.csv", "unix", ","),
        ("semicolons.csv", "excel", ";"),
    ]:
        with Path(name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, dialect, delimiter=delimiter).writerows([HEADER, *RECORDS])
    # A cell of two lines makes no plain line of its record.
    text = Path("minimal.csv").read_text(encoding="utf-8")
    write_text("lines.csv", text.replace(",hot,", ',"hot\n!",'))
    book = openpyxl.Workbook()
    for row in [HEADER, *RECORDS]:
        book.active.append([cell or None for cell in row])
    book.save("book.xlsx")
    named = [dict(zip(HEADER[:5], record, strict=False)) for record in RECORDS]
    objects = write_text("objects.jsonl", "".join(f"{json.dumps(record)}\n" for record in named))
    duckdb.read_json(objects, columns=dict.fromkeys(HEADER[:5], "text")).write_parquet("p.parquet")
    # Of text and sheets, where a name may stand twice.
    twice = [{**(EXTRA[0] or {}), "note (2)": "é"}, *EXTRA[1:]]
    return {
        **dict.fromkeys(("minimal.csv", "all.csv", "semicolons.csv"), twice),
        "lines.csv": [*twice[:2], {**(twice[2] or {}), "note": "hot\n!"}],
        "book.xlsx": twice,
        **dict.fromkeys((objects, "p.parquet"), EXTRA),
    }


def test_further_columns_are_kept_and_fill_a_column_declared_later(person: Person) -> None:
    extras = write_all()
    for name in extras:
        assert "kept in `extra`: 'Phone No.', " in person.load(name).err
    rows = person.rows("select extra from raw.users order by load_id, line")
    found = [json.loads(str(extra)) if extra else None for (extra,) in rows]
    assert found == [record for records in extras.values() for record in records]

    # Whoever names a column twice does not say which is meant.
    later = {"phone": "Phone-no", "odd": HEADER[3], "remark": "note"}
    columns = {name: {"required": False, "header_names": [other]} for name, other in later.items()}
    declare(person.project, "users", columns)
    write_text("plain.csv", "user_id,name,phone\n4,Dora,112\n")
    person.load("--check", "plain.csv")
    assert len(person.rows("select * from raw.users")[0]) == 7
    person.load("plain.csv")
    filled = person.rows(
        "select phone, odd, name, remark, extra from raw.users order by load_id, line"
    )
    records = [(phone or None, odd.strip() or None, name) for _, phone, name, odd, *_ in RECORDS]
    assert [row[:3] for row in filled[:-1]] == records * len(extras)
    assert [row[3] for row in filled[:-1]] == [None] * 15 + [None, None, "hot"] * 2
    assert filled[-1] == ("112", None, "Dora", None, None)


@pytest.mark.parametrize("person", ["postgres", "duckdb"], indirect=True)
def test_columns_of_a_later_header_are_kept_beside_those_of_the_first(person: Person) -> None:
    text = "user_id,name,note\n1,Ada,a\nuser_id,hint,name\n2,h,Béla\n"
    person.load(write_text("stacked.csv", text))
    assert person.rows("select name, extra from raw.users order by line") == [
        ("Ada", '{"note": "a"}'),
        ("Béla", '{"hint": "h"}'),
    ]
    assert person.rows("select columns_ignored from raw.loads") == [('["note", "hint"]',)]
    done = person.load(
        write_text("plain_first.csv", text.replace("name,note", "name").replace(",a", ""))
    )
    assert "not kept, for the first header has no further columns: 'hint'" in done.err
