"""Where files land: what lies there, and taking away what has been dealt with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Protocol

LOADED, REJECTED = "loaded", "rejected"
REPORT = ".report.txt"
# Names that programs give to what they are still writing.
UNFINISHED = (
    "*.part",
    "*.partial",
    "*.filepart",
    "*.tmp",
    "*.temp",
    "*.crdownload",
    "*.download",
    "*.swp",
    "*~",
)
# What is never taken, besides hidden files.
LEFT_OUT = (LOADED, REJECTED, *UNFINISHED)


@dataclass(frozen=True)
class Found:
    """A file in a place.

    `name` is its path below the place, `path` what `labmart load` takes, `shown` what the ledger
    calls it. `identity` is another one as soon as the content is. `modified` is in seconds.
    """

    name: str
    path: str
    shown: str
    identity: str
    modified: float


class Place(Protocol):
    """A folder or an object store."""

    @property
    def moves(self) -> bool:
        """Whether files are moved away when they have been dealt with."""
        ...

    def look(self) -> list[Found]:
        """What lies there now and could be loaded, the oldest first. Raises PlaceGone."""
        ...

    def is_complete(self, found: Found) -> bool:
        """Whether nobody is writing to the file any more."""
        ...

    def is_unchanged(self, found: Found) -> bool:
        """Whether the file is still what was found."""
        ...

    def sha256(self, found: Found) -> str | None:
        """The digest of the content, where it costs no download."""
        ...

    def move(self, found: Found, folder: str, report: str | None) -> str:
        """Move the file below `folder`, with a report beside it; where it is now.

        No other file is overwritten. Raises CannotMove, and nothing has been moved then.
        """
        ...


class PlaceGone(Exception):  # noqa: N818 -- it says what has happened
    """The place cannot be looked at just now; `str()` of it says why."""


class CannotMove(Exception):  # noqa: N818 -- as above
    """A file has to stay where it is; `str()` of it says why."""


def free_name(
    folder: str, name: str, is_free: Callable[[str], bool], today: datetime | None = None
) -> str:
    """A path below the place that is free: `loaded/2026-11-25/plate.csv`, then `…/plate-2.csv`."""
    day = (today or datetime.now(UTC)).strftime("%Y-%m-%d")
    wanted = PurePosixPath(folder) / day / name
    number = 1
    candidate = wanted
    while not is_free(str(candidate)):
        number += 1
        candidate = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    return str(candidate)


def oldest_first(found: Sequence[Found]) -> list[Found]:
    """In the order in which they were written: of two versions of a row the later one counts."""
    return sorted(found, key=lambda one: (one.modified, one.name))
