"""Records out of files, one module per kind of file behind one small protocol.

A reader splits a file into records and never looks at what their cells mean. Every record ends up
in exactly one place: in the text of a Batch, or among its rejected lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from loader.sources import Input


@dataclass(frozen=True)
class RejectedLine:
    """A line that could not be split into the declared columns.

    `line` is the number that an editor shows (for a spreadsheet the row), `detail` a sentence.
    `content` is the line verbatim, without its end. If bytes of it are no text, they stand there
    as \\xNN and every backslash is doubled.
    """

    line: int
    rule: str
    detail: str
    content: str


@dataclass(frozen=True)
class Batch:
    """Some of a file's records, ready for COPY.

    `text` is CSV: one record a line (LF), its line, its load_id and its cells; an empty cell
    without quotation marks is NULL. `position` is how many bytes of the file have been read.
    """

    text: str
    records: int
    rejected: tuple[RejectedLine, ...]
    position: int


class Reader(Protocol):
    """A recognised file, or a sheet of it."""

    @property
    def input(self) -> Input:
        """What the records are."""
        ...

    @property
    def part(self) -> str:
        """The sheet's name, or nothing."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The declared columns in the order in which a record has its cells."""
        ...

    @property
    def delimiter(self) -> str:
        """One ASCII character between the cells of Batch.text; the quote is always `"`."""
        ...

    @property
    def dialect(self) -> str:
        """What the file was recognised as, for the ledger and a person."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know, such as ignored columns. Complete after the last batch."""
        ...

    def batches(self, load_id: int) -> Iterator[Batch]:
        """All records from the first on. Raises FileRefused when the file cannot be read on."""
        ...
