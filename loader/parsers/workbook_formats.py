"""The sheets of xlsx, ods and xls workbooks, each as an iterator of rows of text.

A cell is the text that a person sees, but that nothing is cut off: one that shows 50 % holds 0.5
and is given as `0.5`, and a date whose format hides its time of day is given with it.

Every format is one generator, which gives the name of a sheet, whether it is hidden, and its rows.
Rows are read as they are asked for; those that are left when the next sheet is asked for are passed
over. They run in the process of loader.parsers.workbook_child, which bounds memory and time.

Sources: ECMA-376 part 1 (SpreadsheetML), OpenDocument 1.3 part 3, chapter 9.
"""

from __future__ import annotations

import io
import posixpath
import re
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile, ZipInfo

from loader.parsers.records import Row, rounded_text

if TYPE_CHECKING:
    import xlrd

SheetRows = tuple[str, bool, Iterator[Row]]

# What the programs that write these files can hold themselves.
MAX_ROWS = 1 << 20
MAX_COLUMNS = 1 << 14
# More text in one sheet is no laboratory's sheet but an attack, such as one long shared text that
# a million cells refer to.
MAX_SHEET_TEXT = 4 << 30
# Characters of one row; the text of a cell in Excel ends at 32,767.
MAX_ROW_TEXT = 8 << 20

_CHUNK = 1 << 16
# A sheet of a million rows and fifty columns has about 3 GB of XML.
_MAX_PART = 6 << 30
# Real sheets shrink to a tenth, rarely to a hundredth. Deflate ends at 1 : 1,032, and an archive
# that comes near to it was made to fill memory or time.
_MAX_RATIO = 500
_RATIO_COUNTS_FROM = 64 << 20
_MAX_PARTS = 20_000
_ENCRYPTED = 0x1
# XML_ERROR_NO_MEMORY of expat.h
_NO_MEMORY = 1
# Characters that the texts which cells share may have in memory.
_MAX_SHARED_TEXT = 1 << 30
# How many filled cells one row that is written once may become by repetition; more is an attack.
_MAX_REPEATED = 20_000_000
_CSV = "Open it in a spreadsheet program, save the sheet as CSV and load that."
_PASSWORD = "It is protected by a password. Save it without one and load it again."


class Unreadable(Exception):  # noqa: N818 -- a name says the fault
    """A workbook that is not read; `str()` of it is a sentence for a person."""


def within_limits(rows: Iterator[Row]) -> Iterator[tuple[Row, int]]:
    """Rows without empty cells at their ends, of which something is left, and their characters.

    Raises Unreadable for a row that no sheet can have, or more text.
    """
    total = 0
    for number, cells, is_hidden, totals in rows:
        last = len(cells)
        while last and not cells[last - 1]:
            last -= 1
        if not last:
            continue
        if number > MAX_ROWS or last > MAX_COLUMNS:
            raise Unreadable(
                f"It claims a cell in row {number:,}, column {last:,}; a sheet ends at row "
                f"{MAX_ROWS:,}, column {MAX_COLUMNS:,}. Open it, save it as CSV and load that."
            )
        filled = [cell or None for cell in cells[:last]]
        size = sum([len(cell) for cell in filled if cell])
        total += size
        if size > MAX_ROW_TEXT or total > MAX_SHEET_TEXT:
            raise Unreadable(
                f"Up to row {number:,} it has more text than a laboratory's sheet can have. "
                "Open it, save the sheet as CSV and load that."
            )
        yield Row(number, filled, is_hidden, totals), size


