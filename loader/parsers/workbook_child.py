"""The child process that opens a workbook, so that any damage the file does ends with it.

    python -P -m loader.parsers.workbook_child FORMAT PATH preview ROWS
    python -P -m loader.parsers.workbook_child FORMAT PATH rows SHEET

stdout has one `sheets.Message` per line, as JSON: for a preview one per sheet with its first rows,
for rows as many as needed, and a last one that says that this is all, or why something is missing.

Each format is one generator that yields the name of a sheet, whether it is hidden, and its rows;
rows not asked for are skipped. A cell is the text that a person sees, with nothing cut off: one
that shows 50 % holds 0.5 and is given as `0.5`, and a date whose format hides the time of day keeps
it.

Sources: ECMA-376 part 1 (SpreadsheetML), OpenDocument 1.3 part 3, chapter 9.
"""

from __future__ import annotations

import io
import os
import posixpath
import re
import resource
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from zipfile import ZipFile

import msgspec

from loader.parsers.records import Row, rounded_text

if TYPE_CHECKING:
    import xlrd

SheetRows = tuple[str, bool, Iterator[Row]]

# An open workbook holds the texts shared by cells (at most 1 GB) and, for xls, one sheet of at
# most 65,536 rows; Python itself takes some 30 MB.
MEMORY = 2 << 30
# CPU time in seconds. A sheet of a million rows and ten columns takes about a minute.
CPU_SECONDS = 1800
# Maximum rows, or characters, in one message.
_ROWS_PER_MESSAGE = 1000
_TEXT_PER_MESSAGE = 1 << 20
# Limits of the programs that write these files.
MAX_ROWS = 1 << 20
MAX_COLUMNS = 1 << 14
# More text in one sheet is an attack, such as one long text shared by a million cells.
MAX_SHEET_TEXT = 4 << 30
# Characters in one row; Excel allows 32,767 per cell.
MAX_ROW_TEXT = 8 << 20
# Maximum characters of shared texts in memory.
_MAX_SHARED_TEXT = 1 << 30
# A sheet of a million rows and fifty columns has about 3 GB of XML.
_MAX_PART = 6 << 30
# Real sheets shrink to a tenth, rarely to a hundredth; deflate's limit is 1 : 1,032.
_MAX_RATIO = 500
_RATIO_COUNTS_FROM = 64 << 20
# How many filled cells one repeated row may expand to; more is an attack.
_MAX_REPEATED = 20_000_000
# XML_ERROR_NO_MEMORY of expat.h
_NO_MEMORY = 1
_CSV = "Open it in a spreadsheet program, save the sheet as CSV and load that."
_PASSWORD = "It is protected by a password. Save it without one and load it again."


class Unreadable(Exception):  # noqa: N818 -- a name says the fault
    """A workbook that is not read; `str()` gives a message for the user."""


def main(arguments: list[str]) -> int:
    """Write what is asked for to stdout. Returns 0 even if the workbook is refused."""
    # macOS ignores the memory limit. A crash must leave no core dump of the laboratory's data.
    limits = {resource.RLIMIT_AS: MEMORY, resource.RLIMIT_CPU: CPU_SECONDS, resource.RLIMIT_CORE: 0}
    for kind, most in limits.items():
        with suppress(ValueError, OSError):
            _, hard = resource.getrlimit(kind)
            soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (soft, hard))
    out = sys.stdout.buffer
    # A library that prints would break the protocol.
    sys.stdout = sys.stderr
    format_, path, task, number = arguments
    try:
        for message in _messages(_FORMATS[format_](Path(path)), task, int(number)):
            out.write(msgspec.json.encode(message) + b"\n")
        last: dict[str, object] = {"end": True}
    except BrokenPipeError:
        # The parent has seen enough. Exit without flushing again.
        os._exit(0)
    except Exception as fault:
        last = {"refused": _refusal(fault)}
    with suppress(BrokenPipeError):
        out.write(msgspec.json.encode(last) + b"\n")
        out.flush()
    return 0


