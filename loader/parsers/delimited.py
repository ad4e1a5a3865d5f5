"""Delimited text: its dialect, deduced from the header it must have, and its records.

The dialect is the one in which a line of the file yields the declared column names. If no line
yields them with a usual delimiter, or one does so in two ways, the file is refused with the cause.
It is also refused if a record precedes the header, because that record would be skipped. Each part
of the text is read under its own header.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice, takewhile

from loader.errors import FileRefused, NoTable
from loader.parsers.encoding import Encoding, Open, decode, decoded, encoding_of, said_encoding
from loader.parsers.headers import (
    Candidate,
    HeaderMatch,
    columns_alike,
    columns_of,
    is_number,
    match_header,
    single_match,
    without_header,
)
from loader.parsers.records import (
    HEADER_WITHIN,
    SWALLOWED,
    Batch,
    Parser,
    Row,
    is_filled,
    refuse_records_above,
)
from loader.parsers.splitter import (
    Dialect,
    Grammar,
    Record,
    Splitter,
    complete_lines,
    count_lines,
    lines_of,
)
from loader.printable import listed
from loader.sources import BLANKS, Input, ReadOptions, header_key

# The sample that determines encoding and dialect (bytes).
_SAMPLE = 2 << 20
# A whole line must fit in memory; this is far above any real list and still harmless.
_LINE_LIMIT = 32 << 20
# Tried in this order, likelier ones first; --delimiter sets any other.
_DELIMITERS = ",;\t|:~^\x1f\x01 "
_USUAL_DELIMITERS = ",;\t|"
_NAMES = {"\t": "TAB", " ": "space"}
# The header must end within this many characters; searching further would take too long.
_HEADER_END = 1 << 17
# How far ahead a multi-line record is examined.
_LOOK = 10_000
_COMMENT = re.compile("#+[ \t]*+(?=[^ \t\r\n])")
# Lines that determine the width; characters that determine the delimiter without a header.
_LOOKED_AT = 500
_WITHOUT_HEADER = 1 << 17
# Cells of a line, and lines, that are examined to explain why none is a header.
_EXPLAINED = 300
_TABLE_LINES = 20


@dataclass(frozen=True)
class TextLayout:
    """How a text is split: records follow after `skip` lines, which have `begin` characters.

    `header_line` is None for a file without a header. Records end with `surplus` empty cells beyond
    those of the header.
    """

    dialect: Dialect
    match: HeaderMatch
    header_line: int | None = None
    skip: int = 0
    begin: int = 0
    surplus: int = 0


def _delimiter_name(delimiter: str) -> str:
    shown = delimiter if delimiter.isprintable() else f"\\u{ord(delimiter):04x}"
    return _NAMES.get(delimiter, f"'{shown}'")


@dataclass
class DelimitedParser(Parser):
    open: Open
    read_as: Encoding
    layout: TextLayout
    wrapping: str
    # The line ranges of records that may have swallowed others.
    _doubted: list[str] = field(default_factory=list)

    unit = "line"

    @property
    def header(self) -> tuple[str, ...]:
        return self.match.cells if self.layout.header_line else ()

    @property
    def delimiter(self) -> str:  # type: ignore[override]  # a text has its own
        return self.layout.dialect.output

    @property
    def dialect(self) -> str:
        layout, quote = self.layout, self.layout.dialect.quote
        quotes = "" if quote == '"' else f", quote {quote}" if quote else ", no quotes"
        header = f"header in line {layout.header_line}" if layout.header_line else "no header"
        delimiter = _delimiter_name(layout.dialect.delimiter)
        how = f"delimiter {delimiter}{quotes}, {header}{self.input.said}"
        return f"{self.wrapping}text, {self.read_as}, {how}"

    @property
    def notes(self) -> tuple[str, ...]:
        notes, above = super().notes, (self.layout.header_line or 1) - 1
        if above:
            lines = "line 1" if above == 1 else f"lines 1 to {above}"
            notes = (f"passed over {lines} before the header", *notes)
        if self.read_as.is_guess:
            notes += (f"the encoding is a guess: {self.read_as}; --encoding says another one",)
        if self._doubted:
            notes += (
                "warning: a quoted cell has lines that look like records in lines "
                f"{listed(self._doubted)}; is a quotation mark missing there?",
            )
        return notes

    def batches(self, load_id: int) -> Iterator[Batch]:
        layout = self.layout
        splitter = Splitter(layout.dialect, load_id, layout.skip + 1, self, layout.surplus)
        splitter.follow(self.match)
        # Text that is not split yet, and where it begins.
        pending, at = "", layout.begin
        with self.open() as stream:
            for portion in chain(decoded(stream, self.read_as), [None]):
                final = portion is None
                pending += portion or ""
                whole = len(pending) if final else complete_lines(pending)
                text, used = splitter.split(pending[at:whole], final=final)
                pending, at = pending[at + used :], max(0, at - len(pending))
                if len(pending) > _LINE_LIMIT:
                    raise FileRefused(
                        self.name,
                        f", line {splitter.line}: the line is longer than {_LINE_LIMIT >> 20} MiB. "
                        "Is this a table of text, and are its line ends right?",
                    )
                self._doubted += [
                    f"{record.line} to {record.line + count_lines(record.content) - 1}"
                    for record in splitter.rejected
                    if record.rule == SWALLOWED
                ]
                yield Batch(text, splitter.records, tuple(splitter.rejected), stream.position)


def recognise_text(
    name: str, open_bytes: Open, inputs: Sequence[Input], options: ReadOptions, wrapping: str = ""
) -> DelimitedParser:
    """The parser of a text. Raises FileRefused."""
    with open_bytes() as stream:
        head = stream.read(_SAMPLE)
    said = options.encoding
    encoding = encoding_of(name, head) if said is None else said_encoding(said, head)
    sample = decode(head, encoding.name)
    if len(head) >= _SAMPLE:
        sample = sample[: complete_lines(sample)] or sample
    if not sample.strip(BLANKS):
        raise FileRefused(name, ": it is empty; not even a header is there.")
    find = _without_header if options.columns else _with_header
    layout = find(name, sample, inputs, options)
    return DelimitedParser(name, inputs, layout.match, open_bytes, encoding, layout, wrapping)


def _with_header(
    name: str, sample: str, inputs: Sequence[Input], options: ReadOptions
) -> TextLayout:
    for line, at, end in _first_lines(sample):
        readings = _readings(sample, line, at, end, inputs, options)
        if not readings:
            continue
        # `a<TAB><TAB>b` can be read with nameless columns, `a,<TAB>b` without any, and `a ; b` with
        # a column `;` between spaces.
        nameless = [sum(not any(map(str.isalnum, c)) for c in r.match.cells) for r in readings]
        best = [r for r, n in zip(readings, nameless, strict=True) if n == min(nameless)]
        where = f"line {line}"
        if not _are_alike(best, sample):
            both = " and ".join(_delimiter_name(r.dialect.delimiter) for r in best)
            problem = f"the header gives the column names with {both}. Say which with --delimiter."
            raise FileRefused(name, f", {where}: {problem}")
        single_match(name, f", {where}", best[0].match.cells, inputs)
        layout = _with_width(name, best[0], sample, inputs)
        width = len(layout.match.cells)
        whole = width + layout.surplus
        above = _records(sample[:at], layout.dialect, limit=at)
        rows = (Row(n, r.cells[: width if len(r.cells) == whole else None]) for n, r in above)
        refuse_records_above(name, layout.match, where, rows)
        return layout
    raise _nothing_found(name, sample, inputs, options)


def _first_lines(sample: str) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of the lines that can be the header; blank lines do not count."""
    filled = (line for line in lines_of(sample) if sample[line[1] : line[2]].strip(BLANKS))
    return islice(filled, HEADER_WITHIN)


