"""Workbooks (xlsx, xlsm, xls, ods): their sheets as rows of text.

A workbook is opened by a process of its own (loader.readers.spreadsheet_child) with limits on
memory and time. One such process gives the first rows of every sheet, in which the header is looked
for; another one runs when a sheet is read further. Both ends work at the same time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from loader.errors import FileRefused
from loader.readers.batches import HEADER_WITHIN, Sheet

# The child's longest line is one row of at most 8 million characters.
_MAX_LINE = 64 << 20
_CHILD = "loader.readers.spreadsheet_child"
_CSV = "Open it in a spreadsheet program, save the sheet as CSV and load that."

_Row = tuple[int, list[str | None]]


@dataclass(frozen=True)
class _Workbook:
    path: Path
    name: str
    format: str


def sheets(path: Path, name: str, format: str) -> list[Sheet]:  # noqa: A002 -- the format it is
    """The sheets of a workbook that have cells, in its order, hidden ones too.

    `format` is xlsx (also for xlsm), xls or ods, `name` what messages call the file. Raises
    FileRefused, as do the iterators of the sheets' rows.
    """
    book = _Workbook(path, name, format)
    with _child(book, "preview", HEADER_WITHIN) as lines:
        return [
            sheet
            for index, line in enumerate(lines)
            if (sheet := _sheet(book, index, line)) is not None
        ]


def _sheet(book: _Workbook, index: int, line: dict[str, object]) -> Sheet | None:
    first = _rows_of(book, line)
    title = str(line.get("sheet"))
    complete = line.get("all") is True
    if complete and not first:
        return None

    def rows() -> Iterator[tuple[int, Sequence[str | None]]]:
        yield from first
        if not complete:
            yield from islice(_stream(book, index), len(first), None)

    hidden = line.get("hidden") is True
    kind = f"{book.format}, {'hidden ' if hidden else ''}sheet {title!r}"
    return Sheet(part=title, kind=kind, rows=rows, hidden=hidden)


def _stream(book: _Workbook, index: int) -> Iterator[_Row]:
    with _child(book, "rows", index) as lines:
        for line in lines:
            yield from _rows_of(book, line)


def _rows_of(book: _Workbook, line: dict[str, object]) -> list[_Row]:
    rows = line.get("rows")
    if not isinstance(rows, list):
        raise _refused(book, "the process that reads it broke off.")
    return [(number, cells) for number, cells in rows]


@contextmanager
def _child(book: _Workbook, task: str, number: int) -> Iterator[Iterator[dict[str, object]]]:
    """The lines of a child; it is ended when the block is left, wherever it is by then."""
    package = Path(__file__).resolve().parents[2]
    search = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.Popen(
        # -P: no module is taken from the folder in which the person works.
        [sys.executable, "-P", "-m", _CHILD, book.format, book.path.absolute(), task, str(number)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    try:
        yield _lines(book, child, child.stdout)
    finally:
        child.kill()
        child.stdout.close()
        child.wait()


def _lines(
    book: _Workbook, child: subprocess.Popen[bytes], out: IO[bytes]
) -> Iterator[dict[str, object]]:
    """Every line up to the one that says that all has been read. Raises FileRefused without it."""
    while written := out.readline(_MAX_LINE):
        try:
            line = json.loads(written.decode("utf-8", "surrogatepass"))
        except ValueError:
            break
        if not isinstance(line, dict):
            break
        if "refused" in line:
            raise _refused(book, str(line["refused"]))
        if "end" in line:
            return
        yield line
    raise _refused(book, _ending(child.wait()))


def _ending(code: int) -> str:
    """Why a child ended that did not say so itself."""
    if code == -signal.SIGXCPU:
        return f"Reading it takes too long. {_CSV}"
    if code == -signal.SIGKILL:
        return f"The system ended the reading, most likely because memory ran out. {_CSV}"
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"The process that reads it broke off ({how}). {_CSV}"


def _refused(book: _Workbook, sentence: str) -> FileRefused:
    return FileRefused(book.name, f": this {book.format} file is not read. {sentence}")
