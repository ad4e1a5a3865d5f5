"""The splitting of delimited text: the definition by examples, and the fast way against it."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from support.copy_text import BLANKS, Row, rows_of, said_by

from loader.parsers import splitter as splitter_module
from loader.parsers.records import SWALLOWED, RejectedLine
from loader.parsers.splitter import Dialect, Splitter, complete_lines

ALL = (True, True, True)
COMMA = Dialect(",")


def split(
    text: str,
    shape: Dialect = COMMA,
    *,
    keep: tuple[bool, ...] = ALL,
    by_definition: bool = False,
    portion: int = 1 << 30,
    surplus: int = 0,
) -> tuple[list[Row], list[RejectedLine]]:
    """Rows and rejected lines of a text that comes in portions of so many characters."""
    pick = tuple(at for at, is_kept in enumerate(keep) if is_kept)
    splitter = Splitter(shape, load_id=5)
    splitter.expect(len(keep), pick, surplus=surplus)
    if by_definition:
        splitter._plain = None
    out, pending, records, wrong = "", "", 0, []
    for part in [*(text[at : at + portion] for at in range(0, len(text), portion)), None]:
        pending += part or ""
        whole = len(pending) if part is None else complete_lines(pending)
        found, used = splitter.split(pending[:whole], final=part is None)
        out += found
        records += splitter.records
        wrong += [line for line in splitter.rejected if line.rule != SWALLOWED]
        pending = pending[used:]
    assert not pending
    rows = rows_of(out, shape.output, load_id=5)
    assert len(rows) == records
    return rows, wrong


@pytest.mark.parametrize(
    ("text", "rows", "rejected"),
    [
        ("1,2,3", [(1, tuple("123"))], []),
        ("1,2,3\r\n4,5,6\r7,8,9\n", [(1, tuple("123")), (2, tuple("456")), (3, tuple("789"))], []),
        ('1,"a,b","c""d"\n', [(1, ("1", "a,b", 'c"d'))], []),
        ('1,"a\r\nb",c\nx,y,z\n', [(1, ("1", "a\r\nb", "c")), (3, ("x", "y", "z"))], []),
        ('1,\t"a" , "b"\n', [(1, ("1", "a", "b"))], []),
        ("1, a ,\tb\n", [(1, ("1", " a ", "\tb"))], []),
        ('1,5" tube,a"b"\n', [(1, ("1", '5" tube', 'a"b"'))], []),
        (',"",x\n', [(1, (None, "", "x"))], []),
        ("\n  \n1,2,3\n\u00a0\n", [(3, tuple("123"))], []),
        (
            ',,\n, ,\t\n1,2,3\n"","",\n,\n"\n",,\n4,"""",\n"","""",""\n',
            [(3, tuple("123")), (8, ("4", '"', None)), (9, ("", '"', ""))],
            [],
        ),
        (
            '="007","a b",=1\n"=""01""","=""x""",2\n',
            [(1, ("007", "a b", "=1")), (2, ("01", "x", "2"))],
            [],
        ),
        ("1,a\x0bb\x0cc\u2028d,e\n", [(1, ("1", "a\x0bb\x0cc\u2028d", "e"))], []),
        ("\\.,\\N,\\n\n", [(1, ("\\.", "\\N", "\\n"))], []),
        # A cell over several lines.
        ('1,"a\n\nb, c\nd",2\n', [(1, ("1", "a\n\nb, c\nd", "2"))], []),
        ('"a\nb",1,2\n', [(1, ("a\nb", "1", "2"))], []),
        ('1,2,"a\nb"\n', [(1, ("1", "2", "a\nb"))], []),
        ('1,"\n",2\n', [(1, ("1", "\n", "2"))], []),
        # A mark that is never closed costs one line, two stray ones nothing between them.
        (
            '1,a,b\n2,"c,d\n3,"e",f\n4,"g\nh",i\n',
            [(1, ("1", "a", "b")), (3, ("3", "e", "f")), (4, ("4", "g\nh", "i"))],
            [(2, "broken_quoting", '2,"c,d')],
        ),
        (
            '1,"x,y\n' + "2,x,y\n" * 40 + '42,x,"y\n43,x,y\n',
            [*((at, ("2", "x", "y")) for at in range(2, 42)), (43, ("43", "x", "y"))],
            [(1, "broken_quoting", '1,"x,y'), (42, "broken_quoting", '42,x,"y')],
        ),
        (
            '1,"x,y\n2,x,y"\n3,x,y\n',
            [(2, ("2", "x", 'y"')), (3, ("3", "x", "y"))],
            [(1, "broken_quoting", '1,"x,y')],
        ),
        # What is rejected is kept verbatim.
        ('  x\\y "z" \t\n', [], [(1, "wrong_column_count", '  x\\y "z" \t')]),
        ("1,\\x00 \0 \udcfe", [], [(1, "undecodable", "1,\\\\x00 \\x00 \\xfe")]),
    ],
)
def test_a_text_is_read_as_it_stands(
    text: str, rows: list[Row], rejected: list[tuple[int, str, str]]
) -> None:
    read, wrong = split(text)
    assert (read, [(line.line, line.rule, line.content) for line in wrong]) == (rows, rejected)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("1,2", "wrong_column_count"),
        ("1,2,3,4", "wrong_column_count"),
        ("Total: 24", "wrong_column_count"),
        ('1,"a"b,c', "broken_quoting"),
        ('1,2,"c', "broken_quoting"),
        ('1,"2",3,"', "broken_quoting"),
        ("1,a\0,c", "nul_byte"),
        ("1,a\udcff,c", "undecodable"),
        ("\0", "nul_byte"),
    ],
)
def test_a_line_that_is_wrong_is_rejected_alone(line: str, rule: str) -> None:
    for end in ("\n", "\r\n", "\r"):
        rows, wrong = split(f"a,b,c{end}{line}{end}d,e,f{end}")
        assert [number for number, _ in rows] == [1, 3]
        assert [(line.line, line.rule) for line in wrong] == [(2, rule)]


