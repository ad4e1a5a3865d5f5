"""Local files: their decompressed bytes, what they are, and temporary files.

A file's bytes say what it is. Extensions are ignored, because people change them.

A compressed file may have several members (gzip, bzip2, xz) or frames (zstd), and zero bytes after
each. Memory use does not depend on how far the data expands: every decompressor returns only as
much as was asked for. The standard library's `open` functions are not used: those of bz2 and lzma
silently drop whatever follows the compressed data, and that of lzma takes as much memory as a file
asks for.

In doubt, content is text: a text mistaken for something else would be refused for a wrong reason,
while anything else mistaken for text has no header and is refused anyway.
"""

from __future__ import annotations

import bz2
import codecs
import errno
import hashlib
import io
import lzma
import os
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

from loader.errors import FileRefused
from loader.printable import printable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# The default limit of `zstd -d`, and twice what `xz -9` needs.
_WINDOW_LOG = 27
# The longest magic number of `compression_of`.
_MAGIC = 10
_BZIP2_BLOCKS = (bytes.fromhex("314159265359"), bytes.fromhex("177245385090"))
_PIECE = 256 * 1024

# Space left for others, mainly the database's write-ahead log: the smaller of the two.
RESERVE = 256 << 20
RESERVE_SHARE = 0.05
# A real table shrinks 3 to 30 times; one repeated line shrinks about 1,000 times, which is also
# deflate's limit. Anything neither small nor plausible was made to fill disks.
HARMLESS = 2 << 30
PLAUSIBLE_RATIO = 1000
CHECK_SPACE_EVERY = 64 << 20

_SAMPLE = 64 * 1024
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
# Without NUL and white space.
_CONTROLS = frozenset(range(1, 32)) - frozenset(b"\t\n\v\f\r")
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
# Files often found beside tables. Other binary files are of an unknown kind.
_MAGIC_NUMBERS = {
    b"%PDF-": "a PDF document",
    b"{\\rtf1": "a Rich Text document",
    b"\x89PNG\r\n\x1a\n": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"II*\x00": "a picture",
    b"MM\x00*": "a picture",
    b"SQLite format 3\x00": "an SQLite database",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
}
# The part of an .xlsx that lists its sheets; a few programs number it.
_WORKBOOK = re.compile(r"(?:.*/)?workbook[0-9]*\.xml")
# Everything that zipfile raises for damaged archives.
ZIP_DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(RuntimeError, ValueError, OverflowError, OSError),
)


def sha256_of(path: Path, name: str) -> str:
    """SHA-256 of the bytes on disk, in hexadecimal. Raises FileRefused, calling it `name`."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileRefused(name, cannot_open(error)) from None


def cannot_open(error: OSError) -> str:
    """The problem text for a file that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return ": it has gone since it was listed, or is a link that leads nowhere."
    if isinstance(error, PermissionError):
        return ": you are not allowed to read it. Ask its owner, or `chmod +rX` it."
    return f": it cannot be opened: {error.strerror or error}."


def cannot_write(error: OSError) -> str:
    """The problem text when a temporary file cannot be written."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "its disk has too little space" if is_full else error.strerror
    return (
        f": a temporary file of it cannot be written below {os.environ.get('TMPDIR', '/tmp')}: "
        f"{reason}. Make room, or set TMPDIR to a folder that you can write to, on a larger disk."
    )


def compression_of(head: bytes) -> str:
    """'gzip', 'zstd', 'bzip2' or 'xz' according to the first bytes, else ''.

    Sources: RFC 1952 (2.3.1), RFC 8878 (3.1.1, 3.1.2), the bzip2 and .xz file format.
    """
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    # A frame, or a skippable frame, which may precede or follow the others.
    if re.match(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", head):
        return "zstd"
    if head.startswith(b"BZh") and head[4:10] in _BZIP2_BLOCKS:
        return "bzip2"
    return "xz" if head.startswith(b"\xfd7zXZ\x00") else ""


class _GzipDecompressor:
    """zlib with the interface of the bz2, lzma and zstd decompressors."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self.needs_input = True

    eof = property(lambda self: self._zlib.eof)
    unused_data = property(lambda self: self._zlib.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        # After a full piece, zlib may hold more output even if all input is used.
        self.needs_input = not self._zlib.unconsumed_tail and len(piece) < max_length
        return piece


# The decompressors of bz2, lzma and zstd have no common type.
def _decompressor(kind: str) -> Any:
    if kind == "gzip":
        return _GzipDecompressor()
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    if kind == "xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << _WINDOW_LOG)
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: _WINDOW_LOG})


