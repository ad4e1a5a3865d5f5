"""The raw tables of every engine, the store that writes them, and how to open it.

Types are PostgreSQL's names; an engine translates them. A thread prepares the records' text ahead
of the engine. Only some chunks of a large file are in memory, and nothing is ever on disk.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import fields
from io import BytesIO
from typing import Any

from loader import ledger
from loader.engines import Engine, module_of, quote
from loader.errors import DatabaseFault
from loader.ledger import Load
from loader.parsers.records import Batch, RejectedLine, csv_cell
from loader.project import Profile
from loader.sources import EXTRA, LAST_LOAD, LEDGER, REJECTED, Input, InputColumn, header_key

_TYPES = {
    "int": "bigint",
    "str": "text",
    "str | None": "text",
    "datetime": "timestamp with time zone",
}
# The ledger has a column for each field of a Load.
LEDGER_COLUMNS = {item.name: _TYPES[str(item.type)] for item in fields(Load)}
_OWN_TABLES: Mapping[str, Mapping[str, str]] = {
    LEDGER: LEDGER_COLUMNS,
    REJECTED: dict.fromkeys(("load_id", "line"), "bigint")
    | dict.fromkeys(("rule", "detail", "content"), "text"),
    # The greatest load_id ever given, even if that load has been pruned. Unlike a sequence it is
    # rolled back with its load, so that a failed load leaves no trace.
    LAST_LOAD: {"load_id": "bigint"},
}


def raw_tables(inputs: Sequence[Input]) -> dict[str, Mapping[str, str]]:
    """The columns and types of every raw table."""
    own = {"load_id": "bigint", "line": "bigint", EXTRA: "text"}
    files = {table.name: dict.fromkeys(table.column_names, "text") | own for table in inputs}
    return {**files, **_OWN_TABLES}


def create_table(
    schema: str, name: str, columns: Mapping[str, str], *, has_ranges: bool = False
) -> str:
    """SQL that creates a raw table in a schema; `schema` is SQL, too.

    With `has_ranges` it also creates an index of ranges: the rows of a load are stored together, so
    it finds them and costs a load nothing.
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
    """Column, key in `extra`, and the loads that keep the column's cells there under that key.

    A load with two names for one column is left out: it does not say which is meant.
    """
    for column in columns:
        ids: dict[str, list[int]] = {}
        for load in loads:
            kept = json.loads(load.columns_ignored or "[]")
            names = [name for name in kept if header_key(name) in column.names]
            if len(names) == 1:
                ids.setdefault(names[0], []).append(load.load_id)
        for name, load_ids in ids.items():
            yield column.name, name, load_ids


