"""Names: how they are shown, which files are nobody's data, and in which order people read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from fnmatch import fnmatchcase
from typing import TypeVar

from loader.printable import printable

T = TypeVar("T")
# Year, month, day; 0 for what is not said.
Day = tuple[int, int, int]

# What systems and programs leave in folders. `~$` files are those of an opened Office document.
_LEFT_BY_SYSTEMS = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_PATTERN = re.compile(r"[*?[]")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_ADDRESS_IN_TEXT = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


def is_pattern(path: str) -> bool:
    """Whether the PATH has characters of a pattern in it."""
    return _PATTERN.search(path) is not None


def scheme_of(path: str) -> str:
    """The scheme of an address, in lower case; '' when the PATH is no address."""
    match = _ADDRESS.fullmatch(path)
    return match[1].lower() if match else ""


def shown_address(address: str) -> str:
    """The address without what may be secret: password, user, query and fragment.

    In object stores `?` and `#` are characters of a name like others. Azure writes the container
    where others have the user: `abfs://container@account…/path`.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return printable(address)
    scheme, rest = match[1].lower(), match[2]
    if scheme in ("http", "https"):
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    place, slash, path = rest.partition("/")
    if "@" not in place and "@" in path and re.search(r":(?![0-9]*$)", place):
        # A password with a slash in it, which should have been written as %2F.
        place, slash, path = rest.rpartition("@")[2].partition("/")
    user, _, host = place.rpartition("@")
    if not (scheme.startswith("abfs") and user and ":" not in user):
        place = host
    return printable(f"{scheme}://{place}{slash}{path}")


def without_secrets(text: str) -> str:
    """What a library said, on one line, with the addresses in it cut down."""

    def cut(match: re.Match[str]) -> str:
        return shown_address(re.split(r"[?#]", match[0], maxsplit=1)[0])

    return printable(_ADDRESS_IN_TEXT.sub(cut, " ".join(text.split())))[:300]


def is_left_over(relative: str, *, hidden_too: bool = True) -> bool:
    """Whether a system or a program left this file; `relative` is its path below the folder."""
    parts = [part for part in re.split(r"[/\\]", relative) if part not in ("", ".", "..")]
    return any(
        part.startswith("~$")
        or part.lower() in _LEFT_BY_SYSTEMS
        or (hidden_too and part.startswith("."))
        for part in parts
    )


def is_passed_over(relative: str, exclude: Sequence[str]) -> bool:
    """Whether a file below a folder is left over or excluded."""
    return is_left_over(relative) or is_excluded(relative, exclude)


def is_excluded(relative: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns of --exclude means this file.

    A pattern without `/` means a file or a folder of that name anywhere; one with `/` means the
    end of the path.
    """
    path = relative.strip("/")
    return any(
        fnmatchcase(f"/{path}", f"*/{pattern.strip('/')}")
        if "/" in pattern.strip("/")
        else any(fnmatchcase(part, pattern.strip("/")) for part in path.split("/"))
        for pattern in patterns
    )


# The order in which people read names.

_WORDS = re.compile(r"([\W_]*)([0-9]+|[^\W\d_]+)")
_ENDING = re.compile(r"\.[a-z]+[0-9]?(\.(gz|bz2|xz|zst))?$")
_YEAR = re.compile("(19|20)[0-9]{2}")
# English and German.
_MONTH = re.compile(
    "jan(uar[yi]?)?|feb(ruary?|ruar)?|m[aä]r(ch|z)?|apr(il)?|ma[yi]|jun[ei]?|jul[yi]?|aug(ust)?"
    "|sept?(ember)?|o[ck]t(ober)?|nov(ember)?|de[cz](ember)?"
)
_BEGINNINGS = (
    *("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    *("jan", "feb", "mär", "apr", "mai", "jun", "jul", "aug", "sep", "okt", "nov", "dez"),
)
_NUMBERED_DAY = re.compile(
    r"(?<![0-9])([0-9]{1,2})[-_ ]([0-9]{1,2})[-_ ](?:19|20)[0-9]{2}(?![0-9])"
)


def in_reading_order(items: Iterable[T], name: Callable[[T], str] = str) -> list[T]:
    """The items by their names, folder by folder, as a person would put them in order.

    `users_9` comes before `users_10`, `27.02.` before `03.03.`, `Mar 3 2026` before `2026-04-01`.
    Of `02-03-2026` the day stands first, unless another name shows that it is the month. The order
    is the same on every machine.
    """
    listed = list(items)
    pairs = [pair for item in listed for pair in _NUMBERED_DAY.findall(name(item))]
    month_first = any(int(second) > 12 for _, second in pairs) and not any(
        int(first) > 12 for first, _ in pairs
    )

    def key(item: T) -> list[tuple[object, ...]]:
        return [(list(_pieces(part, month_first)), part) for part in name(item).split("/")]

    return sorted(listed, key=key)


def _pieces(name: str, month_first: bool) -> Iterator[tuple[int, object]]:
    """What a name says, in pieces to compare: numbers come before days, days before words."""
    words = _WORDS.findall(_ENDING.sub("", name.casefold()))
    at = 0
    while at < len(words):
        day, length = _day_at(words[at : at + 3], month_first)
        word = words[at][1]
        if day:
            yield 1, day
        else:
            yield (0, int(word)) if word.isascii() and word.isdigit() else (2, word)
        at += length


def _day_at(words: Sequence[tuple[str, str]], month_first: bool) -> tuple[Day | None, int]:
    """The day that words begin with, each with the gap before it, and how many words say it."""
    first, second, third, *_ = [*(word for _, word in words), "", ""]
    gaps = [gap for gap, _ in words[1:]]
    readings: list[tuple[int, str, str, str]] = []
    if len(words) == 3 and max(map(len, gaps)) <= 2:
        readings.append((3, first, second, third))
        by_number = [(3, third, second, first), (3, third, first, second)]
        readings += reversed(by_number) if month_first else by_number
        if gaps == [".", "."] and len(third) == 2:
            readings.append((3, f"20{third}", second, first))
    if len(words) > 1 and len(gaps[0]) <= 2:
        if _MONTH.fullmatch(first):
            readings += [(2, second, first, ""), (2, "", first, second)]
        elif _MONTH.fullmatch(second) or (gaps[0] == "." and len(first) == len(second) == 2):
            readings.append((2, "", second, first))
    if len(first) == 8:
        readings += [(1, first[:4], first[4:6], first[6:]), (1, first[4:], first[2:4], first[:2])]
    if _MONTH.fullmatch(first):
        readings.append((1, "", first, ""))
    for length, *said in readings:
        if day := _day(*said):
            return day, length
    return None, 1


def _day(year: str, month: str, day: str) -> Day | None:
    """A day of the calendar, of which the year or the day may not be said; None if it is none."""
    if (year and not _YEAR.fullmatch(year)) or len(day) > 2:
        return None
    try:
        is_named = _MONTH.fullmatch(month) is not None
        in_year = _BEGINNINGS.index(month[:3]) % 12 + 1 if is_named else int(month)
        # A year with a 29 February.
        date(int(year or 2000), in_year, int(day or 1))
    except ValueError:
        return None
    return int(year or 0), in_year, int(day or 0)
