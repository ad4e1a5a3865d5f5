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
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from loader.engines import Column, Row, Value
from loader.printable import printable

NULL = "\N{EN DASH}"
_GAP = "  "
_NARROWEST_TEXT = 8
_WIDEST_TEXT = 60
_HEADER = 11
_NUMERIC = ("bigint", "integer", "smallint", "numeric", "real", "double precision")


@dataclass(frozen=True)
class Layout:
    """A table ready to print, and the names of the columns that did not fit."""

    lines: tuple[str, ...]
    left_out: tuple[str, ...]


def layout(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> Layout:
    """Lay rows out within `width` columns of text; None means any width.

    Long text is cut first. What still does not fit is left out, from the right.
    """
    cells = [[display(value) for value in row] for row in rows]
    is_number = [column.type.split("(", 1)[0] in _NUMERIC for column in columns]
    headers = [_header(column.name) for column in columns]
    widths = [
        max([text_width(part) for part in headers[i]] + [text_width(row[i]) for row in cells])
        for i in range(len(columns))
    ]
    widths = [
        size if is_number[i] else min(size, max(_WIDEST_TEXT, *map(text_width, headers[i])))
        for i, size in enumerate(widths)
    ]
    if width is not None:
        widths = _fit(widths, headers, is_number, width)
    shown = len(widths)
    lines = _header_lines(headers[:shown], widths, is_number)
    lines.append(_GAP.join("-" * size for size in widths))
    # Of a path the end says most.
    cut_in_front = [column.name == "file" for column in columns]
    for row in cells:
        fitted = [
            (_cut_in_front if in_front else _cut)(text, size)
            for text, size, in_front in zip(row, widths, cut_in_front, strict=False)
        ]
        lines.append(_line(fitted, widths, is_number))
    return Layout(
        lines=tuple(line.rstrip() for line in lines),
        left_out=tuple(column.name for column in columns[shown:]),
    )


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


def display(value: Value) -> str:
    """One value for a person's eye: fractions with two decimals, NULL as a dash."""
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
        return value.isoformat(sep=" ", timespec="seconds")
    return printable(str(value))


def text_width(text: str) -> int:
    """How many terminal cells the text takes."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _header(name: str) -> list[str]:
    """Break a long name after underscores: `total_exp_per_user` takes two lines of ten."""
    lines: list[str] = []
    for word in name.replace("_", "_\0").split("\0"):
        if lines and len(lines[-1]) + len(word) <= _HEADER:
            lines[-1] += word
        else:
            lines.append(word)
    return lines


def _fit(
    widths: list[int], headers: list[list[str]], is_number: list[bool], width: int
) -> list[int]:
    least = [
        size
        if is_number[i]
        else min(size, max(_NARROWEST_TEXT, *(text_width(part) for part in headers[i])))
        for i, size in enumerate(widths)
    ]
    shown = 1
    while shown < len(widths) and _total(least[: shown + 1]) <= width:
        shown += 1
    fitted = least[:shown]
    spare = width - _total(fitted)
    # Give what is left to the cut columns, one by one, the narrowest first.
    while spare > 0:
        cut = [i for i in range(shown) if fitted[i] < widths[i]]
        if not cut:
            break
        narrowest = min(cut, key=lambda i: fitted[i])
        fitted[narrowest] += 1
        spare -= 1
    return fitted


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _header_lines(
    headers: Sequence[list[str]], widths: Sequence[int], is_number: Sequence[bool]
) -> list[str]:
    height = max((len(parts) for parts in headers), default=0)
    padded = [[""] * (height - len(parts)) + parts for parts in headers]
    return [_line([parts[i] for parts in padded], widths, is_number) for i in range(height)]


def _line(row: Sequence[str], widths: Sequence[int], is_number: Sequence[bool]) -> str:
    cells = []
    for text, size, right in zip(row, widths, is_number, strict=False):
        space = " " * (size - text_width(text))
        cells.append(space + text if right else text + space)
    return _GAP.join(cells)


def _cut(text: str, size: int) -> str:
    if text_width(text) <= size:
        return text
    kept, used = "", 0
    for char in text:
        if used + _char_width(char) > size - 1:
            break
        kept += char
        used += _char_width(char)
    return kept + "…"


def _cut_in_front(text: str, size: int) -> str:
    return _cut(text[::-1], size)[::-1]
