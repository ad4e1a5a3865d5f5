"""The process that opens a workbook, so that whatever the file does ends with it.

    python -P -m loader.parsers.workbook_child FORMAT PATH preview ROWS
    python -P -m loader.parsers.workbook_child FORMAT PATH rows SHEET

stdout has one JSON object a line:

    {"sheet": name, "hidden": false, "all": true, "rows": [[row number, [cell, …], marks], …]}
                               preview; marks are null or [hidden, {column: formula of a total}]
    {"rows": …}                rows
    {"refused": sentence}      instead of everything that would have followed
    {"end": true}              the last line of a reading that missed nothing
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from loader.parsers.workbook_cells import Row, Unreadable, within_limits
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


def main(arguments: list[str]) -> int:
    """Write what is asked for to stdout; 0, unless the process could not even say what is wrong."""
    _limit()
    out = sys.stdout.buffer
    # A library that prints would break the protocol.
    sys.stdout = sys.stderr
    format_, path, task, number = arguments
    try:
        lines = _preview if task == "preview" else _rows
        for line in lines(format_, Path(path), int(number)):
            _write(out, line)
        _write(out, {"end": True})
        out.flush()
    except BrokenPipeError:
        # The parent has seen enough. Nothing may be flushed again when the interpreter ends.
        os._exit(0)
    except Unreadable as refusal:
        _write(out, {"refused": str(refusal)})
    except MemoryError:
        _write(out, {"refused": TOO_LARGE})
    except OSError as fault:
        _write(out, {"refused": f"It cannot be read: {fault.strerror}."})
    except Exception as fault:
        # A damaged file leads a parser anywhere. The class and text help whoever looks into it.
        reason = f"{type(fault).__name__}: {fault}"[:300]
        _write(out, {"refused": f"It is damaged ({reason}). Save it again, or as CSV."})
    with suppress(BrokenPipeError):
        out.flush()
    return 0


TOO_LARGE = (
    f"Reading it takes more than {MEMORY >> 30} GB of memory. "
    "Open it in a spreadsheet program, save the sheet as CSV and load that."
)


def _preview(format_: str, path: Path, limit: int) -> Iterator[dict[str, object]]:
    for name, hidden, rows in _FORMATS[format_](path):
        kept: list[Row] = []
        size = 0
        complete = True
        for row, length in within_limits(rows):
            size += length
            if size > _TEXT_PER_PREVIEW or len(kept) == limit:
                complete = False
                break
            kept.append(row)
        yield {"sheet": name, "hidden": hidden, "all": complete, "rows": kept}


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


def _write(out: BinaryIO, line: dict[str, object]) -> None:
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"), check_circular=False)
    out.write(text.encode("utf-8", "surrogatepass") + b"\n")


def _limit() -> None:
    """Limits that the system enforces. macOS ignores the one on memory, Windows has neither."""
    try:
        import resource
    except ImportError:
        return
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, CPU_SECONDS)):
        with suppress(ValueError, OSError):
            _, hard = resource.getrlimit(kind)
            resource.setrlimit(
                kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard)
            )
    with suppress(ValueError, OSError):
        # A crash leaves no dump of the laboratory's data behind.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
