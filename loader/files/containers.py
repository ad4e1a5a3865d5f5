"""What a zip archive or an OLE file holds: both are the wrapping of many formats.

Sources: ECMA-376 part 2 (Open Packaging), OpenDocument 1.3 part 2 (3.3), [MS-CFB] 2.2 to 2.6.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from loader.errors import FileRefused
from loader.files.layers import cannot_open

# All that zipfile raises for damaged archives.
ZIP_DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    OSError,
)
_CONTENT_TYPES = "[Content_Types].xml"
_MOST_OF_A_PART = 4 << 20
# A part of [Content_Types].xml, the format, the word. The workbook inside a Word document is
# declared without `.main`.
_MAIN_PARTS = (
    (b"spreadsheetml.sheet.main+xml", "xlsx", "an Excel workbook"),
    (b"spreadsheetml.template.main+xml", "xlsx", "an Excel template"),
    (b"ms-excel.sheet.macroenabled.main+xml", "xlsx", "an Excel workbook with macros"),
    (b"ms-excel.template.macroenabled.main+xml", "xlsx", "an Excel template with macros"),
    (b"ms-excel.addin.macroenabled.main+xml", "binary", "an Excel add-in"),
    (b"ms-excel.sheet.binary.macroenabled.main", "binary", "a binary Excel workbook (.xlsb)"),
    (b"wordprocessingml", "binary", "a Word document"),
    (b"presentationml", "binary", "a PowerPoint presentation"),
    (b"ms-visio", "binary", "a Visio drawing"),
)
_OPEN_DOCUMENTS = (
    (b"opendocument.spreadsheet", "ods", "an OpenDocument spreadsheet"),
    (b"opendocument.text", "binary", "an OpenDocument text"),
    (b"opendocument.presentation", "binary", "an OpenDocument presentation"),
    (b"opendocument", "binary", "an OpenDocument file that is no spreadsheet"),
    (b"epub+zip", "binary", "an electronic book"),
)
# Names of streams of an OLE file, longest first.
_STREAMS = (
    ("EncryptedPackage", "binary", "an Office file with a password"),
    ("Workbook", "xls", "an Excel workbook"),
    ("Book", "xls", "an Excel workbook"),
    ("WordDocument", "binary", "a Word document"),
    ("PowerPoint Document", "binary", "a PowerPoint presentation"),
    ("VisioDocument", "binary", "a Visio drawing"),
    ("__properties_version1.0", "binary", "an Outlook message"),
)
_SECTORS_OF_DIRECTORY = 1024
_LAST_SECTOR = 0xFFFFFFFA


def open_zip(path: Path, name: str) -> zipfile.ZipFile:
    """Open an archive. Raises FileRefused when its table of contents cannot be read."""
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


def zip_content(path: Path, name: str) -> tuple[str, str]:
    """Format and word of a file that begins as a zip archive. Raises FileRefused."""
    with open_zip(path, name) as archive:
        names = set(archive.namelist())
        if _CONTENT_TYPES in names:
            types = _part(archive, name, _CONTENT_TYPES).lower()
            for mark, format_, word in _MAIN_PARTS:
                if mark in types:
                    return format_, word
            if "xl/workbook.xml" in names:
                return "xlsx", "an Excel workbook"
            return "binary", "an Office file that is no spreadsheet"
        for part in ("mimetype", "META-INF/manifest.xml"):
            if part in names and (part == "mimetype" or "content.xml" in names):
                declared = _part(archive, name, part)
                for mark, format_, word in _OPEN_DOCUMENTS:
                    if mark in declared:
                        return format_, word
        if "Index/Document.iwa" in names or "Index.zip" in names:
            return "binary", "a file of Apple Numbers, Pages or Keynote"
    return "zip", "a zip archive"


def _part(archive: zipfile.ZipFile, name: str, part: str) -> bytes:
    """The beginning of a member that says what the others are."""
    # zipfile gives out as little as asked for of these two methods only.
    if archive.getinfo(part).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return b""
    try:
        with archive.open(part) as file:
            return file.read(_MOST_OF_A_PART)
    except ZIP_DAMAGES:
        raise FileRefused(
            name,
            f": it is an Office file, and its part {part} is damaged. Copy or export it again.",
        ) from None


def ole_content(path: Path, name: str) -> tuple[str, str]:
    """Format and word of an OLE file. Raises FileRefused."""
    try:
        with path.open("rb") as file:
            streams = _stream_names(file)
    except OSError as error:
        raise FileRefused(name, cannot_open(error)) from None
    except struct.error:
        # Its reader says what is damaged.
        return "xls", "an Excel workbook"
    for stream, format_, word in _STREAMS:
        if stream in streams:
            return format_, word
    return "binary", "an Office file that is no spreadsheet"


def _stream_names(file: BinaryIO) -> set[str]:
    """The names in the directory of an OLE file."""
    header = file.read(512)
    (shift,) = struct.unpack_from("<H", header, 30)
    (sector,) = struct.unpack_from("<I", header, 48)
    if shift not in (9, 12):
        raise struct.error
    size = 1 << shift
    # Where the allocation table is; the header knows its first 109 sectors.
    tables = struct.unpack_from("<109I", header, 76)
    names: set[str] = set()
    for _ in range(_SECTORS_OF_DIRECTORY):
        if sector >= _LAST_SECTOR:
            break
        file.seek((sector + 1) * size)
        block = file.read(size)
        for entry in range(0, len(block) - 127, 128):
            (length,) = struct.unpack_from("<H", block, entry + 64)
            text = block[entry : entry + max(0, min(length, 64) - 2)]
            names.add(text.decode("utf-16-le", "replace"))
        table, place = divmod(sector, size // 4)
        if table >= len(tables):
            break
        file.seek((tables[table] + 1) * size + 4 * place)
        (sector,) = struct.unpack("<I", file.read(4))
    return names
