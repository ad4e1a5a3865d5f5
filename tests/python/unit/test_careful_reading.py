"""Files from the wild that a careless reader gets wrong without a word: read right, or refused."""

from __future__ import annotations

import csv
import io
import json
import time
from contextlib import suppress
from pathlib import Path

import openpyxl
import pytest
import xlsxwriter  # type: ignore[import-untyped]
from support.corpora import INPUTS, NAMES, Cells, read, written, zipped
from support.workbooks import ods_cell, ods_parts, ods_table

from loader.errors import FileRefused
from loader.files import collect
from loader.parsers import recognise
from loader.sources import ReadOptions, restricted

HEADER = ",".join(NAMES)
PEOPLE = [(str(n), f"Person {n}", f"p{n}@lab.example", f"2023-01-{n:02d}") for n in range(1, 13)]
SWAPPED = ("user_id", "email", "name", "signup_date")
OTHER = ("Exp ID", "User ID", "Compound IDs", "Run Time")


FORMATS = ("csv", "quoted", "tsv", "utf-16", "jsonl", "xlsx", "xls", "ods")


def of(tmp_path: Path, content: bytes | str, **said: str) -> tuple[list[Cells], str, str]:
    """Rows in the order of NAMES, notes, and what is refused or rejected."""
    path = tmp_path / "some.dat"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    found, problems = read(path, ReadOptions(**said) if said else None)  # type: ignore[arg-type]
    rows = [cells for one in found for _, cells in one.rows]
    notes = " ".join(note for one in found for note in one.parser.notes)
    rejected = [f"{line.line} {line.rule}" for one in found for line in one.rejected]
    return rows, notes, " ".join([*problems, *rejected])


@pytest.mark.parametrize("form", FORMATS)
def test_columns_follow_their_own_header(tmp_path: Path, form: str) -> None:
    below = [(id_, mail, name, day) for id_, name, mail, day in PEOPLE[6:]]
    again = [("UID", "Full Name", "E-Mail", "signup"), *PEOPLE[:1]]
    rows, notes, wrong = of(tmp_path, written(form, [NAMES, *PEOPLE[:6], SWAPPED, *below, *again]))
    assert wrong == ""
    assert rows == [*PEOPLE, PEOPLE[0]]
    assert form == "jsonl" or ("8" in notes and "15" in notes)


@pytest.mark.parametrize("form", FORMATS)
def test_a_second_table_refuses_the_file_with_its_line(tmp_path: Path, form: str) -> None:
    experiments = [("500", "1", "1;2", "30"), ("501", "2", "1;2", "31")]
    for header in (OTHER, ("experiment_id", "runtime", "user_id", "compounds")):
        content = written(form, [NAMES, *PEOPLE, header, *experiments])
        rows, _, wrong = of(tmp_path, content)
        assert rows == []
        line = 13 if form == "jsonl" else 14
        assert f"{line}: a second table begins here, of user_experiments" in wrong


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("experiment_id,run time,foo,bar", "line 3: a second header begins here: of user_exp"),
        ("user_id,name,email,signup_date", "with signup_date, which the first one lacks"),
        ("name,email,note,x", "of users it has name, email and lacks user_id"),
        ("UserID,E-Mail,Full Name,Joined", "line 3: a second header begins here"),
        ("Email address,UserID,x,y", "'UserID' is close to user_id"),
        (
            "user_id,Name,email,exp id,compounds",
            "line 3: the header is not clear: it may be that of u",
        ),
        ("user_id,Name,Mailadresse,x", "without email, which the first one has, and with 'Mailad"),
    ],
)
def test_a_header_whose_rows_cannot_follow_refuses_the_file(
    tmp_path: Path, header: str, says: str
) -> None:
    first = "user_id,name,email,note\n1,Ada,a@lab,x\n"
    rows, _, wrong = of(tmp_path, f"{first}{header}\n21,a,b,c\n")
    assert rows == []
    assert says in wrong