class RawStore:
    """The raw tables and the ledger in one transaction: others see all of it or nothing."""

    # Each switch between the thread and the engine costs time, so chunks are large.
    chunk = 8 << 20
    # Small amounts are kept back and written together with those of other files.
    kept_back = 4 << 20
    # Whether the models are compiled for this engine.
    runs_models = True

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # The tables that rows were written to or deleted from.
        self.changed: set[str] = set()
        # The first and the last number given out.
        self._first = self._last = 0
        # What is kept back by table, columns and delimiter, and its size.
        self._kept: dict[tuple[str, tuple[str, ...], str], list[bytes]] = defaultdict(list)
        self._kept_size = 0
        self._counts: dict[str, dict[int, int]] = {}

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a statement. Raises DatabaseFault."""
        return self.engine.run(sql)

    def insert(self, name: str, columns: Sequence[str], delimiter: str, chunk: bytes) -> None:
        self.engine.insert(self.table(name), columns, delimiter, chunk)

    def analyze(self) -> None:
        """Let the engine analyze what has changed: queries are planned right after this."""
        for name in sorted(self.changed):
            self.engine.analyze(self.table(name))

    def table(self, name: str) -> str:
        """A raw table as SQL."""
        return self.engine.relation(name)

    def prepare(self, inputs: Sequence[Input]) -> None:
        """Create the schema, tables and columns that are missing."""
        # `if not exists` alone would require the right to create what exists already.
        schema, home = self.engine.schema, self.engine.home
        if schema not in self.engine.schemas():
            self.run(f"create schema if not exists {home}")
        present = self.engine.tables()
        for name, columns in raw_tables(inputs).items():
            if name not in present:
                self.run(create_table(home, name, columns, has_ranges=self.engine.has_ranges))
                continue
            for column, type_ in columns.items():
                present_type = present[name].get(column)
                if present_type is None:
                    self.run(f"alter table {self.table(name)} add column {quote(column)} {type_}")
                elif present_type != type_:
                    # It would decide what only the models may decide: 007 is not yet 7.
                    raise DatabaseFault(
                        self.engine.where,
                        f"the column {column} of {schema}.{name} has the type "
                        f"{present_type}, and labmart needs {type_}.",
                        "Rename or drop the table, or change the type, and call again.",
                    )
        # Columns declared after a load are filled from what it kept beyond the declared ones.
        for table in inputs:
            before = present.get(table.name, {})
            added = [column for column in table.columns if column.name not in before]
            if EXTRA in before and added:
                loads = [load for load in self.loads() if load.input == table.name]
                for column, key, ids in kept_under(added, loads):
                    self.run(
                        f"update {self.table(table.name)} "
                        f"set {quote(column)} = {self.engine.json_value(EXTRA, key)} "
                        f"where {EXTRA} is not null and load_id in {_listed(ids)}"
                    )
                    self.changed.add(table.name)

    # The rows of a load.

    def next_load_id(self) -> int:
        """A number greater than that of any load so far."""
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
        """Write a file's records; returns their number.

        A thread prepares the text of one chunk while the engine writes another. An exception from
        the batches is raised unchanged.
        """
        written, stopped = 0, threading.Event()
        chunks = _chunks(batches, self.chunk, stopped)
        try:
            with ThreadPoolExecutor(1, "labmart-parser") as thread:
                try:
                    # A thread that a signal catches while starting would not be joined at the end.
                    thread.submit(int).result()
                    ahead = thread.submit(next, chunks, None)
                    while made := ahead.result():
                        ahead = thread.submit(next, chunks, None)
                        chunk, records = made
                        self._keep(table.name, ("line", "load_id", *columns), delimiter, chunk)
                        written += records
                finally:
                    stopped.set()
        finally:
            # It may hold files open.
            if isinstance(batches, Generator):
                batches.close()
        return written

    def write_rejected(self, load_id: int, lines: Iterable[RejectedLine]) -> None:
        columns = ("line", "load_id", "rule", "detail", "content")
        for line in lines:
            cells = (str(line.line), str(load_id), line.rule, line.detail, line.content)
            self._keep(REJECTED, columns, ",", _record(cells))

    def add(self, load: Load) -> None:
        """Add a row to the ledger."""
        values = (getattr(load, column) for column in LEDGER_COLUMNS)
        cells = (None if value is None else str(value) for value in values)
        self._keep(LEDGER, tuple(LEDGER_COLUMNS), ",", _record(cells))

    def _keep(self, name: str, columns: tuple[str, ...], delimiter: str, chunk: bytes) -> None:
        if chunk:
            self._kept[name, columns, delimiter].append(chunk)
            self._kept_size += len(chunk)
        if self._kept_size > self.kept_back:
            self.settle()

    def settle(self) -> None:
        """Write what is kept back, so that all statements see it."""
        kept, self._kept_size = list(self._kept.items()), 0
        self._kept.clear()
        for (name, columns, delimiter), chunks in kept:
            self.insert(name, columns, delimiter, b"".join(chunks))
            self.changed.add(name)
            self._counts.pop(name, None)

    def count(self, table: Input, load_id: int) -> tuple[int, int]:
        """Rows and rejected lines of a load, counted in the tables."""
        self.settle()
        for name in (table.name, REJECTED):
            if name not in self._counts:
                self._counts[name] = self.counts(name, self._first or load_id)
        return self._counts[table.name].get(load_id, 0), self._counts[REJECTED].get(load_id, 0)

    def counts(self, table: str, first: int) -> dict[int, int]:
        """The number of rows of each load from the first on."""
        rows = f"from {self.table(table)} where load_id >= {first:d}"
        return dict(self.run(f"select load_id, count(*) {rows} group by load_id"))

    # The ledger.

    def loads(self) -> list[Load]:
        """The ledger by load_id; empty if there is none yet."""
        self.settle()
        # An older ledger lacks columns added later, which have a default.
        present = self.engine.tables().get(LEDGER, ())
        names = [name for name in LEDGER_COLUMNS if name in present]
        if not names:
            return []
        rows = self.run(f"select {', '.join(names)} from {self.table(LEDGER)} order by load_id")
        return [Load(**dict(zip(names, row, strict=True))) for row in rows]

    def set_status(self, changes: Mapping[int, str]) -> None:
        self.settle()
        for status in set(changes.values()):
            ids = [load_id for load_id, new in changes.items() if new == status]
            self.run(
                f"update {self.table(LEDGER)} set status = {self.engine.literal(status)} "
                f"where load_id in {_listed(ids)}"
            )

    def mark(self, load_ids: Sequence[int], *, undone: bool) -> dict[int, str]:
        """Undo loads, or reverse that; the statuses that change. See `ledger.mark`."""
        changes = ledger.mark(self.loads(), load_ids, undone=undone)
        self.set_status(changes)
        return changes

    def delete(self, loads: Sequence[Load]) -> None:
        """Delete loads, their rows and their rejected lines."""
        ids: dict[str, list[int]] = defaultdict(list)
        for load in loads:
            for table in (load.input, REJECTED, LEDGER):
                ids[table].append(load.load_id)
        # The table of an input may have been dropped.
        for table in self.engine.tables().keys() & ids:
            self.run(f"delete from {self.table(table)} where load_id in {_listed(ids[table])}")
            self.changed.add(table)

    def commit(self) -> None:
        """Make everything visible at once. A store closed without it leaves no trace."""
        if self._last:
            self.run(f"insert into {self.table(LAST_LOAD)} values ({self._last:d})")
        self.settle()
        self.analyze()
        self.engine.commit()


def open_store(profile: Profile, *, write: bool = True) -> AbstractContextManager[RawStore]:
    """Open the raw tables of a profile. With `write`, one load at a time has them.

    Raises DatabaseUnreachable, DatabaseFault or ConfigError.
    """
    store: AbstractContextManager[RawStore] = module_of(profile).connect_raw(profile, write=write)
    return store


def _chunks(
    batches: Iterator[Batch], size: int, stopped: threading.Event
) -> Iterator[tuple[bytes, int]]:
    """The batches as chunks of text, all but the last at least that large; records in each."""
    chunk, records = BytesIO(), 0
    for batch in batches:
        chunk.write(batch.text.encode())
        records += batch.records
        if chunk.tell() >= size or stopped.is_set():
            yield chunk.getvalue(), records
            chunk, records = BytesIO(), 0
    yield chunk.getvalue(), records


def _record(cells: Iterable[str | None]) -> bytes:
    return (",".join(map(csv_cell, cells)) + "\n").encode()


def _listed(ids: Sequence[int]) -> str:
    return f"({', '.join(f'{load_id:d}' for load_id in ids)})"
