"""Workbooks (xlsx, xlsm, xls, ods): their sheets as rows of text.

A workbook is opened by a process of its own (loader.parsers.workbook_child) with limits on memory
and time. One such process gives the first rows of every sheet, in which the header is looked for;
another one runs when a sheet is read further. Both ends work at the same time.
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

from loader.errors import FileRefused
from loader.parsers.sheets import HEADER_WITHIN, Marks, Sheet

# The child's longest line is one row of at most 8 million characters.
_MAX_LINE = 64 << 20
_CHILD = "loader.parsers.workbook_child"
_CSV = "Open it in a spreadsheet program, save the sheet as CSV and load that."

_Row = tuple[int, list[str | None]]


def sheets(path: Path, name: str, format_: str) -> list[Sheet]:
    """The sheets of a workbook that have cells, in its order, hidden ones too.

    `format_` is xlsx (also for xlsm), xls or ods, `name` what messages call the file. Raises
    FileRefused, as do the iterators of the sheets' rows.
    """
    book = _Workbook(path, name, format_)
    with book.child("preview", HEADER_WITHIN) as lines:
        previews = [book.sheet(index, line) for index, line in enumerate(lines)]
    return [sheet for sheet in previews if sheet is not None]


@dataclass(frozen=True)
class _Workbook:
    path: Path
    name: str
    format: str

    def sheet(self, index: int, preview: dict[str, object]) -> Sheet | None:
        marks: dict[int, Marks] = {}
        first = self._rows_of(preview, marks)
        title = str(preview.get("sheet"))
        is_complete = preview.get("all") is True
        if is_complete and not first:
            return None

        def rows() -> Iterator[tuple[int, Sequence[str | None]]]:
            yield from first
            if not is_complete:
                yield from islice(self._rows(index, marks), len(first), None)

        hidden = preview.get("hidden") is True
        kind = f"{self.format}, {'hidden ' if hidden else ''}sheet {title!r}"
        return Sheet(part=title, kind=kind, rows=rows, hidden=hidden, marks=marks)

    def _rows(self, index: int, marks: dict[int, Marks]) -> Iterator[_Row]:
        with self.child("rows", index) as lines:
            for line in lines:
                yield from self._rows_of(line, marks)

    def _rows_of(self, line: dict[str, object], marks: dict[int, Marks]) -> list[_Row]:
        rows = line.get("rows")
        if not isinstance(rows, list):
            raise self._refused("The process that reads it broke off.")
        for number, _, mark in rows:
            if mark:
                totals = {int(column): formula for column, formula in mark[1].items()}
                marks[number] = Marks(mark[0], totals)
        return [(number, cells) for number, cells, _ in rows]

    @contextmanager
    def child(self, task: str, number: int) -> Iterator[Iterator[dict[str, object]]]:
        """The lines of a child; it is ended when the block is left, wherever it is by then."""
        package = Path(__file__).resolve().parents[2]
        search = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        task_arguments = [self.format, str(self.path.absolute()), task, str(number)]
        child = subprocess.Popen(
            # -P: no module is taken from the folder in which the person works.
            [sys.executable, "-P", "-m", _CHILD, *task_arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert child.stdout is not None
        try:
            yield self._lines(child)
        finally:
            child.kill()
            child.stdout.close()
            child.wait()

    def _lines(self, child: subprocess.Popen[bytes]) -> Iterator[dict[str, object]]:
        """Every line up to the one that says that all has been read. Raises FileRefused."""
        assert child.stdout is not None
        while written := child.stdout.readline(_MAX_LINE):
            try:
                line = json.loads(written.decode("utf-8", "surrogatepass"))
            except ValueError:
                break
            if not isinstance(line, dict):
                break
            if "refused" in line:
                raise self._refused(str(line["refused"]))
            if "end" in line:
                return
            yield line
        raise self._refused(_ending(child.wait()))

    def _refused(self, sentence: str) -> FileRefused:
        return FileRefused(self.name, f": this {self.format} file is not read. {sentence}")


def _ending(code: int) -> str:
    """Why a child ended that did not say so itself."""
    if code == -signal.SIGXCPU:
        return f"Reading it takes too long. {_CSV}"
    if code == -signal.SIGKILL:
        return f"The system ended the reading, most likely because memory ran out. {_CSV}"
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"The process that reads it broke off ({how}). {_CSV}"
