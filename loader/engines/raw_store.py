"""The raw tables as every engine should have them, and the store of those engines that speak SQL.

Types are PostgreSQL's words; an engine translates them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

from loader.engines import Load
from loader.engines.sql import quote
from loader.errors import DatabaseFault, UsageError
from loader.parsers.records import Batch, RejectedLine, close_batches, csv_cell
from loader.sources import EXTRA, LAST_LOAD, LEDGER, REJECTED, Input, InputColumn, header_key

REJECTED_COLUMNS = ("line", "load_id", "rule", "detail", "content")

TIMESTAMP = "timestamp with time zone"
# The ledger has a column for each field of a Load.
_TYPES = {"int": "bigint", "str": "text", "str | None": "text", "datetime": TIMESTAMP}
LEDGER_COLUMNS = {item.name: _TYPES[str(item.type)] for item in fields(Load)}
_MAY_BE_NULL = [item.name for item in fields(Load) if str(item.type).endswith("None")]
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
# What stands in for columns that an older ledger has not: each of its loads was a call.
_OLDER = {"call_id": "load_id", "arrived_at": "started_at"}
_REJECTED_PER_BATCH = 1000
# So many characters of small files are kept back at once.
_KEPT = 8 << 20
_ADDED_AT_ONCE = 500


@dataclass(frozen=True)
class Relation:
    """A relation as the engine has it; `kind` in a person's words, such as view; columns, types."""

    kind: str
    owner: str
    columns: Mapping[str, str]

    @property
    def is_ledger(self) -> bool:
        """Whether a relation called `loads` is a ledger of ours, of whatever version."""
        return {"load_id", "sha256", "status"} <= set(self.columns)


@dataclass(frozen=True)
class Gap:
    """A table that has to be made, or the columns that one lacks."""

    table: str
    is_new: bool
    columns: Mapping[str, str]


def raw_tables(inputs: Sequence[Input]) -> dict[str, Mapping[str, str]]:
    """The columns and types of every raw table."""
    own = {"load_id": "bigint", "line": "bigint", EXTRA: "text"}
    files = {table.name: dict.fromkeys(table.column_names, "text") | own for table in inputs}
    return {**files, **_OWN_TABLES}


def gaps(
    tables: Mapping[str, Mapping[str, str]],
    present: Mapping[str, Relation],
    schema: str,
    refuse: Callable[[str, str], DatabaseFault],
) -> list[Gap]:
    """What is missing of the tables. Raises what `refuse` makes of a problem and the next step."""
    missing = []
    for name, columns in tables.items():
        if name not in present:
            missing.append(Gap(name, True, columns))
            continue
        _check(f"{schema}.{name}", columns, present[name], refuse)
        known = present[name].columns
        if lacking := {key: type_ for key, type_ in columns.items() if key not in known}:
            missing.append(Gap(name, False, lacking))
    return missing


def _check(
    name: str,
    columns: Mapping[str, str],
    relation: Relation,
    refuse: Callable[[str, str], DatabaseFault],
) -> None:
    if relation.kind != "table":
        raise refuse(
            f"{name} is a {relation.kind}, and labmart needs a table of that name.",
            "Rename or drop it, and call again.",
        )
    for column, type_ in columns.items():
        present = relation.columns.get(column)
        if present is not None and present != type_:
            raise refuse(
                f"the column {column} of {name} has the type {present}, and labmart needs {type_}.",
                "Rename or drop the table, or change the type (`alter table`), and call again.",
            )


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


def kept_under(
    columns: Iterable[InputColumn], loads: Sequence[Load]
) -> Iterator[tuple[str, str, list[int]]]:
    """Column, key in `extra`, and the loads that keep its cells there under that key.

    A load that has two names for one column says not which is meant, and is none of them.
    """
    for column in columns:
        ids: dict[str, list[int]] = {}
        for load in loads:
            kept = json.loads(load.columns_ignored or "[]")
            names = [name for name in kept if header_key(name) in column.names]
            if len(names) == 1:
                ids.setdefault(names[0], []).append(load.load_id)
        for name, those in ids.items():
            yield column.name, name, those


def rejected_batches(load_id: int, lines: Iterable[RejectedLine]) -> Iterator[Batch]:
    """Rejected lines as batches of the columns REJECTED_COLUMNS, with commas between them."""
    rest = iter(lines)
    while some := list(islice(rest, _REJECTED_PER_BATCH)):
        text = []
        for line in some:
            cells = map(csv_cell, (line.rule, line.detail, line.content))
            text.append(f"{line.line},{load_id},{','.join(cells)}\n")
        yield Batch(text="".join(text), records=len(some), rejected=(), position=0)