def _refusal(fault: Exception) -> str:
    """Why a workbook is not read. A damaged one can make a parser fail in any way."""
    reason = f"{type(fault).__name__}: {fault}"[:300]
    if isinstance(fault, Unreadable):
        return str(fault)
    if isinstance(fault, MemoryError) or getattr(fault, "code", None) == _NO_MEMORY:
        return f"Reading it takes more than {MEMORY >> 30} GB of memory. {_CSV}"
    if isinstance(fault, OSError):
        return f"It cannot be read: {fault.strerror}."
    if "encrypted" in reason:
        return _PASSWORD
    if "Can't find workbook" in reason:
        # That is all that shows in an .xlsx with a password.
        return f"{_PASSWORD} Or it is no workbook at all."
    return f"It is damaged or incomplete ({reason}). Fetch or save it again, or as CSV."


def _messages(sheets: Iterator[SheetRows], task: str, number: int) -> Iterator[dict[str, object]]:
    if task == "preview":
        for name, hidden, rows in sheets:
            first, is_whole = next(portions(rows, number))
            yield {"rows": first, "sheet": name, "hidden": hidden, "is_whole": is_whole}
    else:
        _, _, rows = next(islice(sheets, number, None))
        for portion, _ in portions(rows, _ROWS_PER_MESSAGE):
            yield {"rows": portion}


def portions(rows: Iterator[Row], limit: int) -> Iterator[tuple[list[Row], bool]]:
    """The rows that are not empty, up to their last filled cell.

    Yields up to `limit` rows at a time, fewer if they are long, and whether they are the last.
    Raises Unreadable for a row, or an amount of text, that no sheet can have.
    """
    portion: list[Row] = []
    size = total = 0
    for number, cells in rows:
        last = len(cells)
        while last and not cells[last - 1]:
            last -= 1
        if not last:
            continue
        if number > MAX_ROWS or last > MAX_COLUMNS:
            raise Unreadable(
                f"It claims a cell in row {number:,}, column {last:,}; a sheet ends at row "
                f"{MAX_ROWS:,}, column {MAX_COLUMNS:,}. {_CSV}"
            )
        filled = [cell or None for cell in cells[:last]]
        length = sum([len(cell) for cell in filled if cell])
        total += length
        if length > MAX_ROW_TEXT or total > MAX_SHEET_TEXT:
            raise Unreadable(
                f"Up to row {number:,} it has more text than a laboratory's sheet can have. {_CSV}"
            )
        portion.append(Row(number, filled))
        size += length
        if size > _TEXT_PER_MESSAGE or len(portion) == limit:
            yield portion, False
            portion, size = [], 0
    yield portion, True


class _Package:
    """The zip archive of an xlsx or ods file, and its XML, neither of which is trusted.

    Part names ignore case, as in Excel. expat itself refuses entity expansion attacks, and no
    external entity is read.
    """

    def __init__(self, archive: ZipFile) -> None:
        self._archive = archive
        self._parts = {_part_key(info.filename): info for info in archive.infolist()}

    def __contains__(self, name: str) -> bool:
        return _part_key(name) in self._parts

    def open(self, name: str) -> IO[bytes]:
        """The bytes of a part. Raises Unreadable for a part too large for any real sheet."""
        info = self._parts[_part_key(name)]
        too_dense = info.file_size > _MAX_RATIO * max(info.compress_size, 1)
        if info.file_size > _MAX_PART or (info.file_size > _RATIO_COUNTS_FROM and too_dense):
            raise Unreadable(
                f"Its part {info.filename} would unpack {info.compress_size:,} bytes to "
                f"{info.file_size:,}, more than any real sheet. {_CSV}"
            )
        return self._archive.open(info)

    def events(self, name: str, *events: str) -> Iterator[tuple[str, Element]]:
        """The events of a part's elements, from ElementTree.iterparse."""
        with self.open(name) as part:
            yield from ElementTree.iterparse(part, events)

    def tree(self, name: str) -> Element:
        """A small part as a whole: the last event is the end of its root."""
        return deque(self.events(name, "end"), maxlen=1)[0][1]


