"""Files from the wild that a careless reader gets wrong without a word: read right, or refused."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import xlsxwriter  # type: ignore[import-untyped]
from support.copy_text import Cells
from support.corpora import INPUTS, NAMES, read, table_of, written
from support.workbooks import Grids, ods_cell, ods_parts, ods_table, workbook, write_zip

from loader.errors import FileRefused
from loader.files import collect
from loader.parsers import recognise
from loader.parsers.headers import single_match
from loader.sources import ReadOptions, restricted

HEADER = ",".join(NAMES)
PEOPLE = [(str(n), f"Person {n}", f"p{n}@lab.example", f"2023-01-{n:02d}") for n in range(1, 13)]
SWAPPED = ("user_id", "email", "name", "signup_date")
FORMATS = ("csv", "quoted", "tsv", "utf-16", "jsonl", "xlsx", "xls", "ods")


@pytest.mark.parametrize("form", FORMATS)
def test_columns_follow_their_own_header(form: str) -> None:
    below = [(id_, mail, name, day) for id_, name, mail, day in PEOPLE[6:]]
    again = [("UID", "Full Name", "E-Mail", "signup"), *PEOPLE[:1]]
    rows, notes, wrong = table_of(written(form, [NAMES, *PEOPLE[:6], SWAPPED, *below, *again]))
    assert wrong == ""
    assert rows == [*PEOPLE, PEOPLE[0]]
    assert form == "jsonl" or ("8" in notes and "15" in notes)


@pytest.mark.parametrize("form", FORMATS)
def test_a_second_table_refuses_the_file_with_its_line(form: str) -> None:
    experiments = [("500", "1", "1;2", "30"), ("501", "2", "1;2", "31")]
    for header in (
        "Exp ID,User ID,Compound IDs,Run Time",
        "experiment_id,runtime,user_id,compounds",
    ):
        content = written(form, [NAMES, *PEOPLE, tuple(header.split(",")), *experiments])
        rows, _, wrong = table_of(content)
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
def test_a_header_whose_rows_cannot_follow_refuses_the_file(header: str, says: str) -> None:
    rows, _, wrong = table_of(f"user_id,name,email,note\n1,Ada,a@lab,x\n{header}\n21,a,b,c\n")
    assert rows == []
    assert says in wrong


ADA, BOB = ("1", "Ada", "a@lab", None), ("2", "Bob", "b@lab", None)
CELL = f"see\n{HEADER}\n5,Eve,e@lab,2023-01-01\nabove"
SWALLOWED = '"Ada,a,2023-01-01\n2,Bob,b,2023-01-02\n3,Cem"'
# Content, rows, and words of what is noted.
READ: dict[str, tuple[str | bytes, list[Cells], str]] = {
    "a header that is marked as a comment is one further down too": (
        f"#{HEADER}\n1,Ada,a@lab,\n# user_id,email,name,signup_date\n2,b@lab,Bob,\n",
        [ADA, BOB],
        "3",
    ),
    "a header in a quoted cell is text": (
        f'{HEADER}\n1,"{CELL}",a@lab,\n2,Bob,b@lab,\n',
        [("1", CELL, "a@lab", None), BOB],
        "warning: a quoted cell has lines that look like records in lines 2 to 5",
    ),
    "prose with as many commas as a record is nothing to be told": (
        f'{HEADER}\n1,"As usual.\nUsed A, B, C, D\nat -20",a@lab,\n2,Bob,b@lab,\n',
        [("1", "As usual.\nUsed A, B, C, D\nat -20", "a@lab", None), BOB],
        "",
    ),
    "a mark that swallows records is told": (
        f"{HEADER}\n1,{SWALLOWED},c,2023-01-03\n2,Bob,b@lab,\n",
        [("1", SWALLOWED.strip('"'), "c", "2023-01-03"), BOB],
        "warning: a quoted cell has lines that look like records in lines 2 to 4",
    ),
    "a header is one whatever stands before the name of the id": (
        'note,user_id,name,email\nx,1,Ada,a@lab\n"y, 2",user_id,email,name\nz,2,b@lab,Bob\n',
        [ADA[:3], BOB[:3]],
        "stands again in line 3",
    ),
    "columns that need not be there may be missing": (
        "user_id,name\n1,Ada\n",
        [ADA[:2]],
        "without email, signup_date",
    ),
    "the shifts of ISO 2022 are its mark": (
        f"{HEADER}\n1,田中,a@lab,\n2,Bob,b@lab,\n".encode("iso2022_jp"),
        [("1", "田中", "a@lab", None), BOB],
        "",
    ),
}


@pytest.mark.parametrize("name", READ)
def test_what_looks_wrong_is_read_and_told(name: str) -> None:
    content, cells, noted = READ[name]
    rows, notes, wrong = table_of(content)
    assert (rows, wrong) == (cells, "")
    assert noted in notes
    assert "warning" in noted or "warning" not in notes


JOINED = [
    (HEADER, "3,Cem,c,", "user_id,email,name,signup_date"),
    (HEADER, '"3","Cem","c",""', '"user_id","email","name","signup_date"'),
    ("user_id,name", "3,Cem", "name,user_id"),
    (HEADER, "3,Cem,c,2023-01-01", "Exp ID,User ID,Compound IDs,Run Time"),
    (f"note,{HEADER}", "x,3,Cem,c,2023-01-01", "note,user_id,email,name,signup_date"),
]


@pytest.mark.parametrize(("header", "record", "below"), JOINED)
def test_a_header_behind_a_record_refuses_the_file(header: str, record: str, below: str) -> None:
    # `cat a.csv b.csv`, where a.csv has no end of its last line.
    text = f"{header}\n" + f"{record}\n" * 20 + f"{record}{below}\n{record}\n"
    rows, _, wrong = table_of(text)
    assert rows == []
    assert "line 22: a second header begins within the line" in wrong


@pytest.mark.parametrize("mark", [",", "\t"])
def test_a_row_name_is_no_id(mark: str) -> None:
    names = ["user_id", "name", "email"]
    # R's write.table(na = "") of a column without any value.
    rows = [[str(n), str(100 + n), f"Person {n}", ""] for n in range(1, 9)]
    lines = [mark.join(row) for row in (names, *rows)]
    rows_read, _, wrong = table_of("\n".join(lines))
    assert rows_read == []
    assert "line 1: the records have a cell more than the header has names" in wrong
    for after, header in ((mark, ""), (mark * 2, mark), (f"{mark}{mark}", "")):
        lines = [mark.join(names) + header, *(mark.join(row[:3]) + after for row in rows)]
        assert table_of("\n".join(lines))[0] == []
    lines = [mark.join(names[:2]) + mark, *(mark.join(row[:3]) for row in rows)]
    assert table_of("\n".join(lines))[0] == []
    # No id stands behind these.
    lines = [mark.join(row) for row in (names, *([n, name, id_, ""] for n, id_, name, _ in rows))]
    assert len(table_of("\n".join(lines))[0]) == 8


EXPERIMENTS = "experiment_id,user_id,experiment_compound_ids,experiment_run_time"


@pytest.mark.parametrize(
    "text",
    [
        f"{EXPERIMENTS}\n1,2,1;2,10,\n",
        f"{EXPERIMENTS}\n1,7,1;2,10,\n2,3,1,11,\n3,1,2,9,\n",
        "compound_id,compound_name,compound_structure\n1,1234,C2H6O,\n2,77,C9H8O4,\n",
    ],
)
def test_records_that_end_with_a_delimiter_are_read(text: str) -> None:
    rows, _, wrong = table_of(text)
    assert (len(rows), wrong) == (text.count("\n") - 1, "")


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("compound_id,compound_name,compound_structure", "1,C,folic acid, compound"),
        (EXPERIMENTS, "1,2,1;2,10,new user, experiment, ok"),
        (f"{HEADER},note", '1,Ada,a@lab,,"bad "user" note, name, email"'),
    ],
)
def test_a_text_with_words_of_a_header_costs_its_line(header: str, line: str) -> None:
    rule = "broken_quoting" if '"' in line else "wrong_column_count"
    good = ",".join(["5"] * (header.count(",") + 1))
    rows, _, wrong = table_of(f"{header}\n{good}\n{line}\n{good}\n")
    assert (len(rows), wrong) == (2, f"3 {rule}")


def test_records_above_a_header_without_their_last_delimiter_refuse_the_file() -> None:
    people = "".join(f"{n},Ada,a@lab,2023-01-01,\n" for n in range(9, 4, -1))
    rows, _, wrong = table_of(f"3,Cem,c@lab,2023-01-01,\n{HEADER}\n{people}")
    assert rows == []
    assert "line 2: the header stands below what has the cells of records, in line 1" in wrong


def test_a_sign_between_tabs_is_a_column_if_the_records_have_it() -> None:
    people = [("1", "Ada"), ("2", "Bob")]
    below = "#\tname\tuser_id\ny\tBob\t2\n"
    [table], problems = read(f"#\tuser_id\tname\nx\t1\tAda\n{below}")
    assert ([cells for _, cells in table.rows], problems) == (people, [])
    assert table.parser.ignored == ("#",)
    rows, notes, wrong = table_of("#\tuser_id\tname\n1\tAda\n2\tBob\n")
    assert (rows, wrong) == (people, "")
    assert "extra" not in notes


def test_a_cell_more_than_the_header_has_is_told_however_far_down() -> None:
    people = "".join(f"{n},Ada,a@lab,2023-01-01,\n" for n in range(600))
    last = "600,Lovelace, Ada,a@lab,2023-01-01\n601,Ada,a@lab,2023-01-01\n"
    rows, _, wrong = table_of(f"{HEADER}\n{people}{last}{HEADER}\n602,Ada,a@lab,2023-01-01,\n")
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
def test_records_above_the_header_refuse_the_file(form: str, ids: str) -> None:
    people = [(ids.format(id_), *rest) for id_, *rest in PEOPLE]
    _, _, wrong = table_of(written(form, [*people, NAMES]))
    assert "above" in wrong
    assert "1, 2, 3" in wrong
    _, _, wrong = table_of(written(form, [people[0], NAMES, *people[1:]]))
    assert "above" in wrong


@pytest.mark.parametrize(
    "above", ["Plate 7,,,", "2023,,,", "2024-01-31,Export,,", "Export,of,lab,7", "no,5", "a,b,c,d"]
)
def test_a_preamble_is_passed_over_and_told(above: str) -> None:
    for form in ("csv", "xlsx"):
        rows, notes, wrong = table_of(written(form, [tuple(above.split(",")), NAMES, *PEOPLE]))
        assert (rows, wrong) == (PEOPLE, "")
        assert "passed over" in notes


EMPTY = [",,,", " , ,\t, ", '"","","",""', '"",,,', "\t,,,", ",,", '" ","\n",,']


@pytest.mark.parametrize("empty", EMPTY)
@pytest.mark.parametrize("order", [1, -1])
def test_rows_of_empty_cells_are_no_records(empty: str, order: int) -> None:
    header, *people = (",".join(row[::order]) for row in (NAMES, *PEOPLE[:3]))
    lines = [header, *people[:2], *[empty] * 200, people[2], empty]
    rows, _, wrong = table_of("\n".join(lines) + "\n")
    assert (rows, wrong) == (PEOPLE[:3], "")


@pytest.mark.parametrize("form", ["xlsx", "xls", "ods", "parquet", "jsonl"])
def test_rows_of_empty_cells_are_no_records_in_other_formats(form: str) -> None:
    blank: Cells = (" ", "" if form == "parquet" else None, "\u00a0", "")
    if form == "jsonl":
        records = (json.dumps(dict(zip(NAMES, row, strict=True))) for row in (*PEOPLE, blank))
        content = "\n".join([*records, "{}", '{"user_id": null, "note": []}']).encode()
    else:
        content = written(form, [NAMES, *PEOPLE[:-1], blank, PEOPLE[-1]])
    rows, _, wrong = table_of(content)
    assert (rows, wrong) == (PEOPLE, "")


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
def test_another_code_page_is_never_read_as_windows_1252(encoding: str, name: str) -> None:
    plain = "".join(f"{n},Ada,a@lab,2023-01-01\n" for n in range(2, 4))
    content = f"{HEADER}\n{plain}1,{name},a@lab,2023-01-01\n".encode(encoding)
    rows, _, wrong = table_of(content)
    assert "undecodable" in wrong or "--encoding" in wrong
    assert "Ada" in str(rows) or not rows
    rows, _, wrong = table_of(content, encoding=encoding)
    assert (rows[-1][1], wrong) == (name, "")


WESTERN = [
    *("Jérôme Müller", "Béla", "Hélène Lefèvre", "Søren Kierkegård", "João Peña", "Åsa Öberg"),
    *("Zoë", "naïve", "5 µm at 20 °C", "3 ± 1", "“a” – b’s", "100 €", "don’t", "l’acide", "Weiß"),
    *("Éric", "Øystein", "Nicolò", "GARCÍA", "Håkon", "Seppälä", "Óscar Núñez", "Çelik", "CAFÉ"),
    *("cœur", "aujourd’hui", "Nº 5"),
]


@pytest.mark.parametrize("name", WESTERN)
def test_windows_1252_is_guessed_and_told(name: str) -> None:
    rows, notes, wrong = table_of(f"{HEADER}\n1,{name},a@lab,\n".encode("cp1252"))
    assert (rows[0][1], wrong) == (name, "")
    assert "the encoding is a guess: cp1252, guessed by " in notes


def test_a_rival_is_shown() -> None:
    _, _, wrong = table_of(f"{HEADER}\n1,Erdős,a@lab,\n".encode("cp1250"))
    assert "'Erdõs' (windows-1252) and 'Erdős' (windows-1250)" in wrong


@pytest.mark.parametrize(
    ("encoding", "name"), [("utf-8", "Jérôme Müller"), ("cp1251", "Иван"), ("mac_roman", "Jérôme")]
)
@pytest.mark.parametrize("count", [2_000, 300])
def test_lines_that_a_guess_cannot_explain_are_undecodable(
    encoding: str, name: str, count: int
) -> None:
    first = "".join(f"{n},Jérôme {n},j{n}@lab.example,2023-01-01\n" for n in range(count))
    last = f"7,{name},m@lab,2023-01-01\n" * 10
    rows, _, wrong = table_of(f"{HEADER}\n{first}".encode("cp1252") + last.encode(encoding))
    assert not [cells for cells in rows if (cells[1] or "").startswith("JÃ")]
    # In a small file the bytes that are UTF-8 count for more than the others.
    undecodable = count if encoding == "utf-8" else 10
    assert (wrong.count("undecodable"), len(rows)) == (undecodable, count + 10 - undecodable)


@pytest.mark.parametrize("cell", ['="01"', '"=""01"""', ' ="01" ', '" =""01"" "'])
def test_a_text_for_excel_is_its_text(cell: str) -> None:
    for content in (f"{HEADER}\n{cell},Ada,,\n", written("xlsx", [NAMES, ('="01"', "Ada")])):
        rows, _, wrong = table_of(content)
        assert (rows, wrong) == ([("01", "Ada", None, None)], "")


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
    (
        "exp id,user_id,name,compounds,minutes",
        "lacks experiment_run_time. A column of",
    ),
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
    header: str, says: str, form: str
) -> None:
    row = ("1", "Ada", "a@lab", "2023-01-01")
    rows, _, wrong = table_of(written(form, [tuple(header.split(",")), row]))
    assert rows == []
    assert says in wrong
    assert "--delimiter" not in wrong or "lacks name" in says