def test_a_header_that_is_marked_as_a_comment_is_one_further_down_too(tmp_path: Path) -> None:
    below = "# user_id,email,name,signup_date\n21,x@lab,Xi,2023-02-01\n"
    rows, notes, wrong = of(tmp_path, f"#{HEADER}\n1,Ada,a@lab,\n{below}")
    assert rows == [("1", "Ada", "a@lab", None), ("21", "Xi", "x@lab", "2023-02-01")]
    assert wrong == ""
    assert "3" in notes


def test_a_header_in_a_quoted_cell_is_text(tmp_path: Path) -> None:
    cell = f"see\n{HEADER}\n5,Eve,e@lab,2023-01-01\nabove"
    rows, notes, wrong = of(tmp_path, f'{HEADER}\n1,"{cell}",a@lab,\n2,Bob,b@lab,\n')
    assert rows == [("1", cell, "a@lab", None), ("2", "Bob", "b@lab", None)]
    assert wrong == ""
    assert "look like records in lines 2 to 5" in notes


JOINED = [
    (HEADER, "3,Cem,c,", "user_id,email,name,signup_date"),
    (HEADER, '"3","Cem","c",""', '"user_id","email","name","signup_date"'),
    ("user_id,name", "3,Cem", "name,user_id"),
    (HEADER, "3,Cem,c,2023-01-01", ",".join(OTHER)),
    (f"note,{HEADER}", "x,3,Cem,c,2023-01-01", "note,user_id,email,name,signup_date"),
]


@pytest.mark.parametrize(("header", "record", "below"), JOINED)
def test_a_header_behind_a_record_refuses_the_file(
    tmp_path: Path, header: str, record: str, below: str
) -> None:
    # `cat a.csv b.csv`, where a.csv has no end of its last line.
    text = f"{header}\n" + f"{record}\n" * 20 + f"{record}{below}\n{record}\n"
    rows, _, wrong = of(tmp_path, text)
    assert rows == []
    assert "line 22: a second header begins within the line" in wrong


@pytest.mark.parametrize("mark", [",", "\t"])
def test_a_row_name_is_no_id(tmp_path: Path, mark: str) -> None:
    names = ["user_id", "name", "email"]
    # R's write.table(na = "") of a column without any value.
    rows = [[str(n), str(100 + n), f"Person {n}", ""] for n in range(1, 9)]
    lines = [mark.join(row) for row in (names, *rows)]
    rows_read, _, wrong = of(tmp_path, "\n".join(lines))
    assert rows_read == []
    assert "line 1: the records have a cell more than the header has names" in wrong
    for after, header in ((mark, ""), (mark * 2, mark), (f"{mark}{mark}", "")):
        lines = [mark.join(names) + header, *(mark.join(row[:3]) + after for row in rows)]
        assert of(tmp_path, "\n".join(lines))[0] == []
    lines = [mark.join(names[:2]) + mark, *(mark.join(row[:3]) for row in rows)]
    assert of(tmp_path, "\n".join(lines))[0] == []
    # No id stands behind these.
    lines = [mark.join(row) for row in (names, *([n, name, id_, ""] for n, id_, name, _ in rows))]
    assert len(of(tmp_path, "\n".join(lines))[0]) == 8


def test_a_cell_more_than_the_header_has_is_told_however_far_down(tmp_path: Path) -> None:
    people = "".join(f"{n},Ada,a@lab,2023-01-01,\n" for n in range(600))
    last = "600,Lovelace, Ada,a@lab,2023-01-01\n601,Ada,a@lab,2023-01-01\n"
    rows, _, wrong = of(tmp_path, f"{HEADER}\n{people}{last}{HEADER}\n602,Ada,a@lab,2023-01-01,\n")
    assert wrong == "602 wrong_column_count"
    assert {row[1:] for row in rows} == {("Ada", "a@lab", "2023-01-01")}
    assert len(rows) == 602


