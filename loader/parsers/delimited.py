"""Delimited text: records out of it, each part of it under its own header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from loader.errors import FileRefused
from loader.parsers.dialect import ReadOptions, TextLayout, recognise_layout
from loader.parsers.encoding import Encoding, Open, decode, decoded, encoding_of, said_encoding
from loader.parsers.records import Batch, Parser, RejectedLine, listed
from loader.parsers.splitter import Splitter, complete_lines, count_lines
from loader.sources import HeaderMatch, Input

# What encoding and dialect are told from (bytes).
_SAMPLE = 2 << 20
# A line must fit the memory whole; this is far above any list and below what would hurt.
_LINE_LIMIT = 32 << 20


@dataclass
class DelimitedParser(Parser):
    """Reads a recognised text."""

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
        return self.layout.dialect.output

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
                [
                    f"{one.line} to {one.line + count_lines(one.content) - 1}"
                    for one in self._doubted
                ]
            )
            notes += (
                f"warning: a quoted cell has lines that look like records in lines {lines}; is a "
                "quotation mark missing there?",
            )
        return notes

    def _batches(self, load_id: int) -> Iterator[Batch]:
        self._doubted = []

        def expect(match: HeaderMatch) -> None:
            pick = [match.columns.index(n) if n in match.columns else -1 for n in self.columns]
            extra = match.further if self.has_extra else None
            splitter.expect(len(match.columns), pick, extra, match.key)

        splitter = Splitter(
            *(self.layout.dialect, load_id),
            line=self.layout.skip + 1,
            headers=self.headers,
            on_header=lambda line, cells: expect(self.following(line, cells)),
        )
        expect(self.match)
        # What is not split yet, and where it begins.
        pending, at = "", self.layout.begin
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
                self._doubted += splitter.doubted
                rejected, doubted = tuple(splitter.rejected), tuple(splitter.doubted)
                yield Batch(text, splitter.records, rejected, stream.position, doubted)


def recognise_text(
    name: str, open_bytes: Open, inputs: Sequence[Input], options: ReadOptions, wrapping: str = ""
) -> DelimitedParser:
    """The parser of a text. Raises FileRefused."""
    with open_bytes() as stream:
        sample = stream.read(_SAMPLE)
    said = options.encoding
    encoding = encoding_of(name, sample) if said is None else said_encoding(said, sample)
    text = decode(sample, encoding.name)
    if len(sample) >= _SAMPLE:
        text = text[: complete_lines(text)] or text
    layout = recognise_layout(name, text, inputs, options)
    return DelimitedParser(name, inputs, layout.match, open_bytes, encoding, layout, wrapping)
