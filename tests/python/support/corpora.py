"""Files of a table in every format, and what labmart reads in a file, for tests."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

import duckdb
import openpyxl
import xlwt
from backports import zstd
from support.copy_text import rows_of
from support.project import ROOT
from support.workbooks import ods_cell, ods_parts, ods_table

from loader.errors import FileRefused
from loader.files import collect
from loader.parsers.delimited import DelimitedParser
from loader.parsers.dialect import ReadOptions
from loader.parsers.recognise import recognise
from loader.parsers.records import Parser, RejectedLine
from loader.sources import read_inputs

INPUTS = read_inputs(ROOT / "models" / "staging" / "_sources.yml")
BLANKS = " \t\r\n\u00a0\ufeff"
NAMES = ("user_id", "name", "email", "signup_date")

Cells = tuple[str | None, ...]
_PACKED: Mapping[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd.compress,
}


@dataclass(frozen=True)
class Read:
    """What became of a file: cells in the order of NAMES, trimmed as the models do, by line."""

    parser: Parser
    rows: tuple[tuple[int, Cells], ...]
    rejected: tuple[RejectedLine, ...]


def read(path: Path, options: ReadOptions | None = None) -> tuple[list[Read], list[str]]:
    """What is read of a path, and what is refused. Nothing else may be raised."""
    found: list[Read] = []
    problems: list[str] = []
    with collect([str(path)], progress=lambda _: None) as collected:
        problems += collected.problems
        for file in collected.files:
            try:
                parsers = recognise(file, INPUTS, options or ReadOptions())
                found += [read_all(parser) for parser in parsers]
            except FileRefused as refused:
                problems.append(str(refused))
    return found, problems


def read_all(parser: Parser) -> Read:
    """All records of a parser, of which each line is accounted for."""
    rows: list[tuple[int, Cells]] = []
    rejected: list[RejectedLine] = []
    for batch in parser.batches(load_id=5):
        given = rows_of(batch.text, parser.delimiter, load_id=5)
        assert len(given) == batch.records
        rows += given
        rejected += batch.rejected
    assert_accounted_for(parser, rows, rejected)
    order = [parser.columns.index(name) if name in parser.columns else -1 for name in NAMES]
    trimmed = (
        (line, tuple((cells[at] or "").strip(BLANKS) or None for at in order if at >= 0))
        for line, cells in rows
    )
    return Read(parser, tuple(trimmed), tuple(rejected))


def assert_accounted_for(
    parser: Parser, rows: Sequence[tuple[int, Cells]], rejected: Sequence[RejectedLine]
) -> None:
    """No line has two fates, and of a text each line that is not blank has one."""
    numbers = [line for line, _ in rows] + [one.line for one in rejected]
    assert len(set(numbers)) == len(numbers)
    if not isinstance(parser, DelimitedParser):
        return
    with parser.open() as stream:
        data = b"".join(iter(lambda: stream.read(1 << 16), b""))
    lines = re.split("\r\n|\r|\n", data.decode(parser.read_as.name, "replace"))
    covered = set(numbers)
    ends = dict(pairwise([*sorted(numbers), len(lines) + 1]))
    for number, cells in rows:
        inside = sum(len(re.findall("\r\n|\r|\n", cell or "")) for cell in cells)
        # Cells that are not kept, and escaped line ends, can hold more lines than the others.
        covered |= set(range(number, ends[number] if inside else number + 1))
    for number, line in enumerate(lines[parser.layout.skip :], start=parser.layout.skip + 1):
        blank = not line.strip(f'{BLANKS}{parser.layout.dialect.delimiter}"')
        blank = blank or parser.headers.is_header(
            [cell.strip(f'{BLANKS}"') for cell in line.split(parser.layout.dialect.delimiter)]
        )
        kept = all(parser.layout.match.columns)
        assert number in covered or blank or not kept, (number, line)


def written(form: str, rows: Sequence[Cells], folder: Path) -> bytes:
    """A file of the rows in a format, made by other programs than ours."""
    if form in ("xlsx", "xls", "ods"):
        return workbook(form, [NAMES, *rows])
    if form == "jsonl":
        objects = [json.dumps(dict(zip(NAMES, row, strict=True))) for row in rows]
        return "\n".join(objects).encode()
    if form == "parquet":
        path = folder / "made"
        with duckdb.connect() as connection:
            connection.execute(f"create table t ({', '.join(f'{name} text' for name in NAMES)})")
            connection.executemany("insert into t values (?, ?, ?, ?)", rows)
            connection.execute(f"copy t to '{path}' (format parquet)")
        return path.read_bytes()
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t" if form == "tsv" else ",")
    writer.writerows([NAMES, *rows])
    data = file.getvalue().encode("utf-16" if form == "utf-16" else "utf-8")
    if form == "zip":
        return zipped({"a/users.csv": data, "b.csv.gz": gzip.compress(data)})
    return _PACKED[form](data) if form in _PACKED else data


def workbook(form: str, rows: Sequence[Cells]) -> bytes:
    """A workbook with one sheet, all cells text."""
    file = io.BytesIO()
    if form == "xlsx":
        new = openpyxl.Workbook()
        for at, row in enumerate(rows, start=1):
            for column, text_ in enumerate(row, start=1):
                cell = new.active.cell(at, column, text_)
                cell.data_type = "s"
        new.save(file)
    elif form == "xls":
        old = xlwt.Workbook()
        sheet = old.add_sheet("S")
        for at, row in enumerate(rows):
            for column, text_ in enumerate(row):
                sheet.write(at, column, text_)
        old.save(file)
    else:
        lines = (
            f"<table:table-row>{''.join(ods_cell(escape(cell or '')) for cell in row)}"
            "</table:table-row>"
            for row in rows
        )
        parts = ods_parts(ods_table("".join(lines)))
        return zipped({name: content.encode() for name, content in parts.items()})
    return file.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()