class _Raw(io.FileIO):
    """The bytes of a file; if it is compressed, the unpacked bytes of all its members."""

    def __init__(self, path: Path, name: str) -> None:
        self.shown = name
        try:
            super().__init__(path)
            self.compression = compression_of(super().read(_MAGIC))
            self.seek(0)
        except OSError as error:
            raise FileRefused(name, cannot_open(error)) from None
        self._decompressor: Any = _decompressor(self.compression) if self.compression else None
        # Compressed bytes that the decompressor has not consumed yet.
        self._data = b""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read some bytes; none at the end of the last member."""
        try:
            if self._decompressor is None:
                return super().readinto(buffer)
            view = memoryview(buffer).cast("B")
            piece = self._decompressed(len(view))
        except OSError as error:
            reason = f"it cannot be read on after byte {self.tell()}: {error.strerror}."
            raise FileRefused(self.shown, f": {reason}") from None
        view[: len(piece)] = piece
        return len(piece)

    # These use readinto; FileIO's own methods do not.
    read = io.RawIOBase.read  # type: ignore[assignment]  # it is called with a number
    readall = io.RawIOBase.readall

    def _decompressed(self, size: int) -> bytes:
        piece = b""
        while not piece:
            if self._decompressor.eof and not self._begins_another():
                break
            if self._decompressor.needs_input and not self._data:
                self._data = super().read(_PIECE)
                if not self._data:
                    raise self._refused("is cut short")
            try:
                piece = self._decompressor.decompress(self._data, max_length=size)
            except (zlib.error, lzma.LZMAError, ZstdError, OSError, EOFError) as error:
                raise self._refused(f"cannot be decompressed ({printable(str(error))})") from None
            self._data = b""
        return piece

    def _begins_another(self) -> bool:
        """Whether another member follows, possibly after zero bytes."""
        data = self._decompressor.unused_data.lstrip(b"\0")
        while len(data) < _MAGIC and (more := super().read(_PIECE)):
            data = (data + more).lstrip(b"\0")
        if not data:
            return False
        if compression_of(data) != self.compression:
            # Some programs silently drop the rest, which could be real data.
            raise self._refused("is followed by something else")
        self._decompressor, self._data = _decompressor(self.compression), data
        return True

    def _refused(self, problem: str) -> FileRefused:
        where = f"near byte {self.tell()}. Copy or export it again."
        return FileRefused(self.shown, f": its {self.compression} data {problem} {where}")


class DecompressedStream(io.BufferedReader):
    """A file's bytes, decompressed. Not seekable; reopen it to start over.

    `compression` is `gzip`, `zstd`, `bzip2`, `xz` or ''. Opening and reading raise FileRefused,
    which calls the file `name`, by default its path.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self._file = _Raw(path, name or printable(str(path)))
        self.compression = self._file.compression
        super().__init__(self._file, _PIECE)

    @property
    def position(self) -> int:
        """How many bytes of the file on disk have been read so far."""
        return self._file.tell()


@dataclass(frozen=True)
class ListedFile:
    """A file that a PATH means, local or remote.

    `path` is its path there, `relative` the part of it below the PATH, and `name` its name for
    people and the ledger. `identity` changes whenever the content changes or the file is written
    again. `changed_at` is when it was last changed, in seconds since 1970, or 0 if a store does not
    say; `size` is in bytes.
    """

    path: str
    relative: str
    name: str
    identity: str
    changed_at: float
    size: int | None


def identity_of(status: os.stat_result) -> str:
    """The identity of a local file; it also changes if the file is moved away and back."""
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


@dataclass(frozen=True)
class LocalFile:
    """A file that can be opened and is seekable.

    `name` is for people and the ledger: the PATH as written, `folder/file`, an address without its
    secrets, or `archive.zip/member`; always printable. `path` is where the bytes are, a temporary
    file for standard input, remote files and archive members. For `kind` and `compression` see
    `content_of`. `changed_at` is when the bytes were last changed at their source, or arrived if
    that is unknown, in seconds since 1970. `collect` fills in all fields.
    """

    name: str
    path: Path
    temporary: bool = False
    kind: str = ""
    compression: str = ""
    changed_at: float = 0


def content_of(path: Path, name: str = "") -> tuple[str, str]:
    """The kind of a file, and its compression, in the terms of `DecompressedStream`.

    The kind is `text`, `xlsx` (also xlsm), `xls` (any OLE file), `ods`, `parquet`, `zip` (an
    archive of files, or any zip-based file that is compressed again), or a description such as "a
    PDF document". Raises FileRefused, calling it `name`, if it cannot be opened.
    """
    name = name or printable(str(path))
    with DecompressedStream(path, name) as stream:
        head = stream.read(_SAMPLE)
        compression = stream.compression
    if head.startswith(_ZIP):
        kind = "zip" if compression else _zip_kind(path, name)
    elif head.startswith(_OLE):
        kind = "xls"
    # A column may be called PAR1; in Parquet, binary data follow immediately.
    elif re.match(rb"PAR[1E].{0,11}[\0-\x08\x0e-\x1f]", head, re.DOTALL):
        kind = "parquet"
    elif compression_of(head):
        kind = "a file that is compressed more than once"
    elif head[257:262] == b"ustar" and b"\0" in head[:257]:
        kind = "a tar archive"
    else:
        words = (word for magic, word in _MAGIC_NUMBERS.items() if head.startswith(magic))
        kind = next(words, "") or ("text" if _is_text(head) else "a binary file of another kind")
    return kind, compression


