"""What a file has beyond the declared columns is kept, and fills a column declared later."""

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
from support.person import Person, person_in
from support.person import write as write_text
from support.project import loading_project

pytestmark = pytest.mark.slow

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
# Of text and sheets, where a name may stand twice.
TWICE = [{**(EXTRA[0] or {}), "note (2)": "é"}, *EXTRA[1:]]


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
    lines = [*TWICE[:2], {**(TWICE[2] or {}), "note": "hot\n!"}]
    texts = dict.fromkeys(("minimal.csv", "all.csv", "semicolons.csv"), TWICE)
    return {
        **texts,
        "lines.csv": lines,
        "book.xlsx": TWICE,
        "objects.jsonl": EXTRA,
        "p.parquet": EXTRA,
    }


def declare(project: Path, name: str, header_name: str) -> None:
    """Declare one more column of users, as a person adds it to the YAML."""
    path = project / "models" / "staging" / "_sources.yml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    users = next(t for t in document["sources"][0]["tables"] if t["name"] == "users")
    meta = {"required": False, "header_names": [header_name]}
    users["columns"].append({"name": name, "data_type": "text", "config": {"meta": meta}})
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


@pytest.fixture(params=["postgres", "duckdb", "lake"])
def declaring(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Person]:
    """Somebody with a project of their own, on each engine in turn."""
    project = loading_project(tmp_path / "project")
    with fresh_engine(request.param, lambda: request.getfixturevalue("server"), tmp_path) as engine:
        yield person_in(tmp_path, project, engine, monkeypatch)


def test_further_columns_are_kept_and_fill_a_column_declared_later(declaring: Person) -> None:
    person, wanted = declaring, write_all()
    for name in wanted:
        done = person.load(name)
        assert "kept in `extra`: 'Phone No.', " in done.err
    rows = person.rows("select extra from raw.users order by load_id, line")
    found = [json.loads(str(extra)) if extra else None for (extra,) in rows]
    assert found == [record for records in wanted.values() for record in records]

    declare(person.project, "phone", "Phone-no")
    declare(person.project, "odd", HEADER[3])
    # Whoever names a column twice does not say which is meant.
    declare(person.project, "remark", "note")
    fill = "select phone, odd, remark, name from raw.users order by load_id, line"
    write_text("plain.csv", "user_id,name,phone\n4,Dora,112\n")
    person.load("--check", "plain.csv")
    assert len(person.rows("select * from raw.users")[0]) == 7
    person.load("plain.csv")
    records = [(phone or None, odd.strip() or None, name) for _, phone, name, odd, *_ in RECORDS]
    assert [(phone, odd, name) for phone, odd, _, name in person.rows(fill)] == [
        *records * len(wanted),
        ("112", None, "Dora"),
    ]
    remarks = [remark for _, _, remark, _ in person.rows(fill)]
    assert remarks == [None] * 15 + [None, None, "hot"] * 2 + [None]
    assert person.rows("select extra from raw.users where name = 'Dora'") == [(None,)]


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
