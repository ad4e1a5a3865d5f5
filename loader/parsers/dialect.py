"""What a delimited text is: told by the header that it must have.

The dialect is the one under which a line of the file gives the declared column names. Whatever
stands beside a name is tried as delimiter, so none has to be known beforehand. If no line gives the
names, or one does in two ways, the file is refused with the cause. So it is if a record stands
above the header: it would be passed over.

What a header cannot tell and the records below it can is refined then: the quote character,
escapes, cells without a name, and whether each line is one quoted cell. A text that is legal by
RFC 4180 stays what it is by that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import itemgetter

from loader.errors import FileRefused, NoTable
from loader.parsers.records import Row, is_filled, refuse_records_above
from loader.parsers.sheets import HEADER_WITHIN
from loader.parsers.splitter import Dialect, Grammar, Record, count_lines, lines_of
from loader.sources import (
    BLANKS,
    CellFormats,
    HeaderMatch,
    Input,
    columns_of,
    header_key,
    match_header,
    named_columns,
    near_miss,
    refuse_mistaken_name,
    without_header,
)

_QUOTES = ('"', "'")
# No header is longer; a longer line is not looked at.
_HEADER_LENGTH = 1 << 20
# How far a record over several lines is looked at.
_LOOK = 10_000
# Recognition ends in well under a second: so many cells are split for it, and making the patterns
# of one more dialect takes as long as so many.
_MOST_CELLS = 400_000
_CELLS_A_DIALECT = 500
# So many signs beside names are tried in one line, those that stand there most often.
_MOST_DELIMITERS = 40
_COMMENT = re.compile("#+[ \t]*+(?=[^ \t\r\n])")
# Records of the sample that tell the quotation mark, or the delimiter of a file without a header.
_LOOKED_AT = 500
# So much of a line is looked at for why it is no header.
_EXPLAINED = 300
_USUAL_DELIMITERS = ",;\t|"
_TABLE_LINES = 20
_NAMES = {"\t": "TAB", " ": "space"}
_ESCAPE = "\\"
# So much of a text without a header tells its delimiter.
_WITHOUT_HEADER = 1 << 17
# A reading that the header does not have must be that of nearly all records.
_NEARLY_ALL = 0.9
# What may stand between a name and the delimiter beside it, how far that is looked at, and what
# header_key takes for one separator.
_BESIDE = f"{BLANKS}'\"_.-"
_NEAR = 20
_SEPARATORS = r"[\s_.\-\u00a0\ufeff]"
# A line that is one quoted cell; a spreadsheet program may have put delimiters behind it.
_QUOTED_LINE = re.compile('(?<![^\r\n])"((?:[^"\r\n]++|"")*+)"[,;\t]*+(?![^\r\n])')


@dataclass(frozen=True)
class ReadOptions(CellFormats):
    """What a person says of files, of how they are split as well; None or () is nothing.

    `columns` names the cells of a file without a header. `quote` is "" for no quotation marks.
    `names` says what the header calls a column, `duration_min=experiment_run_time`.
    """

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    columns: tuple[str, ...] = ()
    sheet: str | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextLayout:
    """How a text is split: `skip` lines are passed over, then come the records.

    `header_line` is None for a file without one. With `is_wrapped` each line is one quoted cell
    with the line in it.
    """

    dialect: Dialect
    match: HeaderMatch
    header_line: int | None
    skip: int
    is_wrapped: bool = False

    @property
    def width(self) -> int:
        """How many cells the header has."""
        return len(self.match.cells)

    def body(self, sample: str) -> str:
        """What follows the header in the beginning of the file."""
        return sample[begin_of_line(sample, self.skip + 1) :]

    @property
    def description(self) -> str:
        """In a person's words."""
        words = [f"delimiter {delimiter_name(self.dialect.delimiter)}"]
        if self.dialect.quote != '"':
            words.append(f"quote {self.dialect.quote}" if self.dialect.quote else "no quotes")
        if self.dialect.escape:
            words.append(f"escape {self.dialect.escape}")
        if self.is_wrapped:
            words.append("each line one quoted cell")
        words.append(f"header in line {self.header_line}" if self.header_line else "no header")
        return ", ".join(words) + self.match.input.said


