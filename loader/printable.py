"""Text for people: untrusted text made safe for terminals, logs and names; counts and lists."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def printable(text: str) -> str:
    """The text on one line, with control characters and undecodable bytes escaped as `\\x1b`."""
    return "".join(
        character
        if character.isprintable() or unicodedata.category(character) == "Zs"
        else _escaped(character)
        for character in text
    )


def _escaped(character: str) -> str:
    # PEP 383: how Python represents a byte of a file name that is not UTF-8.
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def plural(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], most: int = 20) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
