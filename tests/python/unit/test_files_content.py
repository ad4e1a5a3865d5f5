"""What a file is, told by its bytes."""

from __future__ import annotations

import gzip
import io
import random
import sqlite3
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import openpyxl
import pytest
import xlwt
from support.corpora import read
from support.files import archive_of

from loader.errors import FileRefused
from loader.files.content import content_of

RANDOM = random.Random(7).randbytes(70_000)
HEADER = "user_id,name,email,signup_date\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users.csv"


def kind_of(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return content_of(path)[0]


def office(*parts: str) -> bytes:
    return archive_of((part, "") for part in ("[Content_Types].xml", *parts))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"MZ,intensity\n100.1,7\n",
        b"PAR1,PAR2\n1,2\n",
        b"PARENT,CHILD\n1,2\n",
        b"ORC,a\n1,2\n",
        b"BM,height\n1,2\n",
        b"PK,name\n1,2\n",
        b"BZh9 is a name\n1\n",
        b"<html>,user_id\n1,2\n",
        b"GIF89a,user_id\n1,2\n",
        b"user_id\x01name\x01email\n7\x01M\xfcller\x01\n" * 3000,
        b"user_id,na\0me\n" + b"7,\0\0\0\0\n" * 100,
        HEADER.encode() + bytes(range(256)) * 200,
        HEADER.encode() + RANDOM,
        *(
            "".join(f"{n},実験の名前は化合物です,{n}\n" for n in range(4000)).encode(encoding)
            for encoding in ("utf-16-le", "utf-16-be", "gb18030", "shift_jis")
        ),
    ],
    ids=lambda data: ascii(data[:20]),
)
def test_what_could_be_a_table_is_text(data: bytes, path: Path) -> None:
    assert kind_of(path, data) == "text"


def test_workbooks_and_parquet_are_told_by_what_is_in_them(path: Path) -> None:
    openpyxl.Workbook().save(path)
    assert content_of(path)[0] == "xlsx"
    book = xlwt.Workbook()
    book.add_sheet("a")
    book.save(str(path))
    assert content_of(path)[0] == "xls"
    for part in ("xl/workbook2.xml", "XL\\Workbook.xml"):
        assert kind_of(path, office(part)) == "xlsx"
    for beside in ("mimetype", "META-INF/manifest.xml"):
        assert kind_of(path, archive_of([("content.xml", ""), (beside, "")])) == "ods"
    for rows in (0, 7):
        duckdb.execute(f"copy (select range as id from range({rows})) to '{path}' (format parquet)")
        assert content_of(path)[0] == "parquet"


@pytest.mark.parametrize(
    "part", ["word/document.xml", "word/embeddings/a.xlsx", "xl/workbook.bin", "x"]
)
def test_another_office_file_is_no_workbook(part: str, path: Path) -> None:
    assert kind_of(path, office(part)) == "an Office file, and no .xlsx"


def test_an_old_office_file_without_a_workbook_may_have_a_password(path: Path) -> None:
    # An OLE file whose directory has nothing but its root: header, table, directory.
    header = bytearray(512)
    header[:8] = bytes.fromhex("d0cf11e0a1b11ae1")
    struct.pack_into("<HHHHH", header, 24, 0x3E, 3, 0xFFFE, 9, 6)
    struct.pack_into("<IIIIIIIII", header, 44, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0, 0)
    struct.pack_into("<108I", header, 80, *[0xFFFFFFFF] * 108)
    table = struct.pack("<128I", 0xFFFFFFFD, 0xFFFFFFFE, *[0xFFFFFFFF] * 126)
    links = struct.pack("<HBBIII", 22, 5, 1, *[0xFFFFFFFF] * 3)
    root = ("Root Entry".encode("utf-16-le").ljust(64, b"\0") + links).ljust(116, b"\0")
    root += struct.pack("<IQ", 0xFFFFFFFE, 0)
    assert kind_of(path, bytes(header) + table + root.ljust(512, b"\0")) == "xls"
    _, (problem,) = read(path)
    assert "Save it without one and load it again. Or it is no workbook at all." in problem


def sqlite(folder: Path) -> bytes:
    path = folder / "lab.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table a (b)")
    connection.close()
    return path.read_bytes()


def tar(_: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(__file__, "a.csv")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (sqlite, "an SQLite database"),
        (tar, "a tar archive"),
        (lambda _: gzip.compress(tar(_)), "a tar archive"),
        (lambda _: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document"),
        (lambda _: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture"),
        (lambda _: b"\xff\xd8\xff\xe0\0\x10JFIF", "a picture"),
        (lambda _: b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive"),
        (lambda _: b"Rar!\x1a\x07\x01\0", "a RAR archive"),
        (lambda _: b"\x01" + RANDOM, "a binary file of another kind"),
        (lambda _: gzip.compress(gzip.compress(b"a")), "a file that is compressed more than once"),
    ],
)
def test_what_is_no_table_is_named(
    make: Callable[[Path], bytes], word: str, path: Path, tmp_path: Path
) -> None:
    assert kind_of(path, make(tmp_path)) == word
    _, (problem,) = read(path)
    assert f"it is {word}, and no table that labmart reads" in problem


def test_a_damaged_archive_is_refused_with_a_sentence(path: Path) -> None:
    with pytest.raises(FileRefused, match=r"users\.csv: it begins as a zip archive or a spread"):
        kind_of(path, archive_of([("a.csv", HEADER * 100)])[:-30])
