"""A local file into Readers: what it is, told by its content alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from loader.errors import FileRefused
from loader.files import DecompressedStream, LocalFile, open_bytes
from loader.parsers import Reader
from loader.parsers.batches import HEADER_WITHIN, Sheet, SheetReader, recognise_sheet
from loader.parsers.delimited import recognise_text
from loader.parsers.dialect import ReadOptions
from loader.parsers.text import decode, encoding_of
from loader.sources import BLANKS, Input

_WORKBOOKS = ("xlsx", "xls", "ods")
# A line that begins an object of JSON; the beginning of an array of them.
_OBJECT = re.compile(r'^[ \t]*+\{\s*+(?:"|\}\s*+$)', re.MULTILINE)
_ARRAY = re.compile(r"\[\s*+\{")


def recognise(file: LocalFile, inputs: Sequence[Input], options: ReadOptions) -> list[Reader]:
    """The readers of a file: one, or one for each sheet of a workbook that has a header.

    Raises FileRefused when it is no table with a header of an input, or could be two.
    """
    assert file.content is not None, "collect looks into every file"
    kind = file.content.kind
    if kind in _WORKBOOKS:
        from loader.parsers.workbooks import sheets

        found = _chosen(file.name, sheets(file.path, file.name, kind), options)
        return list(_with_header(file.name, found, inputs, options.columns))
    if kind == "parquet":
        from loader.parsers.parquet import sheet

        return list(_with_header(file.name, [sheet(file.path, file.name)], inputs, ()))
    if kind != "text":
        raise FileRefused(
            file.name, f": it is {kind}, and no table that labmart reads. Leave it out (--exclude)."
        )

    def opened() -> DecompressedStream:
        return open_bytes(file.path, file.name)

    wrapping = "".join(f"{layer}, " for layer in file.content.layers)
    with opened() as stream:
        is_json = _begins_as_json(stream.read(4096))
    if is_json:
        from loader.parsers import json_lines

        return [json_lines.recognise(file.name, opened, inputs)]
    return [recognise_text(file.name, opened, inputs, options, wrapping)]


def _chosen(name: str, found: Sequence[Sheet], options: ReadOptions) -> Sequence[Sheet]:
    if options.sheet is None:
        return found
    chosen = [sheet for sheet in found if sheet.part == options.sheet]
    if not chosen:
        names = ", ".join(repr(sheet.part) for sheet in found)
        raise FileRefused(name, f": it has no sheet {options.sheet!r}, but {names}.")
    return chosen


def _with_header(
    name: str, found: Sequence[Sheet], inputs: Sequence[Input], columns: tuple[str, ...]
) -> Sequence[SheetReader]:
    recognised = {sheet.part: recognise_sheet(name, sheet, inputs, columns) for sheet in found}
    if len(recognised) < len(found):
        raise FileRefused(name, ": two of its sheets have the same name. Save it anew.")
    readers = [reader for reader in recognised.values() if reader]
    # What is hidden is mostly an older copy of what can be seen.
    visible = [reader for reader in readers if not reader.sheet.hidden]
    if visible:
        readers = visible
        left_out = [sheet.part for sheet in found if recognised[sheet.part] not in visible]
        readers[0].beside = tuple(f"left out the sheet {part!r}" for part in left_out)
    if not readers:
        looked = ", ".join(sheet.kind for sheet in found) or "no sheet"
        names = "; ".join(f"{entry.name}: {', '.join(entry.column_names)}" for entry in inputs)
        raise FileRefused(
            name,
            f": none of the first {HEADER_WITHIN} rows names all columns of an input ({names}). "
            f"Looked at: {looked}. Columns of sheets without a header are named with --columns.",
        )
    return readers


def _begins_as_json(sample: bytes) -> bool:
    """Whether a text is JSON objects, or an array of them; a line `[1]` before a header is not."""
    head = decode(sample, encoding_of(sample)).lstrip(BLANKS)
    # A column may be called {id}.
    return _ARRAY.match(head) is not None or (head[:1] == "{" and _OBJECT.search(head) is not None)
