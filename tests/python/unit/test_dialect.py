"""Recognition: every form of the same file gives the same cells, and what is unsure is refused."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.copy_text import BLANKS, rows_of, said_by
from support.project import ROOT

from loader.errors import FileRefused, UsageError
from loader.parsers.delimited import DelimitedParser, recognise_text
from loader.parsers.dialect import ReadOptions
from loader.parsers.encoding import Stream
from loader.parsers.records import RejectedLine
from loader.sources import read_inputs

INPUTS = read_inputs(ROOT / "models" / "staging" / "_sources.yml")
HEADER = "user_id,name,email,signup_date"
ROWS = [
    (2, ("1", "Ada, Countess", "ada@lab.example", "2023-01-01")),
    (3, ("2", "Béla", "bela@lab.example", None)),
]


class Bytes(io.BytesIO):
    """A file in memory."""

    @property
    def position(self) -> int:
        """Bytes read."""
        return self.tell()


def recognise(content: bytes | str, options: ReadOptions | None = None) -> DelimitedParser:
    data = content.encode() if isinstance(content, str) else content

    @contextmanager
    def open_bytes() -> Iterator[Stream]:
        yield Bytes(data)

    return recognise_text("some.csv", open_bytes, INPUTS, options or ReadOptions())


def read(
    content: bytes | str, options: ReadOptions | None = None
) -> tuple[list[tuple[int, dict[str, str | None]]], list[RejectedLine]]:
    """Line and cells by column, trimmed as the models do, and the rejected lines."""
    parser = recognise(content, options)
    rows: list[tuple[int, dict[str, str | None]]] = []
    rejected: list[RejectedLine] = []
    for batch in parser.batches(load_id=5):
        rejected += batch.rejected
        for line, cells in rows_of(batch.text, parser.delimiter, load_id=5):
            trimmed = [(cell or "").strip(" \t\r\n\u00a0\ufeff") or None for cell in cells]
            # What the file has beyond the declared columns stands behind them.
            declared = trimmed[: len(parser.columns)]
            rows.append((line, dict(zip(parser.columns, declared, strict=True))))
    return rows, rejected


def expected(shift: int = 0) -> list[tuple[int, dict[str, str | None]]]:
    names = HEADER.split(",")
    return [(line + shift, dict(zip(names, cells, strict=True))) for line, cells in ROWS]


PLAIN = f'{HEADER}\n1,"Ada, Countess",ada@lab.example,2023-01-01\n2,Béla,bela@lab.example,\n'
QUOTED = (
    '"user_id","name","email","signup_date"\n'
    '"1","Ada, Countess","ada@lab.example","2023-01-01"\n"2","Béla","bela@lab.example",""\n'
)


def with_delimiter(delimiter: str) -> str:
    return QUOTED.replace('","', f'"{delimiter}"')


@pytest.mark.parametrize(
    ("content", "shift"),
    [
        pytest.param(PLAIN, 0, id="plain comma"),
        pytest.param(QUOTED, 0, id="everything quoted"),
        pytest.param(QUOTED.replace('"1"', "1").replace('"2"', "2"), 0, id="bare integers"),
        pytest.param(with_delimiter(",\t"), 0, id="comma followed by TAB"),
        pytest.param(with_delimiter(" ;  "), 0, id="padded semicolon"),
        pytest.param(with_delimiter("\t").replace('"\t"', '"\t"\t'), 0, id="cells begin with TAB"),
        pytest.param(with_delimiter("|"), 0, id="pipe"),
        pytest.param(with_delimiter(" "), 0, id="space"),
        pytest.param(with_delimiter("§"), 0, id="delimiter beyond ASCII"),
        pytest.param(with_delimiter("\x1f"), 0, id="unit separator"),
        pytest.param(QUOTED.replace('"', "'"), 0, id="apostrophes"),
        pytest.param(PLAIN.replace("\n", "\r\n"), 0, id="CRLF"),
        pytest.param(PLAIN.replace("\n", "\r"), 0, id="CR"),
        pytest.param(PLAIN.replace("\n", "\r\n", 1), 0, id="mixed"),
        pytest.param("\n" + PLAIN, 1, id="a blank first line"),
        pytest.param("Export of lab 7\r\n\r\n# by Ada, 2023\n" + PLAIN, 3, id="explanations"),
        pytest.param("sep=,\n" + PLAIN, 1, id="sep="),
        pytest.param(PLAIN.removesuffix("\n"), 0, id="no final newline"),
        pytest.param(PLAIN + "\n\n", 0, id="blank lines at the end"),
        pytest.param(PLAIN.replace(HEADER, "User ID,Full Name,E-MAIL , signup"), 0, id="names"),
        pytest.param(PLAIN.replace(HEADER, HEADER.upper()), 0, id="upper case"),
        pytest.param("\ufeff" + PLAIN, 0, id="byte order mark"),
        pytest.param("\ufeff" + QUOTED, 0, id="byte order mark and quotes"),
        pytest.param(PLAIN.encode("utf-16"), 0, id="UTF-16"),
        pytest.param(("\ufeff" + PLAIN).encode("utf-16-be"), 0, id="UTF-16 big-endian"),
        pytest.param(PLAIN.encode("utf-16-le"), 0, id="UTF-16 without mark"),
        pytest.param(PLAIN.encode("utf-32"), 0, id="UTF-32"),
        pytest.param(PLAIN.encode("cp1252"), 0, id="Windows-1252"),
    ],
)
def test_every_form_gives_the_same_cells(content: bytes | str, shift: int) -> None:
    assert read(content) == (expected(shift), [])


def test_columns_may_stand_in_any_order_and_others_between() -> None:
    lines = [
        "note;signup_date;name;;user_id;email",
        ";2023-01-01;Ada, Countess;;1;ada@lab.example",
        "x;;Béla;y;2;bela@lab.example",
    ]
    assert read("\n".join(lines)) == (expected(), [])
    assert recognise("\n".join(lines)).notes == (
        "further columns, kept in `extra`: 'note'",
        "ignored columns, without a name: number 4",
    )


def test_the_choice_is_told() -> None:
    parser = recognise("\n\n" + PLAIN)
    assert parser.dialect == "text, utf-8, delimiter ',', header in line 3"
    assert parser.notes == ("passed over lines 1 to 2 before the header",)


def test_a_damaged_byte_costs_its_line_and_speaks_for_no_other_encoding() -> None:
    rows, rejected = read(PLAIN.encode() + b"3,\xff\xfe,x,\n")
    assert rows == expected()
    assert [(one.line, one.rule, one.content) for one in rejected] == [
        (4, "undecodable", "3,\\xff\\xfe,x,")
    ]


def test_one_apostrophe_is_no_quotation_mark() -> None:
    rows, rejected = read(f'{HEADER}\n1,\'t Hooft,a,\n2,"x, y",b,\n3,"open,c,\n')
    assert [cells["name"] for _, cells in rows] == ["'t Hooft", "x, y"]
    assert [one.line for one in rejected] == [4]


def test_options_overrule_the_recognition() -> None:
    content = PLAIN.encode("cp1250")
    assert read(content, ReadOptions(encoding="windows-1250"))[0] == expected()
    bare = "\n".join(PLAIN.splitlines()[1:])
    columns = ReadOptions(columns=("user_id", "name", "email", "signup_date"))
    assert read(bare, columns)[0] == expected(-1)
    with pytest.raises(FileRefused, match="Only ';' was tried"):
        read(PLAIN, ReadOptions(delimiter=";"))
    rows, _ = read(f'{HEADER}\n1,"a,b,\n', ReadOptions(quote=""))
    assert rows[0][1]["name"] == '"a'


@pytest.mark.parametrize("name", ["klingon", "undefined", "idna", "punycode", "rot13", "hex"])
def test_an_encoding_must_be_one_of_text(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}' is no text encoding"):
        read(PLAIN, ReadOptions(encoding=name))


@pytest.mark.parametrize(("encoding", "name"), [("cp1252", "cp1252"), ("utf-8", "utf-8")])
def test_the_first_letter_beyond_ascii_may_come_late(encoding: str, name: str) -> None:
    plain = "".join(f"{number},Ada,ada@lab.example,2023-01-01\n" for number in range(50_000))
    # Of a letter at the end of a portion only the first byte may have been read.
    for shift in range(3):
        late = f"{HEADER}\n{plain}1,{'x' * shift}{'é' * 600_000},b,\n2,Béla,c,\n"
        parser = recognise(late.encode(encoding))
        batches = list(parser.batches(load_id=5))
        assert sum(batch.records for batch in batches) == 50_002
        assert not any(batch.rejected for batch in batches)
        assert f"text, {name}," in parser.dialect


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "it is empty"),
        ("\n \r\n", "it is empty"),
        ("<!doctype html><table>", "HTML or XML"),
        ("a,b,c\n1,2,3\n", "names columns of an input (users: user_id, name"),
        ("user_id,email\n", "Closest is line 1 with delimiter ',': of users it has"),
        ("user_id,email\n", "lacks name"),
        (f"{HEADER},user_id\n", "names one of them twice"),
        (f"{HEADER},compound_id,compound_name,compound_structure\n", "means compounds and users"),
    ],
)
def test_what_is_unsure_is_refused_with_what_was_tried(content: str, says: str) -> None:
    with pytest.raises(FileRefused) as refused:
        read(content)
    assert says in str(refused.value)
    assert str(refused.value).startswith("some.csv")


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(FileRefused, match="line 3: the line is longer than 32 MiB"):
        read(PLAIN.encode().splitlines(keepends=True)[0] + b"1,a,b,c\n" + b"x" * (33 << 20))


def test_a_second_table_below_the_first_is_refused() -> None:
    experiments = "experiment_id,user_id,experiment_compound_ids,experiment_run_time\n1,1,1,5\n"
    with pytest.raises(FileRefused, match="line 4: a second table begins here, of user_exp"):
        list(recognise(PLAIN + experiments).batches(load_id=5))


def test_columns_of_a_file_without_header_must_fit() -> None:
    with pytest.raises(FileRefused, match="no single delimiter gives its lines 4 cells"):
        read("1 2 3\n4 5 6\n", ReadOptions(columns=("user_id", "name", "email", "signup_date")))
    with pytest.raises(FileRefused, match="mean no input"):
        read("1,2\n", ReadOptions(columns=("user_id", "email")))


CELL = st.text(
    alphabet=st.characters(
        codec="cp1252", exclude_characters="\0\x81\x8d\x8f\x90\x9d", exclude_categories=["Cc"]
    )
)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL, CELL), min_size=1, max_size=4),
    delimiter=st.sampled_from([",", ";", "\t", "|", "~", "^"]),
    padding=st.sampled_from(["", " ", "  "]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    before=st.sampled_from(["", "\n", "a comment\n"]),
)
@example(
    rows=[("", "", '=""', ""), ("1", '="007"', '= "', '="a"b"')],
    delimiter=",",
    padding="",
    end="\n",
    encoding="utf-8",
    before="",
)
def test_random_cells_survive_every_form(
    rows: list[tuple[str, str, str, str]],
    delimiter: str,
    padding: str,
    end: str,
    encoding: str,
    before: str,
) -> None:
    def line(cells: tuple[str, ...]) -> str:
        quoted = ('"' + cell.replace('"', '""') + '"' for cell in cells)
        return f"{delimiter}{padding}".join(quoted)

    text = before + "\n".join([line(tuple(HEADER.split(","))), *map(line, rows)]) + "\n"
    found, rejected = read(text.replace("\n", end).encode(encoding))
    assert rejected == []
    trimmed = [tuple(said_by(cell).strip(BLANKS) or None for cell in cells) for cells in rows]
    assert [tuple(cells.values()) for _, cells in found] == [row for row in trimmed if any(row)]
