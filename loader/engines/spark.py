"""Reading from Spark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import IO, TYPE_CHECKING

from loader.engines import Column, Row, Selection, Value
from loader.engines.spark_faults import faults
from loader.engines.spark_raw import connect_raw, move_raw
from loader.engines.spark_session import open_session
from loader.engines.spark_settings import check_schema, settings_of, where
from loader.engines.spark_tables import columns_of, literal, quote
from loader.engines.sql import query_of, source_of
from loader.errors import NotBuilt
from loader.parsers.records import csv_cell
from loader.profile import Profile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_TIMESTAMP = "timestamp with time zone"
# The types in the words that all engines share.
_NAMES = {
    "string": "text",
    "tinyint": "smallint",
    "int": "integer",
    "float": "real",
    "double": "double precision",
    "timestamp": _TIMESTAMP,
    "timestamp_ntz": "timestamp without time zone",
}
_ROWS_PER_WRITE = 5000


__all__ = ["connect", "connect_raw", "move_raw"]


class Spark:
    """A session, begun when it is first needed; see the protocol `Engine`."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._where = where(profile)
        self._stack = ExitStack()
        self._begun: SparkSession | None = None

    def __enter__(self) -> Spark:
        return self

    def __exit__(self, *exception: object) -> None:
        self._begun = None
        self._stack.close()

    @property
    def _session(self) -> SparkSession:
        if self._begun is None:
            self._begun = self._stack.enter_context(open_session(self._profile))
        return self._begun

    def columns(self, relation: str) -> tuple[Column, ...]:
        """See `Engine`; raises NotBuilt."""
        schema = self._profile.schema
        with self._faults():
            found = columns_of(self._session, schema, relation)
        if found is None:
            raise NotBuilt(f"{schema}.{relation}", f"Spark at {self._where}")
        return tuple(Column(name, type_name(type_)) for name, type_ in found.items())

    def rows(self, selection: Selection) -> Iterator[Row]:
        # One partition after the other is in memory.
        with self._faults():
            for row in self._session.sql(self._sql(selection)).toLocalIterator():
                yield _row(row, selection.columns)

    def count(self, selection: Selection) -> int:
        with self._faults():
            sql = f"select count(*) from {self._source(selection)}"
            [(rows,)] = self._session.sql(sql).collect()
        return int(rows)

    def write_csv(self, selection: Selection, file: IO[bytes]) -> None:
        file.write(_csv_line([column.name for column in selection.columns]))
        held = []
        for row in self.rows(selection):
            held.append(_csv_line([as_text(value) for value in row]))
            if len(held) == _ROWS_PER_WRITE:
                file.write(b"".join(held))
                held.clear()
        file.write(b"".join(held))

    def query(self, sql: str, limit: int) -> tuple[tuple[Column, ...], list[Row]]:
        with self._faults():
            found = self._session.sql(f"select * from (\n{sql}\n) as labmart_query limit {limit:d}")
            columns = tuple(Column(name, type_name(type_)) for name, type_ in found.dtypes)
            return columns, [_row(row, columns) for row in found.collect()]

    def _sql(self, selection: Selection) -> str:
        listed = ", ".join(f"m.{quote(column.name)}" for column in selection.columns)
        return query_of(selection, listed, self._source(selection), key=_key, literal=literal)

    def _source(self, selection: Selection) -> str:
        relation = f"{quote(self._profile.schema)}.{quote(selection.relation)}"
        return source_of(selection, relation, key=_key, literal=literal)

    def _faults(self) -> AbstractContextManager[None]:
        return faults(self._where, query=True)


def connect(profile: Profile) -> Spark:
    """Connect as dbt-spark's session method would, once there is something to ask.

    Raises ConfigError, and later what `open_session` raises.
    """
    settings_of(profile)
    check_schema(profile)
    return Spark(profile)


def _key(column: Column) -> str:
    return f"m.{quote(column.name)}"


def _row(cells: Sequence[Value], columns: Sequence[Column]) -> Row:
    """The values of a row; times in UTC, which PySpark gives in the time zone of this machine."""
    return tuple(
        cell.astimezone(UTC) if isinstance(cell, datetime) and column.type == _TIMESTAMP else cell
        for cell, column in zip(cells, columns, strict=True)
    )


def type_name(type_: str) -> str:
    """Spark's type in the words of the other engines."""
    if type_.startswith("decimal("):
        return type_.replace("decimal", "numeric")
    return _NAMES.get(type_, type_)


def as_text(value: Value) -> str | None:
    """A value as PostgreSQL's COPY writes it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        return _time_text(value)
    return value.isoformat() if isinstance(value, date) else str(value)


def _time_text(value: datetime) -> str:
    shown = value.replace(tzinfo=None).isoformat(sep=" ")
    shown = shown.rstrip("0") if "." in shown else shown
    return f"{shown}+00" if value.tzinfo else shown


def _csv_line(cells: list[str | None]) -> bytes:
    # COPY quotes what alone on a line once ended its input.
    if cells == ["\\."]:
        return b'"\\."\n'
    return (",".join(map(csv_cell, cells)) + "\n").encode()
