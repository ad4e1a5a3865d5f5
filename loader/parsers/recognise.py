"""A local file into parsers: what it is, told by its content alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from loader.errors import FileRefused
from loader.files.content import DecompressedStream, LocalFile
from loader.parsers.delimited import recognise_text
from loader.parsers.dialect import ReadOptions
from loader.parsers.encoding import decode, wide_encoding_of
from loader.parsers.records import Parser
from loader.parsers.sheets import recognise_sheets
from loader.sources import BLANKS, Input, with_said_names

_WORKBOOKS = ("xlsx", "xls", "ods")
# A line that begins an object of JSON; the beginning of an array of them.
_OBJECT = re.compile(r'^[ \t]*+\{\s*+(?:"|\}\s*+$)', re.MULTILINE)
_ARRAY = re.compile(r"\[\s*+\{")


def recognise(file: LocalFile, inputs: Sequence[Input], options: ReadOptions) -> Sequence[Parser]:
    """The parsers of a file: one, or one for each sheet of a workbook that has a header.

    Raises FileRefused when it is no table with a header of an input, or could be two. Parsers that
    need a library of their own are imported when a file needs them.
    """
    assert file.content is not None, "collect looks into every file"
    inputs = with_said_names(inputs, options.names)
    name, kind = file.name, file.content.kind
    if kind in _WORKBOOKS:
        from loader.parsers import workbooks

        sheets = workbooks.sheets(file.path, name, kind)
        if options.sheet is not None:
            parts = ", ".join(repr(sheet.part) for sheet in sheets)
            sheets = [sheet for sheet in sheets if sheet.part == options.sheet]
            if not sheets:
                raise FileRefused(name, f": it has no sheet {options.sheet!r}, but {parts}.")
        return recognise_sheets(name, sheets, inputs, options.columns)
    if kind == "parquet":
        from loader.parsers import parquet

        parsers = recognise_sheets(name, [parquet.sheet(file.path, name)], inputs)
        if separator := parsers[0].input.formats.list_separator:
            parsers[0].sheet = parquet.sheet(file.path, name, separator)
        return parsers
    if kind != "text":
        raise FileRefused(
            name, f": it is {kind}, and no table that labmart reads. Leave it out (--exclude)."
        )

    def opened() -> DecompressedStream:
        return DecompressedStream(file.path, name)

    with opened() as stream:
        is_json = _begins_as_json(stream.read(4096))
    if is_json:
        from loader.parsers import json_lines

        return [json_lines.recognise(name, opened, inputs, options.encoding)]
    wrapping = f"{file.content.compression}, " if file.content.compression else ""
    return [recognise_text(name, opened, inputs, options, wrapping)]


def _begins_as_json(sample: bytes) -> bool:
    """Whether a text is JSON objects, or an array of them; a line `[1]` before a header is not."""
    head = decode(sample, wide_encoding_of(sample) or "utf-8").lstrip(BLANKS)
    # A column may be called {id}.
    return _ARRAY.match(head) is not None or (head[:1] == "{" and _OBJECT.search(head) is not None)
