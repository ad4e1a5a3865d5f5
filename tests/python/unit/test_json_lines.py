"""JSON lines: every line that is not blank is a record or a rejected line, cell by cell."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import cast

import pytest

from loader.errors import FileRefused
from loader.files.content import DecompressedStream
from loader.parsers.encoding import Open
from loader.parsers.json_lines import recognise
from loader.parsers.records import Batch, RejectedLine
from loader.sources import Input, InputColumn, header_key


def make_input(name: str, columns: str, **others: Sequence[str]) -> Input:
    return Input(
        name,
        tuple(
            InputColumn(column.rstrip("?"), not column.endswith("?"), frozenset(names))
            for column in columns.split()
            for names in [[column.rstrip("?"), *map(header_key, others.get(column, ()))]]
        ),
        natural_key=columns.split()[0],
    )


SAMPLES = make_input("samples", "sample_id label weight?", label=["Sample Label"])
RUNS = make_input("runs", "run_id sample_id")


class Bytes(io.BytesIO):
    """A file as loader.files opens it."""

    @property
    def position(self) -> int:
        """Bytes used so far."""
        return self.tell()


def opened(content: bytes) -> Open:
    return lambda: cast("DecompressedStream", Bytes(content))


def read(content: bytes, inputs: Sequence[Input] = (SAMPLES, RUNS)) -> list[Batch]:
    return list(recognise("s.jsonl", opened(content), inputs).batches(7))


def cells_of(batches: Sequence[Batch]) -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(batch.text for batch in batches), newline="")))


def cells(content: bytes) -> list[list[str]]:
    """Line, load and the declared cells."""
    return [record[:-1] for record in cells_of(read(content))]


def rejected(content: bytes) -> list[RejectedLine]:
    return [line for batch in read(content) for line in batch.rejected]


GOOD = b'{"sample_id":1,"label":"a"}\n'


def test_a_record_has_all_declared_columns_and_its_line() -> None:
    (batch,) = read(
        b'\n{"label": "x", "sample_id": 12, "weight": 0.10}\n\n{"sample_id":2,"label":""}\n'
    )
    assert batch.text == '2,7,12,x,0.10,\n4,7,2,"",,\n'
    assert (batch.records, batch.rejected) == (2, ())
    assert batch.position > 0


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("1", "1"),
        ("1.0", "1.0"),
        ("1e400", "1e400"),
        ("-0", "-0"),
        ("123456789012345678901234567890.10", "123456789012345678901234567890.10"),
        ("NaN", "NaN"),
        ("true", "true"),
        ("false", "false"),
        ("null", ""),
        ('""', '""'),
        ('"007"', "007"),
        ('" a "', " a "),
        (r'"a\nb"', '"a\nb"'),
        (r'"a\rb"', '"a\rb"'),
        (r'"say \"x\", y"', '"say ""x"", y"'),
        (r'"\u00e9\ud83d\ude00"', "é😀"),
        ('"é,"', '"é,"'),
        ('[1, 2.50, "b"]', "1;2.50;b"),
        ("[1, null, [2, {}], true]", '"1;;[2,{}];true"'),
        (r'"=\"007\""', "007"),
        ('{"b": {"a": 1.0, "a": null}, "c": "é"}', '"{""b"":{""a"":1.0,""a"":null},""c"":""é""}"'),
        ("[]", '""'),
        ("{}", "{}"),
    ],
)
def test_a_value_keeps_its_text(value: str, cell: str) -> None:
    line = f'{{"sample_id":8,"label":{value}}}'
    (batch,) = read(f"{line}\r\n".encode())
    assert batch.text == f"1,7,8,{cell},,\n"


@pytest.mark.parametrize(
    ("line", "rule", "word"),
    [
        (b'{"sample_id":1,"label":"a"', "invalid_json", "Character 27"),
        (b'{"sample_id":1,"label":"a"} x', "invalid_json", "follows"),
        (b"[1]", "invalid_json", "no object"),
        (b"7", "invalid_json", "no object"),
        (b"sample", "invalid_json", "Character 1"),
        (b'{"sample_id":1,"sample_id":2,"label":"a"}', "invalid_json", "twice"),
        (b'{"sample_id":1,"Sample ID":2,"label":"a"}', "invalid_json", "all mean sample_id"),
        (b'{"sample_id":1,"label":"a\tb"}', "invalid_json", "control character"),
        (b'{"sample_id":1,"label":"a\\u0000"}', "nul_byte", "label"),
        (b'{"sample_id":1,"label":"a\0"}', "nul_byte", "NUL"),
        (b'{"sample_id":1,"label":"\\ud800"}', "undecodable", "surrogate"),
        (b'{"sample_id":1,"label":"\xff"}', "undecodable", "encoding"),
        (b'{"sample_id":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json", "deeply"),
        (b'{"sample_id":' + b"[" * 1400 + b"]" * 1400 + b',"label":1}', "invalid_json", "deeply"),
    ],
)
def test_a_line_that_is_no_record_is_rejected_alone(line: bytes, rule: str, word: str) -> None:
    content = GOOD + line + b"\r\n" + GOOD
    (problem,) = rejected(content)
    assert (problem.line, problem.rule) == (2, rule)
    assert word in problem.detail
    assert problem.content == line.decode("utf-8", "backslashreplace").replace("\0", "\\x00") or (
        rule in ("undecodable", "nul_byte")
    )
    assert [record[0] for record in cells(content)] == ["1", "3"]


def test_a_byte_order_mark_and_utf_16_are_read() -> None:
    assert cells(b"\xef\xbb\xbf" + GOOD)[0][2] == "1"
    assert cells(GOOD.decode().encode("utf-16"))[0][2] == "1"
    assert cells(GOOD.decode().encode("utf-16-be"))[0][2] == "1"
    content = GOOD + '{"sample_id": 9, "label": "Größe"}\n'.encode("cp1252")
    (batch,) = recognise("s.jsonl", opened(content), [SAMPLES], "windows-1252").batches(7)
    assert "Größe" in batch.text
    assert batch.rejected == ()


def test_an_optional_column_that_comes_late_is_not_lost() -> None:
    filler = b'{"sample_id":1,"label":"%s"}\n' % (b"x" * 1000)
    content = filler * 6000 + b'{"sample_id":2,"label":"y","WEIGHT":5,"other":1}\n'
    parser = recognise("s", opened(content), [SAMPLES])
    batches = list(parser.batches(1))
    assert batches[-1].text.endswith('6001,1,2,y,5,"{""other"": ""1""}"\n')
    assert len(batches) > 3
    assert sum(batch.records for batch in batches) == 6001
    assert parser.notes == ("further keys, kept in `extra`: 'other'",)


def test_further_keys_are_kept_and_named_up_to_twenty() -> None:
    extra = {f"k{n}": n for n in range(25)}
    content = json.dumps({"sample_id": 1, "label": 2, **extra}).encode()
    parser = recognise("s", opened(content), [SAMPLES])
    [[*record, further]] = cells_of(list(parser.batches(1)))
    assert record == ["1", "1", "1", "2", ""]
    assert json.loads(further) == {name: str(value) for name, value in extra.items()}
    (note,) = parser.notes
    assert note.startswith("further keys, kept in `extra`: 'k0', 'k1'")
    assert note.endswith("'k19' and 5 more")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[{"sample_id":1,"label":2}]', "jq -c '.[]'"),
        (b'[\n  {"sample_id":1,"label":2}\n]', "line 1: Character 2"),
        (b'\n{\n  "sample_id":1,\n "label":2\n}\n', "line 2: Character 2"),
        (b'{"sample_id":1,\n "label":2\n}\n', "jq -c ."),
        (b'{"sample_id" 1}\n', "line 1: Character 14"),
        (b"{}\n", "no keys"),
        (b'{"a":1}\n', "'a'"),
        (b'{"run_id":1,"sample_id":2,"label":3}', "samples and runs"),
        (b"\n\n", "no JSON object"),
        (b'{"sample_id":{"0":1,"1":2},"label":{"0":"a","1":"b"}}', "'sample_id' of the first obj"),
        (b'{"sample_id":[1,2],"label":["a","b"]}', "to_json(orient='records', lines=True)"),
        (b'{"n":1,"samples":[{"sample_id":1,"label":2}]}', "jq -c '.[\"samples\"][]'"),
    ],
)
def test_a_file_that_is_no_json_lines_is_refused_with_advice(content: bytes, words: str) -> None:
    with pytest.raises(FileRefused, match=r"s\.jsonl") as refusal:
        read(content)
    assert words in str(refusal.value)


def test_a_line_that_never_ends_is_refused() -> None:
    content = GOOD * 3 + b'{"sample_id":"' + b"x" * (34 << 20)
    with pytest.raises(FileRefused, match="line 4: the line is longer"):
        read(content)