def open_zip(path: Path, name: str) -> zipfile.ZipFile:
    """Open an archive. Raises FileRefused if its table of contents cannot be read."""
    try:
        return zipfile.ZipFile(path)
    except (FileNotFoundError, PermissionError) as error:
        raise FileRefused(name, cannot_open(error)) from None
    except ZIP_DAMAGES:
        raise FileRefused(
            name,
            ": it begins as a zip archive or a spreadsheet such as .xlsx, and its table of "
            "contents at the end is missing or damaged. Copy or export it again.",
        ) from None


def _zip_kind(path: Path, name: str) -> str:
    """The kind by the names of the parts (ECMA-376 part 2, OpenDocument 1.3 part 2, 3.3)."""
    with open_zip(path, name) as archive:
        parts = {part.replace("\\", "/").casefold() for part in archive.namelist()}
    if "[content_types].xml" in parts:
        is_workbook = any(map(_WORKBOOK.fullmatch, parts))
        return "xlsx" if is_workbook else "an Office file, and no .xlsx"
    is_open_document = "content.xml" in parts and parts & {"mimetype", "meta-inf/manifest.xml"}
    return "ods" if is_open_document else "zip"


def _is_text(head: bytes) -> bool:
    """Whether the bytes could be text in any encoding, with stray NUL and control bytes.

    A tenth of random bytes are control characters, of all kinds. Text has few, or many of one kind
    (as delimiter), and its first line has none. Non-Latin UTF-16 and UTF-32 without a byte order
    mark have many; then every second byte, the high one, has few different values.
    """
    with suppress(UnicodeDecodeError):
        # Not the final piece: the sample may end within a character.
        codecs.getincrementaldecoder("utf-8")().decode(head, final=False)
        return True
    controls = [byte for byte in head if byte in _CONTROLS]
    if head.startswith(_BOMS) or len(set(controls)) < 16 or len(controls) < len(head) / 20:
        return True
    first, end, _ = head.lstrip(b"\r\n").partition(b"\n")
    if end and first.strip() and _CONTROLS.isdisjoint(first):
        return True
    return any(len(set(head[side::2])) < 100 for side in (0, 1))


# Temporary files.


@dataclass
class DecompressionLimit:
    """Counts the bytes unpacked from one file, including everything nested in it."""

    packed: int
    unpacked: int = 0

    def use(self, size: int, name: str) -> None:
        """Count `size` more bytes. Raises FileRefused once it can no longer be real data."""
        self.unpacked += size
        if self.unpacked > max(HARMLESS, PLAUSIBLE_RATIO * self.packed):
            raise FileRefused(
                name,
                f": {self.packed:,} bytes unpack to more than {self.unpacked:,}, which no table "
                "does. If it is real, unpack it yourself and load the files.",
            )


class Spool(ExitStack):
    """Creates temporary files in a folder below TMPDIR, which is removed on leaving the context.

    Whatever is read into it raises FileRefused for its own faults.
    """

    def __init__(self, progress: Callable[[str], None]) -> None:
        super().__init__()
        self.progress = progress
        self._folder: Path | None = None
        self._count = 0

    def new(self, name: str) -> Path:
        """A path for a new file. Raises FileRefused for `name` if the folder cannot be created."""
        if self._folder is None:
            try:
                # A download may still be writing when an interrupt ends the call.
                folder = tempfile.TemporaryDirectory(prefix="labmart-", ignore_cleanup_errors=True)
            except OSError as error:
                raise FileRefused(name, cannot_write(error)) from None
            self._folder = Path(self.enter_context(folder))
        self._count += 1
        return self._folder / f"{self._count:06}"

    def watch(self, name: str, doing: str, path: Path) -> Callable[[int], None]:
        """A function to call with the number of bytes written to `path` so far.

        It reports progress, and raises FileRefused if the disk has too little space left.
        """
        checked = 0

        def tell(size: int) -> None:
            nonlocal checked
            if size >= checked:
                checked = size + CHECK_SPACE_EVERY
                space = shutil.disk_usage(path.parent)
                if space.free < min(RESERVE, int(space.total * RESERVE_SHARE)):
                    raise FileRefused(name, cannot_write(OSError(errno.ENOSPC, "")))
            self.progress(f"{name}: {doing}, {size / 1e6:,.1f} MB")

        return tell

    def save(
        self,
        name: str,
        read: Callable[[int], bytes],
        doing: str,
        limit: DecompressionLimit | None = None,
    ) -> Path:
        """Write what `read` returns, until b'', to a new file.

        Raises FileRefused if there is no space, or if the limit is exceeded.
        """
        path = self.new(name)
        tell = self.watch(name, doing, path)
        try:
            with path.open("wb") as file:
                tell(0)
                while piece := read(_PIECE):
                    if limit is not None:
                        limit.use(len(piece), name)
                    file.write(piece)
                    tell(file.tell())
        except OSError as error:
            raise FileRefused(name, cannot_write(error)) from None
        return path