def _readings(
    sample: str, line: int, at: int, end: int, inputs: Sequence[Input], options: ReadOptions
) -> list[TextLayout]:
    """Every way in which a line yields the column names of an input."""
    comment = _COMMENT.match(sample, at, end)
    # A header may span several lines.
    limit = min(len(sample), max(end, at + _LOOK))
    readings: list[TextLayout] = []
    for delimiter in options.delimiter or _DELIMITERS:
        # Names may contain spaces as well.
        if end > _HEADER_END or (delimiter == " " and readings):
            break
        dialect = Dialect(delimiter, '"' if options.quote is None else options.quote)
        grammar, begin = Grammar(dialect), at
        record = grammar.record(sample, at, limit)
        # Some programs comment out the header; with TABs and records as wide, `#` is a column.
        is_column = (
            comment is not None
            and delimiter == "\t" in comment[0]
            and _next_width(grammar, sample, record) == len(record.cells)
        )
        if comment and not is_column:
            begin = comment.end()
            record = grammar.record(sample, begin, limit)
        header = [cell or "" for cell in record.cells]
        for match in match_header(header, inputs)[:1] if not record.fault else ():
            skip = line - 1 + count_lines(sample[begin : record.end])
            readings.append(TextLayout(dialect, match, line, skip, record.end))
    return readings


