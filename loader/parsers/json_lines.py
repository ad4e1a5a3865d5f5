"""JSON lines: one object per line, whose keys are column names.

Numbers keep their digits, `true` and `false` stay as they are, `null` and a missing key become
NULL. An array becomes a list (`1;2`, with nothing for `null`); deeper nesting stays compact JSON.
An object without any value is not a record.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from typing import Any

from loader.errors import FileRefused
from loader.parsers.encoding import Encoding, Open, decoded, said_encoding, wide_encoding_of
from loader.parsers.headers import Candidate, Likeness, match_header, single_match, without_header
from loader.parsers.records import (
    NO_TEXT,
    Batch,
    NoRecord,
    Parser,
    batch_of,
    csv_cell,
    csv_line,
    extra_of,
    formula_text,
    is_filled,
    not_text,
)
from loader.printable import listed
from loader.sources import Input, header_key

# How many characters at the start of the file are searched for keys.
_SAMPLE = 4 << 20
# Longer lines are refused to save memory (characters).
_MAX_LINE = 32 << 20
# A file rarely has more than a few different sets of keys; their layouts are cached.
_MAX_LAYOUTS = 1000
_MAX_IGNORED = 10_000
_BLANK = " \t\r\n\ufeff"
_NOTHING = f'{_BLANK}\u00a0,"'
_ONE_A_LINE = (
    "JSON lines are one object a line. Write it anew: jq -c . FILE > FILE.jsonl, or jq -c '.[]' "
    "for an array."
)

# The keys and values of an object; a tuple, because a key may occur twice.
Pairs = tuple[tuple[str, Any], ...]
# For objects with the same keys: the key of each column, and the keys of no column.
Layout = tuple[list[str | None], list[str]]


class _Number(str):
    """A number as written."""


_TEXTS = {str, _Number}
_decoder = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=_Number, parse_float=_Number, parse_constant=_Number
)


@dataclass
class JsonLinesParser(Parser):
    encoding: str
    open: Open
    _ignored: dict[str, None] = field(default_factory=dict)
    _layouts: dict[tuple[str, ...], Layout] = field(default_factory=dict)

    # A later object may always have further keys.
    has_extra = True

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """All declared columns, because a later object may have one missing so far."""
        return self.input.column_names

    @property
    def dialect(self) -> str:
        return f"json lines, {self.encoding}{self.input.said}"

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(self._ignored)

    @property
    def notes(self) -> tuple[str, ...]:
        names = [repr(key) for key in self._ignored]
        return (f"further keys, kept in `extra`: {listed(names)}",) if names else ()

    def batches(self, load_id: int) -> Iterator[Batch]:
        for first, lines, position in _blocks(self.name, self.open, self.encoding):
            # Most blocks are all text, and need no look at each line.
            record = partial(self._record, is_text=NO_TEXT.search("".join(lines)) is None)
            yield batch_of(enumerate(lines, first), record, load_id, position)

    def _record(self, number: int, line: str, *, is_text: bool) -> str | None:
        """The cells of a line as CSV; None if it has no values. Raises NoRecord or FileRefused."""
        if not is_text and (problem := not_text(line)):
            raise NoRecord(*problem)
        if not (pairs := _object(line)):
            return None
        values: dict[Any, Any] = dict(pairs)
        if len(values) < len(pairs):
            (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
            raise NoRecord("invalid_json", f"The key {twice!r} stands there twice.")
        keys = tuple(values)
        key_of_column, further = self._layouts.get(keys) or self._layout(number, keys)
        is_plain = _TEXTS.issuperset(map(type, values.values()))
        if not is_plain:
            separator = self.input.formats.list_separator or ";"
            values = {key: _cell(value, separator) for key, value in pairs}
        extra = further and extra_of([(key, values[key]) for key in further])
        cells: list[Any] = [values.get(key) for key in key_of_column]
        text = ""
        # The vast majority of lines: nothing but a comma in a cell can need quotation marks.
        if is_plain and None not in key_of_column and "\\" not in line:
            text = ",".join(cells)
        else:
            cells = [formula_text(cell) for cell in cells]
            for column, cell in zip(self.columns, cells, strict=True):
                if cell and (problem := not_text(cell)):
                    what = "a NUL" if problem[0] == "nul_byte" else "half of a surrogate pair"
                    detail = f"The value of {column} has {what}, which is no text."
                    raise NoRecord(problem[0], detail)
        if not text or "" in cells or text.count(",") >= len(cells):
            text = csv_line(cells)
        if not extra and not text.strip(_NOTHING) and not is_filled(cells):
            return None
        return f"{text},{csv_cell(extra) if extra else ''}"

    def _layout(self, number: int, keys: tuple[str, ...]) -> Layout:
        """Each object is its own header, because it may have columns that others lack."""
        optional = [replace(column, required=False) for column in self.input.columns]
        matches = match_header(keys, [replace(self.input, columns=tuple(optional))])
        meant = {} if matches else Likeness(keys, self.input).named
        for column, alike in meant.items():
            if len(alike) > 1:
                both = " and ".join(map(repr, alike))
                raise NoRecord("invalid_json", f"The keys {both} all mean {column}.")
        tables = [match.input for match in match_header(keys, self.inputs)]
        if tables and self.input not in tables:
            raise FileRefused(
                self.name,
                f", line {number}: a second table begins here, of {tables[0].name}. Put it into a "
                "file of its own.",
            )
        named = matches[0].columns if matches else (None,) * len(keys)
        key_of_column = [keys[named.index(c)] if c in named else None for c in self.columns]
        further = [key for key in keys if key not in key_of_column]
        if len(self._ignored) < _MAX_IGNORED:
            self._ignored |= dict.fromkeys(further)
        if len(self._layouts) >= _MAX_LAYOUTS:
            self._layouts.clear()
        return self._layouts.setdefault(keys, (key_of_column, further))


def recognise(
    name: str, open_bytes: Open, inputs: Sequence[Input], said: str | None = None
) -> JsonLinesParser:
    """The parser of a JSON lines file, in the `said` encoding if given.

    Raises FileRefused if its keys match no input, or two.
    """
    with open_bytes() as stream:
        sample = stream.read(4096)
    encoding = said_encoding(said, sample).name if said else wide_encoding_of(sample) or "utf-8"
    first, keys = _keys(name, open_bytes, encoding)
    if len(match_header(keys, inputs)) > 1 and len(match_header([*first], inputs)) == 1:
        # What looks like two inputs at once is one table below another.
        keys = [*first]
    if match := single_match(name, "", keys, inputs):
        id_ = "" if match.key is None else keys[match.key]
        taken = [first.get(key) for key, column in zip(keys, match.columns, strict=True) if column]
        if id_ and all(isinstance(value, (list, tuple)) for value in taken):
            raise FileRefused(
                name,
                f": {id_!r} of the first object has several values. JSON lines have one object for "
                "each record; from pandas, write to_json(orient='records', lines=True).",
            )
        return JsonLinesParser(name, inputs, match, encoding, open_bytes)
    for key, value in first.items():
        records = value if isinstance(value, list) else ()
        if records and isinstance(records[0], tuple) and match_header([*dict(records[0])], inputs):
            path = json.dumps(key)
            raise FileRefused(
                name,
                f": it is one object, whose {key!r} has others. If these are the records, write "
                f"them one a line: jq -c '.[{path}][]' FILE > FILE.jsonl.",
            )
    raise without_header(
        name,
        f"it is JSON lines, and none of its objects ({listed([*map(repr, keys)]) or 'no keys'})",
        [Candidate("", keys, "such an object")],
        inputs,
        "Rename the keys, say --map KEY=COLUMN, or add their names to `header_names` in "
        "_sources.yml.",
    )


def _keys(name: str, open_bytes: Open, encoding: str) -> tuple[dict[str, Any], list[str]]:
    """The first object, and the keys of all objects near the start. Raises FileRefused."""
    keys: dict[str, str] = {}
    seen: set[str] = set()
    first_object: dict[str, Any] | None = None
    size = 0
    problem = ""
    for first, lines, _ in _blocks(name, open_bytes, encoding):
        for number, line in enumerate(lines, first):
            try:
                pairs = _object(line)
            except NoRecord as rejection:
                problem = problem or f", line {number}: {rejection.args[1]} {_ONE_A_LINE}"
                if first_object is None and line.strip(_BLANK) in ("{", "["):
                    raise FileRefused(name, problem) from None
                continue
            if first_object is None and line.strip(_BLANK):
                first_object = dict(pairs)
            for key, _ in pairs:
                if key not in seen:
                    seen.add(key)
                    keys.setdefault(header_key(key), key)
            size += len(line)
        if size > _SAMPLE:
            break
    if first_object is None:
        raise FileRefused(name, problem or ": there is no JSON object in it.")
    return first_object, list(keys.values())


def _blocks(name: str, open_bytes: Open, encoding: str) -> Iterator[tuple[int, list[str], int]]:
    """Blocks of a million characters: first line number, lines without their ends, position.

    Raises FileRefused.
    """
    number, rest = 1, ""
    with open_bytes() as stream:
        for text in chain(decoded(stream, Encoding(encoding)), [None]):
            lines = (rest + (text or "")).split("\n")
            rest = lines.pop() if text is not None or lines == [""] else ""
            if lines:
                yield number, [line.removesuffix("\r") for line in lines], stream.position
            number += len(lines)
            if len(rest) > _MAX_LINE:
                most = f"{_MAX_LINE >> 20} million characters"
                problem = f"the line is longer than {most}. {_ONE_A_LINE}"
                raise FileRefused(name, f", line {number}: {problem}")


def _object(line: str) -> Pairs:
    """The keys and values of a line, () for a blank line. Raises NoRecord."""
    start = 0 if line[:1] == "{" else len(line) - len(line.lstrip(_BLANK))
    if start == len(line):
        return ()
    try:
        pairs, end = _decoder.raw_decode(line, start)
    except json.JSONDecodeError as error:
        problem = f"Character {error.pos + 1}: {error.msg}."
    except RecursionError:
        problem = "It is nested too deeply."
    else:
        if type(pairs) is not tuple:
            problem = "It is JSON, but no object {…}."
        elif end < len(line) and line[end:].strip(_BLANK):
            problem = f"Something follows the JSON at character {end + 1}."
        else:
            return pairs
    raise NoRecord("invalid_json", problem)


def _cell(value: Any, separator: str) -> str | None:
    """The text of a value; the items of a list are joined by the separator."""
    if value is None:
        return None
    if isinstance(value, list):
        nested = (list, tuple)
        items = (_json(v) if isinstance(v, nested) else _cell(v, separator) for v in value)
        return separator.join(item or "" for item in items)
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    """JSON without spaces; numbers as written, duplicate keys kept."""
    if isinstance(value, _Number):
        return value
    if isinstance(value, list):
        return f"[{','.join(map(_json, value))}]"
    if isinstance(value, tuple):
        inside = (f"{_json(key)}:{_json(item)}" for key, item in value)
        return "{" + ",".join(inside) + "}"
    return json.dumps(value, ensure_ascii=False)
