"""Reading line by line, as engines do that read many at once, gives what the Splitter gives."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

import pytest
from support.copy_text import Cells, rows_of

from loader.parsers.by_line import (
    OddLines,
    blank_pattern,
    cell_pattern,
    quoted_pattern,
    record_pattern,
)
from loader.parsers.splitter import Dialect, Splitter, output_delimiter

_ALPHABETS = (
    'a1 ,"\n',
    'ab,"\n\n',
    "x,\"'\n ",
    'a;\t"\n;;;\n\n',
    'a,\n,"",\n\ufeff\u00a0',
    'a,b\n"\udcff\0',
)
_PIECES = ('"a"', '""', ",", "\n", '"x\ny"', "a,b\n", "1,2\r\n", '"a,b",c\n', "'q',z\n")


def engine(text: str, shape: Dialect, keep: tuple[bool, ...]) -> tuple[dict[int, Cells], OddLines]:
    """What an engine does: plain lines by the patterns alone, odd ones by OddLines."""
    lines = dict(enumerate(text.removesuffix("\n").split("\n"), 1)) if text else {}
    blank = re.compile(blank_pattern(shape))
    record = re.compile(record_pattern(shape, len(keep)))
    cells = [re.compile(cell_pattern(shape, at)) for at in range(len(keep))]
    quoted = re.compile(quoted_pattern(shape))

    def cell(line: str, pattern: re.Pattern[str]) -> str | None:
        found = pattern.search(line)
        assert found is not None
        if inner := quoted.search(found[1]):
            return inner[1].replace(shape.quote * 2, shape.quote)
        return found[1] or None

    plain: dict[int, Cells] = {}
    odd: dict[int, str] = {}
    for number, line in lines.items():
        content = line.removesuffix("\r")
        if any("\ud800" <= char < "\ue000" or char == "\0" for char in content):
            odd[number] = line
        elif record.search(content) and not blank.search(content):
            kept = zip(cells, keep, strict=True)
            plain[number] = tuple(cell(content, one) for one, is_kept in kept if is_kept)
        elif not blank.search(content):
            odd[number] = line
    found = OddLines(shape, keep, 7, len(lines))

    def context(ranges: Sequence[range]) -> Mapping[int, str]:
        return {number: lines[number] for span in ranges for number in span}

    found.decide(odd, context)
    return {number: row for number, row in plain.items() if number not in found.taken}, found


def random_text(rng: random.Random) -> str:
    pieces = [*rng.choice(_ALPHABETS), *_PIECES]
    return "".join(rng.choice(pieces) for _ in range(rng.choice((5, 20, 80, 300))))


@pytest.mark.parametrize("seed", range(300))
def test_any_text_is_read_as_the_splitter_reads_it(seed: int) -> None:
    rng = random.Random(seed)
    text = random_text(rng)
    shape = Dialect(rng.choice(",,,;\t 'x"), rng.choice(('"', '"', '"', "'", "")))
    if shape.delimiter == shape.quote:
        shape = Dialect(",", '"')
    keep = (*(rng.random() < 0.8 for _ in range(rng.choice((1, 1, 2)))), True)
    splitter = Splitter(shape, keep, 7)
    records, used = splitter.split(text, final=True)
    assert used == len(text)
    delimiter = output_delimiter(shape)
    found, odd = engine(text, shape, keep)
    for batch in odd.batches:
        found |= dict(rows_of(batch.text, delimiter, load_id=7))
    assert found == dict(rows_of(records, delimiter, load_id=7))
    assert odd.rejected == splitter.rejected
    assert len(found) == splitter.records


def test_a_mark_that_is_never_closed_costs_its_line_alone() -> None:
    text = 'a,"b\n' + "1,2\n" * 60_000
    found, odd = engine(text, Dialect(",", '"'), (True, True))
    for batch in odd.batches:
        found |= dict(rows_of(batch.text, ",", load_id=7))
    assert [one.line for one in odd.rejected] == [1]
    assert sorted(found) == list(range(2, 60_002))
    assert set(found.values()) == {("1", "2")}
