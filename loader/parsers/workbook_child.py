"""The process that opens a workbook, so that whatever the file does ends with it.

    python -P -m loader.parsers.workbook_child FORMAT PATH preview ROWS
    python -P -m loader.parsers.workbook_child FORMAT PATH rows SHEET

stdout has one `Message` a line as JSON: of a preview one for each sheet with its first rows, of
rows as many as it takes. The last one says that nothing is missing, or why something is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from loader.parsers.records import Row
from loader.parsers.workbook_cells import Unreadable, within_limits
from loader.parsers.workbook_formats import ods_sheets, xls_sheets, xlsx_sheets

# What is open holds the texts that cells share (at most 1 GB) and, of xls, one sheet of at
# most 65,536 rows; Python itself takes some 30 MB.
MEMORY = 2 << 30
# Seconds of processor time. A full sheet of a million rows and ten columns takes about a minute.
CPU_SECONDS = 1800
_ROWS_PER_LINE = 1000
_TEXT_PER_LINE = 1 << 20
# A preview is for finding the header; it need not hold more than this.
_TEXT_PER_PREVIEW = 4 << 20

_FORMATS = {"xlsx": xlsx_sheets, "ods": ods_sheets, "xls": xls_sheets}


class Message(msgspec.Struct, omit_defaults=True):
    """Some rows of a sheet, "end" behind all of them, or a sentence instead.

    `sheet`, `hidden` and `is_whole` are those of a preview.
    """

    rows: list[Row] = []
    sheet: str = ""
    hidden: bool = False
    is_whole: bool = False
    refused: str = ""
    end: bool = False


def main(arguments: list[str]) -> int:
    """Write what is asked for to stdout; 0, unless the process could not even say what is wrong."""
    _limit()
    out = sys.stdout.buffer
    # A library that prints would break the protocol.
    sys.stdout = sys.stderr
    encoder = msgspec.json.Encoder()

    def write(message: Message) -> None:
        out.write(encoder.encode(message) + b"\n")

    format_, path, task, number = arguments
    try:
        messages = _preview if task == "preview" else _rows
        for message in messages(format_, Path(path), int(number)):
            write(message)
        last = Message(end=True)
    except BrokenPipeError:
        # The parent has seen enough. Nothing may be flushed again when the interpreter ends.
        os._exit(0)
    except Unreadable as refusal:
        last = Message(refused=str(refusal))
    except MemoryError:
        last = Message(refused=TOO_LARGE)
    except OSError as fault:
        last = Message(refused=f"It cannot be read: {fault.strerror}.")
    except Exception as fault:
        # A damaged file leads a parser anywhere. The class and text help whoever looks into it.
        reason = f"{type(fault).__name__}: {fault}"[:300]
        last = Message(refused=f"It is damaged ({reason}). Save it again, or as CSV.")
    with suppress(BrokenPipeError):
        write(last)
        out.flush()
    return 0


TOO_LARGE = (
    f"Reading it takes more than {MEMORY >> 30} GB of memory. "
    "Open it in a spreadsheet program, save the sheet as CSV and load that."
)


def _preview(format_: str, path: Path, limit: int) -> Iterator[Message]:
    for name, hidden, rows in _FORMATS[format_](path):
        preview = Message([], name, hidden, is_whole=True)
        size = 0
        for row, length in within_limits(rows):
            size += length
            if size > _TEXT_PER_PREVIEW or len(preview.rows) == limit:
                preview.is_whole = False
                break
            preview.rows.append(row)
        yield preview


def _rows(format_: str, path: Path, index: int) -> Iterator[Message]:
    portion: list[Row] = []
    size = 0
    # Kept here: the file is open as long as this generator is there.
    sheets = _FORMATS[format_](path)
    _, _, rows = next(islice(sheets, index, None))
    for row, length in within_limits(rows):
        portion.append(row)
        size += length
        if size > _TEXT_PER_LINE or len(portion) == _ROWS_PER_LINE:
            yield Message(portion)
            portion, size = [], 0
    yield Message(portion)


def _limit() -> None:
    """Limits that the system enforces. macOS ignores the one on memory."""
    import resource

    limits = {
        resource.RLIMIT_AS: MEMORY,
        resource.RLIMIT_CPU: CPU_SECONDS,
        # A crash leaves no dump of the laboratory's data behind.
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        with suppress(ValueError, OSError):
            _, hard = resource.getrlimit(kind)
            soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (soft, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