FORGOTTEN: Mapping[str, list[tuple[object, ...]]] = {
    "row 1: of users it has name and lacks user_id. The cell 'UserID'": [("UserID", "Name"), (7,)],
    "row 2: of users it has nothing": [("Title", ""), ("User#ID", "Name (full)"), (7, "Ida")],
    "row 1: it has records and no header": [("7", "Ida"), ("8", "Jon")],
    "": [("user_id", "the number of a person"), ("name", "in full")],
}


@pytest.mark.parametrize("says", FORGOTTEN)
@pytest.mark.parametrize("hidden", [(), ("Others",)])
def test_a_sheet_with_records_is_not_left_out_with_a_note(
    says: str, hidden: tuple[str, ...]
) -> None:
    sheets: Grids = [("Sheet", [("user_id", "name"), ("1", "Ada")]), ("Others", FORGOTTEN[says])]
    content = workbook("openpyxl", sheets, hidden)
    rows, notes, wrong = table_of(content)
    if says and not hidden:
        assert f"sheet 'Others', {says}" in wrong
        assert table_of(content, sheet="Sheet")[0] == [("1", "Ada")]
    else:
        assert (rows, wrong) == ([("1", "Ada")], "")
        assert "left out the sheet 'Others'" in notes


def test_users_may_have_an_experiment() -> None:
    content = "user_id,name,experiment_id\n1,Ada,7\n"
    wrong = table_of(content)[2]
    assert "it may be that of users" in wrong
    assert "--map NAME=COLUMN" in wrong
    said = single_match("", "", content.split("\n")[0].split(","), restricted(INPUTS, "users"))
    assert said is not None
    assert said.input.name == "users"
    rows, _, wrong = table_of(f"{HEADER},experiment_id\n1,Ada,a@lab,,7\n")
    assert (rows, wrong) == ([ADA], "")


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_a_column_of_another_name_is_said(form: str) -> None:
    content = written(form, [("Kennung", "mail", "email"), ("1", "Ada", "a@lab")])
    (table,), problems = read(content, ReadOptions(names=("Kennung=user_id", "mail=name")))
    assert (table.rows, problems) == (((2, ("1", "Ada", "a@lab")),), [])
    assert "kennung=user_id" in table.parser.dialect


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


def test_a_total_is_no_id() -> None:
    made = io.BytesIO()
    with xlsxwriter.Workbook(made) as book:
        sheet = book.add_worksheet()
        for at, row in enumerate((NAMES, *PEOPLE)):
            sheet.write_row(at, 0, row)
        sheet.write_formula("A14", "=COUNT(A2:A13)", None, 12)
        sheet.write_row("B14", ["=A2&1", "", ""])
    rows, _, wrong = table_of(made.getvalue())
    assert (rows[:12], rows[12][0], wrong) == (PEOPLE, "=COUNT(A2:A13)", "")
    formula = "office:value-type='float' office:value='12' table:formula='of:=COUNT([.A2:.A9])'"
    cells = ("".join(map(ods_cell, NAMES)), f"<table:table-cell {formula}/>")
    table = ods_table("".join(f"<table:table-row>{row}</table:table-row>" for row in cells))
    content = write_zip(io.BytesIO(), ods_parts(table)).getvalue()
    assert table_of(content)[0] == [("of:=COUNT([.A2:.A9])", None, None, None)]


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
    assert table_of(path.read_bytes(), names=names)[0] == PEOPLE
