"""The members of a zip archive as temporary files.

Members are decompressed here rather than by zipfile, which gives out a whole piece of bzip2 or
LZMA at a time, however far it expands, and knows no zstd or xz. Source: PKWARE's APPNOTE.TXT
6.3.10, 4.3.7 (local header), 4.4.5 (methods) and 5.8 (LZMA).
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from loader.errors import FileRefused
from loader.files.containers import open_zip
from loader.files.layers import FileSource, Inflated, Source
from loader.files.names import is_excluded, is_left_over
from loader.files.results import LocalFile, Problem, Result, Skipped
from loader.files.temporary import Allowance, Progress, Spool
from loader.printable import printable

# A folder of so many exports is loaded as a folder; temporary files need a directory entry each.
MOST_MEMBERS = 10_000
_METHODS = {8: "deflate", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz"}
_NAMES = {1: "shrink", 6: "implode", 9: "Deflate64", 98: "PPMd", 97: "WavPack", 96: "JPEG"}
_ENCRYPTED = 0x1
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_UNPACK = "Unpack it yourself and load the files."


class Member(Source):
    """The packed bytes of one member. Raises FileRefused when the archive ends within them."""

    def __init__(self, bottom: FileSource, size: int, prefix: bytes = b"") -> None:
        super().__init__(bottom.name)
        self._bottom = bottom
        self._left = size
        self._ahead = prefix

    def more(self, size: int) -> bytes:
        """At most `size` bytes of the member."""
        piece = self._bottom.take(min(size, self._left)) if self._left else b""
        if self._left and not piece:
            raise _damaged(self.name)
        self._left -= len(piece)
        return piece


def unpack(
    path: Path,
    name: str,
    *,
    exclude: Sequence[str],
    spool: Spool,
    allowance: Allowance,
    progress: Progress,
) -> Iterator[Result]:
    """All members, sorted by name, each as a file of its own called `name/member`.

    What is wrong with one member is a Problem; the others still come. Raises FileRefused when
    it is the archive that cannot be read.
    """
    with open_zip(path, name) as archive:
        members = sorted(
            (info for info in archive.infolist() if not info.filename.endswith("/")),
            key=lambda info: info.filename,
        )
    if len(members) > MOST_MEMBERS:
        raise FileRefused(
            name, f": it has {len(members):,} members, more than {MOST_MEMBERS:,}. {_UNPACK}"
        )
    if not members:
        raise FileRefused(name, ": it is a zip archive without any file in it.")
    for info in members:
        # Names lead nowhere: temporary files are numbered.
        relative = info.filename.lstrip("/")
        shown = f"{name}/{printable(relative)}"
        if is_left_over(relative) or is_excluded(relative, exclude):
            yield Skipped(shown)
            continue
        try:
            extracted = _extract(path, shown, info, spool, allowance, progress)
        except FileRefused as refused:
            yield Problem(str(refused))
        else:
            yield LocalFile(shown, extracted, temporary=True)


def _extract(
    path: Path,
    shown: str,
    info: zipfile.ZipInfo,
    spool: Spool,
    allowance: Allowance,
    progress: Progress,
) -> Path:
    if info.flag_bits & _ENCRYPTED:
        raise FileRefused(shown, f": it needs a password. {_UNPACK}")
    if info.compress_type not in (0, *_METHODS):
        method = _NAMES.get(info.compress_type, f"number {info.compress_type}")
        raise FileRefused(shown, f": it is compressed by the method {method}. {_UNPACK}")
    checksum = size = 0
    with FileSource(path, shown) as bottom:
        source = _packed(bottom, info)

        def read(wanted: int) -> bytes:
            nonlocal checksum, size
            piece = source.take(wanted)
            checksum = zlib.crc32(piece, checksum)
            size += len(piece)
            return piece

        extracted = spool.save(
            shown, read, doing="unpacking", progress=progress, allowance=allowance
        )
    if checksum != info.CRC or size != info.file_size:
        extracted.unlink()
        raise _damaged(shown)
    return extracted


def _packed(bottom: FileSource, info: zipfile.ZipInfo) -> Source:
    """The member's bytes, decompressed."""
    if not info.header_offset >= 0 or info.file_size >= 1 << 63:
        raise _damaged(bottom.name)
    bottom.seek_to(info.header_offset)
    header = _exactly(bottom, _LOCAL_HEADER.size)
    mark, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    if mark != b"PK\x03\x04":
        raise _damaged(bottom.name)
    _exactly(bottom, name_length + extra_length)
    left = info.compress_size
    if info.compress_type == 0:
        return Member(bottom, left)
    if info.compress_type == 14:
        # Version and length, then what the .lzma format begins with; a length of all ones there
        # means that an end mark follows, else the size has to be told.
        start = _exactly(bottom, 9)
        unpacked = -1 if info.flag_bits & 0x2 else info.file_size
        prefix = start[4:] + struct.pack("<q", unpacked)
        return Inflated("lzma", Member(bottom, left - 9, prefix), bottom, single=True)
    kind = _METHODS[info.compress_type]
    return Inflated(kind, Member(bottom, left), bottom, single=kind == "deflate")


def _exactly(source: Source, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = source.take(size - len(data))
        if not piece:
            raise _damaged(source.name)
        data += piece
    return data


def _damaged(name: str) -> FileRefused:
    return FileRefused(
        name, ": its archive is damaged or cut short here. Copy or download the archive again."
    )