def test_a_cell_over_more_text_than_the_limit_is_an_open_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(splitter_module, "RECORD_LIMIT", 4_000)
    assert len(split('1,"' + "x\n" * 1000 + '",3\n', portion=100)[0]) == 1
    rows, wrong = split('1,"' + "x\n" * 4000 + '",3\n', portion=1000)
    assert (rows, len(wrong)) == ([], 4001)


@pytest.mark.parametrize("delimiter", [";", "\t", "|", " ", "§", "7", "x", "\\", "^", "]", "-"])
@pytest.mark.parametrize("quote", ['"', "'", ""])
def test_any_character_can_be_the_delimiter(delimiter: str, quote: str) -> None:
    line = delimiter.join(("a", f"{quote}b{quote}", "", f"{quote}é, ü{quote}" if quote else "c"))
    last = "é, ü" if quote else "c"
    expected = [(1, ("a", "b", None, last)), (2, ("a", "b", None, last))]
    assert split(f"{line}\n{line}\n", Dialect(delimiter, quote), keep=(True,) * 4) == (expected, [])


# Few different characters, so that what matters meets often.
TEXTS = st.text(alphabet="ab,\"\n\r \t;'\0\udcffé", max_size=60)
LINES = st.lists(
    st.one_of(st.sampled_from(["1,2,3", '"1","2","3"', '1, "b" ,c', '"a""b",,""', "é,ü,1"]), TEXTS),
    max_size=8,
).map("\n".join)
SHAPES = st.builds(Dialect, st.sampled_from(",;\t ab"), st.sampled_from(['"', "'", ""])).filter(
    lambda shape: shape.delimiter != shape.quote
)


@settings(max_examples=600, deadline=None)
@given(
    LINES,
    SHAPES,
    st.sampled_from([ALL, (True, False, True), (False, True), (True,)]),
    st.sampled_from([0, 0, 1, 2]),
)
@example('1, "b" ,c\n', Dialect(","), ALL, 0)
@example('1,"b\n,c"\n', Dialect(","), ALL, 0)
@example("1,b,c, \n1,b,c,d\n", Dialect(","), ALL, 1)
def test_the_fast_way_reads_what_the_definition_reads(
    text: str, shape: Dialect, keep: tuple[bool, ...], surplus: int
) -> None:
    by_definition = split(text, shape, keep=keep, by_definition=True, surplus=surplus)
    assert split(text, shape, keep=keep, surplus=surplus) == by_definition
    assert split(text, shape, keep=keep, portion=3, surplus=surplus) == by_definition


CELLS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(",;\t|"),
)
@example([("", "", '=""')], csv.QUOTE_MINIMAL, "\n", ",")
@example([("1", ' =" a;b"', '="x"y"')], csv.QUOTE_ALL, "\n", ",")
def test_what_a_csv_writer_writes_is_read_back(
    rows: list[tuple[str, str, str]], quoting: int, end: str, delimiter: str
) -> None:
    file = io.StringIO(newline="")
    kind: Any = quoting
    csv.writer(file, quoting=kind, lineterminator=end, delimiter=delimiter).writerows(rows)
    # A cell that begins with blanks and a mark is quoted to us and not to that writer.
    cells = [cell for row in rows for cell in row]
    assume(not any(cell.lstrip(" \t\u00a0\ufeff").startswith('"') for cell in cells))
    # That writer leaves a CR bare, where its lines end with LF.
    assume(quoting != csv.QUOTE_MINIMAL or not any("\r" in cell for cell in cells))
    found, lines = split(file.getvalue(), Dialect(delimiter))
    assert lines == []
    said = [tuple(map(said_by, row)) for row in rows]
    filled = [row for row in said if any(cell.strip(BLANKS) for cell in row)]
    assert [tuple(cell or "" for cell in cells) for _, cells in found] == filled
