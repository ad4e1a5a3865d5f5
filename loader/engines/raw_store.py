"""The raw tables as every engine should have them, the store of all engines, and the way into it.

Types are PostgreSQL's words; an engine translates them. A thread makes the records' text ahead of
the engine. Of a large file only some chunks are in memory, and nothing is ever on disk.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import fields
from itertools import chain, islice
from queue import Empty, Queue
from typing import Any

from loader.engines import Load, quote
from loader.errors import DatabaseFault
from loader.parsers.records import Batch, RejectedLine, close_batches, csv_cell
from loader.sources import EXTRA, LAST_LOAD, LEDGER, REJECTED, Input, InputColumn, header_key

TIMESTAMP = "timestamp with time zone"
# The ledger has a column for each field of a Load.
_TYPES = {"int": "bigint", "str": "text", "str | None": "text", "datetime": TIMESTAMP}
LEDGER_COLUMNS = {item.name: _TYPES[str(item.type)] for item in fields(Load)}
_OWN_TABLES: Mapping[str, Mapping[str, str]] = {
    LEDGER: LEDGER_COLUMNS,
    REJECTED: dict.fromkeys(("load_id", "line"), "bigint")
    | dict.fromkeys(("rule", "detail", "content"), "text"),
    # The greatest load_id there ever was, also of a load that has been pruned. Unlike a sequence
    # it is rolled back with its load, so that a load that failed leaves no trace at all.
    LAST_LOAD: {"load_id": "bigint"},
}
_ADDED_AT_ONCE = 500


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


def _made_ahead(batches: Iterator[Batch], size: int) -> Generator[bytes]:
    """The text of batches in chunks of about so many bytes, made by a thread.

    At most three chunks are in memory: the one being filled, the one that waits, and the one that
    was taken. What ended the batches early is raised in place of the next chunk. The thread has
    ended when this is closed.
    """
    first = list(islice(batches, 2))
    if len(first) < 2:
        # A small file is not worth a thread.
        yield from (batch.text.encode() for batch in first)
        return
    # None is the end.
    chunks: Queue[bytes | BaseException | None] = Queue(1)
    stopped = threading.Event()

    def make() -> None:
        pieces: list[bytes] = []
        held = 0
        for batch in chain(first, batches):
            piece = batch.text.encode()
            if pieces and held + len(piece) > size:
                chunks.put(b"".join(pieces))
                pieces, held = [], 0
            pieces.append(piece)
            held += len(piece)
            if stopped.is_set():
                return
        chunks.put(b"".join(pieces))

    def run() -> None:
        end: BaseException | None = None
        for step in (make, lambda: close_batches(batches)):
            try:
                step()
            except BaseException as error:
                end = end or error
        if not stopped.is_set():
            chunks.put(end)

    thread = threading.Thread(target=run, name="labmart-parser", daemon=True)
    try:
        thread.start()
        while isinstance(chunk := chunks.get(), bytes):
            yield chunk
        if chunk is not None:
            raise chunk
    finally:
        stopped.set()
        # It may be waiting for room.
        with suppress(Empty):
            chunks.get_nowait()
        # A signal may have come before it had begun.
        if thread.ident is not None:
            thread.join()


class RawStore:
    """The raw tables and the ledger in one transaction: others see all of it or nothing.

    It is in SQL; an engine runs the statements, and takes the records its own way. `schema` is the
    raw schema as SQL; `where` is the database in a person's words.
    """

    # How the engine writes a parameter.
    parameter = "?"
    # Each change between the thread and the engine costs; so chunks are large.
    chunk = 8 << 20
    # What is small is kept back, to be written together with that of other files.
    kept_back = 4 << 20
    # Whether it is the engine that the models are compiled for.
    runs_models = True
    # Whether its tables have an index of ranges; see `create_table`.
    has_ranges = False
    # SQL for the columns of a schema: table, name, type.
    columns_sql: str

    def __init__(self, schema_name: str, schema: str, where: str) -> None:
        self.schema_name = schema_name
        self.schema = schema
        self.where = where
        # The tables that rows were written into, or deleted from.
        self.changed: set[str] = set()
        # The first and the last number that was given out.
        self._first = self._last = 0
        # By table, columns and delimiter: what is kept back, and how much that is.
        self._kept: dict[tuple[str, tuple[str, ...], str], list[bytes]] = defaultdict(list)
        self._kept_size = 0
        self._added: list[Load] = []
        self._counts: dict[str, dict[int, int]] = {}

    def run(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a statement, all of its rows. Raises DatabaseFault."""
        raise NotImplementedError

    def analyze(self) -> None:
        """Let the engine look at what has changed, if it plans by that."""

    def json_value(self, column: str, key: str) -> str:
        """SQL for the text that a column of JSON objects has under a key."""
        raise NotImplementedError

    def standard_type(self, type_: str) -> str:
        """A type in PostgreSQL's words."""
        return type_

    def insert(self, name: str, columns: Sequence[str], delimiter: str, chunk: bytes) -> None:
        """Write records, as `Batch` has them, into a table."""
        raise NotImplementedError

    def end(self) -> None:
        """Commit the transaction."""
        raise NotImplementedError

    def settle(self) -> None:
        """Write what is kept back, so that all statements see it."""
        kept, self._kept_size = list(self._kept.items()), 0
        self._kept.clear()
        for (name, columns, delimiter), chunks in kept:
            self.insert(name, columns, delimiter, b"".join(chunks))
            self.changed.add(name)
            self._counts.pop(name, None)
        parameters = f"({', '.join([self.parameter] * len(LEDGER_COLUMNS))})"
        while added := self._added[:_ADDED_AT_ONCE]:
            self.run(
                f"insert into {self.table(LEDGER)} ({', '.join(LEDGER_COLUMNS)}) "
                f"values {', '.join([parameters] * len(added))}",
                [getattr(load, column) for load in added for column in LEDGER_COLUMNS],
            )
            del self._added[:_ADDED_AT_ONCE]
            self.changed.add(LEDGER)

    def columns(self) -> dict[str, dict[str, str]]:
        """The tables of the raw schema, and the types of their columns."""
        tables: dict[str, dict[str, str]] = defaultdict(dict)
        for name, column, type_ in self.run(self.columns_sql, (self.schema_name,)):
            tables[name][column] = self.standard_type(type_)
        return tables

    def commit(self) -> None:
        """Make it all visible at once. A store that is closed without it leaves no trace."""
        if self._last:
            last = self.table(LAST_LOAD)
            self.run(f"insert into {last} values ({self.parameter})", (self._last,))
        self.settle()
        self.end()

    def table(self, name: str) -> str:
        """A raw table as SQL."""
        return f"{self.schema}.{quote(name)}"

    def loads(self) -> list[Load]:
        """The ledger by load_id; empty when there is none yet."""
        self.settle()
        # An older ledger lacks columns that came later, and have a default.
        present = self.columns().get(LEDGER, ())
        names = [name for name in LEDGER_COLUMNS if name in present]
        if not names:
            return []
        rows = self.run(f"select {', '.join(names)} from {self.table(LEDGER)} order by load_id")
        return [Load(**dict(zip(names, row, strict=True))) for row in rows]

    def prepare(self, inputs: Sequence[Input]) -> None:
        """Create what is missing of the schema, its tables and their columns."""
        # `if not exists` alone would ask for the right to create what is there already.
        known = "select 1 from information_schema.schemata where schema_name = "
        if not self.run(f"{known}{self.parameter}", (self.schema_name,)):
            self.run(f"create schema if not exists {self.schema}")
        present = self.columns()
        for name, columns in raw_tables(inputs).items():
            if name not in present:
                self.run(create_table(self.schema, name, columns, has_ranges=self.has_ranges))
                continue
            for column, type_ in columns.items():
                present_type = present[name].get(column)
                if present_type is None:
                    add = f"add column {quote(column)} {type_}"
                    self.run(f"alter table {self.table(name)} {add}")
                elif present_type != type_:
                    # It would judge what only the models may judge: 007 is no 7 yet.
                    raise self.refuse(
                        f"the column {column} of {self.schema_name}.{name} has the type "
                        f"{present_type}, and labmart needs {type_}.",
                        "Rename or drop the table, or change the type, and call again.",
                    )
        # Columns declared after the loads are filled from what these kept beyond the declared ones.
        for table in inputs:
            before = present.get(table.name, {})
            added = [column for column in table.columns if column.name not in before]
            if EXTRA in before and added:
                loads = [load for load in self.loads() if load.input == table.name]
                for column, key, ids in kept_under(added, loads):
                    self.run(
                        f"update {self.table(table.name)} "
                        f"set {quote(column)} = {self.json_value(EXTRA, key)} "
                        f"where {EXTRA} is not null and load_id in {_listed(ids)}"
                    )
                    self.changed.add(table.name)

    def next_load_id(self) -> int:
        """A number greater than any load ever had."""
        if not self._last:
            [(last,)] = self.run(
                f"select greatest((select max(load_id) from {self.table(LEDGER)}), "
                f"(select max(load_id) from {self.table(LAST_LOAD)}), 0)"
            )
            self.run(f"delete from {self.table(LAST_LOAD)}")
            self._first, self._last = last + 1, last
        self._last += 1
        return self._last

    def write_records(
        self, table: Input, columns: tuple[str, ...], delimiter: str, batches: Iterator[Batch]
    ) -> int:
        """Write a file's records; how many there are."""
        written = 0

        def counted() -> Iterator[Batch]:
            nonlocal written
            try:
                for batch in batches:
                    written += batch.records
                    if batch.text:
                        yield batch
            finally:
                close_batches(batches)

        with closing(_made_ahead(counted(), self.chunk)) as chunks:
            for chunk in chunks:
                self._keep(table.name, ("line", "load_id", *columns), delimiter, chunk)
        return written

    def write_rejected(self, load_id: int, lines: Iterable[RejectedLine]) -> None:
        for line in lines:
            cells = ",".join(map(csv_cell, (line.rule, line.detail, line.content)))
            record = f"{line.line},{load_id},{cells}\n".encode()
            self._keep(REJECTED, ("line", "load_id", "rule", "detail", "content"), ",", record)

    def _keep(self, name: str, columns: tuple[str, ...], delimiter: str, chunk: bytes) -> None:
        if chunk:
            self._kept[name, columns, delimiter].append(chunk)
            self._kept_size += len(chunk)
        if self._kept_size > self.kept_back:
            self.settle()

    def count(self, table: Input, load_id: int) -> tuple[int, int]:
        """Rows and rejected lines of a load, counted in the tables."""
        self.settle()
        for name in (table.name, REJECTED):
            if name not in self._counts:
                self._counts[name] = self.counts(name, self._first or load_id)
        return self._counts[table.name].get(load_id, 0), self._counts[REJECTED].get(load_id, 0)

    def counts(self, table: str, first: int) -> dict[int, int]:
        """How many rows there are of each load from the first on."""
        rows = self.run(
            f"select load_id, count(*) from {self.table(table)} "
            f"where load_id >= {first:d} group by load_id",
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
            )

    def delete(self, loads: Sequence[Load]) -> None:
        ids: dict[str, list[int]] = {}
        for load in loads:
            for table in (load.input, REJECTED, LEDGER):
                ids.setdefault(table, []).append(load.load_id)
        # The table of an input may have been dropped.
        for table in self.columns().keys() & ids:
            self.run(
                f"delete from {self.table(table)} where load_id in {_listed(ids[table])}",
            )
            self.changed.add(table)

    def refuse(self, problem: str, next_step: str) -> DatabaseFault:
        return DatabaseFault(self.where, problem, next_step)


def _listed(ids: Sequence[int]) -> str:
    return f"({', '.join(f'{load_id:d}' for load_id in ids)})"
