"""The rows of xlsx and xlsm workbooks (Office Open XML, ECMA-376 part 1, SpreadsheetML).

A sheet is read as a stream: memory holds its texts that cells share, never its cells. python-
calamine is not used: it gives error cells as empty ones, rounds whole numbers of more than 15
digits, and allocates the rectangle from the first to the last cell before it gives any.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

from loader.readers.spreadsheet_cells import (
    Row,
    Unreadable,
    date_format,
    date_text,
    finished,
    number_text,
)
from loader.readers.spreadsheet_package import (
    CHUNK,
    Package,
    feed,
    local,
    new_parser,
    open_package,
    parse_all,
)
from loader.readers.spreadsheet_texts import SharedTexts, unescaped

# Formats that a file refers to by number only (ECMA-376 part 1, 18.8.30, with the East Asian ones).
_BUILT_IN = {
    **dict.fromkeys((14, 15, 16, 17, *range(27, 32), 36, *range(50, 59)), "date"),
    **dict.fromkeys((18, 19, 20, 21, 32, 33, 34, 35, 45, 47), "time"),
    22: "both",
    46: "duration",
}
_DIGITS = "0123456789"


@dataclass(frozen=True)
class SheetEntry:
    """A sheet of the workbook and the part that holds it."""

    name: str
    hidden: bool
    part: str


@dataclass(frozen=True)
class _Book:
    package: Package
    sheets: tuple[SheetEntry, ...]
    shows: tuple[str, ...]
    from_1904: bool
    shared_part: str


def previews(path: Path, limit: int) -> Iterator[tuple[str, bool, list[Row], bool]]:
    """Each sheet: name, hidden, its first rows, and whether these are all. Raises Unreadable."""
    with open_package(path) as package:
        book = _open(package)
        shared = SharedTexts(package, book.shared_part)
        for sheet in book.sheets:
            found: list[Row] = []
            for row in _rows(book, sheet, shared):
                found.append(row)
                if len(found) > limit:
                    break
            yield sheet.name, sheet.hidden, found[:limit], len(found) <= limit


def rows(path: Path, index: int) -> Iterator[Row]:
    """The rows of one sheet that are not empty. Raises Unreadable."""
    with open_package(path) as package:
        book = _open(package)
        yield from _rows(book, book.sheets[index], SharedTexts(package, book.shared_part))


def _open(package: Package) -> _Book:
    main = next(
        (target for kind, target in _relations(package, "").values() if kind == "officeDocument"),
        "xl/workbook.xml",
    )
    if main.endswith(".bin"):
        raise Unreadable("It is a binary workbook (xlsb). Save it as .xlsx and load that.")
    relations = _relations(package, main)
    sheets: list[SheetEntry] = []
    from_1904 = False

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal from_1904
        if local(name) == "workbookPr":
            from_1904 = attributes.get("date1904", "0") in ("1", "true", "on")
        elif local(name) == "sheet":
            key = next((v for a, v in attributes.items() if a != "id" and local(a) == "id"), "")
            kind, target = relations.get(key, ("", ""))
            if kind == "worksheet":
                hidden = attributes.get("state", "visible") != "visible"
                sheets.append(SheetEntry(attributes.get("name", ""), hidden, target))

    _parse(package, main, start)
    by_kind = dict(relations.values())
    styles = by_kind.get("styles", "")
    shows = _formats(package, styles) if styles in package else ()
    return _Book(package, tuple(sheets), shows, from_1904, by_kind.get("sharedStrings", ""))


def _relations(package: Package, part: str) -> dict[str, tuple[str, str]]:
    """By id: the last word of the relation's type, and the part that is meant."""
    folder, name = posixpath.split(part)
    file = posixpath.join(folder, "_rels", f"{name}.rels")
    found: dict[str, tuple[str, str]] = {}

    def start(name: str, attributes: dict[str, str]) -> None:
        if local(name) == "Relationship" and attributes.get("TargetMode") != "External":
            target = posixpath.join("/", folder, attributes.get("Target", ""))
            kind = attributes.get("Type", "").rpartition("/")[2]
            found[attributes.get("Id", "")] = (kind, posixpath.normpath(target).lstrip("/"))

    if file in package:
        _parse(package, file, start)
    return found


def _formats(package: Package, part: str) -> tuple[str, ...]:
    """For each style of a cell what `date_format` says of its number format."""
    own: dict[int, str] = {}
    shows: list[str] = []
    inside = False

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal inside
        name = local(name)
        if name == "numFmt":
            own[_int(attributes.get("numFmtId"))] = date_format(attributes.get("formatCode", ""))
        elif name == "cellXfs":
            inside = True
        elif name == "xf" and inside:
            number = _int(attributes.get("numFmtId"))
            shows.append(own.get(number, _BUILT_IN.get(number, "")))

    def end(name: str) -> None:
        nonlocal inside
        if local(name) == "cellXfs":
            inside = False

    parser = new_parser()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    with package.open(part) as stream:
        parse_all(stream, parser, part)
    return tuple(shows)


