"""What a load can be asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loader.parsers.dialect import ReadOptions


@dataclass(frozen=True)
class MaxRejected:
    """How many of a file's records may be rejected: a number, or a share in percent."""

    number: float
    is_share: bool

    def allows(self, rejected: int, read: int) -> bool:
        """Whether so many of the records read are few enough."""
        return rejected <= (self.number * read / 100 if self.is_share else self.number)

    def __str__(self) -> str:
        return f"{self.number:g}%" if self.is_share else f"{self.number:g}"


def parse_max_rejected(text: str) -> MaxRejected:
    """Read `20` or `10%`. Raises ValueError with a sentence."""
    found = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*(%?)\s*", text)
    if found is None or (not found[2] and "." in found[1]):
        raise ValueError(f"{text!r} is neither a number of lines (20) nor a share (10%).")
    return MaxRejected(float(found[1]), is_share=bool(found[2]))


@dataclass(frozen=True)
class LoadOptions:
    """What a call asks for; `input` restricts the files to one input.

    `names` is what the ledger calls a PATH, where that is not the PATH itself. `within` refuses
    files that lie outside of that folder, by links too, and calls the others by their way from
    there. `loaded_by` is told in the ledger; '' means the account that runs the call.
    """

    replace: bool = False
    check: bool = False
    max_rejected: MaxRejected = MaxRejected(10, is_share=True)
    exclude: tuple[str, ...] = ()
    input: str | None = None
    read: ReadOptions = field(default_factory=ReadOptions)
    names: Mapping[str, str] = field(default_factory=dict)
    within: Path | None = None
    loaded_by: str = ""
