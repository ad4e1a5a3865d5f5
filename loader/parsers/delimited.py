"""Delimited text: its encoding, and records out of it.

Decoding neither fails nor loses a byte: bytes without a meaning are marked, and their lines are
rejected.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from loader.errors import FileRefused, UsageError
from loader.parsers.dialect import ReadOptions, TextLayout, find_layout, refined
from loader.parsers.records import Batch
from loader.parsers.splitter import Grammar, Splitter, complete_lines, lines_of, output_delimiter
from loader.sources import Input, other_header

# What the dialect is told from.
SAMPLE = 1 << 20
# A line must fit the memory whole; this is far above any list and below what would hurt.
LINE_LIMIT = 32 << 20
# Reading so much at a time keeps the memory small, and the time per line does not fall further.
CHUNK = 1 << 20
_LONGEST_CHARACTER = 4
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# The error handler that marks bytes without a meaning.
MARK = "labmart-mark"
# What people write in Windows-1252: letters, and signs that laboratories and word processors use.
# A byte outside of this set speaks for damage rather than for another encoding.
# Inside of a word capitals and signs are letters of another encoding: Mac Roman, Windows-1250.
_ELSEWHERE = re.compile(
    rb"[a-z][\x8a\x8c\x8e]|[A-Z][\x8a\x8c\x8e][a-z]|[a-z][\xa3\xa5\xaf\xb1\xb3\xb9\xbf][a-z]"
)
_WRITTEN = frozenset(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýŠšŒœŽž"
    "€£°±²³µ·¹º¼½¾×÷«»‘’“”„–—…•§®©™¿¡\u00a0".encode("cp1252")  # noqa: RUF001 -- they are meant
)


class Stream(Protocol):
    """Bytes to decode, as of io.BufferedReader, and how many of the file have been used."""

    @property
    def position(self) -> int: ...

    def read(self, size: int = -1, /) -> bytes: ...


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Each byte without a meaning becomes the character 0xDC00 + byte, which no text contains."""
    assert isinstance(error, UnicodeDecodeError)
    damaged = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in damaged), error.end


codecs.register_error(MARK, _mark)


def bom_of(sample: bytes) -> tuple[str, bytes] | None:
    """Encoding and bytes of the byte order mark, if the sample begins with one."""
    return next(((name, bom) for bom, name in _BOMS if sample.startswith(bom)), None)


def encoding_of(sample: bytes) -> str:
    """The encoding of a file that begins with the sample, as Python calls it.

    UTF-8, if the sample has a sequence of UTF-8 that is not ASCII, or nothing but ASCII.
    Windows-1252, if it has none and every byte above ASCII is one that people write there.
    Else UTF-8 again, with damaged lines.
    """
    if bom := bom_of(sample):
        return bom[0]
    if wide := _utf16_without_bom(sample):
        return wide
    if sample.isascii():
        return "utf-8"
    decoded = codecs.getincrementaldecoder("utf-8")(MARK).decode(sample)
    if any(ord(char) > 0x7F and not 0xD800 <= ord(char) <= 0xDFFF for char in set(decoded)):
        return "utf-8"
    above = {byte for byte in sample if byte > 0x7F}
    return "cp1252" if above <= _WRITTEN and not _ELSEWHERE.search(sample) else "utf-8"


def decode(sample: bytes, encoding: str) -> str:
    """A sample as text, without byte order mark; an incomplete last character is left out."""
    bom = bom_of(sample)
    skipped = len(bom[1]) if bom and bom[0] == encoding else 0
    return codecs.getincrementaldecoder(encoding)(MARK).decode(sample[skipped:])


