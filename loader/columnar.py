"""Parquet and Arrow out of CSV, by DuckDB: rows go through it one batch after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from loader.engines import Column
from loader.engines.sql import literal

if TYPE_CHECKING:
    import duckdb


@contextmanager
def engine_in(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with bounded memory; what does not fit goes to the folder."""
    # Imported here: it takes a quarter of a second that no other call needs.
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        # Without a limit it takes most of the memory that the database may be using.
        "memory_limit": "1GB",
        "temp_directory": str(folder),
    }
    with duckdb.connect(":memory:", config=settings) as engine:
        yield engine


def rows_of(csv: Path, columns: Sequence[Column]) -> str:
    """SQL for the rows of a CSV file as PostgreSQL writes it, with the columns' types.

    NULL is an empty cell, an empty text is "" in quotes; everything else is as typed.
    """
    # Imported here for the same reason.
    from loader.engines.duckdb import own_type

    pairs = (f"{literal(column.name)}: {literal(own_type(column.type))}" for column in columns)
    return (
        f"select * from read_csv({literal(str(csv))}, auto_detect=false, "
        "header=true, delim=',', quote='\"', escape='\"', nullstr='', "
        "allow_quoted_nulls=false, parallel=false, max_line_size=100000000, "
        f"columns={{{', '.join(pairs)}}})"
    )


def write_parquet(engine: duckdb.DuckDBPyConnection, rows: str, file: Path) -> None:
    """Write the rows of a query into a Parquet file."""
    engine.execute(f"copy ({rows}) to {literal(str(file))} (format parquet, compression zstd)")