def _parse(package: Package, part: str, start: Callable[[str, dict[str, str]], None]) -> None:
    parser = new_parser()
    parser.StartElementHandler = start
    with package.open(part) as stream:
        parse_all(stream, parser, part)


def _rows(book: _Book, sheet: SheetEntry, shared: SharedTexts) -> Iterator[Row]:
    with book.package.open(sheet.part) as stream:
        yield from _parse_sheet(stream, book, sheet, shared)


def _parse_sheet(
    stream: IO[bytes], book: _Book, sheet: SheetEntry, shared: SharedTexts
) -> Iterator[Row]:
    """Rows as the stream brings them. A row or cell without a number follows the one before."""
    out: list[Row] = []
    cells: list[str | None] = []
    pieces: list[str] = []
    formula: list[str] = []
    columns: dict[str, int] = {}
    row = column = phonetic = 0
    kind = style = ""
    prefix = ""
    rows_tag, cell_tag, text_tags, formula_tag = "row", "c", ("v", "t"), "f"
    parser = new_parser()

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal row, column, kind, style, phonetic, cells
        if name == cell_tag:
            if reference := attributes.get("r"):
                letters = reference.rstrip(_DIGITS)
                known = columns.get(letters)
                if known is None:
                    known = columns[letters] = _column(letters)
                column = known
            else:
                column += 1
            kind = attributes.get("t", "n")
            style = attributes.get("s", "")
            pieces.clear()
            formula.clear()
        elif name in text_tags:
            if not phonetic:
                parser.CharacterDataHandler = pieces.append
        elif name == formula_tag:
            formula.append("=")
            parser.CharacterDataHandler = formula.append
        elif name == rows_tag:
            row = _int(attributes.get("r")) or row + 1
            column = 0
            cells = []
        elif name.endswith("rPh"):
            phonetic += 1

    def end(name: str) -> None:
        nonlocal phonetic, kind
        if name in text_tags or name == formula_tag:
            parser.CharacterDataHandler = None
        elif name == cell_tag:
            if formula and not pieces and kind != "str":
                # Programs that do not calculate write no result. An empty cell would be wrong.
                kind = "str"
                pieces.extend(formula)
            if pieces:
                missing = column - len(cells)
                if missing > 0:
                    cells.extend([None] * missing)
                cells[column - 1] = _text("".join(pieces), kind, style, book, shared)
        elif name == rows_tag:
            if complete := finished(row, cells):
                out.append(complete)
        elif name.endswith("rPh"):
            phonetic -= 1

    def root(name: str, _: dict[str, str]) -> None:
        # Some writers give each element a prefix; it is the same one throughout.
        nonlocal prefix, rows_tag, cell_tag, text_tags, formula_tag
        prefix = name.removesuffix(local(name))
        rows_tag, cell_tag, text_tags = f"{prefix}row", f"{prefix}c", (f"{prefix}v", f"{prefix}t")
        formula_tag = f"{prefix}f"
        parser.StartElementHandler = start

    parser.StartElementHandler = root
    parser.EndElementHandler = end
    for chunk in chain(iter(lambda: stream.read(CHUNK), b""), (b"",)):
        feed(parser, chunk, f"sheet {sheet.name!r}")
        yield from out
        out.clear()


def _text(value: str, kind: str, style: str, book: _Book, shared: SharedTexts) -> str:
    if kind == "n":
        if style and (shows := _shows(book, style)):
            return date_text(value.strip(), shows, from_1904=book.from_1904)
        return number_text(value.strip())
    if kind == "s":
        if not value.strip().isdecimal():
            raise Unreadable(f"It is damaged: {value!r:.40} is no number of a shared text.")
        return shared[int(value)]
    if kind == "b":
        return {"1": "TRUE", "0": "FALSE"}.get(value.strip(), value.strip().upper())
    # Inline text, the text that a formula gave, an error (#N/A), an ISO date.
    return unescaped(value)


def _shows(book: _Book, style: str) -> str:
    index = _int(style)
    return book.shows[index] if index < len(book.shows) else ""


def _column(letters: str) -> int:
    number = 0
    for letter in letters.upper()[:8]:
        if not "A" <= letter <= "Z":
            raise Unreadable(f"It is damaged: {letters!r:.40} is no column of a sheet.")
        number = number * 26 + ord(letter) - 64
    if not 0 < number <= 1 << 14:
        raise Unreadable(f"It is damaged: {letters!r:.40} is no column of a sheet.")
    return number


def _int(written: str | None) -> int:
    text = (written or "").strip()
    return int(text) if text.isdecimal() and len(text) < 12 else 0
