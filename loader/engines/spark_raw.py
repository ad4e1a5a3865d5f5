"""Writing raw tables and the ledger into Spark; see the protocol `RawStore`.

Nothing here is a transaction over several tables, and need not be: rows are a partition that nobody
looks at until the ledger names it, and the next snapshot of the ledger makes a whole call visible
at once. A load that is killed leaves partitions that no snapshot names; `prune` removes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from loader.engines import Load
from loader.engines.raw_store import REJECTED_COLUMNS, check_move, rejected_batches
from loader.engines.spark_faults import AlreadyThere, faults
from loader.engines.spark_files import (
    Folder,
    as_batches,
    new_name,
    number_of,
    write_batches,
)
from loader.engines.spark_ledger import LEDGER_NAMES, read_ledger, snapshot_rows
from loader.engines.spark_lines import ClusterLines, NotByLine, can_read
from loader.engines.spark_session import in_new_thread, open_session
from loader.engines.spark_settings import check_schema, where
from loader.engines.spark_tables import (
    CLAIMS_TABLE,
    LEDGER_TABLE,
    LOAD_ID,
    REJECTED_TABLE,
    RawTable,
    all_tables,
    columns_of,
    create,
    create_view,
    difference,
    kind_of,
    literal,
    partitions,
    quote,
    table_of,
)
from loader.errors import DatabaseFault, UsageError
from loader.files import LocalFile
from loader.parsers.delimited import DelimitedParser
from loader.parsers.records import Batch, Parser, RejectedLine
from loader.profile import Profile
from loader.sources import LEDGER, Input

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# A query that has begun may still read the snapshot that was the newest then.
_SNAPSHOTS_KEPT = 32
_ABANDON_SECONDS = 30.0


class SparkRaw:
    """The raw tables, and what this call is going to make of the ledger."""

    def __init__(self, session: SparkSession, profile: Profile) -> None:
        self._session = session
        self._schema = profile.raw_schema
        self._where = where(profile)
        # What was added, which an end without commit takes away again.
        self._added: list[tuple[RawTable, int]] = []
        self._folders: list[Folder] = []
        self._locations: dict[str, Folder] = {}
        self._load_id = 0
        self._deleting = False
        with self._faults():
            self._base = read_ledger(session, self._schema)
        self._loads = {load.load_id: load for load in self._base.loads}

    def loads(self) -> list[Load]:
        return [self._loads[load_id] for load_id in sorted(self._loads)]

    def prepare(self, inputs: Sequence[Input]) -> None:
        with self._faults():
            self._session.sql(f"create schema if not exists {quote(self._schema)}")
            for table in all_tables(inputs):
                self._prepare(table)
            self._session.sql(create_view(self._schema))

    def next_load_id(self) -> int:
        """See `RawStore`. No other load gets the number."""
        with self._faults():
            if not self._load_id:
                claims = partitions(self._session, self._schema, CLAIMS_TABLE)
                self._load_id = max([*self._loads, *claims], default=0)
            while True:
                self._load_id += 1
                try:
                    self._add(
                        CLAIMS_TABLE, self._load_id, self._folder(CLAIMS_TABLE, self._load_id)
                    )
                except AlreadyThere:
                    continue
                return self._load_id

    def write_records(
        self, entry: Input, columns: tuple[str, ...], delimiter: str, batches: Iterator[Batch]
    ) -> int:
        """See `RawStore`. The rows' load is the one whose number was given out last."""
        names = ("line", LOAD_ID, *columns)
        return self._write(table_of(entry), self._load_id, names, delimiter, batches)

    def read_file(self, file: LocalFile, parser: Parser, load_id: int) -> Iterator[Batch] | None:
        """See `RawStore`. A cluster reads what is large, and no temporary file of this machine."""
        # A few cores of one machine read no faster in Spark than the loader does on one.
        is_local = self._where.startswith("local")
        if is_local or file.temporary or not isinstance(parser, DelimitedParser):
            return None
        with self._faults():
            try:
                if can_read(parser, file.path):
                    lines = ClusterLines(self._session, file.path.absolute(), parser, load_id)
                    return self._read(lines, table_of(parser.input), load_id)
            except NotByLine:
                pass
        return None

    def write_rejected(self, load_id: int, lines: Iterable[RejectedLine]) -> None:
        batches = rejected_batches(load_id, lines)
        if first := next(batches, None):
            rest = chain([first], batches)
            self._write(REJECTED_TABLE, load_id, REJECTED_COLUMNS, ",", rest)

    def count(self, entry: Input, load_id: int) -> tuple[int, int]:
        rows, rejected = (
            f"(select count(*) from {self._relation(table)} where {LOAD_ID} = {load_id:d})"
            for table in (table_of(entry), REJECTED_TABLE)
        )
        with self._faults():
            [found] = self._session.sql(f"select {rows}, {rejected}").collect()
        return int(found[0]), int(found[1])

    def add(self, load: Load) -> None:
        self._loads[load.load_id] = load

    def set_status(self, changes: Mapping[int, str]) -> None:
        for load_id, status in changes.items():
            self._loads[load_id] = replace(self._loads[load_id], status=status)

    def delete(self, loads: Sequence[Load]) -> None:
        """See `RawStore`. Also what no load owns is deleted then."""
        self._deleting = True
        for load in loads:
            del self._loads[load.load_id]

    def commit(self) -> None:
        with self._faults():
            if columns_of(self._session, self._schema, LEDGER_TABLE.name) is None:
                return
            # Whoever was given a number up to here has read our ledger or an older one, and so
            # either has committed by now or, once ours is written, cannot any more.
            claims = partitions(self._session, self._schema, CLAIMS_TABLE)
            if self._deleting or self.loads() != list(self._base.loads):
                self._write_ledger()
            self._added.clear()
            self._folders.clear()
            self._tidy(claims)

    def abandon(self) -> None:
        """Take away what was added. A number that was given out will be given out again."""
        for table, number in reversed(self._added):
            self._drop(table, number)
        for folder in self._folders:
            folder.delete()
        self._added.clear()
        self._folders.clear()

    def _write_ledger(self) -> None:
        table, revision = LEDGER_TABLE, self._base.revision + 1
        folder = self._folder(table, revision)
        rows = as_batches(snapshot_rows(self.loads()))
        write_batches(folder, LEDGER_NAMES, table.columns, ",", rows)
        try:
            self._add(table, revision, folder)
        except AlreadyThere:
            raise DatabaseFault(
                self._where, "another load was committed meanwhile.", "Call again."
            ) from None

    def _tidy(self, claims: Sequence[int]) -> None:
        """Remove old snapshots and, if loads are deleted, all that no load of the ledger owns.

        The claim of the greatest number that a load ever had stays, so that none has it again.
        """
        greatest = max(self._loads, default=0)
        for number in claims:
            if number < greatest:
                self._drop(CLAIMS_TABLE, number)
        revisions = partitions(self._session, self._schema, LEDGER_TABLE)
        kept = revisions[-1:] if self._deleting else revisions[-_SNAPSHOTS_KEPT:]
        self._sweep(LEDGER_TABLE, kept, upto=max(revisions, default=0))
        if self._deleting:
            upto = max([*claims, *(load.load_id for load in self._base.loads)], default=0)
            for table in self._tables_of_loads():
                self._sweep(table, list(self._loads), upto=upto)

    def _sweep(self, table: RawTable, kept: Sequence[int], *, upto: int) -> None:
        """Remove a table's other partitions and folders, none whose number is above `upto`."""
        for number in partitions(self._session, self._schema, table):
            if number <= upto and number not in kept:
                self._drop(table, number)
        place = self._location(table)
        for name in place.names():
            made_for = number_of(name)
            if made_for is not None and made_for <= upto and made_for not in kept:
                place.within(name).delete()

    def _tables_of_loads(self) -> list[RawTable]:
        """The tables that are partitioned by load, declared or not any more."""
        names = [table.name for table in self._session.catalog.listTables(self._schema)]
        return [
            RawTable(name, {}, LOAD_ID)
            for name in names
            if name not in (LEDGER, LEDGER_TABLE.name, CLAIMS_TABLE.name)
        ]

    def _prepare(self, table: RawTable) -> None:
        found = columns_of(self._session, self._schema, table.name)
        if found is None:
            self._session.sql(create(table, self._schema))
            return
        kind = kind_of(self._session, self._schema, table.name)
        missing, problem = difference(table, found, kind, self._schema)
        if problem is not None:
            raise DatabaseFault(self._where, *problem)
        if missing:
            listed = ", ".join(f"{quote(name)} {table.columns[name]}" for name in missing)
            self._session.sql(f"alter table {self._relation(table)} add columns ({listed})")

    def _relation(self, table: RawTable) -> str:
        return f"{quote(self._schema)}.{quote(table.name)}"

    def _location(self, table: RawTable) -> Folder:
        if table.name not in self._locations:
            described = self._session.sql(f"describe table extended {self._relation(table)}")
            rows = described.where("col_name = 'Location'").collect()
            self._locations[table.name] = Folder(self._session, str(rows[0][1]))
        return self._locations[table.name]

    def _folder(self, table: RawTable, number: int) -> Folder:
        """Where the files of a partition will be; not there yet."""
        self._folders.append(self._location(table).within(new_name(number)))
        return self._folders[-1]

    def _add(self, table: RawTable, number: int, folder: Folder) -> None:
        """Make a folder a partition. Raises AlreadyThere."""
        folder.make()
        with self._faults():
            self._session.sql(
                f"alter table {self._relation(table)} add partition "
                f"({quote(table.partition)} = {number:d}) location {literal(folder.address)}"
            )
        self._added.append((table, number))

    def _drop(self, table: RawTable, number: int) -> None:
        self._session.sql(
            f"alter table {self._relation(table)} drop if exists partition "
            f"({quote(table.partition)} = {number:d})"
        )

    def _write(
        self,
        table: RawTable,
        load_id: int,
        columns: tuple[str, ...],
        delimiter: str,
        batches: Iterator[Batch],
    ) -> int:
        folder = self._folder(table, load_id)
        with self._faults():
            rows = write_batches(folder, columns, table.columns, delimiter, batches)
            self._add(table, load_id, folder)
        return rows

    def _read(self, lines: ClusterLines, table: RawTable, load_id: int) -> Iterator[Batch]:
        folder = self._folder(table, load_id)
        with self._faults():
            yield from lines.write(folder)
            self._add(table, load_id, folder)

    def _faults(self) -> AbstractContextManager[None]:
        return faults(self._where)


def move_raw(profile: Profile, earlier: str) -> bool:
    """Raise UsageError for loads in the schema `earlier`: Spark cannot give it another name."""
    check_schema(profile)
    with open_session(profile) as session, faults(where(profile)):
        old = read_ledger(session, earlier)
        new = read_ledger(session, profile.raw_schema)
    if not old.loads:
        return False
    if new.loads:
        check_move(earlier, profile.raw_schema, holds_loads=True)
    raise UsageError(
        f"The loads of this target are in the schema {earlier}, where earlier versions kept them, "
        f"and Spark cannot give it another name. Set LABMART_RAW_SCHEMA={earlier} to go on with "
        "them."
    )


@contextmanager
def connect_raw(profile: Profile, *, write: bool) -> Iterator[SparkRaw]:
    """Open the raw tables; see `open_store`."""
    del write  # An embedded metastore serves one process at a time, whatever it does.
    check_schema(profile)
    with open_session(profile) as session:
        store = SparkRaw(session, profile)
        try:
            yield store
        except BaseException:
            # A task that goes on would write into what is deleted now.
            in_new_thread(session.sparkContext.cancelAllJobs, _ABANDON_SECONDS)
            raise
        finally:
            in_new_thread(store.abandon, _ABANDON_SECONDS)
