"""The raw tables as Spark has them, and how they are made.

The rows of a load are one partition. The ledger is kept as snapshots: each partition of
`loads_history` is the complete ledger, and the view `loads` shows the newest. Adding a partition
fails if it is there, on every metastore, and that is what makes numbers and snapshots unique.
`last_load` has no rows; its partitions are the numbers that were given out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loader.engines.raw_store import LEDGER_COLUMNS, raw_tables
from loader.sources import LAST_LOAD, LEDGER, Input

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HISTORY = "loads_history"
LOAD_ID = "load_id"
REVISION = "revision"
_TYPES = {"text": "string", "bigint": "bigint", "timestamp with time zone": "timestamp"}


@dataclass(frozen=True)
class RawTable:
    """A raw table: the columns that its files have, and the one it is partitioned by."""

    name: str
    columns: Mapping[str, str]
    partition: str


def _partitioned(name: str, columns: Mapping[str, str], partition: str) -> RawTable:
    """A table whose columns have types in PostgreSQL's words."""
    others = {one: _TYPES[type_] for one, type_ in columns.items() if one != partition}
    return RawTable(name, others, partition)


_OWN = raw_tables(())
LEDGER_TABLE = _partitioned(HISTORY, _OWN.pop(LEDGER), REVISION)
# One column at least is none that a table is partitioned by.
CLAIMS_TABLE = _partitioned(LAST_LOAD, {**_OWN.pop(LAST_LOAD), "claim": "text"}, LOAD_ID)
[REJECTED_TABLE] = (_partitioned(name, columns, LOAD_ID) for name, columns in _OWN.items())


def table_of(entry: Input) -> RawTable:
    return _partitioned(entry.name, raw_tables([entry])[entry.name], LOAD_ID)


def quote(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def create(table: RawTable, schema: str) -> str:
    """SQL that makes a table that is missing."""
    columns = {**table.columns, table.partition: "bigint"}
    listed = ", ".join(f"{quote(name)} {type_}" for name, type_ in columns.items())
    return (
        f"create table if not exists {quote(schema)}.{quote(table.name)} ({listed}) "
        f"using parquet partitioned by ({quote(table.partition)})"
    )


def create_view(schema: str) -> str:
    """SQL that makes the ledger's view."""
    history = f"{quote(schema)}.{quote(HISTORY)}"
    return (
        f"create view if not exists {quote(schema)}.{quote(LEDGER)} as "
        f"select {', '.join(map(quote, LEDGER_COLUMNS))} from {history} "
        f"where {REVISION} = (select max({REVISION}) from {history})"
    )


def difference(
    table: RawTable, found: Mapping[str, str], kind: str, schema: str
) -> tuple[list[str], tuple[str, str] | None]:
    """The columns that an existing relation lacks; problem and next step if it cannot be used.

    `kind` is what it is, such as a view; `found` its columns' types.
    """
    name = f"{schema}.{table.name}"
    step = "Rename or drop it, and call again."
    if kind != "table":
        return [], (f"{name} is a {kind}, and labmart needs a table of that name.", step)
    wanted_ = {**table.columns, table.partition: "bigint"}
    for column, type_ in wanted_.items():
        other = found.get(column)
        if other is not None and other != type_:
            said = f"the column {column} of {name} has the type {other}, and labmart needs {type_}."
            return [], (said, step)
    if table.partition not in found:
        return [], (f"{name} is not partitioned by {table.partition}.", step)
    return [column for column in wanted_ if column not in found], None


def kind_of(session: SparkSession, schema: str, name: str) -> str:
    """What a relation is."""
    kind = session.catalog.getTable(f"{quote(schema)}.{quote(name)}").tableType
    return "view" if kind == "VIEW" else "table"


def columns_of(session: SparkSession, schema: str, name: str) -> dict[str, str] | None:
    """Names and types of a relation's columns in order; None if there is no such relation."""
    relation = f"{quote(schema)}.{quote(name)}"
    if not session.catalog.tableExists(relation):
        return None
    return dict(session.table(relation).dtypes)


def partitions(session: SparkSession, schema: str, table: RawTable) -> list[int]:
    """The numbers of a table's partitions; none if there is no such table."""
    relation = f"{quote(schema)}.{quote(table.name)}"
    if not session.catalog.tableExists(relation):
        return []
    rows = session.sql(f"show partitions {relation}").collect()
    return sorted(int(row[0].rpartition("=")[2]) for row in rows)


def all_tables(inputs: Sequence[Input]) -> list[RawTable]:
    return [*map(table_of, inputs), REJECTED_TABLE, LEDGER_TABLE, CLAIMS_TABLE]