def _part_key(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").casefold()


def _local_name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _int(written: str | None) -> int:
    """A number from the file; 0 if it is not one."""
    text = (written or "").strip()
    return int(text) if text.isdecimal() and len(text) < 12 else 0


# the text of a cell ------------------------------------------------------------------------------

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
# A number that needs no change.
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,13}")
# A total below a table, which is not a record: `COUNT(A2:A9)`.
_TOTAL = re.compile(
    r"(?:of:)?=?(?:COUNT(?:A|IFS?|BLANK)?|SUBTOTAL|AGGREGATE|ROWS)\([^()]*\)", re.IGNORECASE
)
# The precision of a spreadsheet's number.
_DIGITS = 15
_MILLISECONDS_A_DAY = 86_400_000
# 9999-12-31, the last day that Excel knows.
_LAST_DAY = 2_958_466
_HIDDEN_IN_FORMAT = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?![hHmMsS]+\])[^\]]*\]|AM/PM|A/P', re.I)


def number_text(written: str) -> str:
    """A number as the file writes it (`44927`, `1.5E-3`) with 15 digits and no exponent.

    A larger one has lost digits and is given as displayed. Anything else stays unchanged.
    """
    if _WHOLE.fullmatch(written) or not _NUMBER.fullmatch(written):
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
    """What a number format shows: a "date" or time of day, a "duration", or neither: ""."""
    section = _HIDDEN_IN_FORMAT.sub("", code).split(";")[0].lower()
    if re.search(r"\[[hms]+\]", section):
        return "duration"
    return "date" if "general" not in section and re.search("[dmyhs]", section) else ""


def date_text(written: str, shows: str, *, from_1904: bool) -> str:
    """A day number (days since the end of 1899, or since 1904) in a format of `date_format`.

    `2023-01-01`, `2023-01-01T08:30:00`, `08:30:00` or, as a duration, `36:00:00`. What Excel shows
    as `####` stays a number. Before March 1900, Excel is a day ahead of the calendar.
    """
    if not _NUMBER.fullmatch(written) or not abs(days := float(written)) < _LAST_DAY:
        return number_text(written)
    # Excel counts in milliseconds at best; a double holds a day number far more exactly.
    milliseconds = round(days * _MILLISECONDS_A_DAY)
    if shows == "duration":
        return duration_text(milliseconds)
    if milliseconds < 0:
        return number_text(written)
    day, of_day = divmod(milliseconds, _MILLISECONDS_A_DAY)
    clock = duration_text(of_day)
    if day == 0:
        return clock
    calendar = (date(1904, 1, 1) if from_1904 else date(1899, 12, 30)) + timedelta(days=day)
    return f"{calendar}T{clock}" if of_day else f"{calendar}"


def duration_text(milliseconds: int) -> str:
    """`08:30:00`, `36:00:00`, `-00:00:01.250`: hours may exceed a day."""
    seconds, rest = divmod(abs(milliseconds), 1000)
    sign = "-" if milliseconds < 0 else ""
    fraction = f".{rest:03d}" if rest else ""
    return f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"


# xlsx and xlsm -----------------------------------------------------------------------------------

# Built-in formats, referred to by number (ECMA-376 part 1, 18.8.30, with the East Asian ones).
_BUILT_IN_FORMATS = {
    **dict.fromkeys((*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)), "date"),
    46: "duration",
}
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")