def delimiter_name(delimiter: str) -> str:
    """A delimiter in a person's words."""
    shown = delimiter if delimiter.isprintable() else f"\\u{ord(delimiter):04x}"
    return _NAMES.get(delimiter, f"'{shown}'")


def recognise_layout(
    name: str, sample: str, inputs: Sequence[Input], options: ReadOptions
) -> TextLayout:
    """The layout of a file that begins with the sample of whole lines. Raises FileRefused."""
    found: list[tuple[TextLayout, str, int]] = []
    refusals: list[FileRefused] = []
    for text in dict.fromkeys((sample, unwrapped(sample))):
        try:
            layout = _refined(_find_layout(name, text, inputs, options), text)
            found.append((layout, text, _wrong(layout.body(text), layout.dialect, layout.width)))
        except FileRefused as refused:
            refusals.append(refused)
    if not found:
        raise refusals[0]
    # Quoted lines are taken apart if most records come out right only so.
    layout, text, _ = found[0] if found[0][2] <= 2 * found[-1][2] else found[-1]
    layout = replace(layout, is_wrapped=text is not sample)
    refuse_mistaken_name(name, f", line {layout.header_line or 1}", layout.match, inputs)
    if layout.header_line and layout.header_line > 1:
        above = text[: begin_of_line(text, layout.header_line)]
        rows = (
            Row(at, record.cells) for at, record in records_of(above, layout.dialect, len(above))
        )
        refuse_records_above(name, layout.match, f"line {layout.header_line}", rows)
    return layout


def unwrapped(text: str) -> str:
    """Lines that are one quoted cell as the text in it."""
    if '"' not in text:
        return text
    return _QUOTED_LINE.sub(lambda line: line[1].replace('""', '"'), text)


def _find_layout(
    name: str, sample: str, inputs: Sequence[Input], options: ReadOptions
) -> TextLayout:
    """The dialect of a file that begins with the sample of whole lines. Raises FileRefused."""
    if not sample.strip(BLANKS):
        raise FileRefused(name, ": it is empty; not even a header is there.")
    if options.columns:
        return _without_header(name, sample, inputs, options)
    search = _Search(name, sample, inputs, options)
    for line, at, end in _first_lines(sample):
        if readings := list(search.readings(line, at, end)):
            return _choose(name, readings, sample)
    raise _nothing_found(name, sample, inputs, options)


