"""Polluted and damaged files: read right or refused with the reason, and every line accounted for.

The kinds of pollution follow the public corpora of such files (Pollock, csv-spectrum, the test
files of CSV readers); all files are made here. LABMART_MUTATIONS=N damages N files instead of a
few hundred, and ten times as many in `make prove`.
"""

from __future__ import annotations

import gzip
import os
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.accounts import account_of
from support.corpora import INPUTS, NAMES, read, table_of, written
from support.files import archive_of

from loader.errors import UsageError
from loader.files import collect
from loader.parsers import recognise
from loader.parsers.encoding import said_encoding
from loader.sources import ReadOptions

HEADER = ",".join(NAMES)
ROWS = [
    ("1", "Ada, Countess", "ada@lab.example", "2023-01-01"),
    ("2", 'Béla "the cell"', "bela@lab.example", None),
    ("3", None, "c'd@lab.example", "2023-01-03"),
    *((str(number), f"N {number}", f"n{number}@x", "2023-02-01") for number in range(4, 31)),
]


def text(delimiter: str = ",", quote: str = '"', end: str = "\n", *, every: bool = True) -> str:
    """The rows as delimited text; `every` cell quoted, or those that need it."""

    def cell(value: str | None) -> str:
        plain = value or ""
        needs = every or any(mark in plain for mark in (delimiter, quote, "\n"))
        return quote + plain.replace(quote, quote * 2) + quote if needs else plain

    return "".join(delimiter.join(map(cell, row)) + end for row in [NAMES, *ROWS])


PLAIN = text(every=False)
QUOTED = text()
DATA = PLAIN.split("\n", 1)[1]


def lines(content: str, change: Callable[[str], str]) -> str:
    return "".join(f"{change(line)}\n" for line in content.splitlines())


def below(content: str, change: Callable[[str], str]) -> str:
    """The same of the lines below the header."""
    header, _, others = content.partition("\n")
    return f"{header}\n{lines(others, change)}"


