"""What the bytes of a file are. Endings are never asked: people change them.

In doubt it is text: a text that is taken for something else is refused for a wrong reason, while
anything else that is taken for text has no header and is refused all the same.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from loader.files.containers import ole_content, zip_content
from loader.files.layers import open_layers
from loader.printable import printable

_SAMPLE = 64 * 1024
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
# (offset, first bytes, what it is). Words that a table could begin with are not enough for a
# kind: "MZ" heads a column of mass spectra, "PAR1" a parameter, "BM" a body mass.
_KINDS = (
    (0, b"%PDF-1.", "a PDF document"),
    (0, b"%PDF-2.", "a PDF document"),
    (0, b"{\\rtf1", "a Rich Text document"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF87a", "a GIF picture"),
    (0, b"GIF89a", "a GIF picture"),
    (0, b"II*\x00", "a TIFF picture"),
    (0, b"MM\x00*", "a TIFF picture"),
    (8, b"WEBPVP8", "a WebP picture"),
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (8, b"DUCK\x00", "a DuckDB database"),
    (8, b"DUCK@\x00", "a DuckDB database"),
    (4, b"Standard Jet DB\x00", "an Access database"),
    (4, b"Standard ACE DB\x00", "an Access database"),
    (0, b"\x7fELF", "a program"),
    (0, b"\xcf\xfa\xed\xfe", "a program"),
    (0, b"\xca\xfe\xba\xbe", "a program"),
    (0, b"\x00asm", "a program"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"MSCF\x00\x00\x00\x00", "a CAB archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x1f\x9d", "a file compressed with compress (.Z)"),
    (0, b"\x04\x22\x4d\x18", "a file compressed with lz4"),
    (0, b"\xff\x06\x00\x00sNaPpY", "a file compressed with snappy"),
    (0, b"\x5d\x00\x00\x80\x00\xff\xff", "a file compressed with lzma"),
    (0, b"PARE", "an encrypted Parquet file"),
    (0, b"ARROW1\x00\x00", "an Arrow file"),
    (0, b"ORC", "an ORC file"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"RDX3\nX\n", "an R workspace"),
    (0, b"X\n\x00\x00\x00", "an R object"),
    (0, b"$FL2@(#)", "an SPSS file"),
    (0, b"<stata_dta>", "a Stata file"),
    (84, b"SAS FILE", "a SAS data set"),
    (0, b"\x09\x00\x04\x00", "a worksheet of Excel 2"),
    (0, b"\x09\x02\x06\x00", "a worksheet of Excel 3"),
    (0, b"\x09\x04\x06\x00", "a worksheet of Excel 4"),
)
# Those that a text could begin with: they count when zero bytes are near.
_NEED_BINARY = (b"GIF87a", b"GIF89a", b"ustar", b"SAS FILE", b"$FL2@(#)")
_NEED_BINARY_AT_ONCE = (b"PAR1", b"PARE", b"ORC")
_CONTROLS = bytes(set(range(1, 32)) - set(b"\t\n\v\f\r"))
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")


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
    opened = open_layers(path, name)
    with opened.top:
        head = opened.top.head(_SAMPLE)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        kind = ("zip", "a zip archive") if opened.layers else zip_content(path, name)
    elif head.startswith(_OLE):
        kind = ("xls", "an Excel workbook") if opened.layers else ole_content(path, name)
    elif head.startswith(b"PAR1") and _follows_binary(b"PAR1", head):
        kind = ("parquet", "a Parquet file")
    elif word := _word_of(head):
        kind = ("binary", word)
    else:
        kind = ("text", "a text file" if head else "an empty file")
    return Content(*kind, opened.layers)


def _follows_binary(magic: bytes, head: bytes) -> bool:
    if magic in _NEED_BINARY_AT_ONCE:
        return _controls(head[4:16]) != b"" or b"\0" in head[4:16]
    return magic not in _NEED_BINARY or b"\0" in head[:2048]


def _controls(data: bytes) -> bytes:
    """The control characters in the data, NUL and white space aside."""
    return bytes(byte for byte in data if byte in _CONTROLS)


def _word_of(head: bytes) -> str:
    """What a binary file is, '' for text."""
    for offset, magic, word in _KINDS:
        if head[offset : offset + len(magic)] == magic and _follows_binary(magic, head):
            return word
    if head.startswith(b"Obj\x01") and b"avro.schema" in head:
        return "an Avro file"
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
