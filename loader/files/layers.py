"""Opening a file decompressed, whatever its name says.

A compressed file may have several members (gzip, bzip2, xz) or frames (zstd), zero bytes after
each, and may itself be compressed once more. Memory does not depend on how far the data expands:
every decoder gives out only as much as was asked for.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loader.errors import FileRefused
from loader.files.decoders import DAMAGES, MAGIC, WINDOW, Decoder, compression_of, decoder_of
from loader.printable import printable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Nobody compresses more often on purpose.
MOST_LAYERS = 4
_CHUNK = 64 * 1024
_BUFFER = 256 * 1024
_AGAIN = "Copy or export it again."


class Source(io.RawIOBase):
    """Bytes in order, with a look ahead. Subclasses say where more come from."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._ahead = b""

    def more(self, size: int) -> bytes:
        """At most `size` bytes, at least one; b'' at the end."""
        raise NotImplementedError

    def head(self, size: int) -> bytes:
        """The next `size` bytes, or all that are left, without using them up."""
        while len(self._ahead) < size:
            piece = self.more(size - len(self._ahead))
            if not piece:
                break
            self._ahead += piece
        return self._ahead[:size]

    def take(self, size: int) -> bytes:
        """At most `size` bytes; b'' at the end."""
        if not self._ahead:
            return self.more(size)
        piece, self._ahead = self._ahead[:size], self._ahead[size:]
        return piece

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """For io.BufferedReader."""
        view = memoryview(buffer).cast("B")
        piece = self.take(len(view))
        view[: len(piece)] = piece
        return len(piece)


class FileSource(Source):
    """The bytes of a file as they are on disk. `position` is how many have been read."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(name)
        self.position = 0
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise FileRefused(name, cannot_open(error)) from None
        self._before = self._stamp()

    def _stamp(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def more(self, size: int) -> bytes:
        """Raises FileRefused when the file cannot be read on or was changed meanwhile."""
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

    def seek_to(self, offset: int) -> None:
        """Go on at this byte. Nothing may have been looked at ahead."""
        self._file.seek(offset)
        self.position = offset

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()


def cannot_open(error: OSError) -> str:
    """What FileRefused says of a file that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return ": it has gone since it was listed. Load it again if it comes back."
    if isinstance(error, PermissionError):
        return ": you are not allowed to read it. Ask its owner, or `chmod +r` it."
    return f": it cannot be opened: {error.strerror or error}."


class Inflated(Source):
    """What a compressed source holds. `single`: one member, whose end is the end."""

    def __init__(self, kind: str, source: Source, bottom: FileSource, *, single: bool) -> None:
        super().__init__(bottom.name)
        self._kind = kind
        self._source = source
        self._bottom = bottom
        self._single = single
        self._input = b""
        self._decoder: Decoder | None = decoder_of(kind)

    def more(self, size: int) -> bytes:
        """Raises FileRefused when the data is damaged or cut short."""
        while self._decoder is not None:
            piece = self._step(self._decoder, size)
            if self._decoder.eof:
                self._input = self._decoder.unused_data
                self._decoder = None if self._single else self._next_member()
            if piece:
                return piece
        return b""

    def _step(self, decoder: Decoder, size: int) -> bytes:
        data = b""
        if decoder.needs_input:
            data = self._input or self._source.take(_CHUNK)
            self._input = b""
            if not data:
                raise FileRefused(
                    self.name,
                    f": it is cut short: its {self._kind} data goes on after byte "
                    f"{self._bottom.position}, where the file ends. {_AGAIN}",
                )
        try:
            return decoder.decompress(data, max_length=size)
        except DAMAGES as error:
            raise FileRefused(self.name, self._damage(str(error))) from None

    def _damage(self, said: str) -> str:
        if "memory" in said.lower():
            return (
                f": its {self._kind} data needs more than {WINDOW >> 20} MiB of memory to "
                "decompress. Compress it again without a long window (`--long`)."
            )
        return (
            f": its {self._kind} data is damaged near byte {self._bottom.position} of the "
            f"compressed file ({printable(said)}). {_AGAIN}"
        )

    def _next_member(self) -> Decoder | None:
        """The decoder of the member that follows; None at the end, where zero bytes may stand."""
        self._input = self._input.lstrip(b"\0")
        while not self._input:
            piece = self._source.take(_CHUNK)
            if not piece:
                return None
            self._input = piece.lstrip(b"\0")
        while len(self._input) < MAGIC and (piece := self._source.take(_CHUNK)):
            self._input += piece
        if compression_of(self._input[:MAGIC]) != self._kind:
            # Some programs drop such a rest in silence; it could be somebody's data.
            raise FileRefused(
                self.name,
                f": after the end of its {self._kind} data, near byte {self._bottom.position}, "
                f"follows something else. {_AGAIN}",
            )
        return decoder_of(self._kind)

    def close(self) -> None:
        """Close the file below."""
        if not self.closed:
            self._source.close()
        super().close()


@dataclass(frozen=True)
class Opened:
    """An opened file: what the layers of compression hold, the layers, the file below."""

    top: Source
    layers: tuple[str, ...]
    bottom: FileSource


def open_layers(path: Path, name: str = "") -> Opened:
    """Open a file below all its layers of compression.

    `name` is what a refusal calls it, its path by default. Raises FileRefused.
    """
    bottom = FileSource(path, name or printable(str(path)))
    top: Source = bottom
    layers: tuple[str, ...] = ()
    try:
        while kind := compression_of(top.head(MAGIC)):
            if len(layers) == MOST_LAYERS:
                raise FileRefused(
                    bottom.name,
                    f": it is compressed more than {MOST_LAYERS} times over "
                    f"({', '.join(layers)}, {kind}). Decompress it first.",
                )
            top = Inflated(kind, top, bottom, single=False)
            layers = (*layers, kind)
    except BaseException:
        bottom.close()
        raise
    return Opened(top, layers, bottom)


class Stream(io.BufferedReader):
    """A file's bytes, decompressed. Not seekable; open it again to start anew."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened.top, _BUFFER)
        self._opened = opened

    @property
    def position(self) -> int:
        """How many bytes of the file on disk have been used so far."""
        return self._opened.bottom.position

    @property
    def layers(self) -> tuple[str, ...]:
        """The compressions, from the outside: `('gzip',)`."""
        return self._opened.layers


def open_bytes(path: Path, name: str = "") -> Stream:
    """Open a file decompressed. Opening and reading raise FileRefused, calling it `name`."""
    return Stream(open_layers(path, name))