class Decoding:
    """The text of a stream in portions, without byte order mark. Bytes that are none are marked.

    `encoding` is what it is read as. If it was only guessed and all is ASCII so far, the first
    portion that is not decides between UTF-8 and Windows-1252.
    """

    def __init__(self, stream: Stream, encoding: str, *, guessed: bool) -> None:
        self.encoding = encoding
        self._stream = stream
        self._undecided = guessed and encoding == "utf-8"

    def __iter__(self) -> Iterator[str]:
        chunk = self._stream.read(CHUNK)
        bom = bom_of(chunk)
        if bom and bom[0] == self.encoding:
            chunk = chunk[len(bom[1]) :]
            self._undecided = False
        while self._undecided and chunk.isascii():
            yield chunk.decode("ascii")
            if not (chunk := self._stream.read(CHUNK)):
                return
        if self._undecided:
            chunk = to_a_character(chunk, self._stream)
            self.encoding = encoding_of(chunk)
        decoder = codecs.getincrementaldecoder(self.encoding)(MARK)
        while chunk:
            yield decoder.decode(chunk)
            chunk = self._stream.read(CHUNK)
        yield decoder.decode(b"", final=True)


def to_a_character(chunk: bytes, stream: Stream) -> bytes:
    """The chunk, with a few bytes more if it may end within a character."""
    return chunk + stream.read(_LONGEST_CHARACTER) if chunk and chunk[-1] > 0x7F else chunk


def _utf16_without_bom(sample: bytes) -> str | None:
    """Under UTF-16 ASCII letters, and be it only those of the header, have a zero every 2 bytes."""
    head = sample[:4096]
    pairs = len(head) // 2
    if pairs < 4:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.2 * pairs and even < 0.1 * odd:
        return "utf-16-le"
    if even > 0.2 * pairs and odd < 0.1 * even:
        return "utf-16-be"
    return None


Open = Callable[[], AbstractContextManager[Stream]]


@dataclass
class DelimitedParser:
    """Reads a recognised text; see the protocol `Parser`.

    With `guessed` what stands behind the sample may change `encoding`.
    """

    name: str
    open: Open
    encoding: str
    guessed: bool
    layout: TextLayout
    wrapping: str
    inputs: Sequence[Input]

    part = ""

    @property
    def input(self) -> Input:
        return self.layout.match.input

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in self.layout.match.columns if name is not None)

    @property
    def delimiter(self) -> str:
        return output_delimiter(self.layout.dialect)

    @property
    def dialect(self) -> str:
        return f"{self.wrapping}text, {self.encoding}, {self.layout.description}"

    @property
    def notes(self) -> tuple[str, ...]:
        return self.layout.notes

    def batches(self, load_id: int) -> Iterator[Batch]:
        keep = tuple(name is not None for name in self.layout.match.columns)
        splitter = Splitter(self.layout.dialect, keep, load_id)
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
                record = Grammar(self.layout.dialect).record(text, at, end)
                cells = [cell or "" for cell in record.cells]
                if other_header(cells, self.input, self.inputs):
                    raise FileRefused(
                        self.name,
                        f", line {line + number - 1}: a second table begins here, of "
                        f"{other.name}. Put it into a file of its own.",
                    )

    def _skip(self, splitter: Splitter, text: str, whole: int) -> int:
        """Pass over the lines up to the header."""
        if splitter.line > self.layout.skip:
            return 0
        left = self.layout.skip + 1 - splitter.line
        begins = [at for _, at, _ in lines_of(text[:whole], limit=left + 1)]
        passed = min(left, len(begins))
        splitter.line += passed
        return begins[left] if len(begins) > left else whole


def recognise_text(
    name: str, open_bytes: Open, inputs: Sequence[Input], options: ReadOptions, wrapping: str = ""
) -> DelimitedParser:
    """The parser of a text. Raises FileRefused."""
    with open_bytes() as stream:
        sample = to_a_character(stream.read(SAMPLE), stream)
    encoding = _encoding(sample, options)
    text = decode(sample, encoding)
    if len(sample) >= SAMPLE:
        text = text[: complete_lines(text)] or text
    layout = refined(find_layout(name, text, inputs, options), text)
    guessed = options.encoding is None
    return DelimitedParser(name, open_bytes, encoding, guessed, layout, wrapping, inputs)


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
