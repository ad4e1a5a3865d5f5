"""Opening a file decompressed, whatever its name says.

A compressed file may have several members (gzip, bzip2, xz) or frames (zstd), zero bytes after
each, and may itself be compressed once more. Memory does not depend on how far the data expands:
every decompressor gives out only as much as was asked for.

The standard library's own `open` functions are not used: those of bz2 and lzma drop in silence
whatever follows the compressed data, and that of lzma takes as much memory as a file asks for.
"""

from __future__ import annotations

import bz2
import io
import lzma
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

from loader.errors import FileRefused
from loader.printable import printable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Nobody compresses more often on purpose.
MAX_LAYERS = 4
# What `zstd -d` takes by default as well, and twice what `xz -9` needs.
_WINDOW_LOG = 27
_WINDOW = 1 << _WINDOW_LOG
# The longest magic number of `compression_of`.
_MAGIC = 10
_BZIP2_BLOCKS = (bytes.fromhex("314159265359"), bytes.fromhex("177245385090"))
_DAMAGES = (zlib.error, lzma.LZMAError, ZstdError, OSError, EOFError)
_PIECE = 256 * 1024
_AGAIN = "Copy or export it again."


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


class _Decompressor(Protocol):
    """What the decompressors of bz2, lzma and zstd have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /, max_length: int) -> bytes: ...


class _GzipDecompressor:
    """zlib with the same face."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        piece = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        # A full piece may have more behind it inside zlib, even when all input is used.
        self.needs_input = not self._zlib.unconsumed_tail and len(piece) < max_length
        return piece


def _decompressor(kind: str) -> _Decompressor:
    if kind == "gzip":
        return _GzipDecompressor()
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    if kind == "xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_WINDOW)
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: _WINDOW_LOG})


class _File:
    """The bytes of a file as they are on disk. `position` is how many have been read."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.position = 0
        try:
            self.raw = path.open("rb", buffering=0)
        except OSError as error:
            raise FileRefused(name, cannot_open(error)) from None
        self._before = self._stamp()

    def _stamp(self) -> tuple[int, int]:
        status = os.fstat(self.raw.fileno())
        return status.st_size, status.st_mtime_ns

    def refused(self, problem: str) -> FileRefused:
        return FileRefused(self.name, f": {problem}")

    def pieces(self) -> Iterator[bytes]:
        try:
            while piece := self.raw.read(_PIECE):
                self.position += len(piece)
                yield piece
            is_changed = self._stamp() != self._before
        except OSError as error:
            raise self.refused(
                f"it cannot be read on after byte {self.position}: {error.strerror}."
            ) from None
        if is_changed:
            raise self.refused(
                "it was changed while it was read. Load it again when nothing writes to it."
            )


def cannot_open(error: OSError) -> str:
    """What FileRefused says of a file that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return ": it has gone since it was listed. Load it again if it comes back."
    if isinstance(error, PermissionError):
        return ": you are not allowed to read it. Ask its owner, or `chmod +r` it."
    return f": it cannot be opened: {error.strerror or error}."


def _decompressed(kind: str, packed: Iterator[bytes], file: _File) -> Iterator[bytes]:
    """The pieces of all members. `file` is the one below all layers, for messages."""
    data = next(packed, b"")
    while data:
        decompressor = _decompressor(kind)
        while not decompressor.eof:
            if decompressor.needs_input and not data and not (data := next(packed, b"")):
                raise file.refused(
                    f"it is cut short: its {kind} data goes on after byte {file.position}, where "
                    f"the file ends. {_AGAIN}"
                )
            try:
                piece = decompressor.decompress(data, max_length=_PIECE)
            except _DAMAGES as error:
                raise file.refused(_damage(kind, file.position, str(error))) from None
            data = b""
            if piece:
                yield piece
        # Zero bytes may stand between the members.
        data = decompressor.unused_data.lstrip(b"\0")
        while len(data) < _MAGIC and (more := next(packed, b"")):
            data = (data + more).lstrip(b"\0")
        if data and compression_of(data) != kind:
            # Some programs drop such a rest in silence; it could be somebody's data.
            raise file.refused(
                f"after the end of its {kind} data, near byte {file.position}, follows something "
                f"else. {_AGAIN}"
            )


def _damage(kind: str, position: int, reason: str) -> str:
    if "memory" in reason.lower():
        return (
            f"its {kind} data needs more than {_WINDOW >> 20} MiB of memory to decompress. "
            "Compress it again without a long window (`--long`)."
        )
    return (
        f"its {kind} data is damaged near byte {position} of the compressed file "
        f"({printable(reason)}). {_AGAIN}"
    )


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a raw stream; closing it closes the file that they come from."""

    def __init__(self, pieces: Iterator[bytes], file: _File) -> None:
        self._pieces = pieces
        self._file = file
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._piece))
        view[:size], self._piece = self._piece[:size], self._piece[size:]
        return size

    def close(self) -> None:
        self._file.raw.close()
        super().close()


class DecompressedStream(io.BufferedReader):
    """A file's bytes, decompressed. Not seekable; open it again to start anew.

    `layers` are the compressions, from the outside: `('gzip',)`.
    """

    def __init__(self, path: Path, name: str, layers: Sequence[str]) -> None:
        self._file = _File(path, name)
        self.layers = tuple(layers)
        pieces = self._file.pieces()
        for kind in layers:
            pieces = _decompressed(kind, pieces, self._file)
        super().__init__(_Pieces(pieces, self._file), _PIECE)

    @property
    def position(self) -> int:
        """How many bytes of the file on disk have been used so far."""
        return self._file.position


def open_bytes(path: Path, name: str = "") -> DecompressedStream:
    """Open a file below all its layers of compression.

    Opening and reading raise FileRefused, which calls the file `name`, its path by default.
    """
    name = name or printable(str(path))
    layers: list[str] = []
    while kind := _compression_within(path, name, layers):
        if len(layers) == MAX_LAYERS:
            raise FileRefused(
                name,
                f": it is compressed more than {MAX_LAYERS} times over "
                f"({', '.join(layers)}, {kind}). Decompress it first.",
            )
        layers.append(kind)
    return DecompressedStream(path, name, layers)


def _compression_within(path: Path, name: str, layers: Sequence[str]) -> str:
    with DecompressedStream(path, name, layers) as stream:
        return compression_of(stream.read(_MAGIC))
