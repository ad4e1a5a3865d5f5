"""File names: how they are shown, which files are not data, and in which order people read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from fnmatch import fnmatchcase
from functools import cache
from typing import TypeVar

from loader.printable import printable

T = TypeVar("T")

# Files that systems and programs leave in folders. `~$` files belong to open Office documents.
_LEFT_BY_SYSTEMS = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_ADDRESS_IN_TEXT = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


def scheme_of(path: str) -> str:
    """The scheme of an address, in lower case; '' if the PATH is not an address."""
    match = _ADDRESS.fullmatch(path)
    return match[1].lower() if match else ""


def shown_address(address: str) -> str:
    """The address without parts that may be secret: password, user, query and fragment.

    In object stores, `?` and `#` are ordinary characters of a name. Azure puts the container where
    others put the user: `abfs://container@account…/path`.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return printable(address)
    scheme, rest = match[1].lower(), match[2]
    if scheme in ("http", "https"):
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    place, slash, path = rest.partition("/")
    if "@" not in place and "@" in path and re.search(r":(?![0-9]*$)", place):
        # A password with a slash, which should have been written as %2F.
        place, slash, path = rest.rpartition("@")[2].partition("/")
    user, _, host = place.rpartition("@")
    if not (scheme.startswith("abfs") and user and ":" not in user):
        place = host
    return printable(f"{scheme}://{place}{slash}{path}")


def without_secrets(text: str) -> str:
    """A library's message on one line, with secrets removed from its addresses."""

    def cut(match: re.Match[str]) -> str:
        return shown_address(re.split(r"[?#]", match[0], maxsplit=1)[0])

    return printable(_ADDRESS_IN_TEXT.sub(cut, " ".join(text.split())))[:300]


def is_left_out(relative: str, exclude: Sequence[str], *, is_named: bool = False) -> bool:
    """Whether a system or a program left this file, or --exclude matches it.

    `relative` is its path below the folder. Hidden files are left out unless `is_named`. A pattern
    without `/` matches a file or folder name anywhere; one with `/` matches the end of the path.
    """
    parts = [part for part in re.split(r"[/\\]", relative) if part not in ("", ".", "..")]
    if any(
        part.startswith("~$" if is_named else ("~$", ".")) or part.lower() in _LEFT_BY_SYSTEMS
        for part in parts
    ):
        return True
    path = relative.strip("/")
    return any(
        fnmatchcase(f"/{path}", f"*/{pattern}")
        if "/" in pattern
        else any(fnmatchcase(part, pattern) for part in path.split("/"))
        for pattern in (pattern.strip("/") for pattern in exclude)
    )


# The order in which people read names.

_ENDING = re.compile(r"\.[a-z]+[0-9]?(\.(gz|bz2|xz|zst))?$")
# English and German.
_MONTH_NAME = (
    "(?:jan(?:uar[yi]?)?|feb(?:ruary?|ruar)?|m[aä]r(?:ch|z)?|apr(?:il)?|ma[yi]|jun[ei]?|jul[yi]?|"
    r"aug(?:ust)?|sept?(?:ember)?|o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?)(?![^\W\d_])"
)
_BEGINNINGS = (
    *("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    *("jan", "feb", "mär", "apr", "mai", "jun", "jul", "aug", "sep", "okt", "nov", "dez"),
)
# The parts of a date: as a separate number or word, or as digits within a longer number.
_PARTS = {
    "Y": ("year", "(?:19|20)[0-9]{2}(?![0-9])"),
    "M": ("month", f"(?:{_MONTH_NAME}|(?:0?[1-9]|1[0-2])(?![0-9]))"),
    "N": ("month", _MONTH_NAME),
    "D": ("day", "(?:0?[1-9]|[12][0-9]|3[01])(?![0-9])"),
    "yyyy": ("year", "(?:19|20)[0-9]{2}"),
    "yy": ("year", "[0-9]{2}"),
    "mm": ("month", "(?:0[1-9]|1[0-2])"),
    "dd": ("day", "(?:0[1-9]|[12][0-9]|3[01])"),
    " ": ("", r"[\W_]{0,2}"),
    ".": ("", r"\."),
    "$": ("", "(?![0-9])"),
}
# The ways in which people write dates; the first match counts.
_WAYS = (
    *("Y M D", "D M Y", "M D Y", "D.M.yy$", "N Y", "N D", "D N"),
    *("dd.mm$", "yyyymmdd$", "ddmmyyyy$", "N"),
)
_NUMBERED_DAY = re.compile(
    r"(?<![0-9])([0-9]{1,2})[-_ ]([0-9]{1,2})[-_ ](?:19|20)[0-9]{2}(?![0-9])"
)


def in_reading_order(items: Iterable[T], name: Callable[[T], str] = str) -> list[T]:
    """The items sorted by name, folder by folder, as a person would sort them.

    `users_9` comes before `users_10`, `27.02.` before `03.03.`, `Mar 3 2026` before `2026-04-01`.
    In `02-03-2026` the day comes first, unless another name shows that the month does. The order is
    the same on every machine.
    """
    listed = list(items)
    pairs = [pair for item in listed for pair in _NUMBERED_DAY.findall(name(item))]
    month_first = any(int(second) > 12 for _, second in pairs) and not any(
        int(first) > 12 for first, _ in pairs
    )
    pieces = _pieces_of_names(month_first=month_first)

    def key(item: T) -> list[tuple[object, ...]]:
        return [
            ([*map(_comparable, pieces.finditer(_ENDING.sub("", part.casefold())))], part)
            for part in name(item).split("/")
        ]

    return sorted(listed, key=key)


@cache
def _pieces_of_names(*, month_first: bool) -> re.Pattern[str]:
    """Matches a date, a number or a word; a date's groups are `year_N`, `month_N` and `day_N`."""
    year_first, day_first, by_month, *others = _WAYS
    numbered = (by_month, day_first) if month_first else (day_first, by_month)

    def pattern(at: int, way: str) -> str:
        def part(match: re.Match[str]) -> str:
            meaning, pattern = _PARTS[match[0]]
            return f"(?P<{meaning}_{at}>{pattern})" if meaning else pattern

        return re.sub("yyyy|yy|mm|dd|.", part, way)

    days = "|".join(pattern(*way) for way in enumerate((year_first, *numbered, *others)))
    return re.compile(rf"{days}|(?P<number>[0-9]+)|(?P<word>[^\W\d_]+)")


def _comparable(piece: re.Match[str]) -> tuple[int, object]:
    """A sort key for a piece of a name: numbers before dates, dates before words."""
    if word := piece["word"]:
        return 2, word
    if number := piece["number"]:
        return _comparable_number(number)
    parts = {group.partition("_")[0]: text for group, text in piece.groupdict().items() if text}
    # Missing parts are 0.
    year, month = parts.get("year", "0"), parts["month"]
    in_year = int(month) if month.isdecimal() else _BEGINNINGS.index(month[:3]) % 12 + 1
    day = int(f"20{year}" if len(year) == 2 else year), in_year, int(parts.get("day", "0"))
    try:
        # Without a year, use one that has a 29 February.
        date(day[0] or 2000, in_year, day[2] or 1)
    except ValueError:
        # Not a calendar date, just digits.
        return _comparable_number(re.sub(r"\D", "", piece[0]))
    return 1, day


def _comparable_number(digits: str) -> tuple[int, object]:
    significant = digits.lstrip("0")
    return 0, (len(significant), significant)