class _Package:
    """The zip archive that an xlsx or ods file is, and its XML, read with suspicion.

    Parts are known whatever the case of their names, as for Excel.
    """

    def __init__(self, archive: ZipFile) -> None:
        if len(archive.infolist()) > _MAX_PARTS:
            raise Unreadable(f"It has more than {_MAX_PARTS:,} parts. {_CSV}")
        self._archive = archive
        self._parts = {_part_key(info.filename): info for info in archive.infolist()}

    def __contains__(self, name: str) -> bool:
        return _part_key(name) in self._parts

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """The bytes of a part. Raises Unreadable."""
        info = self._parts.get(_part_key(name))
        if info is None:
            raise Unreadable(f"It is damaged or incomplete: the part {name} is missing. {_CSV}")
        _check_part(info)
        try:
            with self._archive.open(info) as part:
                yield part
        except (BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise _damaged(error) from error

    def events(self, name: str, *events: str) -> Iterator[tuple[str, Element]]:
        """The events of a part's elements, as ElementTree.iterparse gives them.

        Raises Unreadable, also for a document type, where entity bombs and foreign files sit.
        """
        try:
            with self.open(name) as part:
                _refuse_document_type(part)
            with self.open(name) as part:
                yield from ElementTree.iterparse(part, events)
        except (ElementTree.ParseError, expat.ExpatError) as error:
            if error.code == _NO_MEMORY:
                raise MemoryError from error
            raise Unreadable(f"It is damaged: {name}, {error}. Fetch or save it again.") from error

    def tree(self, name: str) -> Element:
        """A small part as a whole: its last event is the end of its root."""
        return deque(self.events(name, "end"), maxlen=1)[0][1]


@contextmanager
def _open_package(path: Path) -> Iterator[_Package]:
    try:
        archive = ZipFile(path)
    except (BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise _damaged(error) from error
    with archive:
        yield _Package(archive)


def _part_key(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").casefold()


def _check_part(info: ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise Unreadable(_PASSWORD)
    too_dense = info.file_size > _MAX_RATIO * max(info.compress_size, 1)
    if info.file_size > _MAX_PART or (info.file_size > _RATIO_COUNTS_FROM and too_dense):
        raise Unreadable(
            f"Its part {info.filename} would unpack {info.compress_size:,} bytes to "
            f"{info.file_size:,}, more than any real sheet. {_CSV}"
        )


def _refuse_document_type(part: IO[bytes]) -> None:
    """Read up to the first element; ElementTree itself would take the entities of a doctype."""
    begun = False

    def begin(*_: object) -> None:
        nonlocal begun
        begun = True

    def refuse(*_: object) -> None:
        raise Unreadable(f"Its XML declares a document type, which no real workbook does. {_CSV}")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = begin
    while not begun and (chunk := part.read(_CHUNK)):
        parser.Parse(chunk, False)


def _local_name(tag: str) -> str:
    """The name of an element or attribute without its namespace."""
    return tag.rpartition("}")[2]


def _damaged(error: Exception) -> Unreadable:
    reason = str(error) or type(error).__name__
    return Unreadable(f"It is damaged or incomplete: {reason}. Fetch or save it again.")


def _int(written: str | None) -> int:
    """A number of a file; 0 if it is none."""
    text = (written or "").strip()
    return int(text) if text.isdecimal() and len(text) < 12 else 0


# the text of a cell ------------------------------------------------------------------------------

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_WHOLE = re.compile(r"-?[1-9][0-9]*")
_TOTAL = re.compile(
    r"(?:of:)?=?(?:COUNT(?:A|IFS?|BLANK)?|SUM(?:IFS?|PRODUCT)?|SUBTOTAL|AGGREGATE|ROWS|MEDIAN"
    r"|AVERAGE(?:A|IFS?)?|(?:MIN|MAX)(?:A|IFS)?)\([^()]*\)",
    re.IGNORECASE,
)
# What a spreadsheet's number holds.
_DIGITS = 15
_MILLISECONDS_A_DAY = 86_400_000
# 9999-12-31, the last day that Excel knows.
_LAST_DAY = 2_958_466
_HIDDEN_IN_FORMAT = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?![hHmMsS]+\])[^\]]*\]|AM/PM|A/P', re.I)


def number_text(written: str) -> str:
    """A number as the file writes it (`44927`, `1.5E-3`) with 15 digits and no exponent.

    A larger one has lost digits; it is given as a person sees it. What is no number stays.
    """
    is_short = len(written) <= _DIGITS
    if (is_short and (_WHOLE.fullmatch(written) or written == "0")) or not _NUMBER.fullmatch(
        written
    ):
        return written
    value = float(written)
    if value - value != 0:
        # Too large for a spreadsheet's number.
        return written
    if abs(value) >= 10.0**_DIGITS:
        return rounded_text(value)
    # Zero has no sign.
    text = format(value + 0.0, ".15g")
    return format(Decimal(text), "f") if "e" in text else text


