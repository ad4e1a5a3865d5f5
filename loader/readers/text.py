"""Bytes into text: which encoding, and decoding that neither fails nor loses a byte."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Protocol

# Reading so much at a time keeps the memory small, and the time per line does not fall further.
CHUNK = 1 << 20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MARK = "labmart-mark"
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


codecs.register_error(_MARK, _mark)


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
    decoded = codecs.getincrementaldecoder("utf-8")(_MARK).decode(sample)
    if any(ord(char) > 0x7F and not 0xD800 <= ord(char) <= 0xDFFF for char in set(decoded)):
        return "utf-8"
    above = {byte for byte in sample if byte > 0x7F}
    return "cp1252" if above <= _WRITTEN and not _ELSEWHERE.search(sample) else "utf-8"


def decode(sample: bytes, encoding: str) -> str:
    """A sample as text, without byte order mark; an incomplete last character is left out."""
    bom = bom_of(sample)
    skipped = len(bom[1]) if bom and bom[0] == encoding else 0
    return codecs.getincrementaldecoder(encoding)(_MARK).decode(sample[skipped:])


def decoded(stream: Stream, encoding: str) -> Iterator[str]:
    """The text of a stream in portions, without byte order mark. Bytes that are none are marked."""
    decoder = codecs.getincrementaldecoder(encoding)(_MARK)
    chunk = stream.read(CHUNK)
    bom = bom_of(chunk)
    if bom and bom[0] == encoding:
        chunk = chunk[len(bom[1]) :]
    while chunk:
        yield decoder.decode(chunk)
        chunk = stream.read(CHUNK)
    yield decoder.decode(b"", final=True)


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
