"""The rows of ods workbooks (OpenDocument 1.3 part 3, chapter 9), read as a stream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from loader.readers.spreadsheet_cells import (
    MAX_COLUMNS,
    Row,
    Unreadable,
    duration_text,
    finished,
    number_text,
)
from loader.readers.spreadsheet_package import CHUNK, Package, feed, new_parser, open_package

_CONTENT = "content.xml"
_MANIFEST = "META-INF/manifest.xml"
# Elements whose children count; all others (drawings, comments, tracked changes) are passed over.
_ENTERED = frozenset(
    (
        "office:document-content",
        "office:automatic-styles",
        "style:style",
        "style:table-properties",
        "office:body",
        "office:spreadsheet",
        "table:table",
        "table:table-row-group",
        "table:table-rows",
        "table:table-header-rows",
        "table:table-row",
        "table:table-cell",
    )
)
# A cell's text has these in it without showing them: notes, and the readings above characters.
_NO_TEXT = frozenset(("text:note", "text:ruby-text"))
_DURATION = re.compile(
    r"(-?)P(?:([0-9]{1,6})D)?T?(?:([0-9]{1,7})H)?(?:([0-9]{1,7})M)?"
    r"(?:([0-9]{1,7}(?:[.,][0-9]+)?)S)?"
)
_ZEROS_OF_FRACTION = re.compile(r"(\.[0-9]*?)0+$")
# How many filled cells one row that is written once may become by repetition; more is an attack.
_MAX_REPEATED = 20_000_000


@dataclass(frozen=True, slots=True)
class _Sheet:
    """From here on the rows are those of this sheet."""

    name: str
    hidden: bool


@dataclass(frozen=True, slots=True)
class _Repeated:
    """A row, and how many times it stands in the sheet, one below the other."""

    row: Row
    times: int

    def rows(self) -> Iterator[Row]:
        number, cells = self.row
        return ((number + down, cells) for down in range(self.times))


def previews(path: Path, limit: int) -> Iterator[tuple[str, bool, list[Row], bool]]:
    """Each sheet: name, hidden, its first rows, and whether these are all. Raises Unreadable."""
    with _open(path) as package:
        total = _count_sheets(package)
        seen = 0
        sheet: _Sheet | None = None
        found: list[Row] = []
        for event in _events(package):
            if isinstance(event, _Sheet):
                if sheet is not None:
                    yield sheet.name, sheet.hidden, found[:limit], len(found) <= limit
                sheet, found, seen = event, [], seen + 1
            elif len(found) <= limit:
                found.extend(row for row, _ in zip(event.rows(), range(limit + 1), strict=False))
            elif seen == total:
                break
        if sheet is not None:
            yield sheet.name, sheet.hidden, found[:limit], len(found) <= limit


def rows(path: Path, index: int) -> Iterator[Row]:
    """The rows of one sheet that are not empty. Raises Unreadable."""
    with _open(path) as package:
        at = -1
        for event in _events(package):
            if isinstance(event, _Sheet):
                at += 1
            elif at == index:
                yield from event.rows()


@contextmanager
def _open(path: Path) -> Iterator[Package]:
    with open_package(path) as package:
        if _MANIFEST in package:
            with package.open(_MANIFEST) as stream:
                if b"encryption-data" in stream.read(4 << 20):
                    raise Unreadable(
                        "It is protected by a password. Save it without one and load it again."
                    )
        yield package


def _count_sheets(package: Package) -> int | None:
    """At most so many sheets; None if that is not to be seen without reading the XML.

    Counting bytes takes a fraction of the time, and often spares reading the last sheet's rows.
    """
    start = b"<table:table "
    count, kept = 0, b""
    with package.open(_CONTENT) as stream:
        if stream.read(5) != b"<?xml":
            return None
        while chunk := stream.read(1 << 20):
            chunk = kept + chunk
            count += chunk.count(start)
            kept = chunk[-len(start) + 1 :]
    return count


def _events(package: Package) -> Iterator[_Sheet | _Repeated]:
    out: list[_Sheet | _Repeated] = []
    # Empty cells are counted first: most stand at the end of a row, by the thousand.
    cells: list[str | None] = []
    empty = skipped = depth_of_cell = row = 0
    row_times = cell_times = 1
    cell: dict[str, str] = {}
    paragraphs: list[str] = []
    pieces: list[str] = []
    hidden_styles: set[str] = set()
    style = ""
    parser = new_parser()

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal skipped, depth_of_cell, row_times, cell_times, cell, style, cells, empty, row
        if skipped:
            skipped += 1
        elif depth_of_cell:
            if not name.startswith("text:") or name in _NO_TEXT:
                skipped = 1
                parser.CharacterDataHandler = None
                return
            depth_of_cell += 1
            if name == "text:s":
                pieces.append(" " * min(_count(attributes.get("text:c")), 1 << 16))
            elif name == "text:tab":
                pieces.append("\t")
            elif name == "text:line-break":
                pieces.append("\n")
            else:
                parser.CharacterDataHandler = pieces.append
        elif name == "table:table-cell":
            depth_of_cell = 1
            cell = attributes
            cell_times = _count(attributes.get("table:number-columns-repeated"))
        elif name == "table:table-row":
            row_times = _count(attributes.get("table:number-rows-repeated"))
            cells, empty = [], 0
        elif name == "table:table":
            hidden = attributes.get("table:style-name", "") in hidden_styles
            out.append(_Sheet(attributes.get("table:name", ""), hidden))
            row = 0
        elif name == "table:covered-table-cell":
            # Lies under a merged cell, where nobody sees it.
            empty += _count(attributes.get("table:number-columns-repeated"))
            skipped = 1
        elif name == "style:style":
            style = attributes.get("style:name", "")
        elif name == "style:table-properties":
            if attributes.get("table:display") == "false":
                hidden_styles.add(style)
        elif name not in _ENTERED:
            skipped = 1

    def end(name: str) -> None:
        nonlocal skipped, depth_of_cell, empty, row
        if skipped:
            skipped -= 1
            if depth_of_cell > 1 and not skipped:
                parser.CharacterDataHandler = pieces.append
        elif depth_of_cell > 1:
            depth_of_cell -= 1
            if depth_of_cell == 1:
                parser.CharacterDataHandler = None
                paragraphs.append("".join(pieces))
                pieces.clear()
        elif depth_of_cell:
            depth_of_cell = 0
            value = _text(cell, paragraphs)
            paragraphs.clear()
            if not value:
                empty += cell_times
            elif len(cells) + empty + cell_times > MAX_COLUMNS:
                raise Unreadable(
                    f"Row {row + 1:,} has a filled cell to the right of column {MAX_COLUMNS:,}. "
                    "Save the sheet as CSV and load that."
                )
            else:
                cells.extend([None] * empty)
                cells.extend([value] * cell_times)
                empty = 0
        elif name == "table:table-row":
            # The last of the repeated rows must be within a sheet as well.
            if finished(row + row_times, cells) and (complete := finished(row + 1, cells)):
                if row_times > 1 and row_times * len(cells) > _MAX_REPEATED:
                    raise Unreadable(
                        f"Row {row + 1:,} claims to stand there {row_times:,} times. "
                        "Save the sheet as CSV and load that."
                    )
                out.append(_Repeated(complete, row_times))
            row += row_times

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    with package.open(_CONTENT) as stream:
        for chunk in chain(iter(lambda: stream.read(CHUNK), b""), (b"",)):
            feed(parser, chunk, _CONTENT)
            yield from out
            out.clear()


def _text(cell: dict[str, str], paragraphs: list[str]) -> str:
    kind = cell.get("office:value-type", "")
    if cell.get("calcext:value-type") == "error":
        return "\n".join(paragraphs)
    if kind in ("float", "percentage", "currency"):
        return number_text(cell.get("office:value", "").strip())
    if kind == "date":
        return _ZEROS_OF_FRACTION.sub(_kept, cell.get("office:date-value", "").strip())
    if kind == "time":
        return _duration(cell.get("office:time-value", "").strip())
    if kind == "boolean":
        return cell.get("office:boolean-value", "").strip().upper()
    return cell.get("office:string-value") or "\n".join(paragraphs)


def _kept(fraction: re.Match[str]) -> str:
    return "" if fraction[1] == "." else fraction[1]


def _duration(written: str) -> str:
    found = _DURATION.fullmatch(written)
    if not found or not any(found.groups()[1:]):
        return written
    sign, days, hours, minutes, seconds = found.groups()
    whole = (int(days or 0) * 24 + int(hours or 0)) * 3600 + int(minutes or 0) * 60
    milliseconds = whole * 1000 + round(float((seconds or "0").replace(",", ".")) * 1000)
    return duration_text(-milliseconds if sign else milliseconds)


def _count(written: str | None) -> int:
    """How often something is repeated: 1 if nothing is said, and never 0."""
    text = (written or "1").strip()
    return max(1, int(text)) if text.isdecimal() and len(text) < 12 else 1
