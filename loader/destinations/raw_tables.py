"""The raw tables as every engine should have them, and what an engine lacks of them.

Types are PostgreSQL's words; an engine translates them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from loader.destinations import Load
from loader.destinations.sql import quote
from loader.errors import DatabaseFault, UsageError
from loader.readers import Batch, RejectedLine
from loader.sources import Input

LEDGER = "loads"
REJECTED = "rejected_lines"
LAST_LOAD = "last_load"
REJECTED_COLUMNS = ("line", "load_id", "rule", "detail", "content")

TIMESTAMP = "timestamp with time zone"
LEDGER_COLUMNS = {
    "load_id": "bigint",
    "input": "text",
    "file": "text",
    "sha256": "text",
    "bytes": "bigint",
    "dialect": "text",
    "mode": "text",
    "status": "text",
    "records_read": "bigint",
    "records_rejected": "bigint",
    "started_at": TIMESTAMP,
    "finished_at": TIMESTAMP,
    "loaded_by": "text",
    "call_id": "bigint",
}
_OWN_TABLES: Mapping[str, Mapping[str, str]] = {
    LEDGER: LEDGER_COLUMNS,
    REJECTED: {
        "load_id": "bigint",
        "line": "bigint",
        "rule": "text",
        "detail": "text",
        "content": "text",
    },
    # The greatest load_id there ever was, also of a load that has been pruned. Unlike a sequence
    # it is rolled back with its load, so that a load that failed leaves no trace at all.
    LAST_LOAD: {"load_id": "bigint"},
}
_SUBSTITUTES = {"bigint": "0", "text": "''", TIMESTAMP: "to_timestamp(0)"}
_REJECTED_PER_BATCH = 1000


@dataclass(frozen=True)
class Found:
    """A relation as the engine has it; `kind` in a person's words, such as view; columns, types."""

    kind: str
    owner: str
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Gap:
    """A table that has to be made, or the columns that one lacks."""

    table: str
    is_new: bool
    columns: Mapping[str, str]


def wanted(inputs: Sequence[Input]) -> dict[str, Mapping[str, str]]:
    """The columns and types of every raw table."""
    stamps = {"load_id": "bigint", "line": "bigint"}
    files = {entry.name: dict.fromkeys(entry.column_names, "text") | stamps for entry in inputs}
    return {**files, **_OWN_TABLES}


def readable(column: str, found: Found) -> str:
    """SQL for a column of the ledger, never NULL, also of a row that a person wrote by hand.

    A ledger older than call_id has none; each of its loads was a call.
    """
    type_ = LEDGER_COLUMNS[column]
    substitute = "load_id" if column == "call_id" else _SUBSTITUTES[type_]
    if column not in found.columns:
        return substitute
    name = quote(column)
    if type_ == TIMESTAMP:
        # Python knows no infinity and no years beyond these.
        name = f"case when {name} between '0001-01-02' and '9999-12-30' then {name} end"
    return f"coalesce({name}, {substitute})"


def is_ledger(found: Found | None) -> bool:
    """Whether a relation called `loads` is a ledger of ours, of whatever version."""
    return found is not None and {"load_id", "sha256", "status"} <= set(found.columns)


def check_move(earlier: str, new: str, *, holds_loads: bool) -> None:
    """Raise UsageError for the loads of an earlier version when the new raw schema is there."""
    if holds_loads:
        raise UsageError(
            f"The schemas {earlier} and {new} both hold loads, and one call reads one of them. "
            f"Set LABMART_RAW_SCHEMA={earlier} to go on with those that this target had, or "
            f"LABMART_RAW_SCHEMA={new} to read the others."
        )
    raise UsageError(
        f"The loads of this target are in the schema {earlier}, where earlier versions kept them; "
        f"they belong in {new}, which is there already, without loads. Drop {new} and call again "
        f"to have them moved, or set LABMART_RAW_SCHEMA={earlier} to leave them."
    )


def next_id(ledger: str, last_load: str) -> str:
    """SQL for a number greater than any load ever had, from these two tables."""
    return (
        f"select greatest((select max(load_id) from {ledger}), "
        f"(select max(load_id) from {last_load}), 0) + 1"
    )


def ids_by_status(changes: Mapping[int, str]) -> dict[str, list[int]]:
    """The loads that get each new status."""
    ids: dict[str, list[int]] = {}
    for load_id, status in changes.items():
        ids.setdefault(status, []).append(load_id)
    return ids


def ids_by_table(loads: Sequence[Load]) -> dict[str, list[int]]:
    """The loads of which each table has rows; that of an input may have been dropped."""
    ids: dict[str, list[int]] = {}
    for load in loads:
        for table in (load.input, REJECTED, LEDGER):
            ids.setdefault(table, []).append(load.load_id)
    return ids


def gaps(
    tables: Mapping[str, Mapping[str, str]],
    found: Mapping[str, Found],
    schema: str,
    refuse: Callable[[str, str], DatabaseFault],
) -> list[Gap]:
    """What is missing of the tables. Raises what `refuse` makes of a problem and the next step."""
    missing = []
    for name, columns in tables.items():
        if name not in found:
            missing.append(Gap(name, True, columns))
            continue
        _check(f"{schema}.{name}", columns, found[name], refuse)
        present = found[name].columns
        if lacking := {key: type_ for key, type_ in columns.items() if key not in present}:
            missing.append(Gap(name, False, lacking))
    return missing


def _check(
    name: str,
    columns: Mapping[str, str],
    found: Found,
    refuse: Callable[[str, str], DatabaseFault],
) -> None:
    if found.kind != "table":
        raise refuse(
            f"{name} is a {found.kind}, and labmart needs a table of that name.",
            "Rename or drop it, and call again.",
        )
    for column, type_ in columns.items():
        other = found.columns.get(column)
        if other is not None and other != type_:
            raise refuse(
                f"the column {column} of {name} has the type {other}, and labmart needs {type_}.",
                "Rename or drop the table, or change the type (`alter table`), and call again.",
            )


def rejected_batches(load_id: int, lines: Iterable[RejectedLine]) -> Iterator[Batch]:
    """Rejected lines as batches of the columns REJECTED_COLUMNS, with commas between them."""
    rest = iter(lines)
    while some := list(islice(rest, _REJECTED_PER_BATCH)):
        text = io.StringIO()
        # Quoted, an empty text is one; unquoted it would be NULL.
        writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerows(
            (item.line, load_id, item.rule, item.detail, item.content) for item in some
        )
        yield Batch(text=text.getvalue(), records=len(some), rejected=(), position=0)