def _next_width(grammar: Grammar, sample: str, record: Record) -> int:
    end = min(len(sample), record.end + _LOOK)
    return len(grammar.record(sample, record.end, end).cells)


def _are_alike(readings: Sequence[TextLayout], sample: str) -> bool:
    """Whether all readings give the first records the same cells, ignoring surrounding blanks."""
    seen = {
        tuple(
            tuple((cell or "").strip(BLANKS) for cell in record.cells)
            for _, record in _records(sample[reading.begin :], reading.dialect)
        )
        for reading in readings
    }
    return len(seen) == 1


def _records(body: str, dialect: Dialect, limit: int = _LOOKED_AT) -> Iterator[tuple[int, Record]]:
    """Line and record for the first lines; after a faulty record comes the next line."""
    grammar = Grammar(dialect)
    next_record = 0
    for line, at, end in lines_of(body, limit=limit):
        if at < next_record or not body[at:end].strip(BLANKS):
            continue
        record = grammar.record(body, at, min(len(body), max(end, at + _LOOK)))
        next_record = at if record.fault else record.end
        yield line, record


def _with_width(name: str, layout: TextLayout, sample: str, inputs: Sequence[Input]) -> TextLayout:
    """The layout with the width of most records, if the difference is only trailing delimiters.

    Raises FileRefused if the records may instead begin with row names, which would pass for ids,
    and so end one column later than the header suggests.
    """
    match, width = layout.match, len(layout.match.cells)
    records = _records(sample[layout.begin :], layout.dialect)
    rows = [record.cells for _, record in records if not record.fault and is_filled(record.cells)]
    if header_key(match.cells[-1]) and all(len(row) == width for row in rows):
        return layout
    # Rows below a second header say nothing about the first.
    rows = [*takewhile(lambda cells: len(columns_alike(cells, inputs)) < 2, rows)]
    usual = Counter(map(len, rows)).most_common(1)[0][0] if rows else width
    if usual < width and not any(map(header_key, match.cells[usual:])):
        match = HeaderMatch(match.input, match.columns[:usual], match.cells[:usual])
        return replace(layout, match=match)
    if any(is_filled(row[width:]) for row in rows):
        return layout
    whole = [[(cell or "").strip(BLANKS) for cell in row] for row in rows if len(row) == usual]
    is_nameless = not header_key(match.cells[-1]) and any(row[-1] for row in whole)
    may_have = usual > width or (usual == width and is_nameless)
    if may_have and _have_row_names(match, whole):
        raise FileRefused(
            name,
            f", line {layout.header_line}: the records have a cell more than the header has "
            "names. If their first cells are row names, as R writes them, write the file with "
            "row.names = FALSE; if not, end the header as they end, and give each cell a name.",
        )
    return replace(layout, surplus=max(0, usual - width))


def _have_row_names(match: HeaderMatch, rows: Sequence[Sequence[str]]) -> bool:
    """Whether rows make sense one cell further right: counted from 1, then whole records."""
    if match.key is None or len(rows) < 2:
        return False
    ids = {row[match.key + 1] for row in rows}
    required = {column.name for column in match.input.columns if column.required}
    needed = [at + 1 for at, column in enumerate(match.columns) if column in required]
    return (
        [row[0] for row in rows] == [str(n) for n in range(1, len(rows) + 1)]
        and all(row[at] for row in rows for at in needed)
        and len(ids) == len(rows)
        and all(map(is_number, ids))
    )


