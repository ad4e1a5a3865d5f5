"""The zip archives and the XML that xlsx and ods files are made of, read with suspicion."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile, ZipInfo

from loader.readers.spreadsheet_cells import Unreadable

CHUNK = 1 << 16
# A sheet of a million rows and fifty columns has about 3 GB of XML.
_MAX_PART = 6 << 30
# Real sheets shrink to a tenth, rarely to a hundredth. Deflate ends at 1 : 1,032, and an archive
# that comes near to it was made to fill memory or time.
_MAX_RATIO = 500
_RATIO_COUNTS_FROM = 64 << 20
_MAX_PARTS = 20_000
_ENCRYPTED = 0x1
# XML_ERROR_NO_MEMORY of expat.h
_NO_MEMORY = 1

_AGAIN = "Open it in a spreadsheet program, save the sheet as CSV and load that."


class Package:
    """An open archive. Parts are found whatever the case of their names, as Excel does."""

    def __init__(self, archive: ZipFile) -> None:
        self._archive = archive
        self._parts = {_key(info.filename): info for info in archive.infolist()}

    def __contains__(self, name: str) -> bool:
        return _key(name) in self._parts

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """The bytes of a part. Raises Unreadable."""
        info = self._parts.get(_key(name))
        if info is None:
            raise Unreadable(f"It is damaged or incomplete: the part {name} is missing. {_AGAIN}")
        _check(info)
        try:
            with self._archive.open(info) as part:
                yield part
        except (BadZipFile, zlib.error, EOFError, NotImplementedError) as fault:
            raise Unreadable(f"It is damaged: {_said(fault)}. Fetch or save it again.") from fault


@contextmanager
def open_package(path: Path) -> Iterator[Package]:
    """Open an archive whose directory looks harmless. Raises Unreadable."""
    try:
        archive = ZipFile(path)
    except (BadZipFile, ValueError, NotImplementedError, EOFError) as fault:
        raise Unreadable(
            f"It is damaged or incomplete: {_said(fault)}. Fetch or save it again."
        ) from fault
    with archive:
        if len(archive.infolist()) > _MAX_PARTS:
            raise Unreadable(f"It has more than {_MAX_PARTS:,} parts. {_AGAIN}")
        yield Package(archive)


def new_parser() -> expat.XMLParserType:
    """An XML parser that refuses a document type, where entity bombs and foreign files sit."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    return parser


def feed(parser: expat.XMLParserType, chunk: bytes, name: str) -> None:
    """Parse a portion of the part; an empty one is its end. Raises Unreadable."""
    try:
        parser.Parse(chunk, not chunk)
    except expat.ExpatError as fault:
        if fault.code == _NO_MEMORY:
            raise MemoryError from fault
        raise Unreadable(f"It is damaged: {name}, {fault}. Fetch or save it again.") from fault


def parse_all(part: IO[bytes], parser: expat.XMLParserType, name: str) -> None:
    """Parse a whole part. Raises Unreadable."""
    while chunk := part.read(CHUNK):
        feed(parser, chunk, name)
    feed(parser, b"", name)


def local(name: str) -> str:
    """The name of an element without its prefix."""
    return name.rpartition(":")[2]


def _key(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").casefold()


def _check(info: ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise Unreadable("It is protected by a password. Save it without one and load it again.")
    if info.file_size > _MAX_PART or (
        info.file_size > _RATIO_COUNTS_FROM
        and info.file_size > _MAX_RATIO * max(info.compress_size, 1)
    ):
        raise Unreadable(
            f"Its part {info.filename} would unpack {info.compress_size:,} bytes to "
            f"{info.file_size:,}, more than any real sheet. {_AGAIN}"
        )


def _refuse_doctype(*_: object) -> None:
    raise Unreadable(f"Its XML declares a document type, which no real workbook does. {_AGAIN}")


def _said(fault: Exception) -> str:
    return str(fault) or type(fault).__name__