def xlsx_sheets(path: Path) -> Iterator[SheetRows]:
    """The worksheets of an xlsx or xlsm workbook in its order.

    Memory holds the texts that cells share, never the cells.
    """
    with ZipFile(path) as archive:
        package = _Package(archive)
        main_part = dict(_relations(package, "").values()).get("officeDocument", "xl/workbook.xml")
        relations = _relations(package, main_part)
        cells = _XlsxCells(package, dict(relations.values()))
        workbook = package.tree(main_part)
        for properties in workbook.iterfind(".//{*}workbookPr"):
            cells.from_1904 = properties.get("date1904", "0") in ("1", "true", "on")
        for sheet in workbook.iterfind(".//{*}sheet"):
            relation = next((value for key, value in sheet.items() if key.endswith("}id")), "")
            kind, part = relations.get(relation, ("", ""))
            if kind == "worksheet":
                hidden = sheet.get("state", "visible") != "visible"
                yield sheet.get("name", ""), hidden, cells.rows(part)


def _relations(package: _Package, part: str) -> dict[str, tuple[str, str]]:
    """By id: the last word of the relation's type, and its target part."""
    folder, name = posixpath.split(part)
    relations: dict[str, tuple[str, str]] = {}
    file = posixpath.join(folder, "_rels", f"{name}.rels")
    for relation in package.tree(file) if file in package else ():
        if relation.get("TargetMode") != "External":
            target = posixpath.join("/", folder, relation.get("Target", ""))
            kind = relation.get("Type", "").rpartition("/")[2]
            relations[relation.get("Id", "")] = (kind, posixpath.normpath(target).lstrip("/"))
    return relations


def _string(element: Element) -> str:
    """The text of a shared or inline string, without phonetic readings (rPh)."""
    pieces = []
    for child in element:
        runs = child if _local_name(child.tag) == "r" else (child,)
        pieces += [run.text or "" for run in runs if _local_name(run.tag) == "t"]
    return _unescaped("".join(pieces))


def _unescaped(text: str) -> str:
    """Decode `_x000D_`, the format's notation for characters XML cannot have; surrogates stay."""
    if "_x" not in text:
        return text
    return _ESCAPE.sub(
        lambda m: m[0] if 0xD800 <= int(m[1], 16) < 0xE000 else chr(int(m[1], 16)), text
    )


