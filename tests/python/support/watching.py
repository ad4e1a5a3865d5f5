"""A folder that is watched, and what lies in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from support.in_process import Done
from support.person import HEADER, USERS, Person

LONG_AGO = 1_700_000_000


def drop(box: Path, name: str, content: str = USERS, *, written: float = LONG_AGO) -> Path:
    """A file that was written long ago, so that it is complete."""
    path = box / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (written, written))
    return path


def user(number: int) -> str:
    """A file of one user."""
    return f"{HEADER}{number},User {number},,\n"


def watch(person: Person, place: Path | str, *options: str) -> Done:
    """One round without a build."""
    arguments = ("--once", "--no-build", "--interval", "0.1", *options)
    return person.labmart("watch", str(place), *arguments)


def files(box: Path) -> list[str]:
    """What lies below, with the dates of folders as DAY."""
    names = [str(path.relative_to(box)) for path in box.rglob("*") if path.is_file()]
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return sorted(name.replace(day, "DAY") for name in names)
