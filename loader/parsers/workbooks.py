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
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

import msgspec

from loader.errors import FileRefused
from loader.parsers.records import Row
from loader.parsers.sheets import HEADER_WITHIN, Sheet

# The child's longest line is one row of at most 8 million characters.
_MAX_LINE = 64 << 20
_CHILD = "loader.parsers.workbook_child"


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

    def sheet(index: int, preview: Message) -> Sheet:
        def rows() -> Iterator[Row]:
            yield from preview.rows
            if not preview.is_whole:
                with closing(_messages(path, name, format_, "rows", index)) as messages:
                    all_rows = (row for message in messages for row in message.rows)
                    yield from islice(all_rows, len(preview.rows), None)

        kind = f"{format_}, {'hidden ' if preview.hidden else ''}sheet {preview.sheet!r}"
        return Sheet(preview.sheet, kind, rows, preview.hidden)

    previews = list(_messages(path, name, format_, "preview", HEADER_WITHIN))
    return [sheet(index, preview) for index, preview in enumerate(previews) if preview.rows]


def _messages(path: Path, name: str, format_: str, task: str, number: int) -> Generator[Message]:
    """What a child says up to the message that all has been read; closing this ends the child."""
    package = Path(__file__).resolve().parents[2]
    search = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.Popen(
        # -P: no module is taken from the folder in which the person works.
        [sys.executable, "-P", "-m", _CHILD, format_, str(path.absolute()), task, str(number)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    decoder = msgspec.json.Decoder(Message)
    refused = ""
    try:
        with suppress(msgspec.DecodeError):
            while not refused and (line := child.stdout.readline(_MAX_LINE)):
                message = decoder.decode(line)
                refused = message.refused
                if message.end:
                    return
                yield message
        reason = refused or _ending(child.wait())
        raise FileRefused(name, f": this {format_} file is not read. {reason}")
    finally:
        child.kill()
        child.communicate()


def _ending(code: int) -> str:
    """Why a child ended that did not say so itself."""
    if code == -signal.SIGXCPU:
        reason = "Reading it takes too long."
    elif code == -signal.SIGKILL:
        reason = "The system ended the reading, most likely because memory ran out."
    else:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        reason = f"The process that reads it broke off ({how})."
    return f"{reason} Open it in a spreadsheet program, save the sheet as CSV and load that."