class _XlsxCells:
    """The texts of cells, given what is defined once per workbook.

    Shared texts are read only as far as they are needed.
    """

    namespace = ""
    from_1904 = False

    def __init__(self, package: _Package, part_of_kind: dict[str, str]) -> None:
        self._package = package
        self._columns: dict[str, int] = {}
        shared = part_of_kind.get("sharedStrings", "")
        events = package.events(shared, "end") if shared in package else iter(())
        self._items = (element for _, element in events if _local_name(element.tag) == "si")
        self._shared: list[str] = []
        self._shared_size = 0
        part = part_of_kind.get("styles", "")
        styles = package.tree(part) if part in package else Element("none")
        formats = _BUILT_IN_FORMATS | {
            _int(own.get("numFmtId")): date_format(own.get("formatCode", ""))
            for own in styles.iterfind("{*}numFmts/{*}numFmt")
        }
        # `date_format` of each style, by number.
        self._formats = {
            at: formats.get(_int(style.get("numFmtId")), "")
            for at, style in enumerate(styles.iterfind("{*}cellXfs/{*}xf"))
        }

    def rows(self, part: str) -> Iterator[Row]:
        """The rows of a sheet. A row or cell without a number follows the previous one."""
        number = 0
        row_tag = ""
        for _, element in self._package.events(part, "end"):
            if element.tag != row_tag:
                if row_tag or _local_name(element.tag) != "row":
                    continue
                # Strict and transitional workbooks have different namespaces.
                row_tag = element.tag
                self.namespace = row_tag.removesuffix("row")
            number = _int(element.get("r")) or number + 1
            texts = self._of_row(element)
            element.clear()
            yield Row(number, texts)

    def _of_row(self, row: Element) -> list[str | None]:
        """The cells of a row up to the last filled one."""
        texts: list[str | None] = []
        column = 0
        value_tag, formula_tag = f"{self.namespace}v", f"{self.namespace}f"
        for cell in row:
            if reference := cell.get("r"):
                letters = reference.rstrip("0123456789")
                column = self._columns.get(letters) or self._column(letters)
            else:
                column += 1
            value = cell.findtext(value_tag)
            text = self._text(cell, value) if value else self._text_without_value(cell)
            if len(cell) > 1 and _TOTAL.fullmatch(formula := cell.findtext(formula_tag, "")):
                text = f"={formula}"
            if text:
                if column > len(texts):
                    texts += [None] * (column - len(texts))
                texts[column - 1] = text
        return texts

    def _shared_text(self, index: int) -> str:
        while index >= len(self._shared):
            item = next(self._items, None)
            if item is None:
                raise Unreadable(
                    f"It is damaged: a cell refers to the shared text {index:,}, and there are "
                    f"{len(self._shared):,}. Open it in Excel, which repairs it, and save it."
                )
            self._shared.append(_string(item))
            item.clear()
            self._shared_size += len(self._shared[-1])
            if self._shared_size > _MAX_SHARED_TEXT:
                raise Unreadable(f"Its texts need more than 1 GB of memory. {_CSV}")
        return self._shared[index]

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
            shows = self._formats.get(_int(style)) if style else ""
            if shows:
                return date_text(value.strip(), shows, from_1904=self.from_1904)
            return number_text(value.strip())
        if kind == "s":
            return self._shared_text(int(value))
        if kind == "b":
            return {"1": "TRUE", "0": "FALSE"}.get(value.strip(), value.strip().upper())
        # The text result of a formula, an error (#N/A), or an ISO date.
        return _unescaped(value)

    def _text_without_value(self, cell: Element) -> str:
        inline = cell.find(f"{self.namespace}is")
        if inline is not None:
            return _string(inline)
        formula = cell.find(f"{self.namespace}f")
        # Programs that do not calculate write no result; an empty cell would be wrong.
        return "" if formula is None or cell.get("t") == "str" else f"={formula.text or ''}"


# ods ---------------------------------------------------------------------------------------------

_CONTENT = "content.xml"
_MANIFEST = "META-INF/manifest.xml"
_OFFICE, _TABLE, _TEXT, _STYLE = (
    f"{{urn:oasis:names:tc:opendocument:xmlns:{name}:1.0}}"
    for name in ("office", "table", "text", "style")
)
_CELL = f"{_TABLE}table-cell"
# Elements whose content is not rows: tables within cells, drawings, deleted rows.
_CLOSED = {
    *(_CELL, f"{_TABLE}covered-table-cell"),
    *(f"{_TABLE}shapes", f"{_TABLE}tracked-changes", f"{_TABLE}dde-links"),
}
# Parts of a cell's text that are not shown: notes, and readings above characters.
_NOT_SHOWN = (f"{_TEXT}note", f"{_TEXT}ruby-text")
_TABLE_TAG = re.compile(rb"<(?:[\w.-]+:)?table[\s/>]")


