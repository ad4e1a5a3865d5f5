"""What a delimited text is: told by the header that it must have.

The dialect is the one under which a line of the file gives the declared column names. Every
character of a line is tried as its delimiter, so none has to be known beforehand. If no line gives
the names, or one does in two ways, the file is refused with what was tried.

What a header cannot tell and the records below it can is refined then: the quote character,
escapes, and cells without a name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from loader.errors import FileRefused
from loader.parsers.records import columns_of, ignored_columns
from loader.parsers.sheets import HEADER_WITHIN
from loader.parsers.splitter import Dialect, Grammar, Record, count_lines, lines_of
from loader.sources import BLANKS, HeaderMatch, Input, header_key, match_header

_QUOTES = ('"', "'")
# No header is longer; a longer line is not looked at.
_HEADER_LENGTH = 1 << 20
# How far a record over several lines is looked at.
_LOOK = 10_000
# In longer headers no letter or digit is tried as delimiter.
_EVERY_DELIMITER = 10_000
_COMMENT = re.compile("#+[ \t]*+(?=[^ \t\r\n])")
# Records of the sample that tell the quotation mark, or the delimiter of a file without a header.
_LOOKED_AT = 500
_USUAL_DELIMITERS = ",;\t|"
_NAMES = {"\t": "TAB", " ": "space"}
_ESCAPE = "\\"
# A reading that the header does not have must be that of nearly all records.
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class ReadOptions:
    """What a person says of the files instead of having it recognised; None or () is nothing.

    `columns` names the cells of a file without a header. `quote` is "" for no quotation marks.
    """

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    columns: tuple[str, ...] = ()
    sheet: str | None = None


@dataclass(frozen=True)
class TextLayout:
    """How a text is split: `skip` lines are passed over, then come the records.

    `header_line` is None for a file without one; `header` has its cells as they stand.
    """

    dialect: Dialect
    match: HeaderMatch
    header: tuple[str, ...]
    header_line: int | None
    skip: int

    @property
    def description(self) -> str:
        """In a person's words."""
        words = [f"delimiter {delimiter_name(self.dialect.delimiter)}"]
        if self.dialect.quote != '"':
            words.append(f"quote {self.dialect.quote}" if self.dialect.quote else "no quotes")
        if self.dialect.escape:
            words.append(f"escape {self.dialect.escape}")
        words.append(f"header in line {self.header_line}" if self.header_line else "no header")
        return ", ".join(words)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was passed over."""
        notes = ignored_columns(self.header, self.match)
        if self.header_line and self.header_line > 1:
            lines = "line 1" if self.header_line == 2 else f"lines 1 to {self.header_line - 1}"
            notes = (f"passed over {lines} before the header", *notes)
        return notes


def delimiter_name(delimiter: str) -> str:
    """A delimiter in a person's words."""
    shown = delimiter if delimiter.isprintable() else f"\\u{ord(delimiter):04x}"
    return _NAMES.get(delimiter, f"'{shown}'")


def find_layout(
    name: str, sample: str, inputs: Sequence[Input], options: ReadOptions
) -> TextLayout:
    """The dialect of a file that begins with the sample of whole lines. Raises FileRefused."""
    if not sample.strip(BLANKS):
        raise FileRefused(name, ": it is empty; not even a header is there.")
    if options.columns:
        return _without_header(name, sample, inputs, options)
    for line, at, end in _first_lines(sample):
        if readings := list(_readings(sample, line, at, end, inputs, options)):
            return _choose(name, readings, sample)
    raise FileRefused(name, _nothing_found(sample, inputs, options))


