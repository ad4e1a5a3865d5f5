"""Parsing files into records: what a file is, where its header is, and how its lines are split.

records        the parser interface and its output: batches of CSV for COPY, and rejected lines
headers        which input a header means, and what is wrong with one that means none
delimited      delimited text: the dialect, deduced from the header, and the records
encoding       the encoding of a text, known or guessed without a rival; decoding
splitter       where a line, a cell and a record end: the definition, and its fast path
json_lines     JSON lines
sheets         tables already split into cells; workbooks (xlsx, ods, xls) are opened in a child
               process with limits (workbook_child)
parquet        Parquet

Parsers do not interpret cells, except for the ids that distinguish a record from a header. Every
record ends up in exactly one place: in the text of a Batch, or among its rejected lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from loader.errors import FileRefused
from loader.sources import BLANKS, Input, ReadOptions, with_said_names

if TYPE_CHECKING:
    from loader.files.content import LocalFile
    from loader.parsers.records import Parser

# A line that begins a JSON object; the beginning of an array of objects.
_OBJECT = re.compile(r'^[ \t]*+\{\s*+(?:"|\}\s*+$)', re.MULTILINE)
_ARRAY = re.compile(r"\[\s*+\{")


def recognise(file: LocalFile, inputs: Sequence[Input], options: ReadOptions) -> Sequence[Parser]:
    """The parsers of a file: one, or one for each sheet of a workbook that has a header.

    Raises FileRefused if it is not a table with the header of an input, or could belong to two.
    """
    # Imported only when a file needs them; the child process for workbooks needs none.
    from loader.files.content import DecompressedStream
    from loader.parsers import delimited, encoding, sheets

    inputs = with_said_names(inputs, options.names)
    name, kind = file.name, file.kind
    if kind in ("xlsx", "xls", "ods"):
        tables = sheets.workbook_sheets(file.path, name, kind)
        if options.sheet is not None:
            parts = ", ".join(repr(sheet.part) for sheet in tables)
            tables = [sheet for sheet in tables if sheet.part == options.sheet]
            if not tables:
                raise FileRefused(name, f": it has no sheet {options.sheet!r}, but {parts}.")
        return sheets.recognise_sheets(name, tables, inputs, options.columns)
    if kind == "parquet":
        from loader.parsers import parquet

        parsers = sheets.recognise_sheets(name, [parquet.sheet(file.path, name)], inputs)
        if separator := parsers[0].input.formats.list_separator:
            parsers[0].sheet = parquet.sheet(file.path, name, separator)
        return parsers
    if kind != "text":
        raise FileRefused(
            name, f": it is {kind}, and no table that labmart reads. Leave it out (--exclude)."
        )
    opened = partial(DecompressedStream, file.path, name)
    with opened() as stream:
        sample = stream.read(4096)
    head = encoding.decode(sample, encoding.wide_encoding_of(sample) or "utf-8").lstrip(BLANKS)
    # A column may be called {id}, and a line `[1]` may precede a header.
    if _ARRAY.match(head) or (head[:1] == "{" and _OBJECT.search(head)):
        from loader.parsers import json_lines

        return [json_lines.recognise(name, opened, inputs, options.encoding)]
    wrapping = f"{file.compression}, " if file.compression else ""
    return [delimited.recognise_text(name, opened, inputs, options, wrapping)]
