"""Delimited text: records out of it, each part of it under its own header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from loader.errors import FileRefused
from loader.parsers.dialect import ReadOptions, TextLayout, recognise_layout
from loader.parsers.encoding import (
    Decoding,
    Encoding,
    Open,
    decode,
    encoding_of,
    said_encoding,
    to_a_character,
)
from loader.parsers.records import Batch, Parser, RejectedLine, listed
from loader.parsers.splitter import Splitter, complete_lines, count_lines, output_delimiter
from loader.sources import HeaderMatch, Input

# What the dialect is told from.
SAMPLE = 1 << 20
# A line must fit the memory whole; this is far above any list and below what would hurt.
_LINE_LIMIT = 32 << 20


@dataclass
class DelimitedParser(Parser):
    """Reads a recognised text.

    What stands behind the sample may change `read_as`, unless it is final.
    """

    open: Open
    read_as: Encoding
    layout: TextLayout
    wrapping: str
    # Records that may have swallowed others, as they are read.
    _doubted: list[RejectedLine] = field(default_factory=list)

    unit = "line"

    @property
    def header(self) -> tuple[str, ...]:
        return self.match.cells if self.layout.header_line else ()

    @property
    def delimiter(self) -> str:  # type: ignore[override]  # a text has its own
        return output_delimiter(self.layout.dialect)

    @property
    def dialect(self) -> str:
        return f"{self.wrapping}text, {self.read_as}, {self.layout.description}"

    @property
    def notes(self) -> tuple[str, ...]:
        notes, above = super().notes, (self.layout.header_line or 1) - 1
        if above:
            lines = "line 1" if above == 1 else f"lines 1 to {above}"
            notes = (f"passed over {lines} before the header", *notes)
        if self.read_as.is_guess:
            notes += (f"the encoding is a guess: {self.read_as}; --encoding says another one",)
        if self._doubted:
            lines = listed(
                [f"{one.line} to {one.line + count_lines(one.content)}" for one in self._doubted]
            )
            notes += (
                f"warning: a quoted cell has lines that look like records in lines {lines}; is a "
                "quotation mark missing there?",
            )
        return notes

    def _batches(self, load_id: int) -> Iterator[Batch]:
        self._doubted = []
        splitter = self._splitter(self.match, load_id, line=self.layout.skip + 1)
        # What is not split yet, and where it begins.
        pending, at = "", self.layout.begin
        with self.open() as stream:
            decoding = Decoding(self.name, stream, self.read_as)
            for portion in chain(decoding, [None]):
                self.read_as = decoding.encoding
                final = portion is None
                pending += portion or ""
                whole = len(pending) if final else complete_lines(pending)
                out: list[str] = []
                rejected: list[RejectedLine] = []
                doubted: list[RejectedLine] = []
                records = 0
                while at <= whole:
                    text, used = splitter.split(pending[at:whole], final=final)
                    out.append(text)
                    records += splitter.records
                    rejected += splitter.rejected
                    doubted += splitter.doubted
                    at += used
                    if splitter.header is None:
                        break
                    match = self.following(splitter.header_line, splitter.header)
                    splitter = self._splitter(match, load_id, line=splitter.line)
                pending, at = pending[at:], max(0, at - len(pending))
                if len(pending) > _LINE_LIMIT:
                    raise FileRefused(
                        self.name,
                        f", line {splitter.line}: the line is longer than {_LINE_LIMIT >> 20} MiB. "
                        "Is this a table of text, and are its line ends right?",
                    )
                self._doubted += doubted
                yield Batch("".join(out), records, tuple(rejected), stream.position, tuple(doubted))

    def _splitter(self, match: HeaderMatch, load_id: int, *, line: int) -> Splitter:
        pick = tuple(match.columns.index(n) if n in match.columns else -1 for n in self.columns)
        return Splitter(
            *(self.layout.dialect, len(match.columns), pick, load_id),
            line=line,
            extra=match.further if self.has_extra else None,
            key=match.key,
            headers=self.headers,
        )


def recognise_text(
    name: str, open_bytes: Open, inputs: Sequence[Input], options: ReadOptions, wrapping: str = ""
) -> DelimitedParser:
    """The parser of a text. Raises FileRefused."""
    with open_bytes() as stream:
        sample = to_a_character(stream.read(SAMPLE), stream)
    if options.encoding is None:
        encoding = encoding_of(name, sample)
    else:
        encoding = said_encoding(options.encoding, sample)
    text = decode(sample, encoding.name)
    if len(sample) >= SAMPLE:
        text = text[: complete_lines(text)] or text
    layout = recognise_layout(name, text, inputs, options)
    return DelimitedParser(name, inputs, layout.match, open_bytes, encoding, layout, wrapping)
