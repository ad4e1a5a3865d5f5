"""What COPY makes of the CSV that the loader gives it."""

from __future__ import annotations

import re

Cells = tuple[str | None, ...]
Row = tuple[int, Cells]


BLANKS = " \t\r\n\u00a0\ufeff"


def said_by(cell: str) -> str:
    """What a cell says: of `="007"`, as Excel is told that it is a text, the text."""
    formula = cell.strip(BLANKS)
    text = formula[2:-1]
    is_text = len(formula) > 2 and formula[:2] == '="' and formula[-1] == '"'
    return text if is_text and not any(sign in text for sign in '"\r\n') else cell


def rows_of(text: str, delimiter: str, *, load_id: int) -> list[Row]:
    """Line and cells of each record; a cell without anything, not even quotes, is NULL."""
    cell = re.compile(f'("(?:[^"]|"")*"|[^{re.escape(delimiter)}\n"]*)({re.escape(delimiter)}|\n)')
    rows: list[Row] = []
    cells: list[str | None] = []
    at = 0
    while at < len(text):
        found = cell.match(text, at)
        assert found, text[at : at + 100]
        quoted = found[1].startswith('"')
        cells.append(found[1][1:-1].replace('""', '"') if quoted else found[1] or None)
        at = found.end()
        if found[2] == "\n":
            line, load, *rest = cells
            assert line is not None
            assert load == str(load_id)
            rows.append((int(line), tuple(rest)))
            cells = []
    assert not cells
    return rows