@pytest.mark.parametrize(
    ("form", "ids"),
    [
        *(("csv", ids) for ids in ("{}", "{}.0", "1.{:0>3}", "U{}", "#{}", "2023/EXP/{}")),
        *((form, "EXP-{}") for form in FORMATS if form != "jsonl"),
    ],
)
def test_records_above_the_header_refuse_the_file(tmp_path: Path, form: str, ids: str) -> None:
    people = [(ids.format(id_), *rest) for id_, *rest in PEOPLE]
    _, _, wrong = of(tmp_path, written(form, [*people, NAMES]))
    assert "above" in wrong
    assert "1, 2, 3" in wrong
    _, _, wrong = of(tmp_path, written(form, [people[0], NAMES, *people[1:]]))
    assert "above" in wrong


@pytest.mark.parametrize(
    "above", ["Plate 7,,,", "2023,,,", "2024-01-31,Export,,", "Export,of,lab,7", "no,5", "a,b,c,d"]
)
def test_a_preamble_is_passed_over_and_told(tmp_path: Path, above: str) -> None:
    cells = tuple(above.split(","))
    for form in ("csv", "xlsx"):
        rows, notes, wrong = of(tmp_path, written(form, [cells, NAMES, *PEOPLE]))
        assert (rows, wrong) == (PEOPLE, "")
        assert "passed over" in notes


LEGAL = [
    f'{HEADER}\n1,"As usual.\nUsed A, B, C, D\nat -20",a,\n2,Bob,b,\n',
    f'{HEADER}\n1,"x\n7,Eve,e,2023-01-01",a,\n2,"\n8,Ida,i,\n",b,\n',
    f'{HEADER}\n1,"C:\\new\\",a,"\\"\n2,"a ""\n"" b\\",b,\n',
    f"{HEADER}\n1,'Ada',a,'x'\n2,'Bob',b,'y'\n",
    f'{HEADER}\n1,"[{{""}}",a,"\',\n\'"\n',
]


@pytest.mark.parametrize("text", LEGAL)
def test_what_is_legal_is_read_as_rfc_4180(tmp_path: Path, text: str) -> None:
    wanted = list(csv.reader(io.StringIO(text, newline="")))[1:]
    rows, _, wrong = of(tmp_path, text)
    assert wrong == ""
    assert rows == [tuple(cell.strip() or None for cell in row) for row in wanted]


def test_a_mark_that_swallows_records_is_told(tmp_path: Path) -> None:
    text = f'{HEADER}\n1,"Ada,a,2023-01-01\n2,Bob,b,2023-01-02\n3,Cem",c,2023-01-03\n4,Dia,d,\n'
    rows, notes, wrong = of(tmp_path, text)
    assert [row[0] for row in rows] == ["1", "4"]
    assert wrong == ""
    assert "warning: a quoted cell has lines that look like records in lines 2 to 4" in notes
    # A cell of prose with as many commas is nothing to be told.
    assert "warning" not in of(tmp_path, LEGAL[0])[1]


EMPTY = [",,,", " , ,\t, ", '"","","",""', '"",,,', "\t,,,", ",,", '" ","\n",,']


@pytest.mark.parametrize("empty", EMPTY)
@pytest.mark.parametrize("order", [1, -1])
def test_rows_of_empty_cells_are_no_records(tmp_path: Path, empty: str, order: int) -> None:
    header, *people = (",".join(row[::order]) for row in (NAMES, *PEOPLE[:3]))
    lines = [header, *people[:2], *[empty] * 200, people[2], empty]
    rows, _, wrong = of(tmp_path, "\n".join(lines) + "\n")
    assert (rows, wrong) == (PEOPLE[:3], "")


def test_a_header_is_one_whatever_stands_before_the_name_of_the_id(tmp_path: Path) -> None:
    text = 'note,user_id,name,email\nx,1,Ada,a@lab\n"y, 2",user_id,email,name\nz,2,b@lab,Bob\n'
    rows, _, wrong = of(tmp_path, text)
    assert (rows, wrong) == ([("1", "Ada", "a@lab"), ("2", "Bob", "b@lab")], "")


