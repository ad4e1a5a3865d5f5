"""The process that opens a workbook, so that whatever the file does ends with it.

    python -P -m loader.parsers.workbook_child FORMAT PATH preview ROWS
    python -P -m loader.parsers.workbook_child FORMAT PATH rows SHEET

stdout has one JSON object a line, a `workbooks.Message`: of a preview one for each sheet with its
first rows, of rows as many as it takes. The last one says that nothing is missing, or why something
is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from loader.parsers.records import Row
from loader.parsers.workbook_formats import (
    Unreadable,
    ods_sheets,
    within_limits,
    xls_sheets,
    xlsx_sheets,
)

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


def main(arguments: list[str]) -> int:
    """Write what is asked for to stdout; 0, unless the process could not even say what is wrong."""
    _limit()
    out = sys.stdout.buffer
    # A library that prints would break the protocol.
    sys.stdout = sys.stderr
    encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode

    def write(**message: object) -> None:
        out.write(encode(message).encode() + b"\n")

    format_, path, task, number = arguments
    try:
        messages = _preview if task == "preview" else _rows
        for message in messages(format_, Path(path), int(number)):
            write(**message)
        last: dict[str, object] = {"end": True}
    except BrokenPipeError:
        # The parent has seen enough. Nothing may be flushed again when the interpreter ends.
        os._exit(0)
    except Unreadable as refusal:
        last = {"refused": str(refusal)}
    except MemoryError:
        last = {"refused": TOO_LARGE}
    except OSError as fault:
        last = {"refused": f"It cannot be read: {fault.strerror}."}
    except Exception as fault:
        # A damaged file leads a parser anywhere. The class and text help whoever looks into it.
        reason = f"{type(fault).__name__}: {fault}"[:300]
        last = {"refused": f"It is damaged ({reason}). Save it again, or as CSV."}
    with suppress(BrokenPipeError):
        write(**last)
        out.flush()
    return 0


TOO_LARGE = (
    f"Reading it takes more than {MEMORY >> 30} GB of memory. "
    "Open it in a spreadsheet program, save the sheet as CSV and load that."
)


def _preview(format_: str, path: Path, limit: int) -> Iterator[dict[str, object]]:
    for name, hidden, rows in _FORMATS[format_](path):
        first: list[Row] = []
        size = 0
        is_whole = True
        for row, length in within_limits(rows):
            size += length
            if size > _TEXT_PER_PREVIEW or len(first) == limit:
                is_whole = False
                break
            first.append(row)
        yield {"rows": first, "sheet": name, "hidden": hidden, "is_whole": is_whole}


def _rows(format_: str, path: Path, index: int) -> Iterator[dict[str, object]]:
    portion: list[Row] = []
    size = 0
    # Kept here: the file is open as long as this generator is there.
    sheets = _FORMATS[format_](path)
    _, _, rows = next(islice(sheets, index, None))
    for row, length in within_limits(rows):
        portion.append(row)
        size += length
        if size > _TEXT_PER_LINE or len(portion) == _ROWS_PER_LINE:
            yield {"rows": portion}
            portion, size = [], 0
    yield {"rows": portion}


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