def _first_lines(sample: str) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of the lines that can be the header; blank ones do not count."""
    lines = lines_of(sample, limit=len(sample))
    filled = (line for line in lines if sample[line[1] : line[2]].strip(BLANKS))
    return islice(filled, HEADER_WITHIN)


class _Search:
    """Looks for the header of a text, as long as that does not take too much."""

    def __init__(
        self, name: str, sample: str, inputs: Sequence[Input], options: ReadOptions
    ) -> None:
        self._name, self._sample, self._inputs, self._options = name, sample, inputs, options
        self._left = _MOST_CELLS
        self._grammars: dict[Dialect, Grammar] = {}
        names = {name for table in inputs for c in table.columns for name in c.all_names}
        longest_first = sorted(map(re.escape, names), key=len, reverse=True)
        self._name_pattern = re.compile(
            "|".join(longest_first).replace("_", _SEPARATORS + "+"), re.IGNORECASE
        )

    def readings(self, line: int, at: int, end: int) -> Iterator[TextLayout]:
        """Every way in which a line gives the column names of an input. Raises FileRefused."""
        sample = self._sample
        if end - at > _HEADER_LENGTH:
            return
        # Some programs mark the header as a comment.
        if commented := _COMMENT.match(sample, at, end):
            at = commented.end()
        # A header over several lines has a quotation mark that its first line does not close.
        is_open = any(sample.count(quote, at, end) % 2 for quote in _QUOTES)
        limit = min(len(sample), max(end, at + _LOOK))
        text = sample[at : limit if is_open else end]
        if not (inputs := _mentioned(text, self._inputs)):
            return
        quotes = _QUOTES if self._options.quote is None else (self._options.quote,)
        for delimiter in self._delimiters(text):
            for quote in quotes:
                dialect = Dialect(delimiter, quote)
                record = self._grammar(dialect, text).record(sample, at, limit)
                if record.fault:
                    continue
                header = tuple(cell or "" for cell in record.cells)
                written = sample[at : record.end]
                # The file may end with its header.
                lines = count_lines(written) + (not written.endswith(("\r", "\n")))
                for match in match_header(header, inputs):
                    yield TextLayout(dialect, match, line, skip=line - 1 + lines)

    def _delimiters(self, text: str) -> list[str]:
        """What stands beside a name of the header, blanks and quotation marks aside."""
        if self._options.delimiter is not None:
            return [self._options.delimiter]
        beside: Counter[str] = Counter()
        for name in islice(self._name_pattern.finditer(text), _LOOKED_AT):
            for around in (
                text[max(0, name.start() - _NEAR) : name.start()][::-1],
                text[name.end() : name.end() + _NEAR],
            ):
                rest = around.lstrip(_BESIDE)
                beside.update({*around[: len(around) - len(rest) + 1]})
        # The comma also stands for a table of one column.
        found = [delimiter for delimiter, _ in beside.most_common(_MOST_DELIMITERS)]
        tried = {*found, ","} - {*_QUOTES, "\r", "\n", "\0"} - set(self._options.quote or "")
        return sorted(tried)

    def _grammar(self, dialect: Dialect, text: str) -> Grammar:
        self._left -= text.count(dialect.delimiter)
        if dialect not in self._grammars:
            self._left -= _CELLS_A_DIALECT
            self._grammars[dialect] = Grammar(dialect)
        if self._left < 0:
            raise FileRefused(
                self._name,
                ": its first lines could be split in too many ways to try them all. Say the "
                "delimiter with --delimiter.",
            )
        return self._grammars[dialect]


def _mentioned(text: str, inputs: Sequence[Input]) -> list[Input]:
    """The inputs of which all required names are in the text, wherever its cells begin and end."""
    key = _without_quotes(text)
    return [
        table
        for table in inputs
        if all(
            any(_without_quotes(name) in key for name in column.all_names)
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
    # Nor are apostrophes tried where names stand in quotation marks.
    readings = [
        r
        for r in readings
        if r.dialect != Dialect(r.dialect.delimiter, "'")
        or r.dialect.delimiter not in usual
        or not any(cell.startswith('"') for cell in r.match.cells)
    ]
    fewest = min(map(_nameless, readings))
    readings = [reading for reading in readings if _nameless(reading) == fewest]
    at = f", line {readings[0].header_line}: the header"
    if len(names := {reading.match.input.name for reading in readings}) > 1:
        both = " and ".join(sorted(names))
        raise FileRefused(name, f"{at} means {both}. Say which with --input.")
    by_delimiter: dict[str, list[TextLayout]] = {}
    for reading in sorted(readings, key=_preference):
        by_delimiter.setdefault(reading.dialect.delimiter, []).append(reading)
    if len({_split(sample, alike[0]) for alike in by_delimiter.values()}) > 1:
        both = " and ".join(map(delimiter_name, by_delimiter))
        raise FileRefused(
            name, f"{at} gives the column names with {both}. Say which with --delimiter."
        )
    # `"a"<TAB> "b"` is the same with TAB as with space.
    return _with_quote(next(iter(by_delimiter.values())), sample)


def _preference(reading: TextLayout) -> tuple[int, str]:
    delimiter = reading.dialect.delimiter
    usual = _USUAL_DELIMITERS.find(delimiter)
    return (usual if usual >= 0 else len(_USUAL_DELIMITERS), delimiter)


def _split(sample: str, reading: TextLayout) -> tuple[tuple[str, ...], ...]:
    """The cells of the first records, trimmed."""
    records = records_of(reading.body(sample), reading.dialect)
    return tuple(
        tuple((cell or "").strip(BLANKS) for cell in record.cells) for _, record in records
    )


def _nameless(reading: TextLayout) -> int:
    return sum(not any(map(str.isalnum, cell)) for cell in reading.match.cells)


def _with_quote(readings: list[TextLayout], sample: str) -> TextLayout:
    """The reading with the usual quotation mark, unless the cells begin with another one."""
    usual = readings[0]
    if len(readings) == 1:
        return usual
    body = usual.body(sample)
    bare = Dialect(usual.dialect.delimiter, "")
    records = [record.cells for _, record in records_of(body, bare)]
    begins = Counter(cell[0] for cells in records for cell in cells if cell)
    if begins["'"] <= begins['"']:
        return usual
    width, key = usual.width, usual.match.key or 0
    keys = [(cells[key] or "").strip(BLANKS) for cells in records if len(cells) == width]

    def preference(reading: TextLayout) -> tuple[int, bool]:
        # What is right with both marks is RFC 4180, unless not even the ids would be ids.
        quote = reading.dialect.quote
        around_ids = reading is not usual and all(
            len(cell) > 2 and cell[0] == cell[-1] == quote for cell in keys
        )
        return _wrong(body, reading.dialect, width), not around_ids

    return min(readings, key=preference)


def _wrong(body: str, dialect: Dialect, width: int, limit: int = _LOOKED_AT) -> int:
    """How many records of the first lines do not come out right."""
    records = (record for _, record in records_of(body, dialect, limit))
    return sum(
        bool(record.fault) or (len(record.cells) != width and is_filled(record.cells))
        for record in records
    )


def records_of(
    body: str, dialect: Dialect, limit: int = _LOOKED_AT
) -> Iterator[tuple[int, Record]]:
    """Line and record for the first lines; behind a wrong record comes the next line."""
    grammar = Grammar(dialect)
    next_record = 0
    for line, at, end in lines_of(body, limit=limit):
        if at < next_record or not body[at:end].strip(BLANKS):
            continue
        record = grammar.record(body, at, min(len(body), max(end, at + _LOOK)))
        next_record = at if record.fault else record.end
        yield line, record


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
    signs = Counter(char for char in first if not (char.isalnum() or char in "_\\\"'\0"))
    likely = {sign for sign, _ in signs.most_common(_MOST_DELIMITERS)} | {","}
    tried = [options.delimiter] if options.delimiter else sorted(likely - set(quote))
    body = sample[:_WITHOUT_HEADER]
    wrong = [(_wrong(body, dialect := Dialect(sign, quote), width), dialect) for sign in tried]
    least = min(count for count, _ in wrong)
    best = [dialect for count, dialect in wrong if count == least]
    usual = [dialect for dialect in best if dialect.delimiter in _USUAL_DELIMITERS]
    best = usual if len(best) > 1 and usual else best
    if len(best) > 1 or least == _wrong(body, best[0], width=-1):
        raise FileRefused(
            name,
            f": no single delimiter gives its lines {width} cells (tried "
            f"{' '.join(map(delimiter_name, tried))}). "
            "Say it with --delimiter, and see that --columns names each cell.",
        )
    return TextLayout(best[0], matches[0], header_line=None, skip=0)


def begin_of_line(text: str, number: int) -> int:
    """Where a line begins; the end of the text if it has none."""
    return next((at for line, at, _ in lines_of(text, limit=number) if line == number), len(text))


def _nothing_found(
    name: str, sample: str, inputs: Sequence[Input], options: ReadOptions
) -> FileRefused:
    """Says why no line is a header: the one that names most columns, or else has most cells."""
    if sample.lstrip(BLANKS).startswith("<"):
        return FileRefused(
            name, ": it is HTML or XML, not a table of text. Save it as CSV or .xlsx."
        )
    lines = [
        (line, delimiter, [cell.strip(f'{BLANKS}"') for cell in cells])
        for line, at, end in _first_lines(sample)
        for delimiter in options.delimiter or _USUAL_DELIMITERS
        for cells in [sample[at : min(end, at + _LOOK)].split(delimiter, _EXPLAINED)]
    ]
    closest = max(lines, key=lambda line: (named_columns(line[2], inputs), len(line[2])))
    is_near = named_columns(closest[2], inputs) > 0
    if not is_near:
        # Looking for names that are only alike takes longer: in the first lines.
        misses = [
            (miss[0], line)
            for line in lines[: 5 * len(_USUAL_DELIMITERS)]
            for table in inputs
            if (miss := near_miss(line[2], table))
        ]
        is_near = bool(misses)
        _, closest = max(misses, key=itemgetter(0), default=(0, closest))
    hint = "for a file without a header name its columns with --columns."
    if options.delimiter is None:
        hint = f"If it has another delimiter than usual, say it with --delimiter; {hint}"
    else:
        hint = f"Only {delimiter_name(options.delimiter)} was tried as delimiter; {hint}"
    line, delimiter, cells = closest
    refused = without_header(
        *(name, f"no line of the first {HEADER_WITHIN}", f"line {line}", cells, inputs, hint),
        beside=f" with delimiter {delimiter_name(delimiter)}",
    )
    if is_near or _looks_like_table(sample):
        return refused
    return NoTable(name, refused.problem, refused.header)


def _looks_like_table(sample: str) -> bool:
    """Whether the first lines have equally many of a usual delimiter: no README."""
    lines = [sample[at:end] for _, at, end in islice(_first_lines(sample), _TABLE_LINES)]
    counts = [{line.count(sign) for line in lines} for sign in _USUAL_DELIMITERS]
    return len(lines) > 1 and any(len(count) == 1 and count != {0} for count in counts)


def _refined(layout: TextLayout, sample: str) -> TextLayout:
    """The dialect of a file that begins with the sample, as its records show it."""
    body = layout.body(sample)
    layout = _with_escape(layout, body)
    return layout if layout.header_line is None else _with_width(layout, body)


def _with_escape(layout: TextLayout, body: str) -> TextLayout:
    r"""With the backslash as escape, if `"a \"b\" c"` can only be read so, and is no RFC 4180."""
    dialect = layout.dialect
    signs = (dialect.quote, dialect.delimiter)
    if not dialect.quote or _ESCAPE in signs or not any(_ESCAPE + sign in body for sign in signs):
        return layout
    escaped = replace(dialect, escape=_ESCAPE)
    width = layout.width
    if not _wrong(body, dialect, width, len(body)):
        return layout
    lines = (body[at:end] for _, at, end in lines_of(body, limit=len(body)))
    outcomes = [
        (_wrong(line, dialect, width) == 0, _wrong(line, escaped, width) == 0)
        for line in islice((line for line in lines if _ESCAPE in line), _LOOKED_AT)
    ]
    without, needed = outcomes.count((True, False)), outcomes.count((False, True))
    return replace(layout, dialect=escaped) if needed * (1 - _NEARLY_ALL) > without else layout


def _with_width(layout: TextLayout, body: str) -> TextLayout:
    """With the width of nearly all records, if what the header lacks is certain to mean nothing."""
    width, cells, columns = layout.width, layout.match.cells, layout.match.columns
    records = [record for _, record in records_of(body, layout.dialect)]
    records = [record for record in records if record.fault or is_filled(record.cells)]
    widths = Counter(len(record.cells) for record in records if not record.fault)
    if not widths:
        return layout
    usual, times = widths.most_common(1)[0]
    if usual == width or times < _NEARLY_ALL * len(records):
        return layout
    rows = [record for record in records if not record.fault and len(record.cells) == usual]
    more = usual - width
    if more < 0 and not any(header_key(cell) for cell in cells[usual:]):
        # Delimiters at the end of the header only.
        cells, columns = cells[:usual], columns[:usual]
    elif more > 0 and not any(is_filled(row.cells[width:]) for row in rows):
        # Delimiters at the end of the records only.
        cells, columns = (*cells, *[""] * more), (*columns, *[None] * more)
    elif more == 1 and _has_row_names(rows, body, layout.dialect):
        cells, columns = ("", *cells), (None, *columns)
    return replace(layout, match=HeaderMatch(layout.match.input, columns, cells))


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
