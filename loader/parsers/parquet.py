"""Parquet files as rows of text, read by DuckDB.

Values are DuckDB's text of them: `2023-01-01 08:30:00`, `12.50`, `true`; times with a time zone in
UTC. Lists are `1;2`; structs, maps and what is nested in lists are JSON (its decimals are doubles).
Numbers have no exponent, unless they have more digits than a float holds, or stand in a list.
Bytes are text if they are UTF-8.

The file is trusted with nothing: no extension, no other file, bounded memory.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader.errors import FileRefused
from loader.parsers.records import Row, rounded_text
from loader.parsers.sheets import Sheet

if TYPE_CHECKING:
    import duckdb

# A file whose row groups or values need more is refused instead of filling the machine.
_MEMORY = "512MB"
_THREADS = 2
_ROWS_AT_ONCE = 2048
_NESTED = ("STRUCT", "MAP", "UNION")
_LIST = re.compile(r"(.+)\[[0-9]*\]", re.DOTALL)
_TABLE = "read_parquet(?, hive_partitioning = false, filename = false) as t"


def sheet(path: Path, name: str, list_separator: str = ";") -> Sheet:
    """The table of a parquet file: row 0 has the names of its columns, the data begin in row 1.

    `name` is what messages call the file, `list_separator` what stands between items of lists.
    Raises FileRefused, as does the iterator of the rows.
    """
    with _opened(path, name) as (connection, file):
        described = connection.execute(f"describe select * from {_TABLE}", [file]).fetchall()
        types = [str(column[1]) for column in described]
        names = [str(column[0]) for column in described]

    def rows() -> Iterator[Row]:
        yield Row(0, names)
        for number, cells in enumerate(_records(path, name, types, list_separator), 1):
            yield Row(number, cells)

    return Sheet(part="", kind="parquet", rows=rows)


def _records(
    path: Path, name: str, types: Sequence[str], separator: str
) -> Iterator[Sequence[str | None]]:
    # The columns are meant by number: names can be anything, and twice the same.
    texts = [_text(f"c{at}", type_, separator) for at, type_ in enumerate(types)]
    numbered = ", ".join(f"c{at}" for at in range(len(types)))
    finish = [(at, cell) for at, type_ in enumerate(types) if (cell := _FINISH.get(type_))]
    with _opened(path, name) as (connection, file):
        connection.execute(f"select {', '.join(texts)} from {_TABLE} ({numbered})", [file])
        while portion := connection.fetchmany(_ROWS_AT_ONCE):
            for record in portion:
                cells = list(record)
                for at, cell in finish:
                    if cells[at] is not None:
                        cells[at] = cell(cells[at])
                yield cells


def _text(column: str, type_: str, separator: str) -> str:
    """The expression of a column's text; bytes stay as they are."""
    if item := _LIST.fullmatch(type_):
        is_nested = _LIST.fullmatch(item[1]) or item[1].startswith(_NESTED)
        text = f"cast({'to_json(x)' if is_nested else 'x'} as varchar)"
        texts = f"list_transform(cast({column} as {item[1]}[]), lambda x: coalesce({text}, ''))"
        mark = separator.replace("'", "''")
        return f"case when {column} is not null then array_to_string({texts}, '{mark}') end"
    if type_.startswith(_NESTED):
        return f"case when {column} is not null then cast(to_json({column}) as varchar) end"
    return column if type_ == "BLOB" else f"cast({column} as varchar)"


def _bytes_text(value: bytes) -> str:
    r"""Bytes as text, and those that are none as \xNN. Some writers mark no column as text."""
    return value.decode("utf-8", "backslashreplace")


def _number_text(written: str, digits: int) -> str:
    """A float without an exponent, unless it has more digits than its cell certainly holds."""
    number = float(written)
    if abs(number) >= 10.0**digits and number - number == 0:
        return rounded_text(number)
    return format(Decimal(written), "f") if "e" in written else written


_FINISH: dict[str, Callable[[Any], str]] = {
    "BLOB": _bytes_text,
    "DOUBLE": partial(_number_text, digits=15),
    "FLOAT": partial(_number_text, digits=7),
}


@contextmanager
def _opened(path: Path, name: str) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    """A connection that can read this one file, and the name it has there.

    The name is a link's: DuckDB would take `*`, `?`, `[` and `{` in a file's own name for patterns.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="labmart-parquet-") as folder:
        link = Path(folder) / "file.parquet"
        link.symlink_to(path.absolute())
        try:
            with duckdb.connect(
                config={
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                    "memory_limit": _MEMORY,
                    "temp_directory": str(Path(folder) / "spill"),
                    "threads": _THREADS,
                }
            ) as connection:
                connection.execute("set TimeZone = 'UTC'")
                connection.execute("set allowed_paths = [?]", [str(link)])
                connection.execute("set enable_external_access = false")
                connection.execute("set lock_configuration = true")
                yield connection, str(link)
        except duckdb.Error as fault:
            raise FileRefused(name, _problem(fault, str(link))) from fault


def _problem(fault: duckdb.Error, link: str) -> str:
    reason = str(fault).splitlines()[0].replace(link, "the file")
    if "ncrypt" in reason:
        return ": this parquet file is encrypted. Write it without encryption and load that."
    if "Out of Memory" in reason:
        return (
            f": reading this parquet file takes more than {_MEMORY} of memory. Write it with "
            "smaller row groups, or as CSV, and load that."
        )
    return f": this parquet file is damaged or incomplete. Fetch or write it again. ({reason})"
