"""Files of random contents in random forms, with what must become of them."""

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
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
from backports import zstd
from support.random_delimited import delimited
from support.random_tables import Cell, Draft, Table, draft, is_record
from support.workbooks import workbook

# What openpyxl and xlwt refuse, or write as something else.
_NOT_IN_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\r\ud800-\udfff\ufffe\uffff]")
_LONGEST = 32_767
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


_PRESSES: tuple[Callable[[bytes], bytes], ...] = (
    gzip.compress,
    lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
    bz2.compress,
    lzma.compress,
    zstd.compress,
)


def random_content(rng: random.Random) -> Content:
    """One file of any form."""
    kind = rng.random()
    if kind < 0.7:
        data, table = delimited(rng) if kind < 0.6 else json_lines(rng)
        pressed = rng.choice(_PRESSES)(data) if rng.random() < 0.35 else data
        return Content(pressed, (table,))
    if kind < 0.8:
        return parquet(rng)
    return random_workbook(rng)


def refused_content(rng: random.Random) -> Content:
    """A file that no loader can take for an input."""
    whole = gzip.compress(delimited(rng)[0])
    return Content(
        rng.choice(
            (HEADERLESS, b"", b"\n\n", b"a;b;c\n1;2;3\n", b"<html><table>", whole[:-9], b"\0" * 99)
        ),
        (),
    )


NAMES = {
    **{name: name for name in ("users.csv", "Übersicht (1).tsv", "no ending", "x.xlsx", "a.gz")},
    **{
        name: name for name in ("q'uo\"te.csv", "$(reboot).csv", "; rm -rf x", "%s.csv", "run #3.c")
    },
    **{"[ab]*.csv": "[ab]*.csv", "-rf.csv": "-rf.csv", "n" * 200: "n" * 200, "#": "#"},
    "new\nline.csv": "new\\nline.csv",
    "esc\x1b[31m.csv": "esc\\x1b[31m.csv",
    "bytes\udcff.csv": "bytes\\xff.csv",
    "\u202eright": "\\u202eright",
}


def random_file(rng: random.Random, number: int, *, refused: bool = False) -> Made:
    """A file with a name of its own."""
    name = rng.choice(list(NAMES))
    name, shown = f"{number}{name}"[:255], f"{number}{NAMES[name]}"[:255]
    if refused:
        content = refused_content(rng)
        return Made(name, shown, content.data, ((shown, content),))
    if rng.random() > 0.1:
        content = random_content(rng)
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


def given_content(rng: random.Random, given: Draft) -> Content:
    """A given table in a random form."""
    kind = rng.random()
    if kind < 0.8:
        data, table = delimited(rng, given) if kind < 0.6 else json_lines(rng, given)
        return Content(rng.choice(_PRESSES)(data) if rng.random() < 0.3 else data, (table,))
    return parquet(rng, given) if kind < 0.9 else random_workbook(rng, given)


def json_lines(rng: random.Random, given: Draft | None = None) -> tuple[bytes, Table]:
    """One object a line; keys in any order, at times absent; numbers, truth and nested values."""
    made = given or draft(rng, lambda _: True)
    end = rng.choice(("\n", "\r\n"))
    lines: list[str] = [json.dumps(dict.fromkeys(made.header, "first"))]
    rows: list[tuple[int, tuple[Cell, ...]]] = [(1, ("first",) * len(made.places))]
    rejected: list[tuple[int, str, str]] = []
    for record in made.records:
        if rng.random() < 0.05:
            lines.append(rng.choice(("", "  ")))
        if rng.random() < 0.03:
            bad, rule = rng.choice(
                (
                    *(
                        ('{"a": ', "invalid_json"),
                        ("[1, 2]", "invalid_json"),
                        ("x", "invalid_json"),
                    ),
                    ('{"a": 1} 2', "invalid_json"),
                    (json.dumps({made.header[made.places[0]]: "\0"}), "nul_byte"),
                )
            )
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
        return rng.choice(
            (
                *(("7", "7"), ("12.50", "12.50"), ("1e3", "1e3"), ("true", "true")),
                ('{"a": [1, "ü"]}', '{"a":[1,"ü"]}'),
            )
        )
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
    rows: list[tuple[int, tuple[Cell, ...]]] = []
    rejected: list[tuple[int, str, str]] = []
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
