"""The raw tables as every engine should have them, and the store of those engines that speak SQL.

Types are PostgreSQL's words; an engine translates them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

from loader.engines import Load
from loader.engines.sql import quote
from loader.errors import DatabaseFault
from loader.parsers.records import Batch, RejectedLine, close_batches, csv_cell
from loader.sources import EXTRA, LAST_LOAD, LEDGER, REJECTED, Input, InputColumn, header_key

TIMESTAMP = "timestamp with time zone"
# The ledger has a column for each field of a Load.
_TYPES = {"int": "bigint", "str": "text", "str | None": "text", "datetime": TIMESTAMP}
LEDGER_COLUMNS = {item.name: _TYPES[str(item.type)] for item in fields(Load)}
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
# By column or type: what stands for NULL, and for a column that an older ledger has not.
_SUBSTITUTES = {
    **{item.name: "null" for item in fields(Load) if str(item.type).endswith("None")},
    **{"call_id": "load_id", "bigint": "0", "text": "''", TIMESTAMP: "to_timestamp(0)"},
}
_REJECTED_PER_BATCH = 1000
# So many characters of small files are kept back at once.
_KEPT = 8 << 20
_ADDED_AT_ONCE = 500


@dataclass(frozen=True)
class Relation:
    """A relation as the engine has it; `kind` in a person's words, such as view; columns, types."""

    kind: str
    owner: str
    columns: dict[str, str]


def raw_tables(inputs: Sequence[Input]) -> dict[str, Mapping[str, str]]:
    """The columns and types of every raw table."""
    own = {"load_id": "bigint", "line": "bigint", EXTRA: "text"}
    files = {table.name: dict.fromkeys(table.column_names, "text") | own for table in inputs}
    return {**files, **_OWN_TABLES}


def create_table(
    schema: str, name: str, columns: Mapping[str, str], *, has_ranges: bool = False
) -> str:
    """SQL that makes a raw table in a schema, which is SQL, too.

    With `has_ranges` there is an index of ranges as well: the rows of a load stand together, so it
    finds them and costs a load nothing.
    """
    listed = ", ".join(f"{quote(column)} {type_}" for column, type_ in columns.items())
    sql = f"create table if not exists {schema}.{quote(name)} ({listed})"
    if has_ranges and "line" in columns:
        sql += (
            f"; create index if not exists {quote(f'{name}_load_id')} on {schema}.{quote(name)} "
            "using brin (load_id) with (pages_per_range = 32, autosummarize = on)"
        )
    return sql


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


