"""What an ETag is made of: a digest of the rows, the same after a build that changed nothing.

dbt makes each mart anew and puts it in the old one's place, so a mart's rows are digested once per
table and remembered by the table's identity. A row that somebody changes by hand inside a mart
shows in the server's counters of changed rows, up to ten seconds after its transaction has ended.
The ledger and the rejected lines are changed in place, so they are digested each time.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence

from loader.engines.sql import quote
from loader.service.query.statements import Source, Sql

Run = Callable[[Sql], Sequence[tuple[object, ...]]]

_IDENTITY = """
select c.oid::bigint, pg_relation_filenode(c.oid)::bigint, s.n_tup_ins, s.n_tup_upd, s.n_tup_del
from pg_class as c
left join pg_stat_all_tables as s on s.relid = c.oid
where c.oid = %s::regclass
"""


class Versions:
    """Remembers the digests of the marts; several threads may ask at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[tuple[object, ...], str]] = {}

    def mart(self, source: Source, run: Run, run_patiently: Run) -> str:
        """The digest of all rows of a mart; reading all of a large one takes patience."""
        name = f"{quote(source.schema)}.{quote(source.contract.name)}"
        [identity] = run(Sql(_IDENTITY, (name,)))
        known = self._known.get(name)
        if known is None or known[0] != identity:
            # Two that come at once do not read the table twice.
            with self._lock:
                known = self._known.get(name)
                if known is None or known[0] != identity:
                    known = (identity, digest(source, Sql(""), run_patiently))
                    self._known[name] = known
        return known[1]


def digest(source: Source, where: Sql, run: Run) -> str:
    """A digest of rows and columns that does not depend on the order of the rows."""
    [found] = run(
        Sql(
            "select count(*), sum(hashtextextended(m::text, 0)), "
            f"sum(hashtextextended(m::text, 1)) from {source.sql}{where.text}",
            where.values,
        )
    )
    columns = [(column.name, column.type) for column in source.contract.columns]
    return hashlib.sha256(repr((found, columns)).encode()).hexdigest()