def _first_lines(sample: str) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of the lines that can be the header; blank ones do not count."""
    lines = lines_of(sample, limit=len(sample))
    filled = (line for line in lines if sample[line[1] : line[2]].strip(BLANKS))
    return islice(filled, HEADER_WITHIN)


def _readings(
    sample: str, line: int, at: int, end: int, inputs: Sequence[Input], options: ReadOptions
) -> Iterator[TextLayout]:
    """Every way in which a line gives the column names of an input."""
    if end - at > _HEADER_LENGTH:
        return
    # Some programs mark the header as a comment.
    if commented := _COMMENT.match(sample, at, end):
        at = commented.end()
    # A header over several lines has a quotation mark that its first line does not close.
    is_open = any(sample.count(quote, at, end) % 2 for quote in _QUOTES)
    text = sample[at : max(end, at + _LOOK)] if is_open else sample[at:end]
    if not (inputs := _mentioned(text, inputs)):
        return
    for delimiter in _delimiters(text, options):
        for quote in _QUOTES if options.quote is None else (options.quote,):
            dialect = Dialect(delimiter, quote)
            record = Grammar(dialect).record(sample, at, min(len(sample), max(end, at + _LOOK)))
            if record.fault:
                continue
            header = tuple(cell or "" for cell in record.cells)
            written = sample[at : record.end]
            # The file may end with its header.
            lines = count_lines(written) + (not written.endswith(("\r", "\n")))
            for match in match_header(header, inputs):
                yield TextLayout(dialect, match, header, line, skip=line - 1 + lines)


def _mentioned(text: str, inputs: Sequence[Input]) -> list[Input]:
    """The inputs of which all required names are in the text, wherever its cells begin and end."""
    key = _without_quotes(text)
    return [
        table
        for table in inputs
        if all(
            any(_without_quotes(name) in key for name in column.names)
            for column in table.columns
            if column.required
        )
    ]


def _without_quotes(text: str) -> str:
    # Within a quoted name they stand twice.
    return header_key(text.translate({ord(quote): None for quote in _QUOTES}))


def _choose(name: str, readings: list[TextLayout], sample: str) -> TextLayout:
    # `a<TAB><TAB>b` can be read with nameless columns, and `a,<TAB>b` without; `a ; b` with a
    # column `;` between spaces.
    usual = {reading.dialect.delimiter for reading in readings if reading.dialect.quote == '"'}
    readings = [r for r in readings if r.dialect.delimiter not in usual or not _has_quotes(r)]
    fewest = min(map(_nameless, readings))
    readings = [reading for reading in readings if _nameless(reading) == fewest]
    at = f", line {readings[0].header_line}: the header"
    if len(names := {reading.match.input.name for reading in readings}) > 1:
        both = " and ".join(sorted(names))
        raise FileRefused(name, f"{at} means {both}. Say which with --input.")
    delimiters = sorted({reading.dialect.delimiter for reading in readings}, key=_preference)
    if len({_split(sample, _reading_with(readings, delimiter)) for delimiter in delimiters}) > 1:
        both = " and ".join(map(delimiter_name, delimiters))
        raise FileRefused(
            name, f"{at} gives the column names with {both}. Say which with --delimiter."
        )
    # `"a"<TAB> "b"` is the same with TAB as with space.
    return _with_quote([r for r in readings if r.dialect.delimiter == delimiters[0]], sample)


def _preference(delimiter: str) -> tuple[int, str]:
    usual = _USUAL_DELIMITERS.find(delimiter)
    return (usual if usual >= 0 else len(_USUAL_DELIMITERS), delimiter)


def _reading_with(readings: list[TextLayout], delimiter: str) -> TextLayout:
    return next(reading for reading in readings if reading.dialect.delimiter == delimiter)


def _split(sample: str, reading: TextLayout) -> tuple[tuple[str, ...], ...]:
    """The cells of the first records, trimmed."""
    body = sample[begin_of_line(sample, reading.skip + 1) :]
    records = records_of(body, reading.dialect)
    return tuple(tuple((cell or "").strip(BLANKS) for cell in record.cells) for record in records)


def _has_quotes(reading: TextLayout) -> bool:
    """Whether apostrophes were tried where names stand in quotation marks."""
    return reading.dialect.quote == "'" and any(cell.startswith('"') for cell in reading.header)


def _nameless(reading: TextLayout) -> int:
    return sum(not any(map(str.isalnum, cell)) for cell in reading.header)


def _with_quote(readings: list[TextLayout], sample: str) -> TextLayout:
    """The reading with the usual quotation mark, unless the cells begin with another one."""
    usual = readings[0]
    if len(readings) == 1:
        return usual
    body = sample[begin_of_line(sample, usual.skip + 1) :]
    bare = Dialect(usual.dialect.delimiter, "")
    begins = [
        sum((cell or "").startswith(reading.dialect.quote) for cell in record.cells)
        for reading in readings
        for record in records_of(body, bare)
    ]
    half = len(begins) // len(readings)
    if sum(begins[half:]) <= sum(begins[:half]):
        return usual
    width = len(usual.header)
    rows = [record.cells for record in records_of(body, bare) if len(record.cells) == width]

    def preference(reading: TextLayout) -> tuple[int, bool]:
        in_all = reading is not usual and _wraps_a_column(rows, reading.dialect.quote)
        return _wrong(body, reading.dialect, width), not in_all

    return min(readings, key=preference)


def _wraps_a_column(rows: Sequence[tuple[str | None, ...]], quote: str) -> bool:
    """Whether the quote character stands around each cell of a column that is not empty."""
    columns = (
        [cell.strip(BLANKS) for cell in column if cell] for column in zip(*rows, strict=True)
    )
    return any(
        len(column) > 1 and all(len(cell) > 1 and cell[0] == cell[-1] == quote for cell in column)
        for column in columns
    )


def _wrong(body: str, dialect: Dialect, width: int) -> int:
    """How many records do not come out right."""
    records = records_of(body, dialect)
    return sum(bool(record.fault) or len(record.cells) != width for record in records)


def records_of(body: str, dialect: Dialect) -> Iterator[Record]:
    """The first records; behind one that is wrong, reading goes on with the next line."""
    grammar = Grammar(dialect)
    next_record = 0
    for _, at, end in lines_of(body, limit=_LOOKED_AT):
        if at < next_record or not body[at:end].strip(BLANKS):
            continue
        record = grammar.record(body, at, min(len(body), max(end, at + _LOOK)))
        next_record = at if record.fault else record.end
        yield record


def _without_header(
    name: str, sample: str, inputs: Sequence[Input], options: ReadOptions
) -> TextLayout:
    matches = match_header(options.columns, inputs)
    if len(matches) != 1:
        means = " and ".join(match.input.name for match in matches) or "no input"
        raise FileRefused(
            name,
            f": the columns {', '.join(options.columns)} mean {means}. "
            f"Inputs are {columns_of(inputs)}.",
        )
    width, quote = len(options.columns), '"' if options.quote is None else options.quote
    first = next(sample[at:end] for _, at, end in lines_of(sample, limit=1 << 30) if end > at)
    # Without a header as guide only signs are tried, and the usual ones win a tie.
    dialects = [
        Dialect(delimiter, quote)
        for delimiter in _delimiters(first, options)
        if options.delimiter or not (delimiter.isalnum() or delimiter in "_\\")
    ]
    wrong = [(_wrong(sample, dialect, width), dialect) for dialect in dialects]
    least = min(count for count, _ in wrong)
    best = [dialect for count, dialect in wrong if count == least]
    usual = [dialect for dialect in best if dialect.delimiter in _USUAL_DELIMITERS]
    best = usual if len(best) > 1 and usual else best
    if len(best) > 1 or least == _wrong(sample, best[0], width=-1):
        tried = " ".join(delimiter_name(dialect.delimiter) for dialect in dialects)
        raise FileRefused(
            name,
            f": no single delimiter gives its lines {width} cells (tried {tried}). "
            "Say it with --delimiter, and see that --columns names each cell.",
        )
    return TextLayout(best[0], matches[0], options.columns, header_line=None, skip=0)


def _delimiters(line: str, options: ReadOptions) -> list[str]:
    if options.delimiter is not None:
        return [options.delimiter]
    # The comma also stands for a table of one column.
    tried = {*line, ","} - {*_QUOTES, "\r", "\n", "\0"} - set(options.quote or "")
    if len(line) > _EVERY_DELIMITER:
        tried = {delimiter for delimiter in tried if not delimiter.isalnum()}
    return sorted(tried)


def begin_of_line(text: str, number: int) -> int:
    """Where a line begins; the end of the text if it has none."""
    return next((at for line, at, _ in lines_of(text, limit=number) if line == number), len(text))


def _nothing_found(sample: str, inputs: Sequence[Input], options: ReadOptions) -> str:
    if sample.lstrip(BLANKS).startswith("<"):
        return ": it is HTML or XML, not a table of text. Save it as CSV or .xlsx."
    closest = max(_near_misses(sample, inputs, options), key=len, default=())
    if options.delimiter is None:
        tried = "Every character was tried as delimiter. Say it with --delimiter"
    else:
        tried = f"Only {delimiter_name(options.delimiter)} was tried as delimiter"
    hint = f"{tried}; for a file without a header name its columns with --columns."
    if not closest:
        names = columns_of(inputs)
        return f": no line of the first {HEADER_WITHIN} names columns of an input ({names}). {hint}"
    return (
        f": no line of the first {HEADER_WITHIN} names all columns of an input. {closest[0]} {hint}"
    )


def _near_misses(
    sample: str, inputs: Sequence[Input], options: ReadOptions
) -> Iterator[tuple[str, ...]]:
    """A sentence for each line that names some columns, followed by the names."""
    delimiters = options.delimiter or _USUAL_DELIMITERS
    for line, at, end in _first_lines(sample):
        for delimiter in delimiters:
            keys = [header_key(cell.strip('"')) for cell in sample[at:end].split(delimiter)]
            for table in inputs:
                times = {c: sum(key in c.names for key in keys) for c in table.columns}
                has = [column.name for column in table.columns if times[column]]
                lacks = [c.name for c in table.columns if c.required and not times[c]]
                # All are there: then one of them is there twice, or the quotes are wrong.
                twice = max(times.values()) > 1
                whole = "names one of them twice" if twice else "its quotation marks are not right"
                lacking = f"lacks {', '.join(lacks)}" if lacks else whole
                if has:
                    yield (
                        f"Closest is line {line} with delimiter {delimiter_name(delimiter)}: of "
                        f"{table.name} it has {', '.join(has)} and {lacking}.",
                        *has,
                    )


def refined(layout: TextLayout, sample: str) -> TextLayout:
    """The dialect of a file that begins with the sample, as its records show it."""
    body = sample[begin_of_line(sample, layout.skip + 1) :]
    layout = _with_escape(layout, body)
    return layout if layout.header_line is None else _with_width(layout, body)


def _with_escape(layout: TextLayout, body: str) -> TextLayout:
    r"""With the backslash as escape, if `"a \"b\" c"` can only be read so."""
    dialect = layout.dialect
    signs = (dialect.quote, dialect.delimiter)
    if not dialect.quote or _ESCAPE in signs or not any(_ESCAPE + sign in body for sign in signs):
        return layout
    escaped = replace(dialect, escape=_ESCAPE)
    width = len(layout.header)
    lines = (body[at:end] for _, at, end in lines_of(body, limit=len(body)))
    outcomes = [
        (_is_right(line, dialect, width), _is_right(line, escaped, width))
        for line in islice((line for line in lines if _ESCAPE in line), _LOOKED_AT)
    ]
    without, needed = outcomes.count((True, False)), outcomes.count((False, True))
    return replace(layout, dialect=escaped) if needed * (1 - _NEARLY_ALL) > without else layout


def _is_right(line: str, dialect: Dialect, width: int) -> bool:
    record = Grammar(dialect).record(line, 0, len(line))
    return not record.fault and len(record.cells) == width


def _with_width(layout: TextLayout, body: str) -> TextLayout:
    """With the width of nearly all records, if what the header lacks is certain to mean nothing."""
    width = len(layout.header)
    records = list(records_of(body, layout.dialect))
    widths = Counter(len(record.cells) for record in records if not record.fault)
    if not widths:
        return layout
    usual, times = widths.most_common(1)[0]
    if usual == width or times < _NEARLY_ALL * len(records):
        return layout
    rows = [record for record in records if not record.fault and len(record.cells) == usual]
    more: tuple[None, ...] = (None,) * (usual - width)
    if usual < width and not any(header_key(cell) for cell in layout.header[usual:]):
        # Delimiters at the end of the header only.
        return _with_columns(layout, layout.header[:usual], layout.match.columns[:usual])
    if more and not any(map(_is_filled, (row.cells[width:] for row in rows))):
        # Delimiters at the end of the records only.
        return _with_columns(
            layout, (*layout.header, *[""] * len(more)), layout.match.columns + more
        )
    if len(more) == 1 and _has_row_names(rows, body, layout.dialect):
        return _with_columns(layout, ("", *layout.header), more + layout.match.columns)
    return layout


def _with_columns(
    layout: TextLayout, header: tuple[str, ...], columns: tuple[str | None, ...]
) -> TextLayout:
    return replace(layout, header=header, match=HeaderMatch(layout.match.input, columns))


def _is_filled(cells: Sequence[str | None]) -> bool:
    return any((cell or "").strip(BLANKS) for cell in cells)


def _has_row_names(rows: Sequence[Record], body: str, dialect: Dialect) -> bool:
    """Whether the records begin with a quoted number of their own, as R's write.table writes them.

    It quotes texts and no numbers. Unless a number follows, the nameless cell could be the last.
    """
    quote, delimiter = dialect.quote, dialect.delimiter
    numbers = [str(number) for number in range(1, len(rows) + 1)]
    if not quote or [row.cells[0] for row in rows] != numbers:
        return False
    lines = [body[at:end] for _, at, end in lines_of(body, limit=_LOOKED_AT)]
    begun = [line for line in lines if line.startswith(f"{quote}1{quote}{delimiter}")]
    return len(begun) == 1 and begun[0].split(delimiter)[1][:1] not in ("", quote)