# Every one of these is the same table.
SAME: dict[str, str | bytes] = {
    "plain": PLAIN,
    "LF": QUOTED,
    "CRLF": text(end="\r\n"),
    "CR": text(end="\r"),
    "CR CR LF": text(end="\r\r\n"),
    "LF CR": text(end="\n\r"),
    "every second line blank": text(end="\n\n"),
    "blank lines with spaces": text(end="\n \t\n"),
    **{
        f"delimiter {delimiter!r}": text(delimiter)
        for delimiter in (
            *(";", "\t", "|", ":", " ", "~", "^", "\x01", "\x1f"),
            *(", ", ",\t", " , ", "\t\t", "||", "::", ";;", " | ", "~|~"),
        )
    },
    "preamble": "Export of lab 7\nby Ada\n\n" + QUOTED,
    "delimited preamble": "Export,of,lab,7\n,,,\n" + QUOTED,
    "preamble with a quotation mark": '5" tubes\n"open\n' + QUOTED,
    "a line above the header": "person,,contact,\n" + PLAIN,
    "sep=": "sep=,\r\n" + text(end="\r\n"),
    "comment": "# made by a machine\n" + PLAIN,
    "header as comment": "# " + PLAIN,
    "a column called #": below("#\t" + text("\t"), lambda line: f"9\t{line}"),
    "200 blank lines": "\n" * 200 + PLAIN,
    "line ends of two kinds": QUOTED.replace("\n", "\r\n", 9),
    "no end of the last line": PLAIN.removesuffix("\n"),
    "blank lines at the end": f"{PLAIN}\n\n",
    "numbers without quotation marks": re.sub('"([0-9]+)"', r"\1", QUOTED),
    "other names": PLAIN.replace(HEADER, "User\u200b ID\u200b,Full Name,E-MAIL , SIGNUP"),
    "UTF-16 without mark": PLAIN.encode("utf-16-le"),
    "UTF-8 with mark": PLAIN.encode("utf-8-sig"),
    "two marks": "\ufeff\ufeff" + QUOTED,
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16 big-endian without mark": PLAIN.encode("utf-16-be"),
    "UTF-32": PLAIN.encode("utf-32"),
    "Windows-1252": PLAIN.encode("cp1252"),
    "delimiter after each line": lines(PLAIN, lambda line: f"{line},"),
    "delimiter after each record": below(PLAIN, lambda line: f"{line},"),
    "delimiters after each record": below(QUOTED, lambda line: f"{line},,,"),
    "delimiters after the header": PLAIN.replace(HEADER, f"{HEADER},,"),
    "delimiter before each line": lines(PLAIN, lambda line: f",{line}"),
    "index without a name": below(f",{PLAIN}", lambda line: f"0,{line}"),
    "markdown": "\n".join(
        f"| {' | '.join(cell or '' for cell in row)} |" for row in [NAMES, *ROWS]
    ),
    "1,000 more columns": below(
        PLAIN.replace(HEADER, ",".join([HEADER, *(f"c{n}" for n in range(1000))])),
        lambda line: line + "," * 1000,
    ),
    "header over two lines": QUOTED.replace('"user_id"', '"user\nid"', 1),
}
# Lines before the header's last one, and lines of each record.
PLACES = {
    **dict.fromkeys(("CR CR LF", "LF CR", "every second line blank"), (0, 2)),
    **dict.fromkeys(("blank lines with spaces",), (0, 2)),
    **dict.fromkeys(
        ("a line above the header", "sep=", "comment", "header over two lines"), (1, 1)
    ),
    **dict.fromkeys(("delimited preamble", "preamble with a quotation mark"), (2, 1)),
    "preamble": (3, 1),
    "200 blank lines": (200, 1),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_table_in_every_form_gives_the_same_cells(name: str) -> None:
    before, height = PLACES.get(name, (0, 1))
    (table,), problems = read(SAME[name])
    assert (problems, table.rejected) == ([], ())
    assert table.rows == tuple((before + 1 + height * at, row) for at, row in enumerate(ROWS, 1))


# One line is wrong; it alone is rejected: line and rule.
ONE_WRONG: dict[str, tuple[str | bytes, str]] = {
    "footer": (PLAIN + "Total: 30\n\nEnd\n", "32 wrong_column_count, 34 wrong_column_count"),
    "another delimiter": (QUOTED + '"31";"a";"b";"c"\n', "32 broken_quoting"),
    "a mark too few": (QUOTED + '"31","a,"b","c"\n', "32 broken_quoting"),
    "end of file inside of marks": (QUOTED + '"31","a","b","c', "32 broken_quoting"),
    "NULs at the end": (PLAIN + "\0" * 4096, "32 nul_byte"),
    "end mark of DOS": (PLAIN + "\x1a", "32 wrong_column_count"),
    "end mark of COPY": (PLAIN + "\\.\n", "32 wrong_column_count"),
    "bytes of another encoding": (PLAIN.encode() + b"31,M\xfcller,b,c\n", "32 undecodable"),
    "overlong UTF-8": (PLAIN.encode() + b"31,\xc0\xaf,b,c\n", "32 undecodable"),
    "half a character": (PLAIN.encode("utf-16") + b"\n", "32 undecodable"),
    "a mark escaped by a backslash": (PLAIN + '31,"a \\"b\\"",b,c\n', "32 broken_quoting"),
    "a delimiter escaped by a backslash": (PLAIN + "31,a\\, b,c,d\n", "32 wrong_column_count"),
    "a line quoted as a whole": (PLAIN + '"31,""a, b"",c,d"\n', "32 wrong_column_count"),
}


@pytest.mark.parametrize("name", ONE_WRONG)
def test_one_wrong_line_costs_itself(name: str) -> None:
    content, rejected = ONE_WRONG[name]
    rows, _, wrong = table_of(content)
    assert (rows, wrong) == (ROWS, rejected)


# What no table can be read from, and words of the reason.
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "it is empty"),
    "blanks": ("\n \r\n\t", "it is empty"),
    "other columns": ("a,b,c\n1,2,3\n", "names columns of an input (users: user_id, name"),
    "few columns": ("user_id,email\n", "Closest is line 1 with delimiter ',': of users it has"),
    "no header": (DATA, "names columns of an input"),
    "a column is missing": (PLAIN.replace("name", "phone"), "lacks name"),
    "a column twice": (f"{HEADER},name\n1,a,b,c,d\n", "names one of them twice"),
    "apostrophes": (text(quote="'"), "or say another one with --quote"),
    "lines quoted as a whole": (
        "\n".join('"' + line.replace('"', '""') + '";;' for line in PLAIN.splitlines()),
        "line 1: each line is one quoted cell",
    ),
    "an unusual delimiter": (text("→"), "another delimiter than usual, say it with --delimiter"),
    "an open mark in the header": (f'"{PLAIN}', "quotation marks are not right"),
    "two inputs side by side": (
        f"{HEADER},,compound_id,compound_name,compound_structure\n1,a,b,c,,1,d,H2O\n",
        "means users and compounds. Say which with --input.",
    ),
    "NUL in the header": (PLAIN.replace("name", "na\0me"), "lacks name"),
    "HTML as .xls": ('<html xmlns:o="x"><table><tr><td>user_id</td></tr></table>', "HTML or XML"),
    "SYLK": ('ID;PWXL;N;E\nC;Y1;X1;K"user_id"\nE\n', "names"),
    "Rich Text": ("{\\rtf1\\ansi user_id,name,email,signup_date\\par}", "Rich Text"),
    "SQL": (f"INSERT INTO users ({HEADER}) VALUES\n(1,'a','b','c');\n", "lacks user_id"),
    "JSON array": ('[{"user_id":1}]', "one object a line"),
    "JSON over lines": ('{\n"user_id": 1\n}\n', "one object a line"),
    "EBCDIC": (PLAIN.replace("é", "e").encode("cp500"), "some"),
    "gzip of nothing": (gzip.compress(b""), "it is empty"),
    "gzip cut short": (gzip.compress(PLAIN.encode())[:-9], "is cut short"),
    "zip of nothing": (archive_of([]), "some"),
    "zip without its end": (archive_of([("a.csv", PLAIN)])[:-30], "table of contents"),
    "zip named as workbook": (archive_of([("[Content_Types].xml", "<x/>")]), "no .xlsx"),
    "a line too long": (f"{HEADER}\n{'x' * (33 << 20)}", "longer than 32 MiB"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_is_refused_with_the_reason(name: str) -> None:
    content, says = REFUSED[name]
    tables, (problem,) = read(content)
    assert tables == []
    assert problem.startswith("some.dat")
    assert says in problem
    assert problem.isprintable()


def test_columns_may_stand_in_any_order_and_others_between() -> None:
    header = "note;signup_date;name;;user_id;email"
    records = ";2023-01-01;Ada, Countess;;1;a@lab\nx;;'t Hooft;y;2;\n"
    (table,), _ = read(f"\n\n{header}\n{records}")
    assert table.rows == (
        (4, ("1", "Ada, Countess", "a@lab", "2023-01-01")),
        (5, ("2", "'t Hooft", None, None)),
    )
    assert table.parser.dialect == "text, utf-8, delimiter ';', header in line 3"
    assert table.parser.notes == (
        "passed over lines 1 to 2 before the header",
        "further columns, kept in `extra`: 'note'",
        "ignored columns, without a name: number 4",
    )
    # Between spaces there are names, too.
    rows, _, _ = table_of("User ID,Signup,E-Mail,Full Name\n1,2023-01-01,a@lab,Ada\n")
    assert rows == [("1", "Ada", "a@lab", "2023-01-01")]


SAID: list[tuple[str | bytes, Mapping[str, object]]] = [
    (PLAIN.encode("cp1250"), {"encoding": "windows-1250"}),
    (DATA, {"columns": NAMES}),
    *((PLAIN.encode(page), {"encoding": "utf-16"}) for page in ("utf-16", "utf-16-le")),
    (f"\ufeff{PLAIN}".encode("utf-16-be"), {"encoding": "utf-16"}),
    (PLAIN.encode("utf-32-le"), {"encoding": "utf-32"}),
    *(
        (text(delimiter, quote), {"delimiter": delimiter, "quote": quote})
        for delimiter, quote in (("→", "'"), ("\\", '"'), ("é", "'"), ("x", '"'))
    ),
]


@pytest.mark.parametrize(("content", "said"), SAID)
def test_what_is_said_goes_before_what_is_recognised(
    content: str | bytes, said: Mapping[str, object]
) -> None:
    rows, _, wrong = table_of(content, **said)
    assert (rows, wrong) == (ROWS, "")


def test_what_is_said_may_not_fit() -> None:
    assert table_of(f'{HEADER}\n1,"a,b,\n', quote="")[0] == [("1", '"a', "b", None)]
    assert "Only ';' was tried" in table_of(PLAIN, delimiter=";")[2]
    assert "mean no input" in table_of(DATA, columns=("user_id", "email"))[2]
    says = "no single delimiter gives its lines 4 cells"
    assert says in table_of("1 2 3\n4 5 6\n", columns=NAMES)[2]


@pytest.mark.parametrize("name", ["klingon", "undefined", "idna", "punycode", "rot13", "hex"])
def test_an_encoding_must_be_one_of_text(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}' is no text encoding"):
        said_encoding(name, b"")


@pytest.mark.parametrize(
    ("encoding", "lines"), [("cp1252", 30_000), ("utf-8", 30_000), ("cp1252", 60_000)]
)
def test_the_first_letter_beyond_ascii_may_come_late(
    tmp_path: Path, encoding: str, lines: int
) -> None:
    plain = "".join(f"{number},Ada,ada@lab.example,2023-01-01\n" for number in range(lines))
    path = tmp_path / "some.csv"
    # Of a letter at the end of a portion only the first byte may have been read.
    for shift in range(3 if encoding == "utf-8" else 1):
        late = f"{HEADER}\n{plain}1,{'x' * shift}{'é' * 600_000},b,\n2,Béla,c,\n"
        path.write_bytes(late.encode(encoding))
        with collect([str(path)], progress=lambda _: None) as collected:
            (parser,) = recognise(collected.files[0], INPUTS, ReadOptions())
            batches = list(parser.batches(load_id=5))
        rejected = [line.rule for batch in batches for line in batch.rejected]
        # Behind what the encoding is told from nothing is guessed.
        assert rejected == (["undecodable"] * 2 if lines == 60_000 else [])
        assert sum(batch.records for batch in batches) == lines + 2 - len(rejected)


@pytest.mark.parametrize("line", ['"{0}",{0},"N","e","d"', "{0},{0},N,e,d", "{0},N,e,d,note"])
def test_a_nameless_cell_that_could_be_the_first_or_the_last_is_not_guessed(line: str) -> None:
    records = "\n".join(line.format(number) for number in range(1, 20))
    rows, _, wrong = table_of('"' + HEADER.replace(",", '","') + f'"\n{records}\n')
    assert (rows, wrong.count(",")) == ([], 18)


SIGNS = [b'"', b"\r", b"\n", b"\0", b"\xff", b",", b"'", b"\xef\xbb\xbf", b"<", b"{", b"\\", b"\t"]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The bytes with some of them flipped, changed, put in, taken out, repeated or cut off."""
    out = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 3, 8, 30])):
        # Heads and tails have the most meaning.
        near = chance.choice([64, len(out), len(out)])
        at = min(chance.randrange(near + 1), len(out))
        at = len(out) - at if chance.random() < 0.3 else at
        other = chance.randrange(len(out) + 1)
        match chance.randrange(7):
            case 0 | 1 if at < len(out):
                out[at] ^= chance.choice([1 << chance.randrange(8), chance.randrange(1, 256)])
            case 2 if chance.random() < 0.3:
                del out[at:]
            case 3:
                out[at:at] = chance.randbytes(chance.randrange(1, 5))
            case 4:
                del out[at : at + chance.randrange(1, 20)]
            case 5:
                out[at:at] = chance.choice(SIGNS) * chance.choice([1, 1, 2, 5000])
            case 6:
                out[at:at] = out[min(at, other) : max(at, other)]
    return bytes(out)


# A workbook is read by processes of its own, which take their time.
SHARES = [("csv", 6), ("tsv", 3), ("utf-16", 3), ("jsonl", 3), ("parquet", 3), ("zip", 3)]
SHARES += [("gz", 2), ("bz2", 1), ("xz", 1), ("zst", 2), ("xlsx", 1), ("xls", 1), ("ods", 1)]
MUTATIONS = int(os.environ.get("LABMART_MUTATIONS", "0")) or 300

MANY = pytest.param(MUTATIONS * 10, marks=pytest.mark.prove("processes for each damage"))


@pytest.mark.parametrize("mutations", [MUTATIONS, MANY])
@pytest.mark.parametrize(("form", "share"), SHARES)
def test_a_damaged_file_is_read_or_refused(form: str, share: int, mutations: int) -> None:
    # read() lets nothing pass but refusals, and holds that every line is accounted for.
    chance = random.Random(f"{form} {mutations}")
    whole = written(form, [NAMES, *ROWS])
    for _ in range(mutations * share // sum(share for _, share in SHARES)):
        tables, problems = read(damaged(whole, chance))
        assert tables or problems
        assert all(problem.startswith("some.dat") for problem in problems)


@pytest.mark.parametrize(
    ("lines", "seed"),
    [(10_000, 1), pytest.param(1_000_000, 2, marks=pytest.mark.prove("a million lines: minutes"))],
)
def test_every_record_is_accounted_for(lines: int, seed: int) -> None:
    fates = account_of(lines, seed)
    assert fates["lost"] == fates["made up"] == 0
    told = ("read to the letter", "rejected with their line", "refused with their file")
    assert all(fates[fate] for fate in told)
    assert sum(fates[fate] for fate in (*told, "in lines that a warning names")) == fates["records"]