class RawStore:
    """The raw tables and the ledger in one transaction: others see all of it or nothing.

    It is in SQL; an engine runs the statements, and takes the batches its own way. `schema` is the
    raw schema as SQL, and so is `database`; `where` is the database in a person's words.
    """

    # How the engine writes a parameter.
    parameter = "?"
    # What of a file has no more characters is kept back, to be written together with others.
    small = 1 << 18
    # Whether it is the engine that the models are compiled for.
    runs_models = True
    # Whether its tables have an index of ranges; see `create_table`.
    has_ranges = False
    # SQL for the relations of a schema: name, kind, owner, column, type, a column a row; and for
    # whether the schema is there.
    relations_sql: str
    schemas_sql: str
    database = ""

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
        """Run a statement, all of its rows. Raises DatabaseFault.

        `right` is what has to be granted for it: `select` and the like are of all raw tables.
        """
        raise NotImplementedError

    def analyze(self) -> None:
        """Let the engine look at what has changed, if it plans by that."""

    def json_value(self, column: str, key: str) -> str:
        """SQL for the text that a column of JSON objects has under a key."""
        raise NotImplementedError

    def standard_type(self, type_: str) -> str:
        """A type in PostgreSQL's words."""
        return type_

    def copy(
        self, name: str, columns: Sequence[str], delimiter: str, batches: Iterator[Batch]
    ) -> int:
        """Write batches into a table; how many rows it took."""
        raise NotImplementedError

    def end(self) -> None:
        """Commit the transaction."""
        raise NotImplementedError

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

    def relations(self) -> dict[str, Relation]:
        """What there is in the raw schema, by name."""
        relations: dict[str, Relation] = {}
        for name, kind, owner, column, type_ in self.run(self.relations_sql, (self.schema_name,)):
            relation = relations.setdefault(name, Relation(kind, owner, {}))
            if column is not None:
                relation.columns[column] = self.standard_type(type_)
        return relations

    def make_schema(self) -> None:
        # `if not exists` alone would ask for the right to create what is there already.
        if not self.run(self.schemas_sql, (self.schema_name,)):
            right = f"create on database {self.database}"
            self.run(f"create schema if not exists {self.schema}", right=right)

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

    def loads(self) -> list[Load]:
        """The ledger by load_id; empty when there is none yet."""
        self.settle()
        ledger = self.relations().get(LEDGER)
        if ledger is None or "load_id" not in ledger.columns:
            return []
        listed = ", ".join(_ledger_cell(name, ledger) for name in LEDGER_COLUMNS)
        rows = self.run(
            f"select {listed} from {self.table(LEDGER)} where load_id is not null order by load_id",
            right="select",
        )
        return [Load(*row) for row in rows]

    def prepare(self, inputs: Sequence[Input]) -> None:
        """Create what is missing of the schema, its tables and their columns.

        Raises DatabaseFault for what has the name of a raw table and is none.
        """
        self.make_schema()
        present = self.relations()
        in_schema = f"create, usage on schema {self.schema}"
        for name, columns in raw_tables(inputs).items():
            if (relation := present.get(name)) is None:
                sql = create_table(self.schema, name, columns, has_ranges=self.has_ranges)
                self.run(sql, right=in_schema)
                continue
            self._check(name, columns, relation)
            for column, type_ in columns.items():
                if column not in relation.columns:
                    add = f"alter table {self.table(name)} add column {quote(column)} {type_}"
                    self.run(add, right=quote(relation.owner))
        for table in inputs:
            known = present[table.name].columns if table.name in present else {}
            added = [column for column in table.columns if column.name not in known]
            if EXTRA in known and added:
                loads = [load for load in self.loads() if load.input == table.name]
                self._fill(table, added, loads)

    def _check(self, name: str, columns: Mapping[str, str], relation: Relation) -> None:
        name = f"{self.schema_name}.{name}"
        if relation.kind != "table":
            raise self.refuse(
                f"{name} is a {relation.kind}, and labmart needs a table of that name.",
                "Rename or drop it, and call again.",
            )
        for column, present in relation.columns.items():
            if (type_ := columns.get(column, present)) != present:
                raise self.refuse(
                    f"the column {column} of {name} has the type {present}, and labmart needs "
                    f"{type_}.",
                    "Rename or drop the table, or change the type (`alter table`), and call again.",
                )

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
        def batches() -> Iterator[Batch]:
            rest = iter(lines)
            while some := list(islice(rest, _REJECTED_PER_BATCH)):
                text = []
                for line in some:
                    cells = map(csv_cell, (line.rule, line.detail, line.content))
                    text.append(f"{line.line},{load_id},{','.join(cells)}\n")
                yield Batch(text="".join(text), records=len(some), rejected=(), position=0)

        self._write(REJECTED, ("line", "load_id", "rule", "detail", "content"), ",", batches())

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
        for name in (table.name, REJECTED):
            if name not in self._counts:
                self._counts[name] = self.counts(name, self._first or load_id)
        return self._counts[table.name].get(load_id, 0), self._counts[REJECTED].get(load_id, 0)

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
        for table in self.relations().keys() & ids:
            self.run(
                f"delete from {self.table(table)} where load_id in {_listed(ids[table])}",
                right="delete",
            )
            self.changed.add(table)

    def refuse(self, problem: str, next_step: str) -> DatabaseFault:
        return DatabaseFault(self.where, problem, next_step)


def _ledger_cell(column: str, ledger: Relation) -> str:
    """SQL for a column of the ledger, NULL only where a Load may have None.

    That holds for a ledger that lacks columns, and for a row that a person wrote by hand as well.
    """
    type_ = LEDGER_COLUMNS[column]
    substitute = _SUBSTITUTES.get(column) or _SUBSTITUTES[type_]
    if column not in ledger.columns:
        return substitute
    name = quote(column)
    if type_ == TIMESTAMP:
        # Python knows no infinity and no years beyond these.
        name = f"case when {name} between '0001-01-02' and '9999-12-30' then {name} end"
    return f"coalesce({name}, {substitute})"


def _rejoined(first: Sequence[Batch], rest: Iterator[Batch]) -> Iterator[Batch]:
    try:
        yield from first
        yield from rest
    finally:
        close_batches(rest)


def _listed(ids: Sequence[int]) -> str:
    return f"({', '.join(f'{load_id:d}' for load_id in ids)})"
