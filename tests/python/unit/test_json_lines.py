"""JSON lines: every line that is not blank is a record or a rejected line, cell by cell."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from support.copy_text import rows_of

from loader.errors import FileRefused
from loader.files.content import DecompressedStream
from loader.parsers.json_lines import JsonLinesParser, recognise
from loader.parsers.records import Batch
from loader.sources import Input, InputColumn


def make_input(name: str, columns: str, names: Sequence[str] = ()) -> Input:
    """An input; `?` is behind a column that need not be there, and `names` are the last one's."""
    made = [
        InputColumn(column.rstrip("?"), not column.endswith("?"), frozenset({column.rstrip("?")}))
        for column in columns.split()
    ]
    last = InputColumn(made[-1].name, made[-1].required, made[-1].names | {*names})
    return Input(name, (*made[:-1], last), natural_key=made[0].name)


SAMPLES = make_input("samples", "sample_id weight? label", ["sample_label"])
RUNS = make_input("runs", "run_id sample_id")
GOOD = b'{"sample_id":1,"label":"a"}\n'


def parsed(
    content: bytes, inputs: Sequence[Input] = (SAMPLES, RUNS), said: str | None = None
) -> tuple[JsonLinesParser, list[Batch]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "s.jsonl")
        path.write_bytes(content)
        parser = recognise("s.jsonl", partial(DecompressedStream, path), inputs, said)
        return parser, list(parser.batches(7))


def text_of(content: bytes, said: str | None = None) -> str:
    """What goes to COPY; no line may be rejected."""
    _, batches = parsed(content, said=said)
    assert not any(batch.rejected for batch in batches)
    return "".join(batch.text for batch in batches)


def test_a_record_has_all_declared_columns_and_its_line() -> None:
    content = b'\n{"label": "x", "sample_id": 12, "weight": 0.10}\n\n{"sample_id":2,"label":""}\n'
    _, (batch,) = parsed(content)
    assert batch.text == '2,7,12,0.10,x,\n4,7,2,,"",\n'
    assert (batch.records, batch.rejected, batch.position) == (2, (), len(content))


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
    assert text_of(f"{line}\r\n".encode()) == f"1,7,8,,{cell},\n"


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
    _, (batch,) = parsed(GOOD + line + b"\r\n" + GOOD)
    (problem,) = batch.rejected
    assert (problem.line, problem.rule) == (2, rule)
    assert word in problem.detail
    kept = line.decode("utf-8", "backslashreplace")
    assert problem.content == kept or rule in ("undecodable", "nul_byte")
    assert batch.text == "1,7,1,,a,\n3,7,1,,a,\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\xef\xbb\xbf" + GOOD, None),
        (GOOD.decode().encode("utf-16"), None),
        (GOOD.decode().encode("utf-16-be"), None),
        ('{"sample_id": 1, "label": "Größe"}\n'.encode("cp1252"), "windows-1252"),
    ],
)
def test_a_mark_and_what_is_said_tell_the_encoding(line: bytes, said: str | None) -> None:
    assert text_of(line, said) in ("1,7,1,,a,\n", "1,7,1,,Größe,\n")


def test_an_optional_column_that_comes_late_is_not_lost() -> None:
    filler = b'{"sample_id":1,"label":"%s"}\n' % (b"x" * 1000)
    late = b'{"sample_id":2,"label":"y","WEIGHT":5,"other":1}\n'
    parser, batches = parsed(filler * 6000 + late)
    assert batches[-1].text.endswith('6001,7,2,5,y,"{""other"": ""1""}"\n')
    assert len(batches) > 3
    assert sum(batch.records for batch in batches) == 6001
    assert parser.notes == ("further keys, kept in `extra`: 'other'",)


def test_further_keys_are_kept_and_named_up_to_twenty() -> None:
    extra = {f"k{n}": n for n in range(25)}
    parser, (batch,) = parsed(json.dumps({"sample_id": 1, "label": 2, **extra}).encode())
    ((_, (*record, further)),) = rows_of(batch.text, ",", load_id=7)
    assert record == ["1", None, "2"]
    assert json.loads(further or "") == {name: str(value) for name, value in extra.items()}
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
        (b'{"n":1,"further":[{"a":1}]}', "none of its objects ('n', 'further')"),
        (b'{"n":1,"samples":[{"sample_id":1,"label":2}]}', "jq -c '.[\"samples\"][]'"),
    ],
)
def test_a_file_that_is_no_json_lines_is_refused_with_advice(content: bytes, words: str) -> None:
    with pytest.raises(FileRefused, match=r"s\.jsonl") as refusal:
        parsed(content)
    assert words in str(refusal.value)


def test_a_list_for_an_id_costs_its_line_alone() -> None:
    text = text_of(b'{"sample_id":[],"label":"bad"}\n' + GOOD)
    assert text == '1,7,"",,bad,\n2,7,1,,a,\n'


def test_a_line_that_never_ends_is_refused() -> None:
    with pytest.raises(FileRefused, match="line 4: the line is longer"):
        parsed(GOOD * 3 + b'{"sample_id":"' + b"x" * (34 << 20))
