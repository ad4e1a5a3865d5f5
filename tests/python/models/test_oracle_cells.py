"""How the oracle reads a cell: trimming, ids, run times, dates, lists, and how it rounds."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from support.oracle import Cell, list_items, mean, parse_date, parse_id, parse_run_time, trimmed


def test_exactly_six_characters_are_trimmed() -> None:
    assert trimmed(None) is None
    assert trimmed("") is None
    assert trimmed(" \t\r\n\u00a0\ufeff") is None
    assert trimmed("\ufeff\u00a0\t 7 \r\n") == "7"
    for inside_or_other in ("a \u00a0 b", "\u2003", "\u30007", "\x0b\x0c\x1f\x85\u200b"):
        assert trimmed(inside_or_other) == inside_or_other


@pytest.mark.parametrize("text", ["7", "007", "7.0", "7.00000", "000000000000000007"])
def test_an_id_is_up_to_eighteen_digits_and_perhaps_zeros_after_a_point(text: str) -> None:
    assert parse_id(text) == 7


def test_the_smallest_and_the_greatest_id() -> None:
    assert parse_id("0") == 0
    assert parse_id("9" * 18 + ".0") == 10**18 - 1


BAD_IDS = "0000000000000000007 9999999999999999999 7. 7.5 7.01 .0 -1 +1 1e3 1,000 0x1 ７ ٧ ² x"


@pytest.mark.parametrize("text", [*BAD_IDS.split(), "7\n", "1 000", "", None])
def test_anything_else_is_no_id(text: Cell) -> None:
    assert parse_id(text) is None


@pytest.mark.parametrize(
    ("text", "millionths"),
    [
        ("10", 10_000_000),
        ("12.5", 12_500_000),
        ("0.0", 0),
        ("007.50", 7_500_000),
        ("0.0000004999", 0),
        ("0.0000005", 1),
        ("0.0000015", 2),
        ("0.0000025", 3),
        ("12.4999999" + "9" * 400, 12_500_000),
        ("12.4999994" + "9" * 400, 12_499_999),
        ("999999999999.9999994", 999_999_999_999_999_999),
    ],
)
def test_a_run_time_is_rounded_half_up(text: str, millionths: int) -> None:
    assert parse_run_time(text) == millionths


BAD_TIMES = "999999999999.9999995 1000000000000 0000000000001 7. .5 -1 -0 +1 1e3 12,5 1.2.3 NaN"


@pytest.mark.parametrize("text", [*BAD_TIMES.split(), "Infinity", "１２", "1.٥", "1 ", "", None])
def test_anything_else_is_no_run_time(text: Cell) -> None:
    assert parse_run_time(text) is None


@pytest.mark.parametrize(
    ("text", "said", "millionths"),
    [
        ("0:34:59", "min", 34_983_333),
        ("26:15:00", "h,h:mm", 26_250_000),
        ("26:15", "min,m:ss", 26_250_000),
        ("26:15", "min,h:mm", 1_575_000_000),
        ("26:15", "min", None),
        ("PT1H30M", "h", 1_500_000),
        ("1 hour 5 MINS", "s", 3_900_000_000),
        ("1.5 h", "min", 90_000_000),
        ("35", "h", 35_000_000),
        ("5 min 1 h", "min", None),
        ("0:60:00", "min", None),
        ("PT", "min", None),
    ],
)
def test_a_duration_is_a_run_time_in_its_unit(text: str, said: str, millionths: int | None) -> None:
    assert parse_run_time(text, None, said) == millionths


TIMES = ["", "T00:00", " 23:59:60", "T12:30:00.123456789", " 12:30:00,5 Z", "T12:30Z"]
TIMES += ["T12:30:00+02", "T12:30:00-0230", " 12:30:00 +02:30"]


@pytest.mark.parametrize("time", TIMES)
def test_a_time_after_the_day_is_accepted_and_dropped(time: str) -> None:
    assert parse_date("2024-02-29" + time) == datetime.date(2024, 2, 29)


BAD = ["T", " ", "  12:00", "t12:00", "T12", "T24:00", "T12:60", "T12:00:61", "T12:00:00.", "x"]
BAD += ["T12:00.5", "T12:00z", "T12:00  Z", "T12:00+2", "T12:00+24", " 12:00 CET", "\n", "T1２:00"]


@pytest.mark.parametrize("time", BAD)
def test_a_badly_written_time_spoils_the_date(time: str) -> None:
    assert parse_date("2024-02-29" + time) is None


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31", "2000-02-29", "2024-02-29"])
def test_the_first_the_last_and_leap_days(text: str) -> None:
    assert parse_date(text) == datetime.date.fromisoformat(text)


NO_DAYS = "0000-01-01 1900-02-29 2023-02-29 2023-02-30 2023-04-31 2023-13-01 2023-00-10 2023-01-00"
NO_DATES = "2023-1-1 20230101 01/02/2023 -2023-01-01 12023-01-01 ２023-01-01 2023-W01-1 today"


@pytest.mark.parametrize("text", [*NO_DAYS.split(), *NO_DATES.split(), "", None])
def test_a_date_is_a_real_calendar_day(text: Cell) -> None:
    assert parse_date(text) is None


def test_empty_items_count_as_positions_only() -> None:
    assert list_items(" 1 ;; 2;\u00a0;x;") == [(1, "1"), (3, "2"), (5, "x")]
    assert list_items(" ; ") == []
    assert list_items(None) == []


def test_a_mean_is_rounded_half_up_at_the_sixth_decimal() -> None:
    assert mean(1, 2) == Decimal("0.000001")
    assert mean(1, 3) == Decimal("0.000000")
    assert mean(10_000_000, 3) == Decimal("3.333333")
    assert mean(20_000_000, 3) == Decimal("6.666667")
    # 100/201 of a millionth is under the half, although 0.50 is its first two decimals, rounded.
    assert mean(201 * 10**18 + 100, 201) == Decimal("1000000000000.000000")
    assert mean(0, 0) is None
