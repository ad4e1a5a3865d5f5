"""JSON lines: one object a line, whose keys are the names of columns.

Numbers keep the digits that the file has, `true` and `false` stay so, `null` and an absent key are
NULL, and what is nested stays JSON in compact form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from json.scanner import make_scanner
from operator import itemgetter
from typing import Any

from loader.errors import FileRefused
from loader.parsers import Batch, RejectedLine
from loader.parsers.batches import csv_cell, not_text, verbatim
from loader.parsers.text import Decoding, Stream, bom_of
from loader.sources import Input, header_key, match_header

# Keys are looked for in the objects that begin the file, up to so many characters.
_SAMPLE = 4 << 20
# A longer line is not kept in memory (characters).
_MAX_LINE = 32 << 20
# Objects of one file rarely have more than a few sets of keys; what is known of them is kept.
_MAX_PLANS = 1000
_MAX_IGNORED = 10_000
_BLANK = " \t\r\n\ufeff"
# What only an escape can bring into a value, and needs a closer look.
_ESCAPED = re.compile("[\0\r\n\ud800-\udfff]")

Open = Callable[[], AbstractContextManager[Stream]]
# JSON can be anything, and where it ends.
_Scan = Callable[[str, int], tuple[Any, int]]


def _scanner(number: Callable[[str], str]) -> _Scan:
    """What JSONDecoder.raw_decode calls: a value and where it ends.

    Objects become tuples of pairs, arrays lists, numbers what `number` makes of their text.
    """
    decoder = json.JSONDecoder(
        object_pairs_hook=tuple, parse_int=number, parse_float=number, parse_constant=number
    )
    # The stub takes the argument for a scanner.
    return make_scanner(decoder)  # type: ignore[arg-type]


_scan = _scanner(str)


class _Literal(str):
    """A number inside of something nested, as it is written."""


_scan_nested = _scanner(_Literal)


@dataclass(frozen=True)
class _Plan:
    """Where the cells of a record stand among the values of an object with certain keys."""

    positions: tuple[int, ...]
    # All cells at once, if each has a place.
    pick: Callable[[Sequence[object]], tuple[object, ...]] | None
    problem: str


@dataclass
class JsonLinesReader:
    """Reads recognised JSON lines; see the protocol `Reader`."""

    name: str
    input: Input
    encoding: str
    _open: Open
    _ignored: dict[str, None] = field(default_factory=dict)
    _plans: dict[tuple[str, ...], _Plan] = field(default_factory=dict)

    part = ""
    delimiter = ","

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Reader`; all declared ones, for a later object may have one that was missing."""
        return self.input.column_names

    @property
    def dialect(self) -> str:
        """See `Reader`."""
        return f"json lines, {self.encoding}"

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Reader`."""
        if not self._ignored:
            return ()
        names = list(self._ignored)
        more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
        return (f"ignored keys: {', '.join(map(repr, names[:20]))}{more}",)

    def batches(self, load_id: int) -> Iterator[Batch]:
        """See `Reader`."""
        with self._open() as stream:
            for first, block in _portions(self.name, stream, self.encoding):
                yield self._batch(first, block, load_id, stream.position)

    def _batch(self, first: int, block: str, load_id: int, position: int) -> Batch:
        plans = self._plans
        separators = len(self.columns) - 1
        out: list[str] = []
        rejected: list[RejectedLine] = []
        clean = not_text(block) is None
        for number, line in enumerate(_lines(block), first):
            try:
                found, end = _scan(line, 0)
                keys, values = zip(*found, strict=True)
                plan = plans.get(keys)
                if end == len(line) and plan and plan.pick and type(found) is tuple:
                    # By far the most lines: all columns there, all values text, or join raises.
                    cells = plan.pick(values)
                    text = ",".join(cells)  # type: ignore[arg-type]
                    if (
                        clean
                        and ("\\" not in line or not _ESCAPED.search(text))
                        and '"' not in text
                        and text.count(",") == separators
                        and "" not in cells
                    ):
                        out.append(f"{number},{load_id},{text}\n")
                        continue
            except (ValueError, TypeError, StopIteration, RecursionError):
                # Told properly below.
                pass
            if not line.strip(_BLANK):
                continue
            try:
                out.append(f"{number},{load_id},{self._record(line)}\n")
            except _Rejected as problem:
                rejected.append(RejectedLine(number, problem.rule, problem.detail, verbatim(line)))
        return Batch("".join(out), len(out), tuple(rejected), position)

    def _record(self, line: str) -> str:
        """The cells of a line as CSV. Raises _Rejected."""
        found = _object(line)
        keys = tuple(key for key, _ in found)
        plan = self._plans.get(keys)
        if plan is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            plan = self._plans[keys] = self._plan(keys)
        if plan.problem:
            raise _Rejected("invalid_json", plan.problem)
        values = [value for _, value in found]
        try:
            if any(isinstance(value, (list, tuple)) for value in values):
                values = [value for _, value in _object(line, _scan_nested)]
            cells = [None if at < 0 else _cell(values[at]) for at in plan.positions]
        except RecursionError:
            raise _Rejected("invalid_json", "It is nested too deeply.") from None
        for column, cell in zip(self.columns, cells, strict=True):
            if cell and (problem := not_text(cell)):
                what = "a NUL" if problem[0] == "nul_byte" else "half of a surrogate pair"
                raise _Rejected(problem[0], f"The value of {column} has {what}, which is no text.")
        return ",".join(map(csv_cell, cells))

    def _plan(self, keys: Sequence[str]) -> _Plan:
        """Each object is its own header, as one may have a column that others lack."""
        if len(set(keys)) < len(keys):
            twice = next(key for at, key in enumerate(keys) if key in keys[:at])
            return _Plan((), None, f"The key {twice!r} stands there twice.")
        matches = match_header(keys, [_all_optional(self.input)])
        if not matches and (both := _rivals(keys, self.input)):
            return _Plan((), None, both)
        meant = matches[0].columns if matches else (None,) * len(keys)
        for key, column in zip(keys, meant, strict=True):
            if column is None and len(self._ignored) < _MAX_IGNORED:
                self._ignored[key] = None
        positions = tuple(meant.index(column) if column in meant else -1 for column in self.columns)
        complete = len(positions) > 1 and -1 not in positions
        return _Plan(positions, itemgetter(*positions) if complete else None, "")


def _all_optional(entry: Input) -> Input:
    return replace(entry, columns=tuple(replace(one, required=False) for one in entry.columns))


def _rivals(keys: Sequence[str], entry: Input) -> str:
    """A sentence if keys mean the same column."""
    for column in entry.columns:
        meant = [key for key in keys if header_key(key) in column.names]
        if len(meant) > 1:
            return f"The keys {' and '.join(map(repr, meant))} all mean {column.name}."
    return ""


class _Rejected(Exception):  # noqa: N818 -- a name says the fault
    """A line that is no record; rule and detail as in RejectedLine."""

    def __init__(self, rule: str, detail: str) -> None:
        self.rule = rule
        self.detail = detail
        super().__init__(detail)


def recognise(name: str, open_bytes: Open, inputs: Sequence[Input]) -> JsonLinesReader:
    """The reader of a file of JSON lines. Raises FileRefused if its keys mean no input, or two."""
    with open_bytes() as stream:
        bom = bom_of(stream.read(4))
    encoding = bom[0] if bom else "utf-8"
    with open_bytes() as stream:
        keys, objects, problem = _keys(name, stream, encoding)
    if not objects:
        raise FileRefused(name, problem or ": there is no JSON object in it.")
    matches = match_header(list(keys.values()), inputs)
    if len(matches) > 1:
        both = " and ".join(match.input.name for match in matches)
        raise FileRefused(name, f": the keys of its objects mean {both}. Say which with --input.")
    if not matches:
        shown = ", ".join(map(repr, list(keys.values())[:20])) or "no keys"
        wanted = "; ".join(f"{one.name}: {', '.join(one.column_names)}" for one in inputs)
        raise FileRefused(
            name,
            f": it is JSON lines, and its objects ({shown}) are none of the inputs ({wanted}). "
            "Rename the keys, or add their names to `header_names` in _sources.yml.",
        )
    return JsonLinesReader(name, matches[0].input, encoding, open_bytes)


def _keys(name: str, stream: Stream, encoding: str) -> tuple[dict[str, str], int, str]:
    """Keys near the beginning, by `header_key` as they are first written; objects; a problem."""
    keys: dict[str, str] = {}
    objects = size = 0
    problem = ""
    for first, block in _portions(name, stream, encoding):
        lines = _lines(block)
        for number, line in enumerate(lines, first):
            if not line.strip(_BLANK):
                continue
            try:
                for key, _ in _object(line):
                    keys.setdefault(header_key(key), key)
                objects += 1
            except _Rejected as rejected:
                problem = problem or f", line {number}: {rejected.detail}"
                if not objects:
                    _refuse_other_json(name, number, lines[number - first :])
        size += len(block)
        if size > _SAMPLE:
            break
    return keys, objects, problem


def _refuse_other_json(name: str, number: int, lines: list[str]) -> None:
    """JSON that does not have one object a line, as the first lines tell."""
    start = lines[0].strip(_BLANK)
    if start.startswith("["):
        raise FileRefused(
            name,
            f", line {number}: it begins with a JSON array; JSON lines are one object a line. "
            "Write it anew: jq -c '.[]' FILE > FILE.jsonl",
        )
    if start == "{" or (start.startswith("{") and _spreads(lines) and not _spreads(lines[:1])):
        raise FileRefused(
            name,
            f", line {number}: its JSON object goes over several lines; JSON lines are one object "
            "a line. Write it anew: jq -c . FILE > FILE.jsonl",
        )


def _spreads(lines: list[str]) -> bool:
    try:
        _scan("\n".join(lines).lstrip(_BLANK), 0)
    except (StopIteration, ValueError, RecursionError):
        return False
    return True


def _portions(name: str, stream: Stream, encoding: str) -> Iterator[tuple[int, str]]:
    """Whole lines in portions of about a million characters, with the number of the first."""
    number = 1
    rest: list[str] = []
    length = 0
    for text in Decoding(stream, encoding, guessed=False):
        head, end, tail = text.rpartition("\n")
        if end:
            block = "".join([*rest, head])
            yield number, block
            number += block.count("\n") + 1
            rest, length = [], 0
        rest.append(tail)
        length += len(tail)
        if length > _MAX_LINE:
            raise FileRefused(
                name,
                f", line {number}: the line is longer than {_MAX_LINE >> 20} million characters. "
                "JSON lines are one object a line: jq -c '.[]' FILE > FILE.jsonl",
            )
    if last := "".join(rest):
        yield number, last


def _lines(block: str) -> list[str]:
    lines = block.split("\n")
    return [line.removesuffix("\r") for line in lines] if "\r" in block else lines


def _object(line: str, scan: _Scan = _scan) -> tuple[tuple[str, object], ...]:
    """The keys and values of a line. Raises _Rejected."""
    start = len(line) - len(line.lstrip(_BLANK))
    if problem := not_text(line):
        raise _Rejected(*problem)
    try:
        found, end = scan(line, start)
    except StopIteration as stop:
        raise _Rejected(
            "invalid_json", f"Character {int(stop.value) + 1} begins no JSON value."
        ) from None
    except json.JSONDecodeError as fault:
        raise _Rejected("invalid_json", f"Character {fault.pos + 1}: {fault.msg}.") from None
    except RecursionError:
        raise _Rejected("invalid_json", "It is nested too deeply.") from None
    if line[end:].strip(_BLANK):
        raise _Rejected("invalid_json", f"Something follows the JSON at character {end + 1}.")
    if not isinstance(found, tuple):
        raise _Rejected("invalid_json", "It is JSON, but no object {…}.")
    return found


def _cell(value: object) -> str | None:
    if value is None:
        return None
    if value is True or value is False:
        return "true" if value else "false"
    return value if isinstance(value, str) else _compact(value)


def _compact(value: object) -> str:
    """Nested JSON without spaces; numbers as they are written, keys twice if they are."""
    if isinstance(value, _Literal):
        return str(value)
    if isinstance(value, list):
        return f"[{','.join(map(_compact, value))}]"
    if isinstance(value, tuple):
        inside = (f"{_compact(key)}:{_compact(item)}" for key, item in value)
        return "{" + ",".join(inside) + "}"
    return json.dumps(value, ensure_ascii=False)
