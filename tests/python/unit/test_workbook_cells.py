"""The text of numbers, dates and durations in spreadsheets."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.utils.datetime import to_excel

from loader.parsers.workbook_cells import (
    date_format,
    date_text,
    duration_text,
    is_total,
    number_text,
)


@given(st.integers(-(10**15) + 1, 10**15 - 1))
def test_whole_numbers_keep_every_digit(number: int) -> None:
    assert number_text(str(number)) == str(number)
    assert number_text(f"{number}.0") == str(number)


def test_a_number_with_more_digits_than_a_cell_holds_is_what_a_person_sees() -> None:
    for written in ("123456789012345678", "1.2345678901234568E17", "123456789012345700.0"):
        assert number_text(written) == "1.23457E+17"
    assert number_text("-1000000000000000") == "-1E+15"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_have_fifteen_digits_and_no_exponent(number: float) -> None:
    found = number_text(repr(number))
    assert found == found.strip()
    assert ("E" in found) == (abs(number) >= 1e15)
    assert "e" not in found
    if abs(number) >= 1e15:
        assert float(found) == pytest.approx(number, rel=1e-5)
        return
    whole = abs(number) < 1e18 and number == int(number)
    assert Decimal(found) == (Decimal(repr(number)) if whole else Decimal(f"{number:.15g}"))


@given(st.datetimes(datetime(1900, 3, 1), datetime(9999, 12, 30)), st.booleans())
def test_dates_are_those_that_their_day_number_means(moment: datetime, from_1904: bool) -> None:
    moment = moment.replace(microsecond=0)
    epoch = datetime(1904, 1, 1) if from_1904 else datetime(1899, 12, 30)
    if moment < epoch:
        return
    serial = repr(to_excel(moment, epoch))
    assert date_text(serial, "both", from_1904=from_1904) == moment.isoformat()
    days = str((moment.date() - epoch.date()).days)
    assert date_text(days, "date", from_1904=from_1904) == moment.date().isoformat()


def test_days_that_only_excel_knows() -> None:
    shown = [date_text(str(day), "date", from_1904=False) for day in (0, 1, 59, 60, 61)]
    assert shown == ["1900-01-00", "1900-01-01", "1900-02-28", "1900-02-29", "1900-03-01"]


@given(st.timedeltas(timedelta(-9999), timedelta(9999)))
def test_durations_are_hours_minutes_and_seconds(span: timedelta) -> None:
    milliseconds = span // timedelta(milliseconds=1)
    hours, minutes, seconds = duration_text(abs(milliseconds)).split(":")
    found = timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))
    assert found // timedelta(milliseconds=1) == abs(milliseconds)
    assert duration_text(milliseconds).startswith("-") == (milliseconds < 0)


@pytest.mark.parametrize(
    ("code", "shows"),
    [
        ("General", ""),
        ("0.00E+00", ""),
        ("@", ""),
        ('"day" 0', ""),
        ("\\d0", ""),
        ("_d0_-", ""),
        ("[Red][<=100]0;0", ""),
        ("[$-F800]dddd\\,\\ mmmm\\ dd\\,\\ yyyy", "date"),
        ("[$-409]mmm\\-yy", "date"),
        ("m", "date"),
        ("mm:ss.0", "time"),
        ("h AM/PM", "time"),
        ("yyyy\\-mm\\-dd\\Thh:mm", "both"),
        ("[hh]:mm", "duration"),
        ("[ss].00", "duration"),
    ],
)
def test_a_format_tells_what_it_shows(code: str, shows: str) -> None:
    assert date_format(code) == shows


@pytest.mark.parametrize(
    ("formula", "total"),
    [
        ("COUNT(A2:A9)", True),
        ("=COUNTA(A2:A9)", True),
        ('COUNTIF(A2:A9,">0")', True),
        ("of:=ROWS([.A2:.A9])", True),
        ("SUMPRODUCT(A2:A9)", True),
        ("A6+1", False),
        ("ROW()", False),
        ("SUM(A1:A2)+1", False),
        (None, False),
    ],
)
def test_a_formula_over_other_cells_is_a_total(formula: str | None, total: bool) -> None:
    assert is_total(formula) is total
