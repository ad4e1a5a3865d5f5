"""Files of a table in every format, and what labmart reads in a file, for tests."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
from backports import zstd
from support.copy_text import BLANKS, Cells, rows_of
from support.files import archive_of
from support.project import ROOT
from support.workbooks import workbook

from loader.errors import FileRefused
from loader.files import collect
from loader.parsers import recognise
from loader.parsers.delimited import DelimitedParser
from loader.parsers.records import SWALLOWED, Parser, RejectedLine
from loader.sources import ReadOptions, read_inputs

INPUTS = read_inputs(ROOT / "models" / "staging" / "_sources.yml")
NAMES = ("user_id", "name", "email", "signup_date")

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


def read(
    content: Path | bytes | str, options: ReadOptions | None = None
) -> tuple[list[Read], list[str]]:
    """What is read of a file, or of one with this content, and what is refused.

    Nothing else may be raised.
    """
    if not isinstance(content, Path):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "some.dat")
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            return read(path, options)
    found: list[Read] = []
    name = {str(content): content.name}
    with collect([*name], names=name, progress=lambda _: None) as collected:
        problems = list(collected.problems)
        for file in collected.files:
            try:
                parsers = recognise(file, INPUTS, options or ReadOptions())
                found += [read_all(parser) for parser in parsers]
            except FileRefused as refused:
                problems.append(str(refused))
    return found, problems


def table_of(content: bytes | str, **said: Any) -> tuple[list[Cells], str, str]:
    """What `read` gives: rows, notes, and what is refused or rejected ("7 nul_byte").

    `said` is for ReadOptions.
    """
    found, problems = read(content, ReadOptions(**said))
    rows = [cells for table in found for _, cells in table.rows]
    notes = " ".join(note for table in found for note in table.parser.notes)
    rejected = [f"{line.line} {line.rule}" for table in found for line in table.rejected]
    return rows, notes, ", ".join([*problems, *rejected])


def read_all(parser: Parser) -> Read:
    """All records of a parser, of which each line is accounted for."""
    rows: list[tuple[int, Cells]] = []
    rejected: list[RejectedLine] = []
    for batch in parser.batches(load_id=5):
        given = rows_of(batch.text, parser.delimiter, load_id=5)
        assert len(given) == batch.records
        rows += given
        rejected += [line for line in batch.rejected if line.rule != SWALLOWED]
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
    for number in (number for number, _ in rows if lines[number - 1].count('"') % 2):
        # A quoted cell goes on, perhaps one that is not kept.
        covered |= set(range(number, ends[number]))
    for number, line in enumerate(lines[parser.layout.skip :], start=parser.layout.skip + 1):
        blank = not line.strip(f'{BLANKS}{parser.layout.dialect.delimiter}"')
        blank = blank or parser.is_header(
            [cell.strip(f'{BLANKS}"') for cell in line.split(parser.layout.dialect.delimiter)]
        )
        kept = all(parser.match.columns)
        assert number in covered or blank or not kept, (number, line)


def written(form: str, rows: Sequence[Cells]) -> bytes:
    """A file of the rows, header included, in a format, made by other programs than ours."""
    if form in ("xlsx", "xls", "ods"):
        return workbook(form, [("S", rows)])
    if form == "jsonl":
        lines, header = [], rows[0]
        for row in rows:
            # What has no number as its id is the header of what follows.
            if row[0] and not row[0].isdigit():
                header = row
            else:
                lines.append(json.dumps(dict(zip(map(str, header), row, strict=True))))
        return "\n".join(lines).encode()
    if form == "parquet":
        names = [str(name).replace('"', '""') for name in rows[0]]
        with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
            columns = ", ".join(f'"{name}" text' for name in names)
            connection.execute(f"create table t ({columns})")
            marks = ", ".join("?" * len(names))
            connection.executemany(f"insert into t values ({marks})", rows[1:])
            connection.execute(f"copy t to '{folder}/made' (format parquet)")
            return Path(folder, "made").read_bytes()
    file = io.StringIO()
    delimiter = {"tsv": "\t", "utf-16": ";"}.get(form, ",")
    quoting = csv.QUOTE_ALL if form == "quoted" else csv.QUOTE_MINIMAL
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows(rows)
    data = file.getvalue().encode("utf-16" if form == "utf-16" else "utf-8")
    if form == "zip":
        return archive_of([("a/users.csv", data), ("b.csv.gz", gzip.compress(data))])
    return _PACKED[form](data) if form in _PACKED else data
