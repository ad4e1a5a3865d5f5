"""Which raw tables PostgreSQL has, and the SQL for what is missing of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loader.destinations.raw_tables import Found, Gap
from loader.destinations.sql import quote

_KINDS = {
    "r": "table",
    "p": "table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
}


@dataclass(frozen=True)
class Statement:
    """SQL to run, and the SQL that would give the right to."""

    sql: str
    need: str


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
        found[name] = Found(_KINDS.get(kind, "relation of another kind"), owner, columns)
    return found


def statement(gap: Gap, found: Mapping[str, Found], schema: str, user: str) -> Statement:
    """What to run so that a gap is closed."""
    table = f"{quote(schema)}.{quote(gap.table)}"
    if gap.is_new:
        listed = ", ".join(f"{quote(column)} {type_}" for column, type_ in gap.columns.items())
        need = f"grant create, usage on schema {quote(schema)} to {quote(user)}"
        return Statement(f"create table if not exists {table} ({listed})", need)
    added = ", ".join(
        f"add column {quote(column)} {type_}" for column, type_ in gap.columns.items()
    )
    need = f"grant {quote(found[gap.table].owner)} to {quote(user)}"
    return Statement(f"alter table {table} {added}", need)
