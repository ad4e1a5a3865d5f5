"""Rows as a table for people: aligned, as wide as the terminal, headers on several lines.

A terminal's table drawn by a library cuts every column alike; here numbers stay whole, of a path
the end is kept, and what does not fit is left out and named.
"""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import accumulate
from typing import NamedTuple

from loader.engines import Column, Row, Value
from loader.printable import printable

NULL = "\N{EN DASH}"
_GAP = "  "
_NARROWEST_TEXT = 8
_WIDEST_TEXT = 60
_HEADER = 11
_NUMERIC = ("bigint", "integer", "smallint", "numeric", "real", "double precision")


class Layout(NamedTuple):
    """The lines of a table, and the names of the columns that did not fit."""

    lines: list[str]
    left_out: list[str]


class _Column:
    """A column on its way to the screen: the lines of its header, its cells, and its width."""

    def __init__(self, column: Column, cells: Sequence[str]) -> None:
        self.cells = cells
        self.is_number = column.type.split("(", 1)[0] in _NUMERIC
        # Of a path the end says most.
        self.keeps_end = column.name == "file"
        # A long name breaks after underscores: `total_exp_per_user` takes two lines of ten.
        self.header: list[str] = []
        for word in column.name.replace("_", "_\0").split("\0"):
            if self.header and len(self.header[-1]) + len(word) <= _HEADER:
                self.header[-1] += word
            else:
                self.header.append(word)
        header = max(map(text_width, self.header))
        self.width = self.wanted = max([header, *map(text_width, cells)])
        # Half a number or half a day would be another one.
        if not self.is_number and not column.type.startswith(("date", "timestamp")):
            self.wanted = min(self.wanted, max(_WIDEST_TEXT, header))
            self.width = min(self.wanted, max(_NARROWEST_TEXT, header))

    def padded(self, text: str) -> str:
        """The text cut to the width, numbers to the right."""
        if text_width(text) > self.width:
            text = _cut(text[::-1], self.width)[::-1] if self.keeps_end else _cut(text, self.width)
        space = " " * (self.width - text_width(text))
        return space + text if self.is_number else text + space


def layout(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> Layout:
    """Lay rows out within `width` columns of text; None means any width.

    Long text is cut first. What still does not fit is left out, from the right.
    """
    shown = [_Column(c, [display(row[i]) for row in rows]) for i, c in enumerate(columns)]
    if width is None:
        for column in shown:
            column.width = column.wanted
    else:
        ends = accumulate(len(_GAP) + column.width for column in shown)
        spare = width + len(_GAP)
        shown = shown[: max(1, sum(end <= spare for end in ends))]
        spare -= sum(len(_GAP) + column.width for column in shown)
        # What is left goes to the cut columns, one by one, the narrowest first.
        while spare > 0 and (cut := [column for column in shown if column.width < column.wanted]):
            min(cut, key=lambda column: column.width).width += 1
            spare -= 1
    height = max((len(column.header) for column in shown), default=0)
    headers = [[""] * (height - len(column.header)) + column.header for column in shown]
    lines = [
        *zip(*headers, strict=True),
        tuple("-" * column.width for column in shown),
        *zip(*(column.cells for column in shown), strict=True),
    ]
    return Layout(
        [_GAP.join(map(_Column.padded, shown, line)).rstrip() for line in lines],
        [column.name for column in columns[len(shown) :]],
    )


def print_table(
    columns: Sequence[Column], rows: Sequence[Row], footer: str, *, choose: str
) -> None:
    """Print a table that fits the terminal; the footer, and what was left out, to stderr.

    `choose` says how else a column that was left out can be seen.
    """
    # Without a terminal, and without COLUMNS, a table may be as wide as it is.
    is_bound = os.environ.get("COLUMNS", "").isdigit() or sys.stdout.isatty()
    table = layout(columns, rows, shutil.get_terminal_size().columns if is_bound else None)
    sys.stdout.buffer.write("".join(f"{line}\n" for line in table.lines).encode())
    sys.stdout.buffer.flush()
    print(footer, file=sys.stderr)
    if table.left_out:
        print(
            f"{len(table.left_out)} columns did not fit: {', '.join(table.left_out)} "
            f"({choose}, or use a wider terminal)",
            file=sys.stderr,
        )


def display(value: Value) -> str:
    """One value for a person's eye: two decimals, a time on this machine's clock, NULL a dash."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent < 0:
            value = value.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
        return f"{value:f}"
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M}"
    return printable(str(value))


def text_width(text: str) -> int:
    """How many terminal cells the text takes."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cut(text: str, size: int) -> str:
    ends = accumulate(map(_char_width, text))
    return text[: sum(end < size for end in ends)] + "…"
