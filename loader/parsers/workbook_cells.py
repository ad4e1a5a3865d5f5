"""The text of spreadsheet cells: numbers, dates and durations as a person sees them.

Nothing is cut off: a cell that shows 50 % holds 0.5 and is given as `0.5`, and a date whose format
hides its time of day is given with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from loader.parsers.records import Row, rounded_text

# What the programs that write these files can hold themselves.
MAX_ROWS = 1 << 20
MAX_COLUMNS = 1 << 14
# More text in one sheet is no laboratory's sheet but an attack, such as one long shared text that
# a million cells refer to.
MAX_SHEET_TEXT = 4 << 30
# Characters of one row; the text of a cell in Excel ends at 32,767.
MAX_ROW_TEXT = 8 << 20

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_WHOLE = re.compile(r"-?[1-9][0-9]*")
_TOTAL = re.compile(
    r"(?:of:)?=?(?:COUNT(?:A|IFS?|BLANK)?|SUM(?:IFS?|PRODUCT)?|SUBTOTAL|AGGREGATE|ROWS|MEDIAN"
    r"|AVERAGE(?:A|IFS?)?|(?:MIN|MAX)(?:A|IFS)?)\([^()]*\)",
    re.IGNORECASE,
)
# What a spreadsheet's number holds.
_DIGITS = 15
_MILLISECONDS_A_DAY = 86_400_000
# 9999-12-31, the last day that Excel knows.
_LAST_DAY = 2_958_466
_HIDDEN_IN_FORMAT = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?![hHmMsS]+\])[^\]]*\]|AM/PM|A/P', re.I)


class Unreadable(Exception):  # noqa: N818 -- a name says the fault
    """A workbook that is not read; `str()` of it is a sentence for a person."""


def number_text(written: str) -> str:
    """A number as the file writes it (`44927`, `1.5E-3`) with 15 digits and no exponent.

    A larger one has lost digits; it is given as a person sees it. What is no number stays.
    """
    is_short = len(written) <= _DIGITS
    if (is_short and (_WHOLE.fullmatch(written) or written == "0")) or not _NUMBER.fullmatch(
        written
    ):
        return written
    value = float(written)
    if value - value != 0:
        # Too large for a spreadsheet's number.
        return written
    if abs(value) >= 10.0**_DIGITS:
        return rounded_text(value)
    if value % 1 == 0:
        exact = Decimal(written)
        if exact == exact.to_integral_value():
            return str(int(exact))
    text = format(value, ".15g")
    if "e" not in text:
        return text
    text = format(Decimal(text), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def date_format(code: str) -> str:
    """What a number format shows: "date", "time", "both" (date and time), "duration", or ""."""
    section = _HIDDEN_IN_FORMAT.sub("", code).split(";")[0].lower()
    if re.search(r"\[[hms]+\]", section):
        return "duration"
    if "general" in section or not re.search("[dmyhs]", section):
        return ""
    clock = re.search("[hs]", section)
    # An m beside hours or seconds is minutes.
    calendar = re.search("[dy]", section) or ("m" in section and not clock)
    if clock:
        return "both" if calendar else "time"
    return "date"


def date_text(written: str, shows: str, *, from_1904: bool) -> str:
    """A day number (days since the end of 1899, or since 1904) under a format of `date_format`.

    `2023-01-01`, `2023-01-01T08:30:00`, `08:30:00` or, as a duration, `36:00:00`. A number that is
    no date, for which Excel shows `####`, stays a number.
    """
    if not _NUMBER.fullmatch(written):
        return written
    days = float(written)
    if not -_LAST_DAY < days < _LAST_DAY:
        return number_text(written)
    # Excel counts in milliseconds at best; a double holds a day number far more exactly.
    milliseconds = round(days * _MILLISECONDS_A_DAY)
    if shows == "duration":
        return duration_text(milliseconds)
    if milliseconds < 0:
        return number_text(written)
    day, of_day = divmod(milliseconds, _MILLISECONDS_A_DAY)
    clock = duration_text(of_day)
    if shows == "time" and day == 0:
        return clock
    calendar = _calendar_day(day, from_1904=from_1904)
    return f"{calendar}T{clock}" if of_day or shows != "date" else calendar


def duration_text(milliseconds: int) -> str:
    """`08:30:00`, `36:00:00`, `-00:00:01.250`: hours may exceed a day."""
    seconds, rest = divmod(abs(milliseconds), 1000)
    sign = "-" if milliseconds < 0 else ""
    fraction = f".{rest:03d}" if rest else ""
    return f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"


def is_total(formula: str | None) -> bool:
    """Whether a formula adds up other cells and does nothing else: `COUNT(A2:A9)`."""
    return formula is not None and _TOTAL.fullmatch(formula) is not None


def within_limits(rows: Iterator[Row]) -> Iterator[tuple[Row, int]]:
    """Rows without empty cells at their ends, of which something is left, and their characters.

    Raises Unreadable for a row that no sheet can have, or more text.
    """
    total = 0
    for number, cells, is_hidden, totals in rows:
        last = len(cells)
        while last and not cells[last - 1]:
            last -= 1
        if not last:
            continue
        if number > MAX_ROWS or last > MAX_COLUMNS:
            raise Unreadable(
                f"It claims a cell in row {number:,}, column {last:,}; a sheet ends at row "
                f"{MAX_ROWS:,}, column {MAX_COLUMNS:,}. Open it, save it as CSV and load that."
            )
        filled = [cell or None for cell in cells[:last]]
        size = sum([len(cell) for cell in filled if cell])
        total += size
        if size > MAX_ROW_TEXT or total > MAX_SHEET_TEXT:
            raise Unreadable(
                f"Up to row {number:,} it has more text than a laboratory's sheet can have. "
                "Open it, save the sheet as CSV and load that."
            )
        yield Row(number, filled, is_hidden, totals), size


def _calendar_day(day: int, *, from_1904: bool) -> str:
    if from_1904:
        return (datetime(1904, 1, 1) + timedelta(days=day)).strftime("%Y-%m-%d")
    if day in (0, 60):
        # Days that Excel shows though no calendar has them.
        return "1900-01-00" if day == 0 else "1900-02-29"
    start = datetime(1899, 12, 31 if day < 60 else 30)
    return (start + timedelta(days=day)).strftime("%Y-%m-%d")
