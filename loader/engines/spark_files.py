"""Files of partitions: made by DuckDB on this machine, brought to where Spark keeps its tables.

Hadoop's file systems do the bringing, so that a table can lie on a shared disk or in an object
store. A partition's folder has a name of its own: what a killed load has left is in no later one's
way.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader.engines.sql import literal, quote
from loader.parsers.records import Batch, csv_cell

if TYPE_CHECKING:
    import duckdb
    from pyspark.sql import SparkSession

# So much text becomes one file: large enough for Spark, small enough for a temporary folder.
_TEXT_PER_FILE = 256 << 20
_MEMORY = "512MB"
_ROWS_PER_BATCH = 1000
# A record may be as long as the parsers allow (32 MiB), its quotation marks doubled.
_LONGEST_RECORD = 80 << 20
_DUCKDB_TYPES = {"string": "varchar", "bigint": "bigint", "timestamp": "timestamptz"}


class Folder:
    """A folder on a file system that Spark reads; `address` is a URI."""

    def __init__(self, session: SparkSession, address: str) -> None:
        self._session = session
        self._path: Any = self._jvm.org.apache.hadoop.fs.Path(address)
        conf: Any = session.sparkContext._jsc
        self._system: Any = self._path.getFileSystem(conf.hadoopConfiguration())
        self.address = address

    @property
    def _jvm(self) -> Any:
        return self._session.sparkContext._jvm

    def within(self, name: str) -> Folder:
        """A folder in it."""
        return Folder(self._session, f"{self.address.rstrip('/')}/{name}")

    def take(self, file: Path) -> None:
        """Copy a file of this machine into it."""
        source = self._jvm.org.apache.hadoop.fs.Path(file.as_uri())
        target = self._jvm.org.apache.hadoop.fs.Path(self._path, file.name)
        self._system.mkdirs(self._path)
        self._system.copyFromLocalFile(False, True, source, target)

    def make(self) -> None:
        """See that it is there."""
        self._system.mkdirs(self._path)

    def delete(self) -> None:
        """Delete it with all that is in it, if it is there."""
        self._system.delete(self._path, True)

    def names(self) -> list[str]:
        """What is in it."""
        if not self._system.exists(self._path):
            return []
        return [str(found.getPath().getName()) for found in self._system.listStatus(self._path)]


def new_name(number: int) -> str:
    """A name for the folder of a partition that no other attempt has."""
    return f"part-{number}-{uuid.uuid4().hex}"


def number_of(name: str) -> int | None:
    """The partition that a folder was made for."""
    kind, _, rest = name.partition("-")
    number = rest.partition("-")[0]
    return int(number) if kind == "part" and number.isdecimal() else None


def write_batches(
    folder: Folder,
    columns: Sequence[str],
    types: Mapping[str, str],
    delimiter: str,
    batches: Iterator[Batch],
) -> int:
    """Write the batches' text, whose cells are `columns`, as Parquet; how many rows that were.

    Of a table's other columns these files say nothing: they are NULL. `load_id`, which is the
    partition's, is left out.
    """
    kept = [name for name in columns if name in types]
    described = ", ".join(f"{quote(name)}: 'varchar'" for name in columns)
    listed = ", ".join(
        f"cast({quote(name)} as {_DUCKDB_TYPES[types[name]]}) as {quote(name)}" for name in kept
    )
    # strict_mode: a text that is no CSV, which no parser makes, is an error.
    read = (
        f"read_csv(?, columns = {{{described}}}, auto_detect = false, header = false, "
        f"delim = {literal(delimiter)}, quote = '\"', escape = '\"', nullstr = '', "
        f"allow_quoted_nulls = false, new_line = '\\n', max_line_size = {_LONGEST_RECORD}, "
        "strict_mode = true)"
    )
    rows = 0
    with _scratch() as (scratch, connection):
        for number, text in enumerate(_portions(batches, scratch)):
            file = scratch / f"{number:05d}.parquet"
            [(count,)] = connection.execute(
                f"copy (select {listed} from {read}) to {literal(str(file))} (format parquet)",
                [str(text)],
            ).fetchall()
            rows += int(count)
            text.unlink()
            folder.take(file)
            file.unlink()
    return rows


def as_batches(rows: Iterable[Sequence[str | int]]) -> Iterator[Batch]:
    """Rows as a parser would give them."""
    rest = iter(rows)
    while some := list(islice(rest, _ROWS_PER_BATCH)):
        lines = [",".join(csv_cell(str(cell)) for cell in row) + "\n" for row in some]
        yield Batch("".join(lines), len(some), (), position=0)


def _portions(batches: Iterator[Batch], scratch: Path) -> Iterator[Path]:
    """The text of the batches, so much of it in each file."""
    number = 0
    rest = iter(batches)
    ended = False
    while not ended:
        path = scratch / f"{number:05d}.csv"
        written = 0
        with path.open("wb") as file:
            while written < _TEXT_PER_FILE:
                batch = next(rest, None)
                if batch is None:
                    ended = True
                    break
                written += file.write(batch.text.encode())
        number += 1
        # Without a file a partition has no columns to be read by.
        if written or number == 1:
            yield path


@contextmanager
def _scratch() -> Iterator[tuple[Path, duckdb.DuckDBPyConnection]]:
    import duckdb

    with tempfile.TemporaryDirectory(prefix="labmart-spark-") as name:
        folder = Path(name)
        config: dict[str, str | bool | int | float | list[str]]
        config = {"memory_limit": _MEMORY, "temp_directory": str(folder / "spill"), "threads": 2}
        with closing(duckdb.connect(config=config)) as connection:
            connection.execute("set TimeZone = 'UTC'")
            yield folder, connection
