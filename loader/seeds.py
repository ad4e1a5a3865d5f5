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
from contextlib import contextmanager
from pathlib import Path

from loader.contract import declared_tables
from loader.errors import FilesRefused

# As many problems of one file as a person can use at once.
_PROBLEMS_SHOWN = 5
# A cell may be as long as PostgreSQL takes it; dbt's own limit (131,072) is Python's default.
_CELL_LIMIT = 131_072


def check_seeds(seeds: Path) -> None:
    """Read every declared seed in the directory strictly.

    Raises FilesRefused with every problem of every file, and ConfigError if _seeds.yml cannot be
    read.
    """
    problems = [
        problem
        for name, columns in _declared(seeds / "_seeds.yml")
        for problem in _problems(seeds / f"{name}.csv", columns)
    ]
    if problems:
        raise FilesRefused(problems)


def _declared(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    if not path.exists():
        # A project without seeds.
        return
    for seed in declared_tables(path, "seeds"):
        yield seed.name, tuple(column.name for column in seed.columns)


def _problems(path: Path, columns: tuple[str, ...]) -> list[str]:
    shown = f"{path.parent.name}/{path.name}"
    problems: list[str] = []
    more = 0
    for problem in _read(path, columns):
        if len(problems) < _PROBLEMS_SHOWN:
            problems.append(f"{shown}{problem}")
        else:
            more += 1
    return [*problems, f"{shown}: {more:,} more lines like these"] if more else problems


def _read(path: Path, columns: tuple[str, ...]) -> Iterator[str]:
    """What is wrong with one file, each beginning with `:` or `, line N:`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file, _cell_limit():
            rows = csv.reader(file, strict=True)
            try:
                yield from _of_rows(rows, columns)
            except csv.Error as error:
                yield f", line {rows.line_num}: {_reason(error)}"
    except UnicodeDecodeError as error:
        yield f": it is not UTF-8 (byte {error.object[error.start]:#04x}). Export it as UTF-8."
    except FileNotFoundError:
        yield ": there is no such file. An input without rows is a file with its first line only."
    except OSError as error:
        yield f": it cannot be read: {error.strerror}."


def _of_rows(rows: Iterator[list[str]], columns: tuple[str, ...]) -> Iterator[str]:
    header = next(rows, None)
    if header is None:
        yield f": it is empty. Its first line must name the columns {', '.join(columns)}."
        return
    if missing := [column for column in columns if column not in header]:
        yield (
            f", line 1: no column {', '.join(missing)}. The line reads {', '.join(header)!r}; "
            f"it must name {', '.join(columns)}, separated by commas."
        )
        return
    if odd := [column for column in header if "%" in column or '"' in column]:
        yield f", line 1: a column's name must not hold % or a quotation mark: {', '.join(odd)}."
        return
    if repeated := [column for column in columns if header.count(column) > 1]:
        yield f", line 1: the column {', '.join(repeated)} stands there twice."
        return
    line = 1
    for row in rows:
        # A quoted cell may span lines; the row begins behind the last one's end.
        # The csv module's reader counts lines; its type has no public name.
        line, begins = rows.line_num, line + 1  # type: ignore[attr-defined]
        if row and len(row) != len(header):
            yield f", line {begins}: {len(row)} cells instead of {len(header)}."
        elif any("\0" in cell for cell in row):
            yield f", line {begins}: a NUL byte, which no text may hold."


def _reason(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end of data" in text:
        return "a quotation mark is opened and never closed."
    if "expected after" in text:
        return "something follows a closing quotation mark."
    if "field larger" in text:
        return f"a cell of more than {_CELL_LIMIT:,} characters; a quotation mark may be open."
    return f"{text}."


@contextmanager
def _cell_limit() -> Iterator[None]:
    before = csv.field_size_limit(_CELL_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)
