"""Workbooks (xlsx, xlsm, xls, ods): their sheets as rows of text.

A workbook is opened by a process of its own (loader.parsers.workbook_child) with limits on memory
and time. One such process gives the first rows of every sheet, in which the header is looked for;
another one runs when a sheet is read further. Both ends work at the same time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from loader.errors import FileRefused
from loader.parsers.records import Row
from loader.parsers.sheets import HEADER_WITHIN, Sheet

# The child's longest line is one row of at most 8 million characters.
_MAX_LINE = 64 << 20
_CHILD = "loader.parsers.workbook_child"
_CSV = "Open it in a spreadsheet program, save the sheet as CSV and load that."


class Message(msgspec.Struct):
    """What a child says: some rows of a sheet, "end" behind all of them, or a sentence instead.

    `sheet`, `hidden` and `is_whole` are those of a preview.
    """

    rows: list[Row] = []
    sheet: str = ""
    hidden: bool = False
    is_whole: bool = False
    refused: str = ""
    end: bool = False


def sheets(path: Path, name: str, format_: str) -> list[Sheet]:
    """The sheets of a workbook that have cells, in its order, hidden ones too.

    `format_` is xlsx (also for xlsm), xls or ods, `name` what messages call the file. Raises
    FileRefused, as do the iterators of the sheets' rows.
    """
    book = _Workbook(path, name, format_)
    with book.child("preview", HEADER_WITHIN) as messages:
        return [
            book.sheet(index, preview)
            for index, preview in enumerate(messages)
            if preview.rows or not preview.is_whole
        ]


@dataclass(frozen=True)
class _Workbook:
    path: Path
    name: str
    format: str

    def sheet(self, index: int, preview: Message) -> Sheet:
        first = preview.rows

        def rows() -> Iterator[Row]:
            yield from first
            if not preview.is_whole:
                with self.child("rows", index) as messages:
                    all_rows = (row for message in messages for row in message.rows)
                    yield from islice(all_rows, len(first), None)

        kind = f"{self.format}, {'hidden ' if preview.hidden else ''}sheet {preview.sheet!r}"
        return Sheet(preview.sheet, kind, rows, preview.hidden)

    @contextmanager
    def child(self, task: str, number: int) -> Iterator[Iterator[Message]]:
        """What a child says; it is ended when the block is left, wherever it is by then."""
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
        try:
            yield self._messages(child)
        finally:
            child.kill()
            child.communicate()

    def _messages(self, child: subprocess.Popen[bytes]) -> Iterator[Message]:
        """Every message up to the one that says that all has been read. Raises FileRefused."""
        assert child.stdout is not None
        decoder = msgspec.json.Decoder(Message)
        while line := child.stdout.readline(_MAX_LINE):
            try:
                message = decoder.decode(line)
            except msgspec.DecodeError:
                break
            if message.refused:
                raise self._refused(message.refused)
            if message.end:
                return
            yield message
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