def date_format(code: str) -> str:
    """What a number format shows: "date", "time", "both" (date and time), "duration", or ""."""
    section = _HIDDEN_IN_FORMAT.sub("", code).split(";")[0].lower()
    if re.search(r"\[[hms]+\]", section):
        return "duration"
    if "general" in section or not re.search("[dmyhs]", section):
        return ""
    clock = re.search("[hs]", section)
    # An m beside hours or seconds is minutes.
    calendar = re.search("[dy]", section) or ("m" in section and not clock)
    if clock:
        return "both" if calendar else "time"
    return "date"


def date_text(written: str, shows: str, *, from_1904: bool) -> str:
    """A day number (days since the end of 1899, or since 1904) under a format of `date_format`.

    `2023-01-01`, `2023-01-01T08:30:00`, `08:30:00` or, as a duration, `36:00:00`. A number that is
    no date, for which Excel shows `####`, stays a number.
    """
    if not _NUMBER.fullmatch(written):
        return written
    days = float(written)
    if not -_LAST_DAY < days < _LAST_DAY:
        return number_text(written)
    # Excel counts in milliseconds at best; a double holds a day number far more exactly.
    milliseconds = round(days * _MILLISECONDS_A_DAY)
    if shows == "duration":
        return duration_text(milliseconds)
    if milliseconds < 0:
        return number_text(written)
    day, of_day = divmod(milliseconds, _MILLISECONDS_A_DAY)
    clock = duration_text(of_day)
    if shows == "time" and day == 0:
        return clock
    calendar = _calendar_day(day, from_1904=from_1904)
    return f"{calendar}T{clock}" if of_day or shows != "date" else calendar


def duration_text(milliseconds: int) -> str:
    """`08:30:00`, `36:00:00`, `-00:00:01.250`: hours may exceed a day."""
    seconds, rest = divmod(abs(milliseconds), 1000)
    sign = "-" if milliseconds < 0 else ""
    fraction = f".{rest:03d}" if rest else ""
    return f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"


def is_total(formula: str | None) -> bool:
    """Whether a formula adds up other cells and does nothing else: `COUNT(A2:A9)`."""
    return formula is not None and _TOTAL.fullmatch(formula) is not None


def _calendar_day(day: int, *, from_1904: bool) -> str:
    if from_1904:
        return (datetime(1904, 1, 1) + timedelta(days=day)).strftime("%Y-%m-%d")
    if day in (0, 60):
        # Days that Excel shows though no calendar has them.
        return "1900-01-00" if day == 0 else "1900-02-29"
    start = datetime(1899, 12, 31 if day < 60 else 30)
    return (start + timedelta(days=day)).strftime("%Y-%m-%d")


# xlsx and xlsm -----------------------------------------------------------------------------------

# Formats that a file refers to by number only (ECMA-376 part 1, 18.8.30, with the East Asian ones).
_BUILT_IN_FORMATS = {
    **dict.fromkeys((14, 15, 16, 17, *range(27, 32), 36, *range(50, 59)), "date"),
    **dict.fromkeys((18, 19, 20, 21, 32, 33, 34, 35, 45, 47), "time"),
    22: "both",
    46: "duration",
}
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")


def xlsx_sheets(path: Path) -> Iterator[SheetRows]:
    """The worksheets of an xlsx or xlsm workbook in its order. Raises Unreadable.

    Memory holds the texts that its cells share, never its cells.
    """
    with _open_package(path) as package:
        main = dict(_relations(package, "").values()).get("officeDocument", "xl/workbook.xml")
        relations = _relations(package, main)
        part_of_kind = dict(relations.values())
        cells = _XlsxCells(
            _SharedTexts(package, part_of_kind.get("sharedStrings", "")),
            _date_formats(package, part_of_kind.get("styles", "")),
        )
        workbook = package.tree(main)
        for properties in workbook.iterfind(".//{*}workbookPr"):
            cells.from_1904 = properties.get("date1904", "0") in ("1", "true", "on")
        for sheet in workbook.iterfind(".//{*}sheet"):
            kind, part = relations.get(_relation_id(sheet), ("", ""))
            if kind == "worksheet":
                hidden = sheet.get("state", "visible") != "visible"
                yield sheet.get("name", ""), hidden, _xlsx_rows(package, part, cells)


