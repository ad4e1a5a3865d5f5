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
from collections.abc import Sequence
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
_CHUNK = 64 * 1024
_BUFFER = 256 * 1024
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


class _Source(io.RawIOBase):
    """Bytes in order. Subclasses have `take`: at most `size` bytes, b'' at the end."""

    def __init__(self, below: io.RawIOBase) -> None:
        self._below = below

    def take(self, size: int) -> bytes:
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        piece = self.take(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._below.close()
        super().close()


class _File(_Source):
    """The bytes of a file as they are on disk. `position` is how many have been read."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.position = 0
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise FileRefused(name, cannot_open(error)) from None
        super().__init__(self._file)
        self._before = self._stamp()

    def _stamp(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def take(self, size: int) -> bytes:
        try:
            piece = self._file.read(size)
            if not piece and self._stamp() != self._before:
                raise FileRefused(
                    self.name,
                    ": it was changed while it was read. Load it again when nothing writes to it.",
                )
        except OSError as error:
            raise FileRefused(
                self.name, f": it cannot be read on after byte {self.position}: {error.strerror}."
            ) from None
        self.position += len(piece)
        return piece


def cannot_open(error: OSError) -> str:
    """What FileRefused says of a file that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return ": it has gone since it was listed. Load it again if it comes back."
    if isinstance(error, PermissionError):
        return ": you are not allowed to read it. Ask its owner, or `chmod +r` it."
    return f": it cannot be opened: {error.strerror or error}."


class _Decompressed(_Source):
    """What a compressed source holds, all members of it. `file` is the one below all layers."""

    def __init__(self, kind: str, source: _Source, file: _File) -> None:
        super().__init__(source)
        self._kind = kind
        self._source = source
        self._file = file
        self._input = b""
        self._decompressor: _Decompressor | None = _decompressor(kind)

    def take(self, size: int) -> bytes:
        while self._decompressor is not None:
            piece = self._step(self._decompressor, size)
            if self._decompressor.eof:
                self._input = self._decompressor.unused_data
                self._decompressor = _decompressor(self._kind) if self._has_member() else None
            if piece:
                return piece
        return b""

    def _step(self, decompressor: _Decompressor, size: int) -> bytes:
        data = b""
        if decompressor.needs_input:
            data, self._input = self._input or self._source.take(_CHUNK), b""
            if not data:
                raise self._refused(
                    f": it is cut short: its {self._kind} data goes on after byte "
                    f"{self._file.position}, where the file ends. {_AGAIN}"
                )
        try:
            return decompressor.decompress(data, max_length=size)
        except _DAMAGES as error:
            if "memory" in str(error).lower():
                raise self._refused(
                    f": its {self._kind} data needs more than {_WINDOW >> 20} MiB of memory to "
                    "decompress. Compress it again without a long window (`--long`)."
                ) from None
            raise self._refused(
                f": its {self._kind} data is damaged near byte {self._file.position} of the "
                f"compressed file ({printable(str(error))}). {_AGAIN}"
            ) from None

    def _has_member(self) -> bool:
        """Whether another member follows, behind zero bytes that may stand between them."""
        self._input = self._input.lstrip(b"\0")
        while len(self._input) < _MAGIC and (piece := self._source.take(_CHUNK)):
            self._input = (self._input + piece).lstrip(b"\0")
        if self._input and compression_of(self._input) != self._kind:
            # Some programs drop such a rest in silence; it could be somebody's data.
            raise self._refused(
                f": after the end of its {self._kind} data, near byte {self._file.position}, "
                f"follows something else. {_AGAIN}"
            )
        return bool(self._input)

    def _refused(self, problem: str) -> FileRefused:
        return FileRefused(self._file.name, problem)


class DecompressedStream(io.BufferedReader):
    """A file's bytes, decompressed. Not seekable; open it again to start anew.

    `layers` are the compressions, from the outside: `('gzip',)`.
    """

    def __init__(self, path: Path, name: str, layers: Sequence[str]) -> None:
        self._file = _File(path, name)
        source: _Source = self._file
        for kind in layers:
            source = _Decompressed(kind, source, self._file)
        self.layers = tuple(layers)
        super().__init__(source, _BUFFER)

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