def test_rows_of_empty_cells_are_no_records_in_other_formats(tmp_path: Path) -> None:
    blank: Cells = (" ", None, "\u00a0", "")
    for form in ("xlsx", "xls", "ods"):
        rows, _, wrong = of(tmp_path, written(form, [NAMES, *PEOPLE, blank, PEOPLE[0]]))
        assert (rows, wrong) == ([*PEOPLE, PEOPLE[0]], "")
    objects = [dict(zip(NAMES, row, strict=True)) for row in [PEOPLE[0], blank, PEOPLE[1]]]
    lines = [*map(json.dumps, objects), "{}", '{"user_id": null, "note": []}']
    rows, _, wrong = of(tmp_path, "\n".join(lines))
    assert (rows, wrong) == (PEOPLE[:2], "")
    content = written("parquet", [NAMES, PEOPLE[0], (" ", "", "\u00a0", "\t"), PEOPLE[1]])
    rows, _, wrong = of(tmp_path, content)
    assert (rows, wrong) == (PEOPLE[:2], "")


# Names, their encoding, and what may be read: the names themselves or nothing.
CODE_PAGES = [
    ("cp1251", "Иван Панов", "Анна Котова", "Ян Ли"),
    ("cp1250", "Łukasz Wójcik", "Dvořák", "Erdős Pál", "Žofie Němcová", "Petrović", "Gdańsk"),
    ("mac_roman", "Jérôme Müller", "Håkan", "García", "Señor Ñuñez", "Günther", "López"),
    ("gbk", "王小明", "李娜", "张伟"),
    ("big5", "王小明"),
    ("cp932", "田中太郎", "アダ"),
    ("cp949", "김철수"),
    ("cp1253", "Γιώργος Παπαδόπουλος", "Αννα"),
    ("iso8859_7", "Ελένη"),
    ("cp1254", "İstanbul", "Şahin", "Gökçe Yıldız", "Çağrı"),
    ("koi8_r", "Иван Панов"),
    ("cp866", "Иван Панов", "Анна"),
    ("iso8859_2", "Łukasz", "Dvořák", "Šárka"),
    ("iso8859_5", "Иван"),
    ("cp850", "Müller", "Jérôme", "Peña", "Terán", "Seppä"),
    ("cp852", "Wolańczyk", "Fábián", "Benešov"),
    ("cp1257", "Jānis", "Māris", "Elīna", "Vakarė", "Ēriks", "Jurgutė"),
    ("mac_latin2", "Tomáš", "Málek"),
    ("cp1255", "דוד"),
    ("cp1256", "محمد"),
]


@pytest.mark.parametrize(
    ("encoding", "name"), [(page, name) for page, *names in CODE_PAGES for name in names]
)
def test_another_code_page_is_never_read_as_windows_1252(
    tmp_path: Path, encoding: str, name: str
) -> None:
    plain = "".join(f"{n},Ada,a@lab,2023-01-01\n" for n in range(2, 4))
    content = f"{HEADER}\n{plain}1,{name},a@lab,2023-01-01\n".encode(encoding)
    rows, _, wrong = of(tmp_path, content)
    assert "undecodable" in wrong or "--encoding" in wrong
    assert "Ada" in str(rows) or not rows
    rows, _, wrong = of(tmp_path, content, encoding=encoding)
    assert (rows[-1][1], wrong) == (name, "")


WESTERN = [
    *("Jérôme Müller", "Béla", "Hélène Lefèvre", "Søren Kierkegård", "João Peña", "Åsa Öberg"),
    *("Zoë", "naïve", "5 µm at 20 °C", "3 ± 1", "“a” – b’s", "100 €", "don’t", "l’acide", "Weiß"),
    *("Éric", "Øystein", "Nicolò", "GARCÍA", "Håkon", "Seppälä", "Óscar Núñez", "Çelik", "CAFÉ"),
    *("cœur", "aujourd’hui", "Nº 5"),
]