def _relations(package: _Package, part: str) -> dict[str, tuple[str, str]]:
    """By id: the last word of the relation's type, and the part that is meant."""
    folder, name = posixpath.split(part)
    relations: dict[str, tuple[str, str]] = {}
    file = posixpath.join(folder, "_rels", f"{name}.rels")
    for relation in package.tree(file) if file in package else ():
        if relation.get("TargetMode") != "External":
            target = posixpath.join("/", folder, relation.get("Target", ""))
            kind = relation.get("Type", "").rpartition("/")[2]
            relations[relation.get("Id", "")] = (kind, posixpath.normpath(target).lstrip("/"))
    return relations


def _relation_id(element: Element) -> str:
    return next((value for key, value in element.items() if key.endswith("}id")), "")


def _date_formats(package: _Package, part: str) -> list[str]:
    """For each style of a cell what `date_format` says of its number format."""
    styles = package.tree(part) if part in package else Element("none")
    formats = _BUILT_IN_FORMATS | {
        _int(own.get("numFmtId")): date_format(own.get("formatCode", ""))
        for own in styles.iterfind("{*}numFmts/{*}numFmt")
    }
    cells = styles.iterfind("{*}cellXfs/{*}xf")
    return [formats.get(_int(cell.get("numFmtId")), "") for cell in cells]


class _SharedTexts:
    """The texts that cells refer to by number, read only as far as they are asked for."""

    def __init__(self, package: _Package, part: str) -> None:
        self._source = _shared_texts(package, part) if part in package else iter(())
        self._texts: list[str] = []
        self._size = 0

    def __getitem__(self, index: int) -> str:
        while index >= len(self._texts):
            text = next(self._source, None)
            if text is None:
                raise Unreadable(
                    f"It is damaged: a cell refers to the shared text {index:,}, and there are "
                    f"{len(self._texts):,}. Open it in Excel, which repairs it, and save it."
                )
            self._texts.append(text)
            self._size += len(text)
            if self._size > _MAX_SHARED_TEXT:
                raise Unreadable(f"Its texts need more than 1 GB of memory. {_CSV}")
        return self._texts[index]


def _shared_texts(package: _Package, part: str) -> Iterator[str]:
    for _, element in package.events(part, "end"):
        if _local_name(element.tag) == "si":
            yield _string(element)
            element.clear()


def _string(element: Element) -> str:
    """The text of a shared or inline string; phonetic readings (rPh) are no part of it."""
    pieces = []
    for child in element:
        tag = _local_name(child.tag)
        if tag == "t":
            pieces.append(child.text or "")
        elif tag == "r":
            pieces += [run.text or "" for run in child if _local_name(run.tag) == "t"]
    return _unescaped("".join(pieces))


def _unescaped(text: str) -> str:
    """`_x000D_` is how the format writes a character that XML cannot have; surrogates stay."""
    if "_x" not in text:
        return text
    return _ESCAPE.sub(
        lambda m: m[0] if 0xD800 <= int(m[1], 16) < 0xE000 else chr(int(m[1], 16)), text
    )


def _xlsx_rows(package: _Package, part: str, cells: _XlsxCells) -> Iterator[Row]:
    """A row or cell without a number follows the one before."""
    number = 0
    row_tag = ""
    for _, element in package.events(part, "end"):
        if element.tag != row_tag:
            if row_tag or _local_name(element.tag) != "row":
                continue
            # Strict workbooks have another namespace than transitional ones.
            row_tag = element.tag
            cells.namespace = row_tag.removesuffix("row")
        number = _int(element.get("r")) or number + 1
        texts, totals = cells.of_row(element)
        is_hidden = element.get("hidden", "0") in ("1", "true")
        element.clear()
        yield Row(number, texts, is_hidden, totals)


