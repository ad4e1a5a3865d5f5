"""Bytes into text: which encoding, and decoding that neither fails nor loses a byte."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Protocol

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
    """Bytes to decode, and how far in the file they are."""

    @property
    def position(self) -> int:
        """Bytes of the file that have been used."""
        ...

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


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
    if found := bom_of(sample):
        return found[0]
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
