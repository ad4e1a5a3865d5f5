"""A mart on stdout: as a table for people, as csv or json for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import IO

from loader.destinations import Column, Destination, Row, Selection, Value
from loader.marts import Mart, select
from loader.table import layout

# A table is for reading; more rows than this are for a file or a pipe.
TABLE_ROWS = 100
_CHOOSE = "choose with --columns"


@dataclass(frozen=True)
class ShowOptions:
    """How to print; `limit` None means the format's default, 0 means all rows."""

    format: str = "table"
    limit: int | None = None
    columns: tuple[str, ...] = ()
    equal: tuple[tuple[str, str], ...] = ()


def show(mart: Mart, source: Destination, options: ShowOptions) -> None:
    """Print a mart. Raises NotBuilt, UnknownColumn, and the engine's errors."""
    limit = TABLE_ROWS if options.limit is None and options.format == "table" else options.limit
    selection = select(
        mart, source, columns=options.columns, equal=options.equal, limit=limit or None
    )
    out = sys.stdout.buffer
    if options.format == "csv":
        source.write_csv(selection, out)
    elif options.format == "json":
        write_json(selection.columns, source.rows(selection), out)
    else:
        _show_table(selection, source)
    out.flush()


def write_json(columns: Iterable[Column], rows: Iterable[Row], out: IO[bytes]) -> None:
    """Stream an array of objects, one per line. Numbers keep all the digits the engine has."""
    names = [json.dumps(column.name, ensure_ascii=False) for column in columns]
    before = "["
    for row in rows:
        pairs = (f"{name}: {_json(value)}" for name, value in zip(names, row, strict=True))
        out.write(f"{before}\n  {{{', '.join(pairs)}}}".encode())
        before = ","
    out.write(b"[]\n" if before == "[" else b"\n]\n")


def _json(value: Value) -> str:
    if isinstance(value, Decimal):
        # Through a float 0.1 would do, 123456789012.123456 would not. NaN is no JSON number.
        return f"{value:f}" if value.is_finite() else f'"{value}"'
    if isinstance(value, date):
        return f'"{value.isoformat()}"'
    return json.dumps(value, ensure_ascii=False)


def terminal_width() -> int | None:
    """The width to keep to: COLUMNS, else the terminal's; None when there is no terminal."""
    if os.environ.get("COLUMNS", "").isdigit() or sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return None


def print_table(
    columns: Sequence[Column], rows: Sequence[Row], footer: str, *, choose: str
) -> None:
    """Print a table that fits the terminal; the footer, and what was left out, to stderr.

    `choose` says how else a column that was left out can be seen.
    """
    out = sys.stdout.buffer
    table = layout(columns, rows, terminal_width())
    for line in table.lines:
        out.write(f"{line}\n".encode())
    out.flush()
    print(footer, file=sys.stderr)
    if table.left_out:
        print(
            f"{len(table.left_out)} columns did not fit: {', '.join(table.left_out)} "
            f"({choose}, or use a wider terminal)",
            file=sys.stderr,
        )


def _show_table(selection: Selection, source: Destination) -> None:
    rows = list(source.rows(selection))
    print_table(selection.columns, rows, _footer(selection, source, len(rows)), choose=_CHOOSE)


def _footer(selection: Selection, source: Destination, shown: int) -> str:
    total = shown
    if selection.limit is not None and shown == selection.limit:
        total = source.count(selection)
    if total == shown:
        return f"{selection.relation}: {shown:,} row{'' if shown == 1 else 's'}"
    return (
        f"{selection.relation}: the first {shown:,} of {total:,} rows "
        "(--limit 0 shows all, --format csv is for programs)"
    )
