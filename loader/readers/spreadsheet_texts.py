"""The table of texts that the cells of an xlsx workbook share (xl/sharedStrings.xml)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from loader.readers.spreadsheet_cells import Unreadable
from loader.readers.spreadsheet_package import CHUNK, Package, feed, local, new_parser

# Characters that the table may have in memory, with 60 more for each text.
_MAX_SIZE = 1 << 30
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")


class SharedTexts:
    """The texts that cells refer to by number, read only as far as they are asked for."""

    def __init__(self, package: Package, part: str) -> None:
        self._source = _portions(package, part) if part in package else iter(())
        self._texts: list[str] = []
        self._size = 0

    def __getitem__(self, index: int) -> str:
        """Raises Unreadable."""
        while index >= len(self._texts):
            more = next(self._source, None)
            if more is None:
                raise Unreadable(
                    f"It is damaged: a cell refers to the shared text {index:,}, and there are "
                    f"{len(self._texts):,}. Open it in Excel, which repairs it, and save it."
                )
            self._texts += more
            self._size += sum(map(len, more)) + 60 * len(more)
            if self._size > _MAX_SIZE:
                raise Unreadable(
                    "Its texts need more than 1 GB of memory. Save the sheet as CSV and load that."
                )
        return self._texts[index]


def _portions(package: Package, part: str) -> Iterator[list[str]]:
    """The table of shared texts in portions. Phonetic readings (rPh) are no part of a text."""
    texts: list[str] = []
    pieces: list[str] = []
    phonetic = 0
    parser = new_parser()

    def start(name: str, _: dict[str, str]) -> None:
        nonlocal phonetic
        name = local(name)
        if name == "t" and not phonetic:
            parser.CharacterDataHandler = pieces.append
        elif name == "rPh":
            phonetic += 1

    def end(name: str) -> None:
        nonlocal phonetic
        name = local(name)
        if name == "t":
            parser.CharacterDataHandler = None
        elif name == "rPh":
            phonetic -= 1
        elif name == "si":
            texts.append(unescaped("".join(pieces)))
            pieces.clear()

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    with package.open(part) as stream:
        for chunk in chain(iter(lambda: stream.read(CHUNK), b""), (b"",)):
            feed(parser, chunk, part)
            yield texts.copy()
            texts.clear()


def unescaped(text: str) -> str:
    """`_x000D_` is how the format writes a character that XML cannot have; surrogates stay."""
    if "_x" not in text:
        return text
    return _ESCAPE.sub(
        lambda m: m[0] if 0xD800 <= int(m[1], 16) < 0xE000 else chr(int(m[1], 16)), text
    )
