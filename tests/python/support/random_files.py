"""Files of random contents in random forms, with what must become of them.

The writing of text is the reverse of how DESIGN and the issue describe the reading: a cell that
begins with a quotation mark (after blanks) is quoted, any other cell is the text between
delimiters; a bad line is rejected alone.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import re
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb
from backports import zstd
from support.copy_text import BLANKS
from support.random_tables import WESTERN, Cell, Cells, Draft, Rejected, Table, draft, is_record
from support.workbooks import workbook

# What openpyxl and xlwt refuse, or write as something else.
_NOT_IN_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\r\ud800-\udfff\ufffe\uffff]")
_LONGEST = 32_767
NESTED = ('{"a": [1, "ü"]}', '{"a":[1,"ü"]}')
HEADERLESS = b"1,2,3\n4,5,6\n"


@dataclass(frozen=True)
class Content:
    """The bytes of a file and its tables, by sheet. No table: it is to be refused."""

    data: bytes
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Made:
    """A file: its name, as messages show it, and what is in it, by member of an archive."""

    name: str
    shown: str
    data: bytes
    members: tuple[tuple[str, Content], ...]


_ENDS = re.compile("\r\n|\r|\n")
DELIMITERS = (*",,,;;\t\t|~^: ", "\x1f", "\x01")
PRELUDE = (
    *("", "  ", "Export of lab 7", "# by Ada, 2023; all of it", 'He said "hello', "a\tb\tc"),
    *("sep=;", "users", "user_id,phone", "<3 of the lab"),
)
ENCODINGS = {
    "utf-8": ("utf-8", b""),
    "utf-8 with mark": ("utf-8", b"\xef\xbb\xbf"),
    "utf-16": ("utf-16-le", b"\xff\xfe"),
    "utf-16 big": ("utf-16-be", b"\xfe\xff"),
    "utf-16 without mark": ("utf-16-le", b""),
    "utf-32": ("utf-32-le", b"\xff\xfe\0\0"),
    "windows-1252": ("cp1252", b""),
}
LINE_ENDS = (("\n",), ("\n",), ("\r\n",), ("\r\n",), ("\r",), ("\n", "\r\n", "\r"))
# Bytes that are no text under the encoding.
DAMAGE = {
    "utf-8": (b"\xff", b"\xfe\xff", b"\xc0\xaf", b"\xed\xa0\x80\xff"),
    "utf-16-le": (b"\x3d\xd8",),
    "utf-16-be": (b"\xd8\x3d",),
    "utf-32-le": (b"\0\0\x11\0",),
}
_PRESSES: tuple[Callable[[bytes], bytes], ...] = (
    gzip.compress,
    lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
    bz2.compress,
    lzma.compress,
    zstd.compress,
)


def random_content(rng: random.Random, given: Draft | None = None) -> Content:
    """One file of any form, of a table that is given if one is."""
    kind = rng.random()
    if kind < 0.7:
        data, table = delimited(rng, given) if kind < 0.6 else json_lines(rng, given)
        return Content(rng.choice(_PRESSES)(data) if rng.random() < 0.35 else data, (table,))
    return parquet(rng, given) if kind < 0.8 else random_workbook(rng, given)


def refused_content(rng: random.Random) -> Content:
    """A file that no loader can take for an input."""
    cut = gzip.compress(delimited(rng)[0])[:-9]
    contents = (HEADERLESS, b"", b"\n\n", b"a;b;c\n1;2;3\n", b"<html><table>", cut, b"\0" * 99)
    return Content(rng.choice(contents), ())


# And how they are shown.
NAMES = {
    **{name: name for name in ("users.csv", "Übersicht (1).tsv", "no ending", "x.xlsx", "a.gz")},
    **{
        name: name for name in ("q'uo\"te.csv", "$(reboot).csv", "; rm -rf x", "%s.csv", "run #3.c")
    },
    **{name: name for name in ("[ab]*.csv", "-rf.csv", "n" * 200, "#")},
    "new\nline.csv": "new\\nline.csv",
    "esc\x1b[31m.csv": "esc\\x1b[31m.csv",
    "bytes\udcff.csv": "bytes\\xff.csv",
    "\u202eright": "\\u202eright",
}


def random_file(rng: random.Random, number: int, *, refused: bool = False) -> Made:
    """A file with a name of its own."""
    name = rng.choice(list(NAMES))
    name, shown = f"{number}{name}"[:255], f"{number}{NAMES[name]}"[:255]
    if refused or rng.random() > 0.1:
        content = refused_content(rng) if refused else random_content(rng)
        return Made(name, shown, content.data, ((shown, content),))
    inside = sorted(rng.sample(("a.csv", "b/users.tsv", "c é.txt", "d"), rng.randint(1, 3)))
    contents = [(member, random_content(rng)) for member in inside]
    out = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(".DS_Store", "left over")
        for member, content in contents:
            archive.writestr(member, content.data)
    members = tuple((f"{shown}/{member}", content) for member, content in contents)
    return Made(name, shown, out.getvalue(), members)


@dataclass
class Writer:
    """Writes one file; `body` grows line by line."""

    rng: random.Random
    encoding: str
    delimiter: str
    ends: tuple[str, ...]
    quoting: str = "some"
    before: str = ""
    after: str = ""
    # No cell of the file could close a mark that was left open elsewhere.
    is_shut: bool = False
    body: bytearray = field(default_factory=bytearray)
    line: int = 1
    ended: str = "\n"
    rows: list[tuple[int, Cells]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def put(self, text: str | bytes, *, lines: int = 0) -> int:
        """Write a line, or a record of some more; the number of its first line."""
        end = self.rng.choice(self.ends)
        if not text and self.ended == "\r":
            # With LF it would be the end of the line before.
            end = "\r"
        self.body += text.encode(self.encoding) if isinstance(text, str) else text
        self.body += end.encode(self.encoding)
        self.ended = end
        first = self.line
        self.line += 1 + lines
        return first

    def record(self, cells: Cells) -> tuple[str, Cells]:
        """A record as it is written, and its cells as they are to be read."""
        pieces: list[str] = []
        values: list[Cell] = []
        for at, cell in enumerate(cells):
            before = self.before if at else ""
            after = self.after if at < len(cells) - 1 else ""
            text = cell or ""
            if self.is_quoted(cell):
                pieces.append(before + '"' + text.replace('"', '""') + '"' + after)
                values.append(text)
            else:
                pieces.append(f"{before}{text}{after}")
                values.append(pieces[-1] or None)
        return self.delimiter.join(pieces), tuple(values)

    def is_quoted(self, cell: Cell) -> bool:
        """Whether a cell is, or has to be, quoted."""
        if self.quoting == "all" or cell is None:
            return self.quoting == "all"
        if cell == "" or self.delimiter in cell or _ENDS.search(cell):
            return True
        if cell.lstrip(BLANKS).startswith('"') or (self.quoting == "careful" and '"' in cell):
            return True
        return self.quoting == "text" and not cell.isdecimal()

    def reject(self, kind: str, width: int) -> None:
        """Write a line that is to be rejected."""
        words = [f"w\\{n}" for n in range(width)]
        written: str | bytes
        text = written = self.record(tuple(words))[0]
        shown = text.replace("\\", "\\\\")
        rule = {"nul": "nul_byte", "undecodable": kind}.get(kind, "broken_quoting")
        if kind in ("few", "many"):
            count = self.rng.choice((1, width - 1)) if kind == "few" else width + 2
            shown = written = self.record(("w",) * count)[0]
            rule = "wrong_column_count"
        elif kind == "open":
            # Too many cells, if a line below could make a record of it.
            begun = words[1:] if self.is_shut else [*words, "w"]
            shown = written = self.record(tuple(begun))[0] + f'{self.delimiter}"open'
        elif kind == "misplaced":
            shown = written = text + f'{self.delimiter}"a"b'
        elif kind == "nul":
            written, shown = text + "\0x", shown + "\\x00x"
        else:
            damage = self.rng.choice(DAMAGE[self.encoding])
            written = text.encode(self.encoding) + damage
            shown += "".join(f"\\x{byte:02x}" for byte in damage)
        self.rejected.append((self.put(written), rule, shown))


def delimited(rng: random.Random, given: Draft | None = None) -> tuple[bytes, Table]:
    """A random file, or a given table in a random dialect, and what must become of it."""
    name = rng.choice((*["utf-8"] * 4, *ENCODINGS))
    plain = name in ("utf-16 without mark", "windows-1252")
    if given and plain:
        name, plain = "utf-16", False
    encoding, mark = ENCODINGS[name]
    delimiter = rng.choice(DELIMITERS)
    made = given or draft(
        rng, str.isascii if plain else lambda _: True, western=name == "windows-1252"
    )
    writer = Writer(rng, encoding, delimiter, rng.choice(LINE_ENDS))
    bad = _bad_lines(rng, name)
    writer.quoting = rng.choice(("some", "some", "text", "all"))
    if {"open", "misplaced"} & {*bad}:
        # Two wrongs could make a right: such a line and a mark within a bare cell.
        writer.quoting = rng.choice(("careful", "all"))
    if writer.delimiter not in (*BLANKS, "\x1f") and rng.random() < 0.4:
        writer.before = rng.choice(("", " ", "\t", "  "))
        writer.after = rng.choice(("", "", " ", "\t"))
    opening = f'{BLANKS}{writer.delimiter}"'
    cells = (cell for record in made.records for cell in record)
    writer.is_shut = not any(cell and cell[0] in opening for cell in cells)
    writer.body += mark
    for text in rng.sample(PRELUDE, rng.choice((0, 0, 0, 1, 3))):
        writer.put(text)
    # A no-break space alone could be a letter of MS-DOS's encoding, and the file would be refused.
    spaces = "\u00a0" in "".join(cell or "" for row in (made.header, *made.records) for cell in row)
    if name == "windows-1252" and (rng.random() < 0.5 or spaces):
        # Not `3 ± 1`, which has the cells of a record where spaces are delimiters.
        writer.put(rng.choice([text for text in WESTERN if text[0].isalpha()]))
    _write(writer, made, bad)
    content = bytes(writer.body)
    if rng.random() < 0.3:
        content = content.removesuffix(writer.ended.encode(encoding))
    return content, Table(made.input.name, "", tuple(writer.rows), tuple(writer.rejected))


def _write(writer: Writer, made: Draft, bad: list[str]) -> None:
    rng = writer.rng
    head = writer.quoting
    if head == "careful":
        writer.quoting = "all"
    text, names = writer.record(made.header)
    writer.put(text, lines=len(_ENDS.findall("".join(name or "" for name in names))))
    writer.quoting = head
    places = [rng.randint(0, len(made.records)) for _ in bad]
    blank_lines = rng.random() < 0.2
    for at in range(len(made.records) + 1):
        for kind, place in zip(bad, places, strict=True):
            if place == at:
                writer.reject(kind, made.width)
        if blank_lines and rng.random() < 0.3:
            writer.put(rng.choice(("", "" if writer.delimiter in BLANKS else " \t ")))
        if at < len(made.records):
            text, values = writer.record(made.records[at])
            line = writer.put(text, lines=len(_ENDS.findall(text)))
            if is_record(values):
                writer.rows.append((line, made.kept(values)))


def _bad_lines(rng: random.Random, encoding: str) -> list[str]:
    if rng.random() < 0.6:
        return []
    kinds = ["few", "many", "open", "misplaced"]
    if encoding != "utf-16 without mark":
        kinds.append("nul")
    if ENCODINGS[encoding][0] in DAMAGE and encoding != "utf-16 without mark":
        kinds.append("undecodable")
    return [rng.choice(kinds) for _ in range(rng.choice((1, 1, 2, 5)))]


def json_lines(rng: random.Random, given: Draft | None = None) -> tuple[bytes, Table]:
    """One object a line; keys in any order, at times absent; numbers, truth and nested values."""
    made = given or draft(rng, lambda _: True)
    end = rng.choice(("\n", "\r\n"))
    lines: list[str] = [json.dumps(dict.fromkeys(made.header, "first"))]
    rows: list[tuple[int, Cells]] = [(1, ("first",) * len(made.places))]
    rejected: list[Rejected] = []
    nul = json.dumps({made.header[made.places[0]]: "\0"})
    for record in made.records:
        if rng.random() < 0.05:
            lines.append(rng.choice(("", "  ")))
        if rng.random() < 0.03:
            bad = rng.choice(('{"a": ', "[1, 2]", "x", '{"a": 1} 2', nul))
            rule = "nul_byte" if bad == nul else "invalid_json"
            lines.append(bad)
            rejected.append((len(lines), rule, bad))
        pairs, cells = [], list(record)
        for at in rng.sample(range(made.width), made.width):
            value, cells[at] = _json_value(rng, record[at])
            if value != "null" or rng.random() < 0.5:
                key = json.dumps(made.header[at], ensure_ascii=rng.random() < 0.5)
                pairs.append(f"{key}{rng.choice((':', ' : '))}{value}")
        lines.append("{" + ", ".join(pairs) + "}")
        if is_record(tuple(cells)):
            rows.append((len(lines), made.kept(tuple(cells))))
    text = end.join(lines) + (end if rng.random() < 0.8 else "")
    encoding = rng.choice(("utf-8", "utf-8", "utf-8-sig"))
    return text.encode(encoding), Table(made.input.name, "", tuple(rows), tuple(rejected))


def _json_value(rng: random.Random, cell: Cell) -> tuple[str, Cell]:
    if cell is None:
        return "null", None
    if rng.random() < 0.15:
        values = (*((text, text) for text in ("7", "12.50", "1e3", "true")), NESTED)
        return rng.choice(values)
    return json.dumps(cell, ensure_ascii=rng.random() < 0.5), cell


def parquet(rng: random.Random, given: Draft | None = None) -> Content:
    """All texts, or with a column of numbers or days."""
    made = given or draft(rng, lambda text: "\0" not in text, nameless=False)
    types = ["varchar"] * made.width
    records = [list(record) for record in made.records]
    wanted: list[list[Cell]] = [list(record) for record in made.records]
    if rng.random() < 0.5:
        at = rng.randrange(made.width)
        types[at] = rng.choice(("bigint", "date", "decimal(10, 2)"))
        texts = {"bigint": "70", "date": "2023-01-31", "decimal(10, 2)": "12.50"}
        for record, cells in zip(records, wanted, strict=True):
            record[at] = cells[at] = texts[types[at]] if rng.random() < 0.8 else None
    columns = ", ".join(f"c{at} {type_}" for at, type_ in enumerate(types))
    names = ", ".join(
        f'c{at} as "{name.replace(chr(34), chr(34) * 2)}"' for at, name in enumerate(made.header)
    )
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute(f"create table t ({columns})")
        if records:
            marks = ", ".join("?" * made.width)
            connection.executemany(f"insert into t values ({marks})", records)
        press = rng.choice(("snappy", "zstd", "gzip", "uncompressed"))
        path = Path(folder) / "t.parquet"
        connection.execute(f"copy (select {names} from t) to '{path}' (compression '{press}')")
        data = path.read_bytes()
    numbered = enumerate(map(tuple, wanted), 1)
    rows = tuple((n, made.kept(cells)) for n, cells in numbered if is_record(cells))
    return Content(data, (Table(made.input.name, "", rows),))


def random_workbook(rng: random.Random, given: Draft | None = None) -> Content:
    """One or two sheets with a header and at times one without, as xlsx or xls."""
    # xlsxwriter writes whatever a cell can hold.
    writer = "xlsxwriter" if given else rng.choice(("xlsxwriter", "xlsxwriter", "openpyxl", "xls"))
    sheets: list[tuple[str, list[list[object]]]] = []
    tables = []
    if rng.random() < 0.3:
        sheets.append(("Read me", [["This is a workbook."], [None, 7]]))
    for title in rng.sample(
        ("Plate 1", "Données", "a #b", "%23", "<&'x"), 1 if given else rng.choice((1, 2))
    ):
        controls, astral = writer == "xlsxwriter", writer != "xls"
        grid, table = _sheet(rng, title, controls=controls, astral=astral, given=given)
        sheets.append((title, grid))
        tables.append(table)
    return Content(workbook(writer, sheets), tuple(tables))


def _sheet(
    rng: random.Random, title: str, *, controls: bool, astral: bool, given: Draft | None
) -> tuple[list[list[object]], Table]:
    """Rows of values, and what a person sees of them."""

    def fits(text: str) -> bool:
        if len(text) > _LONGEST or (not astral and max(text, default="") > "\uffff"):
            return False
        return "\0" not in text and (controls or not _NOT_IN_XML.search(text))

    made = given or draft(rng, fits, nameless=False)
    left = [None] * rng.choice((0, 0, 2))
    above: list[list[object]] = [[], ["Export"]]
    grid = above[: rng.choice((0, 0, 1, 2))]
    grid.append([*left, *made.header])
    rows: list[tuple[int, Cells]] = []
    rejected: list[Rejected] = []
    for record in made.records:
        if rng.random() < 0.05:
            grid.append([])
        if controls and rng.random() < 0.02:
            words = [f"w\\{n}" for n in range(made.width)]
            # In a column that counts; of others nothing is read.
            words[rng.choice(made.places)] = "a\0b"
            grid.append([*left, *words])
            content = ",".join([*("" for _ in left), *words])
            content = content.replace("\\", "\\\\").replace("\0", "\\x00")
            rejected.append((len(grid), "nul_byte", content))
        pairs = [_value(rng, cell) for cell in record]
        grid.append([*left, *(value for value, _ in pairs)])
        if is_record(tuple(cell for _, cell in pairs)):
            rows.append((len(grid), made.kept(tuple(cell for _, cell in pairs))))
    return grid, Table(made.input.name, title, tuple(rows), tuple(rejected))


def _value(rng: random.Random, cell: Cell) -> tuple[object, Cell]:
    """A value of a cell and what a person sees; an empty text is no cell."""
    if cell and rng.random() < 0.2:
        return rng.choice(
            (
                *((7, "7"), (12.5, "12.5"), (-3, "-3"), (123456789012345, "123456789012345")),
                *((True, "TRUE"), (date(2023, 1, 31), "2023-01-31")),
            )
        )
    return cell or None, cell or None


def shown_tables(made: Made) -> list[tuple[str, Content, Table | None]]:
    """Each table of a file by its name in the ledger; None for a file that is to be refused."""
    found: list[tuple[str, Content, Table | None]] = []
    for name, content in made.members:
        for table in content.tables:
            part = re.sub("%(?=2[35F])", "%25", table.part).replace("#", "%23")
            found.append((f"{name}#{part}" if part else name, content, table))
        if not content.tables:
            found.append((name, content, None))
    return found