class _XlsxCells:
    """The texts of cells, given what the workbook says once for all of them."""

    namespace = ""
    from_1904 = False

    def __init__(self, shared: _SharedTexts, formats: list[str]) -> None:
        self._shared = shared
        self._formats = formats
        self._columns: dict[str, int] = {}

    def of_row(self, row: Element) -> tuple[list[str | None], dict[int, str]]:
        """The cells up to the last that is filled, and the formulas of totals by column."""
        texts: list[str | None] = []
        totals: dict[int, str] = {}
        column = 0
        value_tag, formula_tag = f"{self.namespace}v", f"{self.namespace}f"
        for cell in row:
            if reference := cell.get("r"):
                letters = reference.rstrip("0123456789")
                column = self._columns.get(letters) or self._column(letters)
            else:
                column += 1
            value = cell.findtext(value_tag)
            if text := self._text(cell, value) if value else self._text_without_value(cell):
                if column > len(texts):
                    texts += [None] * (column - len(texts))
                texts[column - 1] = text
            if len(cell) > 1 and is_total(formula := cell.findtext(formula_tag)):
                totals[column - 1] = f"={formula}"
        return texts, totals

    def _column(self, letters: str) -> int:
        number = 0
        for letter in letters.upper()[:8]:
            number = number * 26 + ord(letter) - 64 if "A" <= letter <= "Z" else MAX_COLUMNS + 1
        if not 0 < number <= MAX_COLUMNS:
            raise Unreadable(f"It is damaged: {letters!r:.40} is no column of a sheet.")
        self._columns[letters] = number
        return number

    def _text(self, cell: Element, value: str) -> str:
        kind = cell.get("t", "n")
        if kind == "n":
            style = cell.get("s")
            shows = self._format(style) if style else ""
            if shows:
                return date_text(value.strip(), shows, from_1904=self.from_1904)
            return number_text(value.strip())
        if kind == "s":
            if not value.strip().isdecimal():
                raise Unreadable(f"It is damaged: {value!r:.40} is no number of a shared text.")
            return self._shared[int(value)]
        if kind == "b":
            return {"1": "TRUE", "0": "FALSE"}.get(value.strip(), value.strip().upper())
        # The text that a formula gave, an error (#N/A), an ISO date.
        return _unescaped(value)

    def _text_without_value(self, cell: Element) -> str:
        inline = cell.find(f"{self.namespace}is")
        if inline is not None:
            return _string(inline)
        formula = cell.find(f"{self.namespace}f")
        # Programs that do not calculate write no result. An empty cell would be wrong.
        return "" if formula is None or cell.get("t") == "str" else f"={formula.text or ''}"

    def _format(self, style: str) -> str:
        index = _int(style)
        return self._formats[index] if index < len(self._formats) else ""


# ods ---------------------------------------------------------------------------------------------

_CONTENT = "content.xml"
_MANIFEST = "META-INF/manifest.xml"
_OFFICE, _TABLE, _TEXT, _STYLE = (
    f"{{urn:oasis:names:tc:opendocument:xmlns:{name}:1.0}}"
    for name in ("office", "table", "text", "style")
)
_CELL, _COVERED_CELL = f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"
# Elements whose children count. Others (drawings, comments, tracked changes) are passed over.
_ENTERED = {
    *(f"{_OFFICE}{name}" for name in ("document-content", "automatic-styles", "body")),
    f"{_OFFICE}spreadsheet",
    f"{_STYLE}style",
    f"{_TABLE}table",
    *(f"{_TABLE}table-{name}" for name in ("row-group", "rows", "header-rows", "row")),
}
# A cell's text has these in it without showing them: notes, and the readings above characters.
_NOT_SHOWN = (f"{_TEXT}note", f"{_TEXT}ruby-text")
_DURATION = re.compile(
    r"(-?)P(?:([0-9]{1,6})D)?T?(?:([0-9]{1,7})H)?(?:([0-9]{1,7})M)?"
    r"(?:([0-9]{1,7}(?:[.,][0-9]+)?)S)?"
)
_STYLE_OF_TABLE = f"{_STYLE}table-properties"
_TABLE_TAG = re.compile(rb"<(?:[\w.-]+:)?table[\s/>]")
_ZEROS_OF_FRACTION = re.compile(r"(?:\.0*|(\.[0-9]*[1-9])0+)$")


