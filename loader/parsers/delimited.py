"""Delimited text as a Reader."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain

from loader.errors import FileRefused, UsageError
from loader.parsers import Batch
from loader.parsers.dialect import Dialect, ReadOptions, find_dialect
from loader.parsers.fit import fitted
from loader.parsers.grammar import Grammar, lines_of
from loader.parsers.splitter import Splitter, complete_lines, output_delimiter
from loader.parsers.text import MARK, Decoding, Stream, bom_of, decode, encoding_of, to_a_character
from loader.sources import Input, other_header

# What the dialect is told from.
SAMPLE = 1 << 20
# A line must fit the memory whole; this is far above any list and below what would hurt.
LINE_LIMIT = 32 << 20

Open = Callable[[], AbstractContextManager[Stream]]


@dataclass
class DelimitedReader:
    """Reads a recognised text; see the protocol `Reader`.

    With `guessed` what stands behind the sample may change `encoding`.
    """

    name: str
    open: Open
    encoding: str
    guessed: bool
    found: Dialect
    wrapping: str
    inputs: Sequence[Input]

    part = ""

    @property
    def input(self) -> Input:
        """See `Reader`."""
        return self.found.match.input

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Reader`."""
        return tuple(name for name in self.found.match.columns if name is not None)

    @property
    def delimiter(self) -> str:
        """See `Reader`."""
        return output_delimiter(self.found.shape)

    @property
    def dialect(self) -> str:
        """See `Reader`."""
        return f"{self.wrapping}text, {self.encoding}, {self.found.description}"

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Reader`."""
        return self.found.notes

    def batches(self, load_id: int) -> Iterator[Batch]:
        """See `Reader`."""
        keep = tuple(name is not None for name in self.found.match.columns)
        splitter = Splitter(self.found.shape, keep, load_id)
        pending = ""
        with self.open() as stream:
            decoding = Decoding(stream, self.encoding, guessed=self.guessed)
            for portion in chain(decoding, [None]):
                self.encoding = decoding.encoding
                final = portion is None
                pending += portion or ""
                whole = len(pending) if final else complete_lines(pending)
                begin = self._skip(splitter, pending, whole)
                self.refuse_second_table(pending[begin:whole], splitter.line)
                records = splitter.records
                text, used = splitter.split(pending[begin:whole], final=final)
                pending = pending[begin + used :]
                if len(pending) > LINE_LIMIT:
                    raise self.line_too_long(splitter.line)
                rejected = tuple(splitter.rejected)
                splitter.rejected.clear()
                yield Batch(text, splitter.records - records, rejected, stream.position)

    @property
    def is_undecided(self) -> bool:
        """Whether a line behind the sample may still change the encoding."""
        with self.open() as stream:
            return self.guessed and stream.read(SAMPLE).isascii()

    def line_too_long(self, line: int) -> FileRefused:
        """What is raised for a line of more than LINE_LIMIT characters."""
        return FileRefused(
            self.name,
            f", line {line}: the line is longer than {LINE_LIMIT >> 20} MiB. "
            "Is this a table of text, and are its line ends right?",
        )

    def refuse_second_table(self, text: str, line: int) -> None:
        """Two tables below each other can have as many columns; rows of one are not the other's."""
        for other in self.inputs:
            names = [column.name for column in other.columns if column.required]
            if other == self.input or not all(name in text for name in names):
                continue
            for number, at, end in lines_of(text):
                record = Grammar(self.found.shape).record(text, at, end)
                cells = [cell or "" for cell in record.cells]
                if other_header(cells, self.input, self.inputs):
                    raise FileRefused(
                        self.name,
                        f", line {line + number - 1}: a second table begins here, of "
                        f"{other.name}. Put it into a file of its own.",
                    )

    def _skip(self, splitter: Splitter, text: str, whole: int) -> int:
        """Pass over the lines up to the header."""
        if splitter.line > self.found.skip:
            return 0
        left = self.found.skip + 1 - splitter.line
        begins = [at for _, at, _ in lines_of(text[:whole], limit=left + 1)]
        passed = min(left, len(begins))
        splitter.line += passed
        return begins[left] if len(begins) > left else whole


def recognise_text(
    name: str, open_bytes: Open, inputs: Sequence[Input], options: ReadOptions, wrapping: str = ""
) -> DelimitedReader:
    """The reader of a text. Raises FileRefused."""
    with open_bytes() as stream:
        sample = to_a_character(_read(stream, SAMPLE), stream)
    encoding = _encoding(sample, options)
    text = decode(sample, encoding)
    if len(sample) >= SAMPLE:
        text = text[: complete_lines(text)] or text
    found = fitted(find_dialect(name, text, inputs, options), text)
    guessed = options.encoding is None
    return DelimitedReader(name, open_bytes, encoding, guessed, found, wrapping, inputs)


def _encoding(sample: bytes, options: ReadOptions) -> str:
    if options.encoding is None:
        return encoding_of(sample)
    encoding = _codec(options.encoding)
    bom = bom_of(sample)
    if bom and bom[0].startswith(encoding):
        # "utf-16" leaves the order of bytes to the mark.
        return bom[0]
    return "utf-16-le" if encoding == "utf-16" else encoding


def _codec(name: str) -> str:
    """Python's name of an encoding that can be decoded line by line, also behind a fault."""
    try:
        encoding = codecs.lookup(name).name
        decoder = codecs.getincrementaldecoder(encoding)
        if decoder(MARK).decode("a,b\n".encode(encoding), final=True) == "a,b\n":
            decoder(MARK).decode(bytes(range(256)), final=True)
            return encoding
    except Exception:
        # Codecs raise what they like; all of it means the same here.
        pass
    raise UsageError(
        f"{name!r} is no text encoding that can be read. Common ones are utf-8, utf-16, "
        "windows-1252 and latin-1."
    )


def _read(stream: Stream, size: int) -> bytes:
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