def _without_header(
    name: str, sample: str, inputs: Sequence[Input], options: ReadOptions
) -> TextLayout:
    match = single_match(name, "", options.columns, inputs)
    if match is None:
        no_input = f"the columns {', '.join(options.columns)} mean no input"
        raise FileRefused(name, f": {no_input}. Inputs are {columns_of(inputs)}.")
    width, quote = len(options.columns), '"' if options.quote is None else options.quote
    body = sample[:_WITHOUT_HEADER]
    tried = options.delimiter or _DELIMITERS
    readings = [TextLayout(Dialect(delimiter, quote), match) for delimiter in tried]
    right = [
        sum(len(r.cells) == width and not r.fault for _, r in _records(body, reading.dialect))
        for reading in readings
    ]
    most = max(right)
    best = [reading for reading, count in zip(readings, right, strict=True) if count == most]
    if not most or not _are_alike(best, body):
        shown = " ".join(map(_delimiter_name, tried))
        raise FileRefused(
            name,
            f": no single delimiter gives its lines {width} cells (tried {shown}). "
            "Say it with --delimiter, and see that --columns names each cell.",
        )
    return best[0]


def _nothing_found(
    name: str, sample: str, inputs: Sequence[Input], options: ReadOptions
) -> FileRefused:
    """Explain why no line is a header, using the line that names most columns or has most cells."""
    if sample.lstrip(BLANKS).startswith("<"):
        return FileRefused(
            name, ": it is HTML or XML, not a table of text. Save it as CSV or .xlsx."
        )
    first = [(line, sample[at : min(end, at + _LOOK)]) for line, at, end in _first_lines(sample)]
    for line, text in first:
        # Delimiters may follow the cell.
        whole = text.rstrip(f"{BLANKS}{_USUAL_DELIMITERS}")
        cells = Grammar(Dialect(",")).record(whole, 0, len(whole)).cells
        inner = re.split(f"[{_USUAL_DELIMITERS}]", cells[0] or "") if len(cells) == 1 else []
        if whole.startswith('"') and len(columns_alike(inner, inputs)) > 1:
            return FileRefused(
                name,
                f", line {line}: each line is one quoted cell, as when a spreadsheet program saves "
                "a text once more. Load the text that it came from, or split it in the spreadsheet "
                "program (Text to Columns).",
            )
    candidates = [
        Candidate(
            f"line {line}",
            [cell.strip(f"{BLANKS}\"'") for cell in text.split(delimiter, _EXPLAINED)],
            f" with delimiter {_delimiter_name(delimiter)}",
        )
        for line, text in first
        for delimiter in options.delimiter or _USUAL_DELIMITERS
    ]
    tried = "If it has another delimiter than usual, say it with --delimiter"
    if options.delimiter is not None:
        tried = f"Only {_delimiter_name(options.delimiter)} was tried as delimiter"
    hint = f"{tried}; for a file without a header name its columns with --columns."
    looked_at = f"no line of the first {HEADER_WITHIN}"
    refused = without_header(name, looked_at, candidates, inputs, hint)
    proposals = refused.header.proposals if refused.header else ()
    is_near = any(column.cell for proposal in proposals for column in proposal.columns)
    if is_near or _looks_like_table([text for _, text in first], inputs):
        return refused
    return NoTable(name, refused.problem, refused.header)


def _looks_like_table(lines: Sequence[str], inputs: Sequence[Input]) -> bool:
    """Whether they look like a table: equal delimiter counts, or one line with required names."""
    counts = [{line.count(sign) for line in lines[:_TABLE_LINES]} for sign in _USUAL_DELIMITERS]
    if len(lines) > 1 and any(len(count) == 1 and count != {0} for count in counts):
        return True
    required = [[c.name for c in table.columns if c.required] for table in inputs]
    return any(all(name in line for name in names) for line in lines for names in required)
