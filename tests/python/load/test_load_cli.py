"""`labmart load` as a person sees it."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from pathlib import Path

import openpyxl
import pytest
from support.person import HEADER, USERS, Person, write

pytestmark = pytest.mark.slow


@pytest.fixture
def person(postgres_person: Person) -> Person:
    """Engines are told apart by the loader; test_load_careful and the histories try each."""
    return postgres_person


# Two of twelve lines cannot be split.
BAD = HEADER + "".join(f"{n},n,e,d\n" for n in range(10)) + 'x\n11,"a,b,c\n'


def without_times(text: str) -> list[str]:
    return re.sub(r", \d+\.\d s$", ", … s", text, flags=re.MULTILINE).splitlines()


def test_a_file_is_reported_with_what_it_is_and_what_became_of_it(person: Person) -> None:
    write("bad.csv", "Export\n" + BAD.replace("\n", ",x\n").replace("date,x", "date,note"))
    done = person.load("bad.csv", "--max-rejected", "20%")
    assert without_times(done.err) == [
        "bad.csv → users",
        "    text, utf-8, delimiter ',', header in line 2: user_id, name, email, signup_date",
        "    passed over line 1 before the header",
        "    further columns, kept in `extra`: 'note'",
        "    12 records read, 2 rejected lines, … s",
        "    line 13, wrong_column_count: The line has 2 cells, the header 5.",
        '    line 14, broken_quoting: A quotation mark (") is opened and not closed.',
        "Loaded 10 records of 1 file as load 1.",
        "Run `labmart build` to bring the tables up to date.",
    ]
    assert done.out == ""
    assert person.rows("select columns_ignored from raw.loads") == [('["note"]',)]
    assert person.rows("select line, content from raw.rejected_lines order by line") == [
        (13, "x,x"),
        (14, '11,"a,b,c,x'),
    ]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        *(("1", 3), ("2", 0), ("16%", 3), ("16.7%", 0), (" 20 % ", 0)),
        *(("", 2), ("-1", 2), ("1.5", 2), ("٣", 0)),
    ],
)
def test_max_rejected_is_a_number_or_a_share(person: Person, given: str, code: int) -> None:
    done = person.labmart("load", write("bad.csv", BAD), f"--max-rejected={given}")
    assert done.code == code, done.err
    assert person.has_tables() == (code == 0)
    if code == 2:
        assert "is neither a number of lines (20) nor a share (10%)" in done.err
    if code == 3:
        assert "bad.csv: 2 of 12 records cannot be split" in done.err
        assert "Line 12: The line has 1 cell, the header 4." in done.err
        assert 'Line 13: A quotation mark (") is opened and not closed.' in done.err


def test_options_say_what_cannot_be_recognised_and_need_not_be_said_again(person: Person) -> None:
    write("bare", "1\t'a'\tx\ty\tz\n")
    columns = ("--columns", "user_id, name,,email,Sign-up Date", "--dates", "dmy")
    dialect = (*columns, "--delimiter", "tab", "--quote", "'")
    person.load("bare", *dialect)
    found = person.rows("select line, user_id, name, email, signup_date from raw.users")
    assert found == [(1, "1", "a", "y", "z")]
    for options in ((), ("--replace",), dialect):
        assert "already loaded (load 1, bare)" in person.load("bare", *options).err
    [(reading, dates)] = person.rows("select reading, dates from raw.loads")
    assert json.loads(str(reading)) == {
        "dates": "DMY",
        "columns": ["user_id", "name", "", "email", "Sign-up Date"],
        "delimiter": "\t",
        "quote": "'",
    }
    assert dates == "DMY"
    person.labmart("undo", "1")
    assert person.labmart("load", "bare").code == 3
    person.load(write("marks", HEADER + '2,"b,c,d\n'), "--quote", "none")
    person.load(write("greek", (HEADER + "3,Ωμ,,\n").encode("cp1253")), "--encoding", "cp1253")
    assert person.names() == ["a", '"b', "Ωμ"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--delimiter", "ab"), "'ab' is not one character"),
        (("--quote", "\n"), "is not one character"),
        (("--encoding", "klingon"), "'klingon' is no text encoding"),
        (("--input", "plates"), "There is no input 'plates'. The inputs are: users,"),
        (("--target", "prod"), "no target 'prod'"),
        (("--id-prefix", "EXP*"), "an id prefix is made of letters"),
        (("--id-prefix", "X1"), "ends with no digit"),
        (("--list-separator", "x"), "no letter or digit"),
        (("--list-separator", ", "), "is not one character"),
        (("missing.csv",), "there is no such file or folder"),
        (("*.tsv",), "there is no file there"),
    ],
)
def test_a_wrong_call_is_2_and_writes_nothing(
    person: Person, options: tuple[str, ...], says: str
) -> None:
    done = person.labmart("load", write("users.csv"), *options)
    assert done.code == 2, done.err
    assert says in done.err
    assert not person.has_tables()
    assert person.labmart("load").code == 2


def test_input_decides_where_a_header_means_two(person: Person) -> None:
    both = "user_id,name,email,signup_date,compound_id,compound_name,structure\n1,a,b,c,2,d,e\n"
    done = person.labmart("load", write("both.csv", both))
    assert done.code == 3
    assert "means users and compounds. Say which with --input" in done.err
    person.load("both.csv", "--input", "compounds")
    assert person.rows("select compound_name from raw.compounds") == [("d",)]


def test_a_workbook_gives_every_sheet_with_a_header_or_the_one_named(person: Person) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Notes"
    book.active.append(["nothing"])
    for title in ("June", "July"):
        sheet = book.create_sheet(title)
        sheet.append(HEADER.strip().split(","))
        sheet.append([7, title, None, None])
    book.save("plate.xlsx")
    done = person.labmart("load", "plate.xlsx", "--sheet", "May")
    assert done.code == 3
    assert "it has no sheet 'May', but 'Notes', 'June', 'July'" in done.err
    person.load("plate.xlsx", "--sheet", "July")
    assert person.names() == ["July"]
    done = person.load("plate.xlsx")
    assert "already loaded (load 1, plate.xlsx#July)" in done.err
    assert person.names() == ["July", "June"]
    assert person.rows("select file from raw.loads order by 1") == [
        ("plate.xlsx#July",),
        ("plate.xlsx#June",),
    ]


def test_options_come_from_the_environment(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    write("bare", "1;a;b;c\n")
    monkeypatch.setenv("LABMART_FILE_COLUMNS", "user_id,name,email,signup_date")
    monkeypatch.setenv("LABMART_DELIMITER", "semicolon")
    monkeypatch.setenv("LABMART_CHECK", "1")
    assert "Nothing was written" in person.load("bare").err
    assert not person.has_tables()
    monkeypatch.delenv("LABMART_CHECK")
    monkeypatch.setenv("LABMART_REPLACE", "1")
    person.load("bare")
    assert person.rows("select mode from raw.loads") == [("replace",)]
    monkeypatch.setenv("LABMART_MAX_REJECTED", "x")
    assert person.labmart("load", "bare").code == 2


def test_standard_input_is_a_file_like_others(person: Person) -> None:
    done = person.load("-", stdin=USERS.encode("utf-16"))
    assert "- → users" in done.err
    assert person.names() == ["Ada", "Béla"]
    assert "already loaded" in person.load("-", stdin=USERS.encode("utf-16")).err
    done = person.labmart("load", "-", stdin=b"")
    assert done.code == 3
    assert "-: it is empty" in done.err


def test_the_later_of_several_files_is_told(person: Person) -> None:
    Path("exports").mkdir()
    for number in (9, 10):
        write(f"exports/users_{number}.csv", HEADER + f"1,Ada {number},,\n")
    with zipfile.ZipFile("exports.zip", "w") as archive:
        for path in sorted(Path("exports").iterdir()):
            archive.write(path, path.name)
    done = person.load("exports")
    told = "users: where files have the same key, the later wins: "
    assert f"{told}exports/users_9.csv, exports/users_10.csv" in done.err
    assert person.names() == ["Ada 9", "Ada 10"]
    done = person.load("exports.zip", "--replace", "--exclude", "nothing")
    assert "Nothing new to load." in done.err
    done = person.load("exports/users_10.csv", "exports/users_9.csv", "--replace")
    assert f"{told}exports/users_10.csv, exports/users_9.csv" in done.err
    for number in range(11, 20):
        write(f"exports/users_{number}.csv", HEADER + f"1,Ada {number},,\n")
    done = person.load("exports")
    assert f"{told}exports/users_11.csv, exports/users_12.csv, … 6 more …, " in done.err


def test_nothing_replaces_everything_only_if_that_is_meant(person: Person) -> None:
    assert "labmart build" in person.load(write("users.csv")).err
    assert "labmart build" not in person.load("users.csv").err
    write("empty.csv", HEADER)
    for options in ((), ("--check",)):
        done = person.labmart("load", "empty.csv", "--replace", *options)
        assert done.code == 3
        assert "empty.csv: it brings no record, and would replace all" in done.err
        assert "say --allow-empty" in done.err
    person.load("empty.csv")
    person.load("empty.csv", write("more.csv", HEADER + "7,Eve,,\n"), "--replace")
    person.load("empty.csv", "--replace", "--allow-empty")
    assert person.rows("select load_id from raw.loads where status = 'current'") == [(5,)]


def test_what_is_said_of_the_cells_is_kept_with_the_load(person: Person) -> None:
    cells = ("--decimal", "comma", "--list-separator", "space", "--durations", "min,h:mm")
    person.load(write("users.csv"), *cells, "--id-prefix", "EXP-,U")
    person.load(write("others.csv", USERS + "3,C,,\n"))
    columns = "decimal, list_separator, id_prefix, durations"
    kept = f"select {columns} from raw.loads order by load_id"
    assert person.rows(kept) == [("comma", " ", "EXP-,U", "min,h:mm"), (None,) * 4]
    # Another reading of the same bytes takes the place of the first.
    person.load("users.csv", "--decimal", "point")
    assert person.rows(kept + " desc")[0] == ("point", None, None, None)


# Names of files and headers that try to be more than names.

# How each is shown where it is not shown as it is.
HOSTILE = {
    "new\nline.csv": "new\\nline.csv",
    "\x1b[31mred\x07.csv": "\\x1b[31mred\\x07.csv",
    "bytes\udcff\udc9b.csv": "bytes\\xff\\x9b.csv",
    "\u202egnp.csv": "\\u202egnp.csv",
    **{
        name: name
        for name in (
            *("q'uo\"te`$(reboot)`.csv", "; rm -rf x; '); drop table users; --", "=1+1"),
            *("%s%(a)s{{ 1-0 }}.csv", "[ab]?*.csv", "x" * 200),
        )
    },
}


def test_a_hostile_name_is_a_name(person: Person) -> None:
    names = [write(name, f"{HEADER}{number},a,,\n") for number, name in enumerate(HOSTILE)]
    done = person.load(*names)
    for shown in HOSTILE.values():
        assert f"{shown} → users\n" in done.err
    files = person.rows("select file from raw.loads order by load_id")
    assert [file for (file,) in files] == [*HOSTILE.values()]
    assert person.labmart("loads").code == 0
    assert person.labmart("undo", "1", "2").err.count("is undone") == 2
    for name in names:
        write(name, "a,b\n")
    refused = person.labmart("load", *names)
    assert refused.code == 3
    for name, shown in HOSTILE.items():
        assert f"  {shown}: no line" in refused.err
        Path(name).unlink()
        missing = person.labmart("load", name)
        assert (missing.code, shown in missing.err) == (2, True)


EVIL_NAMES = (
    *("\x1b]0;owned\x07", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "$(reboot)", "%s"),
    *("'; drop table users; --", "{{ 1/0 }}", "\u202e", "x" * 5000, "\x9b31m"),
)


def test_a_hostile_header_and_cell_are_text(person: Person) -> None:
    for number, name in enumerate(EVIL_NAMES):
        names = [name, "user_id", "name", "email", "signup_date"]
        cells = ["x", "1", name, "", ""]
        if number % 2:
            names, cells = [*names[1:], name], [*cells[1:], "x"]
        out = io.StringIO()
        csv.writer(out, quoting=csv.QUOTE_ALL).writerows([names, cells])
        write(f"{number:02}.csv", out.getvalue())
    done = person.load(".")
    assert done.err.count("further columns, kept in `extra`: ") == len(EVIL_NAMES)
    assert max(map(len, done.err.splitlines())) < 1000
    assert person.names() == list(EVIL_NAMES)
