"""What a header cannot tell and the records below it can: escapes, and cells without a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from loader.parsers.dialect import Dialect, begin_of_line, records_of
from loader.parsers.grammar import Grammar, Record, Shape, lines_of
from loader.sources import BLANKS, HeaderMatch, header_key

_ESCAPE = "\\"
# Lines that tell whether there are escapes.
_LOOKED_AT = 500
# A reading that the header does not have must be that of nearly all records.
_NEARLY_ALL = 0.9


def fitted(found: Dialect, sample: str) -> Dialect:
    """The dialect of a file that begins with the sample, as its records show it."""
    body = sample[begin_of_line(sample, found.skip + 1) :]
    found = _with_escape(found, body)
    return found if found.header_line is None else _with_width(found, body)


def _with_escape(found: Dialect, body: str) -> Dialect:
    r"""With the backslash as escape, if `"a \"b\" c"` can only be read so."""
    shape = found.shape
    marked = shape.quote and shape.quote != _ESCAPE and shape.delimiter != _ESCAPE
    if not marked or not any(_ESCAPE + one in body for one in (shape.quote, shape.delimiter)):
        return found
    escaped = replace(shape, escape=_ESCAPE)
    width = len(found.header)
    lines = (body[at:end] for _, at, end in lines_of(body, limit=len(body)))
    told = [
        (_is_right(line, shape, width), _is_right(line, escaped, width))
        for line in islice((line for line in lines if _ESCAPE in line), _LOOKED_AT)
    ]
    without, needed = told.count((True, False)), told.count((False, True))
    return replace(found, shape=escaped) if needed * (1 - _NEARLY_ALL) > without else found


def _is_right(line: str, shape: Shape, width: int) -> bool:
    record = Grammar(shape).record(line, 0, len(line))
    return not record.fault and len(record.cells) == width


def _with_width(found: Dialect, body: str) -> Dialect:
    """With the width of nearly all records, if what the header lacks is certain to mean nothing."""
    width = len(found.header)
    records = list(records_of(body, found.shape))
    widths = Counter(len(record.cells) for record in records if not record.fault)
    if not widths:
        return found
    usual, times = widths.most_common(1)[0]
    if usual == width or times < _NEARLY_ALL * len(records):
        return found
    rows = [record for record in records if not record.fault and len(record.cells) == usual]
    more: tuple[None, ...] = (None,) * (usual - width)
    if usual < width and not any(header_key(cell) for cell in found.header[usual:]):
        # Delimiters at the end of the header only.
        return _with_columns(found, found.header[:usual], found.match.columns[:usual])
    if more and not any(map(_is_filled, (row.cells[width:] for row in rows))):
        # Delimiters at the end of the records only.
        return _with_columns(found, (*found.header, *[""] * len(more)), found.match.columns + more)
    if len(more) == 1 and _has_row_names(rows, body, found.shape):
        return _with_columns(found, ("", *found.header), more + found.match.columns)
    return found


def _with_columns(
    found: Dialect, header: tuple[str, ...], columns: tuple[str | None, ...]
) -> Dialect:
    return replace(found, header=header, match=HeaderMatch(found.match.input, columns))


def _is_filled(cells: Sequence[str | None]) -> bool:
    return any((cell or "").strip(BLANKS) for cell in cells)


def _has_row_names(rows: Sequence[Record], body: str, shape: Shape) -> bool:
    """Whether the records begin with a quoted number of their own, as R's write.table writes them.

    It quotes texts and no numbers. Unless a number follows, the nameless cell could be the last.
    """
    quote, delimiter = shape.quote, shape.delimiter
    numbers = [str(number) for number in range(1, len(rows) + 1)]
    if not quote or [row.cells[0] for row in rows] != numbers:
        return False
    lines = [body[at:end] for _, at, end in lines_of(body, limit=_LOOKED_AT)]
    begun = [line for line in lines if line.startswith(f"{quote}1{quote}{delimiter}")]
    return len(begun) == 1 and begun[0].split(delimiter)[1][:1] not in ("", quote)
