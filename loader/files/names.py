"""Names: how they are shown, and which files are nobody's data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from loader.printable import printable

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