@pytest.mark.parametrize("name", WESTERN)
def test_windows_1252_is_guessed_and_told(tmp_path: Path, name: str) -> None:
    rows, notes, wrong = of(tmp_path, f"{HEADER}\n1,{name},a@lab,\n".encode("cp1252"))
    assert (rows[0][1], wrong) == (name, "")
    assert "the encoding is a guess: cp1252, guessed by " in notes


def test_a_rival_is_shown(tmp_path: Path) -> None:
    _, _, wrong = of(tmp_path, f"{HEADER}\n1,Erdős,a@lab,\n".encode("cp1250"))
    assert "'Erdõs' (windows-1252) and 'Erdős' (windows-1250)" in wrong


def test_the_shifts_of_iso_2022_are_its_mark(tmp_path: Path) -> None:
    content = f"{HEADER}\n1,田中,a@lab,\n2,Ada,b@lab,\n".encode("iso2022_jp")
    rows, _, wrong = of(tmp_path, content)
    assert ([row[1] for row in rows], wrong) == (["田中", "Ada"], "")


@pytest.mark.parametrize("rows", [2_000, 300])
def test_lines_that_a_guess_cannot_explain_are_undecodable(tmp_path: Path, rows: int) -> None:
    first = "".join(f"{n},Jérôme {n},j{n}@lab.example,2023-01-01\n" for n in range(rows))
    for other, name in (("utf-8", "Jérôme Müller"), ("cp1251", "Иван"), ("mac_roman", "Jérôme")):
        last = "".join(f"{n},{name},m@lab,2023-01-01\n" for n in range(rows, rows + 10))
        content = f"{HEADER}\n{first}".encode("cp1252") + last.encode(other)
        found, _, wrong = of(tmp_path, content)
        names = {cells[1] for cells in found}
        assert all(name is None or not name.startswith("JÃ") for name in names)
        # In a small file the bytes that are UTF-8 count for more than the others.
        assert wrong.count("undecodable") == (rows if other == "utf-8" else 10)
        assert len(found) + wrong.count("undecodable") == rows + 10


@pytest.mark.parametrize("text", ['="{}"', '"=""{}"""', ' ="{}" ', '" =""{}"" "'])
def test_a_text_for_excel_is_its_text(tmp_path: Path, text: str) -> None:
    lines = [",".join((text.format(f"{n:03d}"), *PEOPLE[n - 1][1:])) for n in range(1, 8)]
    rows, _, wrong = of(tmp_path, "\n".join([HEADER, *lines]))
    assert [row[0] for row in rows] == [f"{n:03d}" for n in range(1, 8)]
    assert wrong == ""
    for content in (f'{HEADER}\n1,"=""Ada""",,\n', written("xlsx", [NAMES, ("1", '="Ada"')])):
        assert of(tmp_path, content)[0] == [("1", "Ada", None, None)]


HEADERS = [
    ("UserID,name,email,SignupDate", "'UserID' is close to user_id"),
    ("UserID,name,email,signup_date", "--map 'UserID=user_id'"),
    ("user_id,name,mail_adress,signup_date", "'mail_adress' is close to email"),
    ("us\u0435r_id,name,email,signup_date", r"(written 'us\u0435r_id') is close to user_id"),
    ("\uff55ser_id,name,email,signup_date", "is close to user_id"),
    ("user_id,name,email,name", "names one of them twice: 'name' and 'name'"),
    ("uid,user,name,email", "'uid' and 'user' mean the same"),
    ("user,label,email,signup_date", "lacks name"),
    ("exp id,user_id,compounds,run_time (min)", "'run_time (min)' is close to experiment_run_time"),
    ("exp id,user_id,name,compounds,minutes", "lacks experiment_run_time. If it is that of users"),
    ("experiment,uid,full name,mins", "lacks experiment_compound_ids, experiment_run_time."),
]


