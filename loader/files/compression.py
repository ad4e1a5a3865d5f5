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
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


class _GzipDecompressor:
    """zlib with the face that the decompressors of bz2, lzma and zstd have."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        # A full piece may have more behind it inside zlib, even when all input is used.
        self.needs_input = not self._zlib.unconsumed_tail and len(piece) < max_length
        return piece


# Those of bz2, lzma and zstd have no common type.
def _decompressor(kind: str) -> Any:
    if kind == "gzip":
        return _GzipDecompressor()
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    if kind == "xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_WINDOW)
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: _WINDOW_LOG})


class _File(io.FileIO):
    """The bytes of a file as they are on disk. `position` is how many have been read."""

    def __init__(self, path: Path, name: str) -> None:
        self.shown = name
        self.position = 0
        try:
            super().__init__(path)
        except OSError as error:
            raise FileRefused(name, cannot_open(error)) from None
        self._before = self._stamp()

    def _stamp(self) -> tuple[int, int]:
        status = os.fstat(self.fileno())
        return status.st_size, status.st_mtime_ns

    def refused(self, problem: str) -> FileRefused:
        return FileRefused(self.shown, f": {problem}")

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        try:
            size = super().readinto(buffer)
            is_changed = not size and self._stamp() != self._before
        except OSError as error:
            raise self.refused(
                f"it cannot be read on after byte {self.position}: {error.strerror}."
            ) from None
        if is_changed:
            raise self.refused(
                "it was changed while it was read. Load it again when nothing writes to it."
            )
        self.position += size
        return size

    # By way of readinto, as FileIO's own ones do not.
    read = io.RawIOBase.read  # type: ignore[assignment]  # it is called with a number
    readall = io.RawIOBase.readall


def cannot_open(error: OSError) -> str:
    """What FileRefused says of a file that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return ": it has gone since it was listed. Load it again if it comes back."
    if isinstance(error, PermissionError):
        return ": you are not allowed to read it. Ask its owner, or `chmod +r` it."
    return f": it cannot be opened: {error.strerror or error}."


class _Decompressed(io.RawIOBase):
    """What a stream has compressed, all members of it. `file` is the one below, for messages."""

    def __init__(self, kind: str, packed: io.BufferedReader, file: _File) -> None:
        self._kind, self._packed, self._file = kind, packed, file
        self._decompressor = _decompressor(kind)
        # Compressed bytes that the decompressor has not taken yet.
        self._data = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        size = 0
        # As much as there is room for: what is compressed within may begin with tiny members.
        while size < len(view) and (piece := self._piece(len(view) - size)):
            view[size : size + len(piece)] = piece
            size += len(piece)
        return size

    def _piece(self, most: int) -> bytes:
        """Some bytes; none at the end of the last member."""
        piece = b""
        while not piece:
            if self._decompressor.eof and not self._begins_another():
                break
            if self._decompressor.needs_input and not self._data:
                self._data = self._packed.read1(_PIECE)
                if not self._data:
                    raise self._file.refused(
                        f"it is cut short: its {self._kind} data goes on after byte "
                        f"{self._file.position}, where the file ends. {_AGAIN}"
                    )
            try:
                piece = self._decompressor.decompress(self._data, max_length=most)
            except _DAMAGES as error:
                raise self._file.refused(self._damage(str(error))) from None
            self._data = b""
        return piece

    def _begins_another(self) -> bool:
        """Whether another member follows. Zero bytes may stand between them."""
        data = self._decompressor.unused_data.lstrip(b"\0")
        while len(data) < _MAGIC and (more := self._packed.read1(_PIECE)):
            data = (data + more).lstrip(b"\0")
        if not data:
            return False
        if compression_of(data) != self._kind:
            # Some programs drop such a rest in silence; it could be somebody's data.
            raise self._file.refused(
                f"after the end of its {self._kind} data, near byte {self._file.position}, follows "
                f"something else. {_AGAIN}"
            )
        self._decompressor, self._data = _decompressor(self._kind), data
        return True

    def _damage(self, reason: str) -> str:
        if "memory" in reason.lower():
            return (
                f"its {self._kind} data needs more than {_WINDOW >> 20} MiB of memory to "
                "decompress. Compress it again without a long window (`--long`)."
            )
        return (
            f"its {self._kind} data is damaged near byte {self._file.position} of the compressed "
            f"file ({printable(reason)}). {_AGAIN}"
        )

    def close(self) -> None:
        self._packed.close()
        super().close()


class DecompressedStream(io.BufferedReader):
    """A file's bytes, decompressed. Not seekable; open it again to start anew.

    `layers` are the compressions, from the outside: `('gzip',)`.
    """

    def __init__(self, raw: io.RawIOBase, file: _File, layers: tuple[str, ...]) -> None:
        super().__init__(raw, _PIECE)
        self._file = file
        self.layers = layers

    @property
    def position(self) -> int:
        """How many bytes of the file on disk have been used so far."""
        return self._file.position


def open_bytes(path: Path, name: str = "") -> DecompressedStream:
    """Open a file below all its layers of compression.

    Opening and reading raise FileRefused, which calls the file `name`, its path by default.
    """
    file = _File(path, name or printable(str(path)))
    stream = DecompressedStream(file, file, ())
    try:
        while kind := compression_of(stream.peek(_MAGIC)[:_MAGIC]):
            layers = (*stream.layers, kind)
            if len(layers) > MAX_LAYERS:
                raise file.refused(
                    f"it is compressed more than {MAX_LAYERS} times over ({', '.join(layers)}). "
                    "Decompress it first."
                )
            stream = DecompressedStream(_Decompressed(kind, stream, file), file, layers)
    except FileRefused:
        stream.close()
        raise
    return stream