def ods_sheets(path: Path) -> Iterator[SheetRows]:
    """The sheets of an OpenDocument workbook in its order. Raises Unreadable."""
    with _open_package(path) as package:
        if _MANIFEST in package:
            with package.open(_MANIFEST) as stream:
                if b"encryption-data" in stream.read(4 << 20):
                    raise Unreadable(_PASSWORD)
        total = _count_tables(package)
        for (number, name, hidden), group in groupby(_ods_rows(package), key=itemgetter(0)):
            yield name, hidden, (row for _, row in group if row is not None)
            if number == total:
                return


def _count_tables(package: _Package) -> int:
    """How many sheets there are at most; 0 if that is not to be seen without reading the XML.

    Counting bytes takes a fraction of the time, and spares reading on after the first rows of the
    last sheet.
    """
    count, kept = 0, b""
    with package.open(_CONTENT) as stream:
        while chunk := stream.read(1 << 20):
            chunk = kept + chunk
            whole = chunk.rfind(b">") + 1
            count += len(_TABLE_TAG.findall(chunk, 0, whole))
            kept = chunk[whole:]
    return count


def _ods_rows(package: _Package) -> Iterator[tuple[tuple[int, str, bool], Row | None]]:
    """Each row with the number, the name and the hiding of its sheet, which begins with None."""
    sheet = (0, "", False)
    hidden_styles: set[str] = set()
    passed_over = number = 0
    for event, element in package.events(_CONTENT, "start", "end"):
        tag = element.tag
        if event == "start":
            if passed_over or tag not in _ENTERED:
                passed_over += 1
            elif tag == f"{_TABLE}table":
                hidden = element.get(f"{_TABLE}style-name") in hidden_styles
                sheet = (sheet[0] + 1, element.get(f"{_TABLE}name", ""), hidden)
                number = 0
                yield sheet, None
        elif passed_over:
            passed_over -= 1
            if not passed_over and tag not in (_CELL, _COVERED_CELL, _STYLE_OF_TABLE):
                element.clear()
        elif tag == f"{_STYLE}style":
            style = element.find(_STYLE_OF_TABLE)
            if style is not None and style.get(f"{_TABLE}display") == "false":
                hidden_styles.add(element.get(f"{_STYLE}name", ""))
        elif tag == f"{_TABLE}table-row":
            times = _int(element.get(f"{_TABLE}number-rows-repeated")) or 1
            is_hidden = element.get(f"{_TABLE}visibility", "visible") != "visible"
            cells, totals = _ods_cells(element, number + 1)
            is_beyond = number + times > MAX_ROWS or times * len(cells) > _MAX_REPEATED
            if cells and times > 1 and is_beyond:
                raise Unreadable(
                    f"Row {number + 1:,} claims to stand there {times:,} times. {_CSV}"
                )
            for _ in range(times if cells else 0):
                number += 1
                yield sheet, Row(number, cells, is_hidden, totals)
            number += 0 if cells else times
            element.clear()


def _ods_cells(row: Element, number: int) -> tuple[list[str | None], dict[int, str]]:
    texts: list[str | None] = []
    totals: dict[int, str] = {}
    # Empty cells are counted first: most stand at the end of a row, by the thousand.
    empty = 0
    for cell in row:
        times = _int(cell.get(f"{_TABLE}number-columns-repeated")) or 1
        # A covered cell lies under a merged one, where nobody sees it.
        text = _ods_text(cell) if cell.tag == _CELL else ""
        if not text:
            empty += times
        elif len(texts) + empty + times > MAX_COLUMNS:
            raise Unreadable(
                f"Row {number:,} has a filled cell to the right of column {MAX_COLUMNS:,}. {_CSV}"
            )
        else:
            texts += [None] * empty + [text] * times
            empty = 0
            if is_total(formula := cell.get(f"{_TABLE}formula")):
                totals[len(texts) - 1] = str(formula)
    return texts, totals


