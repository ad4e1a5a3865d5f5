"""Parquet and Arrow out of CSV, by DuckDB: rows go through it one batch after the other."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from loader.engines import Engine, Selection
from loader.engines.sql import literal

if TYPE_CHECKING:
    import duckdb


def write_columnar(source: Engine, selection: Selection, folder: Path, file: Path) -> None:
    """Write rows as Parquet; the folder is for what comes between.

    Raises duckdb.Error, and the engine's errors.
    """
    # Imported here: it takes a quarter of a second that no other call needs.
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        # Without a limit it takes most of the memory that the database may be using.
        "memory_limit": "1GB",
        "temp_directory": str(folder),
    }
    rows = _rows(source, selection, folder)
    with duckdb.connect(":memory:", config=settings) as engine:
        options = "(format parquet, compression zstd)"
        engine.execute(f"copy ({rows}) to {literal(str(file))} {options}")


def relation(source: Engine, selection: Selection) -> duckdb.DuckDBPyRelation:
    """The rows in a database in memory, which lives as long as the relation."""
    import duckdb

    engine = duckdb.connect(":memory:")
    with tempfile.TemporaryDirectory(prefix="labmart-") as folder:
        engine.execute(f"create table mart as {_rows(source, selection, Path(folder))}")
    return engine.table("mart")


def _rows(source: Engine, selection: Selection, folder: Path) -> str:
    """SQL for the rows, by a CSV file in the folder, with the columns' types.

    NULL is an empty cell, an empty text is "" in quotes; everything else is as typed.
    """
    # Imported here for the same reason.
    from loader.engines.duckdb import own_type

    csv = folder / "rows.csv"
    with csv.open("wb") as out:
        source.write_csv(selection, out)
    pairs = (
        f"{literal(column.name)}: {literal(own_type(column.type))}" for column in selection.columns
    )
    return (
        f"select * from read_csv({literal(str(csv))}, auto_detect=false, "
        "header=true, delim=',', quote='\"', escape='\"', nullstr='', "
        "allow_quoted_nulls=false, parallel=false, max_line_size=100000000, "
        f"columns={{{', '.join(pairs)}}})"
    )
