"""Decoders of compressed data, all with the same face, and how each kind is told."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Protocol

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

# What `zstd -d` takes by default as well, and twice what `xz -9` needs.
WINDOW_LOG = 27
WINDOW = 1 << WINDOW_LOG
# The longest magic number below.
MAGIC = 10
_BZIP2_BLOCKS = (bytes.fromhex("314159265359"), bytes.fromhex("177245385090"))
# What the decoders raise for damaged data.
DAMAGES = (zlib.error, lzma.LZMAError, ZstdError, OSError, EOFError)


def compression_of(head: bytes) -> str:
    """'gzip', 'zstd', 'bzip2' or 'xz' by the first bytes, else ''.

    Sources: RFC 1952 (2.3.1), RFC 8878 (3.1.1, 3.1.2), the bzip2 and .xz file format.
    """
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    if head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F:
        return "zstd"  # A skippable frame; zstd puts one before the others or after them.
    if head.startswith(b"BZh") and head[3:4].isdigit() and head[4:10] in _BZIP2_BLOCKS:
        return "bzip2"
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    return ""


class Decoder(Protocol):
    """What the decompressors of bz2, lzma and zstd have in common."""

    @property
    def eof(self) -> bool:
        """Whether the member has come to its end."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes out before more is put in."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What was put in and stands after the end."""
        ...

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        """At most `max_length` bytes."""
        ...


class Deflate:
    """zlib's decompressor, as the other decoders are. `wbits` as in zlib.decompressobj."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        """Whether the member has come to its end."""
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        """What was put in and stands after the end."""
        return self._inner.unused_data

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        """At most `max_length` bytes."""
        piece = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        # A full piece may have more behind it inside zlib, even when all input is used.
        self.needs_input = not self._inner.unconsumed_tail and len(piece) < max_length
        return piece


def decoder_of(kind: str) -> Decoder:
    """A decoder for one member. `deflate` is that of a zip archive, without header."""
    if kind in ("gzip", "deflate"):
        return Deflate(31 if kind == "gzip" else -15)
    if kind == "zstd":
        return ZstdDecompressor(options={DecompressionParameter.window_log_max: WINDOW_LOG})
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    if kind == "lzma":
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=WINDOW)
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=WINDOW)
