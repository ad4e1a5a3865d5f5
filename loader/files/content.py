"""What the bytes of a file are. Endings are never asked: people change them.

In doubt it is text: a text that is taken for something else is refused for a wrong reason, while
anything else that is taken for text has no header and is refused all the same.

Sources: ECMA-376 part 2 (Open Packaging), OpenDocument 1.3 part 2 (3.3).
"""

from __future__ import annotations

import codecs
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from loader.errors import FileRefused
from loader.files.compression import cannot_open, open_bytes
from loader.printable import printable

_SAMPLE = 64 * 1024
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
# (offset, first bytes, what it is). Words that a table could begin with are not enough: "MZ" heads
# a column of mass spectra, "PAR1" a parameter, "BM" a body mass.
_MAGIC_NUMBERS = (
    (0, b"%PDF-", "a PDF document"),
    (0, b"{\\rtf1", "a Rich Text document"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"II*\x00", "a TIFF picture"),
    (0, b"MM\x00*", "a TIFF picture"),
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (8, b"DUCK", "a DuckDB database"),
    (4, b"Standard Jet DB\x00", "an Access database"),
    (4, b"Standard ACE DB\x00", "an Access database"),
    (0, b"\x7fELF", "a program"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x1f\x9d", "a file compressed with compress (.Z)"),
    (0, b"\x04\x22\x4d\x18", "a file compressed with lz4"),
    (0, b"\x5d\x00\x00\x80\x00\xff\xff", "a file compressed with lzma"),
    (0, b"PARE", "an encrypted Parquet file"),
    (0, b"ARROW1\x00\x00", "an Arrow file"),
    (0, b"ORC", "an ORC file"),
    (0, b"Obj\x01", "an Avro file"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"RDX3\nX\n", "an R workspace"),
    (0, b"$FL2@(#)", "an SPSS file"),
    (0, b"<stata_dta>", "a Stata file"),
    (84, b"SAS FILE", "a SAS data set"),
)
# Those that a text could begin with: they count when zero bytes are near.
_NEED_BINARY = (b"ustar", b"SAS FILE", b"$FL2@(#)", b"DUCK")
_NEED_BINARY_AT_ONCE = (b"PAR1", b"PARE", b"ORC")
_CONTROLS = bytes(set(range(1, 32)) - set(b"\t\n\v\f\r"))
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")

_CONTENT_TYPES, _MANIFEST = "[Content_Types].xml", "META-INF/manifest.xml"
_MOST_OF_A_PART = 4 << 20
# A part of [Content_Types].xml, the format, the word. The workbook inside a Word document is
# declared without `.main`.
_OFFICE_OPEN_XML = (
    (b"spreadsheetml.sheet.main+xml", "xlsx", "an Excel workbook"),
    (b"spreadsheetml.template.main+xml", "xlsx", "an Excel template"),
    (b"ms-excel.sheet.macroenabled.main+xml", "xlsx", "an Excel workbook with macros"),
    (b"ms-excel.template.macroenabled.main+xml", "xlsx", "an Excel template with macros"),
    (b"ms-excel.addin.macroenabled.main+xml", "binary", "an Excel add-in"),
    (b"ms-excel.sheet.binary.macroenabled.main", "binary", "a binary Excel workbook (.xlsb)"),
    (b"wordprocessingml", "binary", "a Word document"),
    (b"presentationml", "binary", "a PowerPoint presentation"),
)
_OPEN_DOCUMENTS = (
    (b"opendocument.spreadsheet", "ods", "an OpenDocument spreadsheet"),
    (b"opendocument.text", "binary", "an OpenDocument text"),
    (b"opendocument", "binary", "an OpenDocument file that is no spreadsheet"),
)
_DECLARING_PARTS = {
    _CONTENT_TYPES: _OFFICE_OPEN_XML,
    "mimetype": _OPEN_DOCUMENTS,
    _MANIFEST: _OPEN_DOCUMENTS,
}
# Names of streams of an OLE file ([MS-CFB]).
_OLE_STREAMS = (
    ("EncryptedPackage", "binary", "an Office file with a password"),
    ("Workbook", "xls", "an Excel workbook"),
    ("Book", "xls", "an Excel workbook"),
    ("WordDocument", "binary", "a Word document"),
    ("PowerPoint Document", "binary", "a PowerPoint presentation"),
    ("__properties_version1.0", "binary", "an Outlook message"),
)
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


@dataclass(frozen=True)
class Content:
    """What a file is.

    `format` is `text`, `xlsx` (xlsm too), `xls`, `ods`, `parquet`, `zip` (an archive of files) or
    `binary`; `word` says it to a person ("a PDF document"); `layers` are the compressions around
    it. Of a file within layers only the head is known: any zip is `zip`, any OLE file `xls`.
    """

    format: str
    word: str
    layers: tuple[str, ...]

    @property
    def kind(self) -> str:
        """`text`, `xlsx`, `xls`, `ods` or `parquet`; of anything else what it is."""
        return self.word if self.format in ("zip", "binary") else self.format


def content_of(path: Path, name: str = "") -> Content:
    """Look into a file. Raises FileRefused, calling it `name`, when it cannot be opened."""
    name = name or printable(str(path))
    with open_bytes(path, name) as stream:
        head = stream.read(_SAMPLE)
        layers = stream.layers
    if head.startswith(_ZIP):
        kind = ("zip", "a zip archive") if layers else _zip_content(path, name)
    elif head.startswith(_OLE):
        kind = ("xls", "an Excel workbook") if layers else _ole_content(path)
    elif head.startswith(b"PAR1") and _follows_binary(b"PAR1", head):
        kind = ("parquet", "a Parquet file")
    elif word := _binary_word(head):
        kind = ("binary", word)
    else:
        kind = ("text", "a text file" if head else "an empty file")
    return Content(*kind, layers)


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


def _zip_content(path: Path, name: str) -> tuple[str, str]:
    with open_zip(path, name) as archive:
        parts = set(archive.namelist())
        for part, kinds in _DECLARING_PARTS.items():
            if part in parts and (part != _MANIFEST or "content.xml" in parts):
                declared = _head_of_part(archive, name, part).lower()
                for content_type, format_, word in kinds:
                    if content_type in declared:
                        return format_, word
        if _CONTENT_TYPES in parts:
            if "xl/workbook.xml" in parts:
                return "xlsx", "an Excel workbook"
            return "binary", "an Office file that is no spreadsheet"
        if "Index/Document.iwa" in parts or "Index.zip" in parts:
            return "binary", "a file of Apple Numbers, Pages or Keynote"
    return "zip", "a zip archive"


def _head_of_part(archive: zipfile.ZipFile, name: str, part: str) -> bytes:
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


def _ole_content(path: Path) -> tuple[str, str]:
    # Imported here: few files are OLE files.
    import olefile

    try:
        with olefile.OleFileIO(str(path)) as file:
            streams = {entry[-1] for entry in file.listdir()}
    except Exception:
        # A damaged directory leads it anywhere; the parser of xls says what is damaged.
        return "xls", "an Excel workbook"
    for stream, format_, word in _OLE_STREAMS:
        if stream in streams:
            return format_, word
    return "binary", "an Office file that is no spreadsheet"


def _follows_binary(magic: bytes, head: bytes) -> bool:
    if magic in _NEED_BINARY_AT_ONCE:
        return _controls(head[4:16]) != b"" or b"\0" in head[4:16]
    return magic not in _NEED_BINARY or b"\0" in head[:2048]


def _controls(data: bytes) -> bytes:
    """The control characters in the data, NUL and white space aside."""
    return bytes(byte for byte in data if byte in _CONTROLS)


def _binary_word(head: bytes) -> str:
    """What a binary file is, '' for text."""
    for offset, magic, word in _MAGIC_NUMBERS:
        if head[offset : offset + len(magic)] == magic and _follows_binary(magic, head):
            return word
    # A DOS program says where its Windows part begins.
    start = int.from_bytes(head[0x3C:0x40], "little")
    if head.startswith(b"MZ") and head[start : start + 4] == b"PE\0\0":
        return "a Windows program"
    if head and not head.strip(b"\0"):
        return "a file of nothing but zero bytes"
    return "" if _is_text(head) else "a binary file of an unknown kind"


def _is_text(head: bytes) -> bool:
    """Whether the bytes could be text in any encoding, with stray NUL and control bytes in it.

    Of random bytes a tenth are control characters, of all kinds. Text has few, or many of one
    kind (as delimiter), and its first line has none. UTF-16 and UTF-32 without a mark have many
    of them when they are not Latin; then every second byte is one of few, the high one.
    """
    if head.startswith(_BOMS) or _is_utf8(head):
        return True
    controls = _controls(head)
    if len(set(controls)) < 16 or len(controls) < len(head) / 20:
        return True
    first, end, _ = head.lstrip(b"\r\n").partition(b"\n")
    if end and first.strip() and not _controls(first):
        return True
    return any(len(set(head[side::2])) < 100 for side in (0, 1))


def _is_utf8(head: bytes) -> bool:
    try:
        # Not the final piece: the sample may end within a character.
        codecs.getincrementaldecoder("utf-8")().decode(head, final=False)
    except UnicodeDecodeError:
        return False
    return True