def ods_sheets(path: Path) -> Iterator[SheetRows]:
    """The sheets of an OpenDocument workbook in its order."""
    with ZipFile(path) as archive:
        package = _Package(archive)
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
    """The maximum number of sheets; 0 if it cannot be known without parsing the XML.

    Counting bytes takes a fraction of the time, and saves reading past the first rows of the last
    sheet.
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
    """Each row with its sheet: number, name, whether hidden. A sheet begins with None."""
    sheet = (0, "", False)
    hidden_styles: set[str] = set()
    closed = number = 0
    for event, element in package.events(_CONTENT, "start", "end"):
        tag = element.tag
        if tag in _CLOSED:
            closed += 1 if event == "start" else -1
        elif closed:
            continue
        elif event == "start":
            if tag == f"{_TABLE}table":
                hidden = element.get(f"{_TABLE}style-name") in hidden_styles
                sheet = (sheet[0] + 1, element.get(f"{_TABLE}name", ""), hidden)
                number = 0
                yield sheet, None
        elif tag == f"{_STYLE}style":
            properties = element.find(f"{_STYLE}table-properties")
            if properties is not None and properties.get(f"{_TABLE}display") == "false":
                hidden_styles.add(element.get(f"{_STYLE}name", ""))
        elif tag == f"{_TABLE}table-row":
            times = _int(element.get(f"{_TABLE}number-rows-repeated")) or 1
            cells = _ods_cells(element, number + 1)
            is_beyond = number + times > MAX_ROWS or times * len(cells) > _MAX_REPEATED
            if cells and times > 1 and is_beyond:
                raise Unreadable(
                    f"Row {number + 1:,} claims to stand there {times:,} times. {_CSV}"
                )
            for at in range(times if cells else 0):
                yield sheet, Row(number + at + 1, cells)
            number += times
            element.clear()


def _ods_cells(row: Element, number: int) -> list[str | None]:
    texts: list[str | None] = []
    # Empty cells are only counted at first: most are at the end of a row, by the thousand.
    empty = 0
    for cell in row:
        times = _int(cell.get(f"{_TABLE}number-columns-repeated")) or 1
        # A covered cell lies invisibly under a merged one.
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
    return texts


def _ods_text(cell: Element) -> str:
    formula = cell.get(f"{_TABLE}formula", "")
    if _TOTAL.fullmatch(formula):
        return formula
    kind = cell.get(f"{_OFFICE}value-type", "")
    paragraphs = "\n".join([_paragraph(part) for part in cell if part.tag.startswith(_TEXT)])
    if any(key.endswith("}value-type") and value == "error" for key, value in cell.items()):
        return paragraphs
    if kind in ("float", "percentage", "currency"):
        return number_text(cell.get(f"{_OFFICE}value", "").strip())
    if kind in ("date", "time"):
        # Times are ISO 8601 durations, `PT08H30M00S`.
        return cell.get(f"{_OFFICE}{kind}-value", "").strip()
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


# xls ---------------------------------------------------------------------------------------------


def xls_sheets(path: Path) -> Iterator[SheetRows]:
    """The sheets of an xls workbook (Excel 2.0 to 2003), read by xlrd."""
    import xlrd

    book = xlrd.open_workbook(
        str(path), logfile=io.StringIO(), formatting_info=True, on_demand=True, ragged_rows=True
    )
    code_of = {key: number_format.format_str for key, number_format in book.format_map.items()}
    styles = enumerate(book.xf_list)
    formats = {at: date_format(code_of.get(style.format_key, "")) for at, style in styles}
    for index, name in enumerate(book.sheet_names()):
        sheet = book.sheet_by_index(index)
        yield name, sheet.visibility != 0, _xls_rows(sheet, formats, from_1904=book.datemode == 1)
        book.unload_sheet(index)


def _xls_rows(
    sheet: xlrd.sheet.Sheet, formats: dict[int, str], *, from_1904: bool
) -> Iterator[Row]:
    import xlrd

    def text(cell: xlrd.sheet.Cell) -> str | None:
        kind = cell.ctype
        if kind == xlrd.XL_CELL_TEXT:
            return str(cell.value)
        if kind in (xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE):
            if shows := formats.get(cell.xf_index):
                return date_text(repr(cell.value), shows, from_1904=from_1904)
            return number_text(repr(cell.value))
        if kind == xlrd.XL_CELL_BOOLEAN:
            return "TRUE" if cell.value else "FALSE"
        if kind == xlrd.XL_CELL_ERROR:
            return str(xlrd.error_text_from_code.get(cell.value, "#ERROR"))
        return None

    for at in range(sheet.nrows):
        yield Row(at + 1, [text(cell) for cell in sheet.row(at)])


_FORMATS = {"xlsx": xlsx_sheets, "ods": ods_sheets, "xls": xls_sheets}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
