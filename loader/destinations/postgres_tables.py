"""The raw tables as they should be, and what is missing of them in a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from loader.destinations.postgres_connection import quote
from loader.errors import DatabaseFault
from loader.sources import Input

LEDGER = "loads"
REJECTED = "rejected_lines"
LAST_LOAD = "last_load"

_TIMESTAMP = "timestamp with time zone"
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
    "started_at": _TIMESTAMP,
    "finished_at": _TIMESTAMP,
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
_SUBSTITUTES = {"bigint": "0", "text": "''", _TIMESTAMP: "to_timestamp(0)"}
_IS_TABLE = ("r", "p")
_KINDS = {"v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence"}


@dataclass(frozen=True)
class Found:
    """A relation as the database has it; `kind` is pg_class.relkind."""

    kind: str
    owner: str
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Statement:
    """SQL to run, and the SQL that would give the right to."""

    sql: str
    need: str


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
    if type_ == _TIMESTAMP:
        # Python knows no infinity and no years beyond these.
        name = f"case when {name} between '0001-01-02' and '9999-12-30' then {name} end"
    return f"coalesce({name}, {substitute})"


# A relation's columns come one a row; a relation without any has one row with none.
# Parameters: schema, names.
FIND_TABLES = """
select
    c.relname, c.relkind::text, pg_get_userbyid(c.relowner),
    a.attname, format_type(a.atttypid, a.atttypmod)
from pg_class as c
inner join pg_namespace as n on n.oid = c.relnamespace
left join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where n.nspname = %s and c.relname = any(%s) and c.relkind <> 'i' and c.relkind <> 'I'
order by c.relname, a.attnum
"""


def gather(rows: Sequence[tuple[str, str, str, str | None, str]]) -> dict[str, Found]:
    """The relations of FIND_TABLES by name."""
    found: dict[str, Found] = {}
    for name, kind, owner, column, type_ in rows:
        before = found[name].columns if name in found else {}
        columns = dict(before) if column is None else {**before, column: type_}
        found[name] = Found(kind, owner, columns)
    return found


def missing(
    tables: Mapping[str, Mapping[str, str]],
    found: Mapping[str, Found],
    schema: str,
    user: str,
    refuse: Callable[[str, str], DatabaseFault],
) -> list[Statement]:
    """What to run so that the tables are there. Raises what `refuse` makes of problem and step."""
    return [
        statement
        for name, columns in tables.items()
        for statement in _of_table(name, columns, found.get(name), schema, user, refuse)
    ]


def _of_table(
    name: str,
    columns: Mapping[str, str],
    found: Found | None,
    schema: str,
    user: str,
    refuse: Callable[[str, str], DatabaseFault],
) -> list[Statement]:
    table = f"{quote(schema)}.{quote(name)}"
    if found is None:
        listed = ", ".join(f"{quote(column)} {type_}" for column, type_ in columns.items())
        need = f"grant create, usage on schema {quote(schema)} to {quote(user)}"
        return [Statement(f"create table if not exists {table} ({listed})", need)]
    if found.kind not in _IS_TABLE:
        kind = _KINDS.get(found.kind, "relation of another kind")
        raise refuse(
            f"{schema}.{name} is a {kind}, and labmart needs a table of that name.",
            "Rename or drop it, and call again.",
        )
    for column, type_ in columns.items():
        other = found.columns.get(column)
        if other is not None and other != type_:
            raise refuse(
                f"the column {column} of {schema}.{name} has the type {other}, and labmart needs "
                f"{type_}.",
                "Rename or drop the table, or change the type (`alter table`), and call again.",
            )
    absent = [(column, type_) for column, type_ in columns.items() if column not in found.columns]
    if absent:
        added = ", ".join(f"add column {quote(column)} {type_}" for column, type_ in absent)
        need = f"grant {quote(found.owner)} to {quote(user)}"
        return [Statement(f"alter table {table} {added}", need)]
    return []