class RawStore:
    """The raw tables and the ledger in one transaction: others see all of it or nothing.

    It is in SQL; an engine runs the statements, and takes the batches its own way. `schema` is the
    raw schema as SQL, `where` the database in a person's words.
    """

    # How the engine writes a parameter.
    parameter = "?"
    # What of a file has no more characters is kept back, to be written together with others.
    small = 1 << 18
    # Whether it is the engine that the models are compiled for.
    runs_models = True

    def __init__(self, schema_name: str, schema: str, where: str) -> None:
        self.schema_name = schema_name
        self.schema = schema
        self.where = where
        # The tables that rows were written into, or deleted from.
        self.changed: set[str] = set()
        # The first and the last number that was given out.
        self._first = self._last = 0
        # By table, columns and delimiter: what is kept back, and how much of it.
        self._kept: dict[tuple[str, tuple[str, ...], str], list[Batch]] = defaultdict(list)
        self._kept_size = 0
        self._added: list[Load] = []
        self._counts: dict[str, dict[int, int]] = {}

    def run(
        self, sql: str, values: Sequence[object] = (), *, right: str = ""
    ) -> list[tuple[Any, ...]]:
        """Run a statement, all of its rows. `right` is what it needs on the raw tables."""
        raise NotImplementedError

    def analyze(self) -> None:
        """Let the engine look at what has changed, if it plans by that."""

    def settle(self) -> None:
        """Write what is kept back, so that all statements see it."""
        kept = list(self._kept.items())
        self._kept.clear()
        self._kept_size = 0
        for (name, columns, delimiter), batches in kept:
            self.copy(name, columns, delimiter, iter(batches))
            self._counts.pop(name, None)
        parameters = f"({', '.join([self.parameter] * len(LEDGER_COLUMNS))})"
        while added := self._added[:_ADDED_AT_ONCE]:
            self.run(
                f"insert into {self.table(LEDGER)} ({', '.join(LEDGER_COLUMNS)}) "
                f"values {', '.join([parameters] * len(added))}",
                [getattr(load, column) for load in added for column in LEDGER_COLUMNS],
                right="insert",
            )
            del self._added[:_ADDED_AT_ONCE]
            self.changed.add(LEDGER)

    def relations(self, names: Iterable[str]) -> dict[str, Relation]:
        """Those of the names that are relations of the raw schema."""
        raise NotImplementedError

    def make(self, gap: Gap, present: Mapping[str, Relation]) -> None:
        """Make what is missing of a table."""
        raise NotImplementedError

    def json_value(self, column: str, key: str) -> str:
        """SQL for the text that a column of JSON objects has under a key."""
        raise NotImplementedError

    def exists(self) -> bool:
        """Whether the schema is there, whatever it holds."""
        raise NotImplementedError

    def make_schema(self) -> None:
        raise NotImplementedError

    def copy(
        self, name: str, columns: Sequence[str], delimiter: str, batches: Iterator[Batch]
    ) -> int:
        """Write batches into a table; how many rows it took."""
        raise NotImplementedError

    def end(self) -> None:
        """Commit the transaction."""
        raise NotImplementedError

    def commit(self) -> None:
        """Make it all visible at once. A store that is closed without it leaves no trace."""
        if self._last:
            last = self.table(LAST_LOAD)
            self.run(f"insert into {last} values ({self.parameter})", (self._last,), right="insert")
        self.settle()
        self.end()

    def table(self, name: str) -> str:
        """A raw table as SQL."""
        return f"{self.schema}.{quote(name)}"

    def has_ledger(self) -> bool:
        """Whether the schema holds raw tables."""
        ledger = self.relations([LEDGER]).get(LEDGER)
        return ledger is not None and ledger.is_ledger

    def loads(self) -> list[Load]:
        """The ledger by load_id; empty when there is none yet."""
        self.settle()
        ledger = self.relations([LEDGER]).get(LEDGER)
        if ledger is None or "load_id" not in ledger.columns:
            return []
        listed = ", ".join(self.select_cell(item.name, ledger) for item in fields(Load))
        rows = self.run(
            f"select {listed} from {self.table(LEDGER)} where load_id is not null order by load_id",
            right="select",
        )
        return [self.load_of(row) for row in rows]

    def select_cell(self, column: str, ledger: Relation) -> str:
        """SQL for a column of the ledger, NULL only where a Load may have None.

        That holds for a row that a person wrote by hand as well.
        """
        type_ = LEDGER_COLUMNS[column]
        older = _OLDER.get(column)
        substitute = RawStore.select_cell(self, older, ledger) if older else _SUBSTITUTES[type_]
        if column in _MAY_BE_NULL:
            substitute = "null"
        if column not in ledger.columns:
            return substitute
        name = quote(column)
        if type_ == TIMESTAMP:
            # Python knows no infinity and no years beyond these.
            name = f"case when {name} between '0001-01-02' and '9999-12-30' then {name} end"
        return f"coalesce({name}, {substitute})"

    def load_of(self, row: tuple[Any, ...]) -> Load:
        """A row of the ledger as `select_cell` gives it."""
        return Load(*row)

    def prepare(self, inputs: Sequence[Input]) -> None:
        """Create what is missing of the schema, its tables and their columns."""
        # `if not exists` alone would ask for the right to create what is there already.
        if not self.exists():
            self.make_schema()
        tables = raw_tables(inputs)
        present = self.relations(tables)
        missing = gaps(tables, present, self.schema_name, self.refuse)
        for gap in missing:
            self.make(gap, present)
        loads = self.loads() if missing else []
        for table in inputs:
            known = present[table.name].columns if table.name in present else {}
            if EXTRA in known:
                added = [column for column in table.columns if column.name not in known]
                self._fill(table, added, [load for load in loads if load.input == table.name])

    def _fill(self, table: Input, added: Sequence[InputColumn], loads: Sequence[Load]) -> None:
        """Fill columns declared after the loads from what these kept beyond the declared ones."""
        for column, name, ids in kept_under(added, loads):
            self.run(
                f"update {self.table(table.name)} set {quote(column)} = "
                f"{self.json_value(EXTRA, name)} "
                f"where {EXTRA} is not null and load_id in {_listed(ids)}",
                right="update",
            )
            self.changed.add(table.name)

    def next_load_id(self) -> int:
        """A number greater than any load ever had."""
        if not self._last:
            [(last,)] = self.run(
                f"select greatest((select max(load_id) from {self.table(LEDGER)}), "
                f"(select max(load_id) from {self.table(LAST_LOAD)}), 0)",
                right="select",
            )
            self.run(f"delete from {self.table(LAST_LOAD)}", right="delete")
            self._first, self._last = last + 1, last
        self._last += 1
        return self._last

    def write_records(
        self, table: Input, columns: tuple[str, ...], delimiter: str, batches: Iterator[Batch]
    ) -> int:
        return self._write(table.name, ("line", "load_id", *columns), delimiter, batches)

    def write_rejected(self, load_id: int, lines: Iterable[RejectedLine]) -> None:
        self._write(REJECTED, REJECTED_COLUMNS, ",", rejected_batches(load_id, lines))

    def _write(
        self, name: str, columns: tuple[str, ...], delimiter: str, batches: Iterator[Batch]
    ) -> int:
        """Write batches, or keep back what is small; how many rows that are."""
        first: list[Batch] = []
        size = 0
        for batch in batches:
            # Whoever made it has seen what is rejected.
            if batch.text:
                first.append(replace(batch, rejected=(), doubted=()))
            size += len(batch.text)
            if size > self.small:
                self._counts.pop(name, None)
                return self.copy(name, columns, delimiter, _rejoined(first, batches))
        if first:
            self._kept[name, columns, delimiter] += first
            self._kept_size += size
        if self._kept_size > _KEPT:
            self.settle()
        return sum(batch.records for batch in first)

    def count(self, table: Input, load_id: int) -> tuple[int, int]:
        """Rows and rejected lines of a load, counted in the tables."""
        self.settle()
        return self.count_rows(table.name, load_id), self.count_rows(REJECTED, load_id)

    def count_rows(self, table: str, load_id: int) -> int:
        if not 0 < self._first <= load_id:
            return self.counts(table, load_id).get(load_id, 0)
        if table not in self._counts:
            self._counts[table] = self.counts(table, self._first)
        return self._counts[table].get(load_id, 0)

    def counts(self, table: str, first: int, condition: str = "") -> dict[int, int]:
        """How many rows there are of each load from the first on."""
        rows = self.run(
            f"select load_id, count(*) from {self.table(table)} "
            f"where load_id >= {first:d}{condition} group by load_id",
            right="select",
        )
        return {int(load_id): int(count) for load_id, count in rows}

    def add(self, load: Load) -> None:
        self._added.append(load)

    def set_status(self, changes: Mapping[int, str]) -> None:
        self.settle()
        for status in set(changes.values()):
            ids = [load_id for load_id, new in changes.items() if new == status]
            self.run(
                f"update {self.table(LEDGER)} set status = {self.parameter} "
                f"where load_id in {_listed(ids)}",
                (status,),
                right="update",
            )

    def delete(self, loads: Sequence[Load]) -> None:
        ids: dict[str, list[int]] = {}
        for load in loads:
            for table in (load.input, REJECTED, LEDGER):
                ids.setdefault(table, []).append(load.load_id)
        # The table of an input may have been dropped.
        for table in self.relations(ids):
            self.run(
                f"delete from {self.table(table)} where load_id in {_listed(ids[table])}",
                right="delete",
            )
            self.changed.add(table)

    def refuse(self, problem: str, next_step: str) -> DatabaseFault:
        return DatabaseFault(self.where, problem, next_step)


def _rejoined(first: Sequence[Batch], rest: Iterator[Batch]) -> Iterator[Batch]:
    try:
        yield from first
        yield from rest
    finally:
        close_batches(rest)


def _listed(ids: Sequence[int]) -> str:
    return f"({', '.join(f'{load_id:d}' for load_id in ids)})"
