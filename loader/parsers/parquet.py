"""Parquet files as rows of text, read by DuckDB.

Values are DuckDB's text: `2023-01-01 08:30:00`, `12.50`, `true`. Parquet stores times only in UTC,
and durations as bare numbers: their time zone and unit come from the schema that Arrow (pandas,
Polars, R) leaves in the file, so that days are the ones that were meant. Lists are `1;2`; structs,
maps and anything nested in lists are JSON (with decimals as doubles). Numbers have no exponent,
unless they have more digits than a float holds or are in a list. Bytes are text if they are UTF-8.

The file is not trusted: no extensions, no other files, bounded memory.
"""

from __future__ import annotations

import base64
import re
import struct
import tempfile
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader.errors import FileRefused
from loader.parsers.records import Row, rounded_text
from loader.parsers.sheets import Sheet

if TYPE_CHECKING:
    import duckdb

# A file whose row groups or values need more is refused.
_MEMORY = "512MB"
_THREADS = 2
_ROWS_AT_ONCE = 2048
_NESTED = ("STRUCT", "MAP", "UNION")
_LIST = re.compile(r"(.+)\[[0-9]*\]", re.DOTALL)
_OFFSET = re.compile(r"([+-])([0-9]{2}:[0-9]{2})")
# Types of Arrow's Schema.fbs, and one second in each of its units.
_TIMESTAMP, _DURATION = 10, 18
_SECOND = (1, 1000, 1_000_000, 1_000_000_000)
# Type and, only for times and durations, one second in its unit, and the time zone.
ArrowField = tuple[int, int, str]
_NOTHING_SAID: ArrowField = (0, 0, "")
_TABLE = "read_parquet(?, hive_partitioning = false, filename = false) as t"


def sheet(path: Path, name: str, list_separator: str = ";") -> Sheet:
    """The table of a parquet file: row 0 has the column names, the data begin in row 1.

    `name` is the file's name in messages, `list_separator` joins list items. Raises FileRefused, as
    does the iterator of the rows.
    """
    with _opened(path, name) as (connection, file):
        described = connection.execute(f"describe select * from {_TABLE}", [file]).fetchall()
        types = [str(column[1]) for column in described]
        names = [str(column[0]) for column in described]
        arrow = _arrow_fields(connection, file)
        every_zone = "select name from pg_timezone_names()"
        zones = {zone for (zone,) in connection.execute(every_zone).fetchall()} if arrow else set()
    # Columns are addressed by number: names can be anything, even duplicates.
    columns = [
        _meant(f"c{at}", type_, arrow.get(name, _NOTHING_SAID), zones)
        for at, (name, type_) in enumerate(zip(names, types, strict=True))
    ]
    texts = [_text(*column, list_separator) for column in zip(columns, types, strict=True)]

    def rows() -> Iterator[Row]:
        yield Row(0, names)
        for number, cells in enumerate(_records(path, name, types, texts), 1):
            yield Row(number, cells)

    return Sheet(part="", kind="parquet", rows=rows)


def _records(
    path: Path, name: str, types: Sequence[str], texts: Sequence[str]
) -> Iterator[Sequence[str | None]]:
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


def _arrow_fields(connection: duckdb.DuckDBPyConnection, file: str) -> dict[str, ArrowField]:
    """What the Arrow schema in a file says about each column.

    Sources: Message.fbs and Schema.fbs of Arrow's columnar format, FlatBuffers' internals.
    """
    metadata = "select value from parquet_kv_metadata(?) where key = 'ARROW:schema'"
    found = connection.execute(metadata, [file]).fetchone()
    data = b""

    def number(kind: str, at: int) -> int:
        return int(struct.unpack_from(f"<{kind}", data, at)[0])

    def member(table: int, at: int) -> int:
        """The position of a table's member by number; 0 if it is absent."""
        known = table - number("i", table)
        size = number("H", known)
        offset = number("H", known + 4 + 2 * at) if 4 + 2 * at < size else 0
        return offset and table + offset

    def pointed(at: int) -> int:
        return at + number("I", at)

    def text(at: int) -> str:
        return data[at + 4 : at + 4 + number("I", at)].decode() if at else ""

    fields: dict[str, ArrowField] = {}
    # Anything that is not such a schema is ignored.
    with suppress(struct.error, ValueError, IndexError):
        data = base64.b64decode(found[0]) if found else b""
        start = 8 if data[:4] == b"\xff\xff\xff\xff" else 4
        schema = pointed(member(start + number("I", start), 2))
        vector = pointed(member(schema, 1))
        for at in range(vector + 4, vector + 4 + 4 * number("I", vector), 4):
            field = pointed(at)
            kind = number("B", member(field, 2))
            second, zone = 0, ""
            if kind in (_TIMESTAMP, _DURATION):
                of_type = pointed(member(field, 3))
                said = member(of_type, 0)
                # By default, durations are in milliseconds.
                second = _SECOND[number("H", said) if said else kind == _DURATION]
                zone_at = member(of_type, 1) if kind == _TIMESTAMP else 0
                zone = text(pointed(zone_at)) if zone_at else ""
            fields[text(pointed(member(field, 0)))] = kind, second, zone
    return fields


def _meant(column: str, type_: str, arrow: ArrowField, zones: Container[str]) -> str:
    """The SQL of a column as Arrow meant it: a duration, or a time in its own zone."""
    kind, second, zone = arrow
    if kind == _DURATION and type_ == "BIGINT":
        micro = f"* {1_000_000 // second}" if second <= 1_000_000 else "// 1000"
        read = f"cast(try(to_microseconds({column} {micro})) as varchar)"
        return f"coalesce({read}, cast({column} as varchar))"
    moment = f"cast({column} as timestamptz)"
    if type_.startswith("TIMESTAMP") and zone in zones:
        return f"({moment} at time zone '{zone}')"
    if type_.startswith("TIMESTAMP") and (offset := _OFFSET.fullmatch(zone)):
        return f"({moment} at time zone 'UTC' {offset[1]} interval '{offset[2]}')"
    return column


def _text(column: str, type_: str, separator: str) -> str:
    """The SQL of a column's text; bytes are left unchanged."""
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
    r"""Bytes as text, undecodable ones as \xNN. Some writers do not mark text columns as text."""
    return value.decode("utf-8", "backslashreplace")


def _number_text(written: str, digits: int) -> str:
    """A float without an exponent, unless it has more digits than its type surely holds."""
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
    """A connection that can read only this file, and the file's name there.

    The name is that of a symlink, because DuckDB treats `*`, `?`, `[` and `{` in names as patterns.
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
