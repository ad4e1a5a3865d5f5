r"""What a line and a record of delimited text are.

A record ends with LF, CRLF or CR. A cell is quoted if it begins with a quotation mark, blanks
before it allowed; in it delimiters and line ends are text and a doubled mark is one. Every other
cell is the text up to the next delimiter, quotation marks included. Under an escape character a
mark, a delimiter or another escape character behind it is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from loader.sources import BLANKS

_LINE_END = re.compile("\r\n|\n|\r")
LINE = re.compile("([^\r\n]*+)(?:\r\n|\n|\r|\\Z)")


@dataclass(frozen=True)
class Shape:
    """How cells stand in a line: delimiter, quotation mark, escape; one character each or none."""

    delimiter: str
    quote: str = '"'
    escape: str = ""

    @property
    def blanks(self) -> str:
        """What may stand between a delimiter and a quotation mark."""
        return BLANKS.translate({ord(char): None for char in f"\r\n{self.delimiter}"})

    @property
    def copyable(self) -> bool:
        """Whether COPY takes the delimiter, with our numbers before the cells."""
        return (
            self.delimiter.isascii()
            and not self.delimiter.isdigit()
            and self.delimiter not in '"\r\n\0'
        )


@dataclass(frozen=True)
class Record:
    """One record: its cells (None: nothing at all, not even quotation marks) and where it ends.

    `fault` is "" or what is wrong with its quotation marks: "open" or "misplaced".
    """

    cells: tuple[str | None, ...]
    end: int
    fault: str = ""


class Grammar:
    """The definition of a record under one shape."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        delimiter, quote = re.escape(shape.delimiter), re.escape(shape.quote)
        escape = re.escape(shape.escape)
        # In quotation marks any character may be escaped, a line end too; elsewhere no line end.
        inside = f"|{escape}[^\0]" if escape else ""
        bare = f"[^{delimiter}{escape}\r\n]"
        bare = f"(?:{bare}++|{escape}[^\r\n]?)*+" if escape else f"{bare}*+"
        stop = f"({delimiter}|\r\n|\n|\r|\\Z)"
        begin = f"[{re.escape(shape.blanks)}]*+{quote}" if quote else "(?!)"
        body = f"(?:[^{quote}{escape}]++|{quote}{quote}{inside})*+" if quote else ""
        self._begin = re.compile(begin)
        self._quoted = re.compile(f"{begin}({body}){quote}[{re.escape(shape.blanks)}]*+{stop}")
        self._open = re.compile(f"{begin}{body}\\Z")
        self._plain = re.compile(f"({bare}){stop}")
        # What stands behind an escape, or behind the first of two quotation marks, is meant.
        self._bare_escapes = re.compile(f"{escape}([{escape}{delimiter}{quote}])")
        self._escapes = re.compile(f"{escape}([{escape}{delimiter}{quote}])|{quote}({quote})")

    def record(self, text: str, start: int, limit: int) -> Record:
        """The record that begins at `start`; nothing behind `limit` is looked at."""
        cells: list[str | None] = []
        at, quote = start, self.shape.quote
        while True:
            if self._begin.match(text, at, limit):
                found = self._quoted.match(text, at, limit)
                if found is None:
                    fault = "open" if self._open.match(text, at, limit) else "misplaced"
                    return Record(tuple(cells), at, fault)
                cells.append(
                    self._escapes.sub(_meant, found[1])
                    if self.shape.escape
                    else found[1].replace(quote + quote, quote)
                )
            else:
                found = self._plain.match(text, at, limit)
                assert found is not None, "any text has a plain cell"
                cell = found[1] or None
                if cell and self.shape.escape:
                    cell = self._bare_escapes.sub(_meant, cell)
                cells.append(cell)
            at = found.end()
            if found[2] != self.shape.delimiter:
                return Record(tuple(cells), at)


def lines_of(text: str, *, limit: int = 1 << 62) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end (before the line end) of the first lines of a text."""
    at = 0
    for number in range(1, limit + 1):
        found = LINE.match(text, at)
        if found is None or at == len(text):
            return
        yield number, at, found.end(1)
        at = found.end()


def count_lines(text: str) -> int:
    """How many line ends a text has."""
    return len(_LINE_END.findall(text))


def _meant(found: re.Match[str]) -> str:
    return found[found.lastindex or 0]
