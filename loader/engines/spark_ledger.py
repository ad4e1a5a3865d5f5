"""The ledger on Spark: snapshots that follow each other, each of them complete.

A commit writes the next snapshot. It fails if another one has been written since ours was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from loader.engines import Load
from loader.engines.raw_store import LEDGER_COLUMNS
from loader.engines.spark_tables import HISTORY, LEDGER_TABLE, REVISION, partitions, quote

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Snapshot:
    """The ledger as it was read; revision 0 is the empty one before the first load."""

    revision: int
    loads: tuple[Load, ...]


def read_ledger(session: SparkSession, schema: str) -> Snapshot:
    """The newest snapshot."""
    revisions = partitions(session, schema, LEDGER_TABLE)
    if not revisions:
        return Snapshot(0, ())
    rows = session.sql(
        f"select {', '.join(map(_readable, LEDGER_COLUMNS))} "
        f"from {quote(schema)}.{quote(HISTORY)} where {REVISION} = {revisions[-1]:d}"
    ).collect()
    names = list(LEDGER_COLUMNS)
    loads = [Load(**dict(zip(names, map(_value, names, row), strict=True))) for row in rows]
    return Snapshot(revisions[-1], tuple(sorted(loads, key=lambda load: load.load_id)))


def snapshot_rows(loads: Sequence[Load]) -> list[tuple[str | int, ...]]:
    """The rows of a snapshot; the cells in the order of LEDGER_NAMES."""
    return [
        tuple(value.isoformat() if isinstance(value, datetime) else value for value in astuple(one))
        for one in loads
    ]


LEDGER_NAMES = tuple(item.name for item in fields(Load))


def _readable(column: str) -> str:
    # Python's datetime of a row would be in the time zone of this machine.
    is_time = LEDGER_COLUMNS[column].startswith("timestamp")
    return f"unix_micros({quote(column)})" if is_time else quote(column)


def _value(column: str, value: Any) -> Any:
    if isinstance(value, int) and LEDGER_COLUMNS[column].startswith("timestamp"):
        return _EPOCH + timedelta(microseconds=value)
    return value