def _ods_text(cell: Element) -> str:
    kind = cell.get(f"{_OFFICE}value-type", "")
    paragraphs = "\n".join([_paragraph(part) for part in cell if part.tag.startswith(_TEXT)])
    if any(key.endswith("}value-type") and value == "error" for key, value in cell.items()):
        return paragraphs
    if kind in ("float", "percentage", "currency"):
        return number_text(cell.get(f"{_OFFICE}value", "").strip())
    if kind == "date":
        return _ZEROS_OF_FRACTION.sub(r"\1", cell.get(f"{_OFFICE}date-value", "").strip())
    if kind == "time":
        return _duration(cell.get(f"{_OFFICE}time-value", "").strip())
    if kind == "boolean":
        return cell.get(f"{_OFFICE}boolean-value", "").strip().upper()
    return cell.get(f"{_OFFICE}string-value") or paragraphs


def _paragraph(element: Element) -> str:
    pieces = [element.text or ""]
    for child in element:
        if child.tag == f"{_TEXT}s":
            pieces.append(" " * min(_int(child.get(f"{_TEXT}c")) or 1, 1 << 16))
        elif child.tag == f"{_TEXT}tab":
            pieces.append("\t")
        elif child.tag == f"{_TEXT}line-break":
            pieces.append("\n")
        elif child.tag.startswith(_TEXT) and child.tag not in _NOT_SHOWN:
            pieces.append(_paragraph(child))
        pieces.append(child.tail or "")
    return "".join(pieces)


def _duration(written: str) -> str:
    match = _DURATION.fullmatch(written)
    if not match or not any(match.groups()[1:]):
        return written
    sign, days, hours, minutes, seconds = match.groups()
    whole = (int(days or 0) * 24 + int(hours or 0)) * 3600 + int(minutes or 0) * 60
    milliseconds = whole * 1000 + round(float((seconds or "0").replace(",", ".")) * 1000)
    return duration_text(-milliseconds if sign else milliseconds)


# xls ---------------------------------------------------------------------------------------------


def xls_sheets(path: Path) -> Iterator[SheetRows]:
    """The sheets of an xls workbook (Excel 2.0 to 2003), read by xlrd. Raises Unreadable."""
    import xlrd
    from xlrd.biffh import XLRDError
    from xlrd.compdoc import CompDocError

    try:
        book = xlrd.open_workbook(
            str(path), logfile=io.StringIO(), formatting_info=True, on_demand=True, ragged_rows=True
        )
    except (XLRDError, CompDocError) as error:
        if "encrypted" in str(error):
            raise Unreadable(_PASSWORD) from error
        raise Unreadable(
            f"It is damaged, or no workbook of Excel: {error}. "
            "Open it in Excel, save it as .xlsx and load that."
        ) from error
    for index, name in enumerate(book.sheet_names()):
        sheet = book.sheet_by_index(index)
        yield name, sheet.visibility != 0, _xls_rows(book, sheet)
        book.unload_sheet(index)


def _xls_rows(book: xlrd.Book, sheet: xlrd.sheet.Sheet) -> Iterator[Row]:
    import xlrd
    from xlrd.biffh import error_text_from_code

    format_of_style: dict[int, str] = {}

    def text(kind: int, value: object, style: int) -> str | None:
        if kind == xlrd.XL_CELL_TEXT:
            return str(value)
        if kind in (xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE):
            if style not in format_of_style:
                format_of_style[style] = _xls_format(book, style)
            if shows := format_of_style[style]:
                return date_text(repr(value), shows, from_1904=book.datemode == 1)
            return number_text(repr(value))
        if kind == xlrd.XL_CELL_BOOLEAN:
            return "TRUE" if value else "FALSE"
        if kind == xlrd.XL_CELL_ERROR:
            known = error_text_from_code.get(value) if isinstance(value, int) else None
            return known or "#ERROR"
        return None

    for at in range(sheet.nrows):
        kinds, values = sheet.row_types(at), sheet.row_values(at)
        cells = [
            text(kind, value, sheet.cell_xf_index(at, column))
            for column, (kind, value) in enumerate(zip(kinds, values, strict=True))
        ]
        info = sheet.rowinfo_map.get(at)
        yield Row(at + 1, cells, info is not None and bool(info.hidden))


def _xls_format(book: xlrd.Book, style: int) -> str:
    if not 0 <= style < len(book.xf_list):
        return ""
    number_format = book.format_map.get(book.xf_list[style].format_key)
    return date_format(number_format.format_str) if number_format else ""