@pytest.mark.parametrize(
    ("form", "header", "says"),
    [
        *(("csv", *header) for header in HEADERS),
        *((form, *header) for form in ("jsonl", "xlsx", "parquet") for header in HEADERS[:3]),
    ],
)
def test_a_header_named_otherwise_is_refused_with_its_cause(
    tmp_path: Path, header: str, says: str, form: str
) -> None:
    row = ("1", "Ada", "a@lab", "2023-01-01")
    rows, _, wrong = of(tmp_path, written(form, [tuple(header.split(",")), row]))
    assert rows == []
    assert says in wrong
    assert "--delimiter" not in wrong or "lacks name" in says


FORGOTTEN = {
    "row 1: of users it has name and lacks user_id. The cell 'UserID'": [
        ("UserID", "Name"),
        ("7", "Ida"),
    ],
    "row 2: of users it has nothing": [("Title", ""), ("User#ID", "Name (full)"), ("7", "Ida")],
    "row 1: it has records and no header": [("7", "Ida"), ("8", "Jon")],
    "": [("user_id", "the number of a person"), ("name", "in full")],
}


@pytest.mark.parametrize("says", FORGOTTEN)
@pytest.mark.parametrize("state", ["visible", "hidden"])
def test_a_sheet_with_records_is_not_left_out_with_a_note(
    tmp_path: Path, says: str, state: str
) -> None:
    book = openpyxl.Workbook()
    for row in (("user_id", "name"), ("1", "Ada")):
        book.active.append(row)
    other = book.create_sheet("Others")
    other.sheet_state = state
    for row in FORGOTTEN[says]:
        other.append(row)
    book.save(tmp_path / "some.xlsx")
    content = (tmp_path / "some.xlsx").read_bytes()
    rows, notes, wrong = of(tmp_path, content)
    if says and state == "visible":
        assert f"sheet 'Others', {says}" in wrong
        assert of(tmp_path, content, sheet="Sheet")[0] == [("1", "Ada")]
    else:
        assert (rows, wrong) == ([("1", "Ada")], "")
        assert "left out the sheet 'Others'" in notes


def test_columns_that_need_not_be_there_may_be_missing(tmp_path: Path) -> None:
    rows, notes, wrong = of(tmp_path, "user_id,name\n1,Ada\n")
    assert (rows, wrong) == ([("1", "Ada")], "")
    assert "without email, signup_date" in notes


