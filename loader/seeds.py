"""Whether the files in seeds/ are what dbt can read whole.

dbt's CSV reader passes over what it cannot make sense of: an open quotation mark swallows the rest
of the file into one cell, a line with too few cells is filled up, and a wrong encoding ends in a
traceback. labmart therefore reads the files strictly before dbt does. Shape only: what the cells
say is for the models to judge.

seeds/_seeds.yml declares the files and their columns.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from loader.contract import declared_tables
from loader.errors import FilesRefused

# As many problems of one file as a person can use at once.
_PROBLEMS_SHOWN = 5


def check_seeds(seeds: Path) -> None:
    """Read every declared seed in the directory strictly.

    Raises FilesRefused with the first problems of every file, and ConfigError if _seeds.yml cannot
    be read.
    """
    declaration = seeds / "_seeds.yml"
    # A project may have no seeds.
    declared = declared_tables(declaration, "seeds") if declaration.exists() else []
    problems = [
        f"{seeds.name}/{seed.name}.csv{problem}"
        for seed in declared
        for problem in islice(
            _problems(seeds / f"{seed.name}.csv", [column.name for column in seed.columns]),
            _PROBLEMS_SHOWN,
        )
    ]
    if problems:
        raise FilesRefused(problems)


def _problems(path: Path, columns: list[str]) -> Iterator[str]:
    """What is wrong with one file, each beginning with `:` or `, line N:`."""
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            needed = f"it must name {', '.join(columns)}, separated by commas"
            if not set(columns) <= set(header):
                yield f", line 1: it reads {', '.join(header)!r}, and {needed}."
                return
            if any(header.count(column) > 1 for column in columns):
                yield f", line 1: a column stands there twice: {', '.join(header)}."
                return
            if odd := [name for name in header if "%" in name or '"' in name]:
                yield f", line 1: a name must not hold % or a quotation mark: {', '.join(odd)}."
                return
            line = rows.line_num
            for row in rows:
                # A quoted cell may span lines; the row begins behind the last one's end.
                begins, line = line + 1, rows.line_num
                if row and len(row) != len(header):
                    yield f", line {begins}: {len(row)} cells instead of {len(header)}."
                elif any("\0" in cell for cell in row):
                    yield f", line {begins}: a NUL byte, which no text may hold."
    except csv.Error as error:
        yield f", line {line + 1}: a quotation mark is not closed, or not at the end: {error}."
    except UnicodeDecodeError as error:
        yield f": it is not UTF-8 (byte {error.object[error.start]:#04x}). Export it as UTF-8."
    except OSError as error:
        yield f": it cannot be read: {error.strerror}. Without rows it has its first line only."
