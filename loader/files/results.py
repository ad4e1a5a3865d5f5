"""What comes of a PATH: files that can be read, and sentences about the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loader.files.content import Content


@dataclass(frozen=True)
class LocalFile:
    """A file that can be opened and sought in.

    `name` is for people and the ledger: the PATH as it was written, `folder/file`, an address
    without its secrets, or `archive.zip/member`; always printable. `path` is where the bytes are,
    a temporary file for standard input, remote files and members of archives. `content` is what
    `collect` has found in it.
    """

    name: str
    path: Path
    temporary: bool = False
    content: Content | None = None


@dataclass(frozen=True)
class Skipped:
    """A file that was left out by rule."""

    name: str


@dataclass(frozen=True)
class Problem:
    """A file that cannot be had. `sentence` has its name in it."""

    sentence: str


Result = LocalFile | Skipped | Problem


@dataclass(frozen=True)
class Collected:
    """All that the PATHs of one call mean, in the order of the call."""

    files: tuple[LocalFile, ...]
    problems: tuple[str, ...]
    skipped: tuple[str, ...]