def test_users_may_have_an_experiment(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("user_id,name,experiment_id\n1,Ada,7\n")
    assert "it may be that of users" in read(path)[1][0]
    with collect([str(path)], progress=lambda _: None) as collected:
        (parser,) = recognise(collected.files[0], restricted(INPUTS, "users"), ReadOptions())
    assert parser.input.name == "users"
    path.write_text(f"{HEADER},experiment_id\n1,Ada,a@lab,,7\n")
    assert read(path)[0][0].rows == ((2, ("1", "Ada", "a@lab", None)),)


def test_a_column_of_another_name_is_said(tmp_path: Path) -> None:
    said = ("Kennung=user_id", "mail=name")
    content = "Kennung,mail,email\n1,Ada,a@lab\n"
    for data in (
        content.encode(),
        written("xlsx", [("Kennung", "mail", "email"), ("1", "Ada", "a@lab")]),
    ):
        path = tmp_path / "some.csv"
        path.write_bytes(data)
        (found,), problems = read(path, ReadOptions(names=said))
        assert problems == []
        assert found.rows == ((2, ("1", "Ada", "a@lab")),)
        assert "kennung=user_id" in found.parser.dialect


HOSTILE = {
    "many signs": "user_id" + "".join(map(chr, range(0x4E00, 0x4E00 + 20_000))),
    "many signs beside names": "".join(f"user_id{chr(0x4E00 + n)}name" for n in range(20_000)),
    "lines of signs beside names": "\n".join(
        "".join(f"user_id{chr(0x4E00 + n * 99 + m)}name" for m in range(99)) for n in range(100)
    ),
    "commas": "," * (1 << 20),
    "names and commas": "user_id,name" + "," * (1 << 20),
    "quotation marks": '"' * (1 << 20),
    "apostrophes": f"{HEADER}\n" + "'\n" * (1 << 19),
    "letters": "a" * (1 << 20),
    "letters beyond ASCII": "é" * (1 << 19),
    "letters and a sign": ("é" * 39 + "÷ ") * (1 << 14),
    "lines of commas": ",\n" * (1 << 19),
    "lines of names": "user_id,nam\n" * (1 << 16),
    "signs without a header": "".join(map(chr, range(0x2500, 0x2600))) * 1000,
    "backslashes": f"{HEADER}\n" + '1,"a\\"b",c,d\n' * (1 << 16),
}


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        *((name, "utf-8") for name in HOSTILE),
        *((name, "cp1252") for name in HOSTILE if name.startswith("letters ")),
    ],
)
def test_any_file_is_recognised_or_refused_at_once(
    tmp_path: Path, name: str, encoding: str
) -> None:
    path = tmp_path / "some.csv"
    path.write_bytes(HOSTILE[name].encode(encoding, "replace"))
    for options in (ReadOptions(), ReadOptions(columns=tuple(NAMES))):
        with collect([str(path)], progress=lambda _: None) as collected:
            begun = time.process_time()
            with suppress(FileRefused):
                recognise(collected.files[0], INPUTS, options)
            # Far below what trying each sign as a delimiter takes, on a slow machine too.
            assert time.process_time() - begun < 5


def test_a_total_is_no_id(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "some.xlsx")) as book:
        sheet = book.add_worksheet()
        for at, row in enumerate((NAMES, *PEOPLE)):
            sheet.write_row(at, 0, row)
        sheet.write_formula("A14", "=COUNT(A2:A13)", None, 12)
        sheet.write_row("B14", ["=A2&1", "", ""])
    rows, _, wrong = of(tmp_path, (tmp_path / "some.xlsx").read_bytes())
    assert (rows[:12], rows[12][0], wrong) == (PEOPLE, "=COUNT(A2:A13)", "")
    header = "".join(ods_cell(name) for name in NAMES)
    count = (
        "<table:table-cell office:value-type='float' office:value='12' "
        "table:formula='of:=COUNT([.A2:.A9])'/>"
    )
    content = ods_table(
        "".join(f"<table:table-row>{row}</table:table-row>" for row in (header, count))
    )
    parts = {name: text.encode() for name, text in ods_parts(content).items()}
    assert of(tmp_path, zipped(parts))[0] == [("of:=COUNT([.A2:.A9])", None, None, None)]


@pytest.mark.parametrize("form", FORMATS)
def test_a_refused_header_comes_with_what_its_cells_may_mean(tmp_path: Path, form: str) -> None:
    header = ("UserID", "Person", "E-Mail", "sign_up_date")
    path = tmp_path / "some.dat"
    path.write_bytes(written(form, [header, *PEOPLE]))
    with (
        collect([str(path)], progress=lambda _: None) as collected,
        pytest.raises(FileRefused) as refused,
    ):
        recognise(collected.files[0], INPUTS, ReadOptions())
    found = refused.value.header
    assert found is not None
    assert (found.where[-1:], found.cells) == ("" if form == "jsonl" else "1", header)
    cells = {table.input: [column.cell for column in table.columns] for table in found.proposals}
    assert next(iter(cells.items())) == ("users", ["UserID", None, "E-Mail", "sign_up_date"])
    names = ("UserID=user_id", "Person=name", "sign_up_date=signup_date")
    said = read(path, ReadOptions(names=names))[0]
    assert [cells for _, cells in said[0].rows] == PEOPLE
