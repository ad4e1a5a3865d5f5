"""The lake: raw tables, ledger and published marts as Parquet under one location.

    <raw schema>/loads/<number>.parquet         what one call changed in the ledger
    <raw schema>/<table>/<load_id>/*.parquet    the rows of a load
    <raw schema>/claims/<load_id>               a number given out, and when
    <schema>/builds/<build>/<schema>/<model>/   what one run of dbt made
    <schema>/published/<build>/*.parquet        marks a build as published, and lists its columns
    <schema>/publications.parquet               how each publication was made; mart_status too

The location is LABMART_LAKE: a local folder, s3://, or any other place that fsspec can write to and
Spark can read. The loader writes the first three; dbt's macros (macros/lake/) write the others in
whichever Spark they run on. DuckDB, in memory, reads and writes the Parquet here.

A file appears whole or not at all, and a numbered file only if nobody else has created it. So any
number of loaders may work at once: each writes rows that nobody reads until a ledger entry names
their load. The ledger is its entries in order; the last row of a load counts. A killed load leaves
rows and claims that no entry names; `prune` removes them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from loader.engines import literal, quote
from loader.engines.duckdb import IN_ANY_ORDER, DuckDB
from loader.engines.raw_store import RawStore, kept_under
from loader.errors import DatabaseFault, DatabaseUnreachable, MissingExtra, UsageError
from loader.ledger import CURRENT, REVERTED, Load, changes, not_current
from loader.project import Profile, expanded
from loader.sources import EXTRA, LEDGER, Input

# macros/lake/location.sql says the same to dbt.
VARIABLE = "LABMART_LAKE"
_CLAIMS = "claims"
# The ledger status of a load that was deleted or abandoned: its number has been used.
_PRUNED = "pruned"
# One entry in this many holds the whole ledger; those before the last such one are not needed.
_COMPLETE_EVERY = 50
# A loader may work this long before it writes to the ledger.
_LONGEST_LOAD_SECONDS = 24 * 3600.0
# A small file is written at once.
_LONGEST_WRITE_SECONDS = 60.0


class Storage:
    """A local folder or a place in an object store. Names are relative to it.

    Raises DatabaseUnreachable when it cannot be reached, MissingExtra if a package is missing.
    """

    def __init__(self, location: str) -> None:
        try:
            import fsspec
        except ImportError:
            raise MissingExtra("The target spark", "sail") from None
        self.is_local = "://" not in location
        protocol = "file" if self.is_local else location.partition("://")[0]
        self.location = (
            str(expanded(location).absolute()) if self.is_local else location.rstrip("/")
        )
        try:
            # A cached listing would miss what another loader has written.
            self.files = fsspec.filesystem(
                protocol, use_listings_cache=False, skip_instance_cache=True
            )
        except ImportError:
            raise MissingExtra(location, protocol) from None
        except (ValueError, TypeError):
            raise UsageError(
                f"{VARIABLE}: {location} is neither a folder nor an address like s3://bucket/lab."
            ) from None

    @contextmanager
    def engine(self, schema: str, *, writes: bool) -> Iterator[DuckDB]:
        """An in-memory DuckDB that reads and writes files by this folder's paths."""
        with duckdb.connect(":memory:") as connection:
            connection.execute("set TimeZone = 'UTC'")
            if not self.is_local:
                connection.register_filesystem(self.files)
            yield DuckDB(connection, schema, self.location, writes=writes)

    def path(self, name: str) -> str:
        return f"{self.location}/{name}"

    def names(self, folder: str) -> list[str]:
        """The names in a folder, in order; none if the folder does not exist."""
        with self._reached():
            try:
                paths = self.files.ls(self.path(folder), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        names = (path.rstrip("/").rpartition("/")[2] for path in paths)
        return sorted(name for name in names if not name.startswith("."))

    def files_in(self, folder: str) -> list[str]:
        """The paths of the Parquet files in a folder."""
        names = self.names(folder)
        return [self.path(f"{folder}/{name}") for name in names if name.endswith(".parquet")]

    def create(self, name: str, content: bytes) -> bool:
        """Create a file atomically; False if the name is taken."""
        with self._reached():
            try:
                if self.is_local:
                    with self._beside(name) as temporary:
                        temporary.write_bytes(content)
                        os.link(temporary, self.path(name))
                else:
                    self.files.pipe_file(self.path(name), content, mode="create")
            except FileExistsError:
                return False
            return True

    def replace(self, name: str, content: bytes) -> None:
        """Write a file atomically, replacing any of that name."""
        with self._reached(), self.written(name) as path:
            self.files.pipe_file(path, content)

    @contextmanager
    def written(self, name: str) -> Iterator[str]:
        """A path to write a file to; on exit the file gets its name; nobody reads it earlier.

        An object store shows a file only when it is complete; there it is the file's own path.
        """
        if not self.is_local:
            yield self.path(name)
            return
        with self._beside(name) as temporary:
            yield str(temporary)
            temporary.replace(self.path(name))

    @contextmanager
    def _beside(self, name: str) -> Iterator[Path]:
        parent = Path(self.path(name)).parent
        parent.mkdir(parents=True, exist_ok=True)
        # Spark and Sail skip names that begin with a full stop.
        with tempfile.TemporaryDirectory(prefix=".new-", dir=parent) as folder:
            yield Path(folder) / "file"

    def delete(self, name: str) -> None:
        """Delete a file, or a folder and everything in it, if it exists."""
        with self._reached(), suppress(FileNotFoundError):
            self.files.rm(self.path(name), recursive=True)

    def delete_unfinished(self, folder: str) -> None:
        """Delete files that `written` left in a folder when its process was killed."""
        for path in Path(self.path(folder)).glob(".new-*") if self.is_local else ():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _LONGEST_WRITE_SECONDS:
                    shutil.rmtree(path)

    def copy(self, folder: str, to: str) -> None:
        """Copy a folder and everything in it."""
        with self._reached():
            source = self.files._strip_protocol(self.path(folder))
            for path in self.files.find(source):
                target = f"{self.path(to)}{path.removeprefix(source)}"
                self.files.makedirs(target.rpartition("/")[0], exist_ok=True)
                self.files.copy(path, target)

    def hold(self, name: str) -> bool:
        """Create a file of that name with the current time; False if there is one."""
        return self.create(name, str(time.time()).encode())

    def age(self, name: str) -> float | None:
        """How many seconds a name has been held; None if it is not."""
        with self._reached(), suppress(FileNotFoundError):
            return time.time() - float(self.files.cat_file(self.path(name)))
        return None

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Hold a name that others wait for. A holder older than a minute counts as killed."""
        while not self.hold(name):
            if (self.age(name) or 0.0) > _LONGEST_WRITE_SECONDS:
                self.delete(name)
            time.sleep(0.05)
        try:
            yield
        finally:
            self.delete(name)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            # Each kind of store raises its own errors; botocore's are not OSError.
            message = " ".join(str(error).split()) or type(error).__name__
            raise DatabaseUnreachable(
                f"The lake at {self.location} cannot be used: {message}. Correct {VARIABLE} or the "
                "rights to it, and call again."
            ) from None


def lake_of(profile: Profile) -> Storage:
    """The lake of a profile."""
    default = profile.path.absolute().parent / ".labmart" / "lake"
    return Storage(os.environ.get(VARIABLE) or str(default))


# Reading marts.


@dataclass(frozen=True)
class Published:
    """A relation of a published build; `columns` as Spark declares them."""

    build: str
    schema: str
    name: str
    columns: str


def published(lake: Storage, engine: DuckDB) -> list[Published]:
    """The published relations of a target schema that exist; readers see the last of each."""
    folder = f"{engine.schema}/published"
    files = [file for build in lake.names(folder) for file in lake.files_in(f"{folder}/{build}")]
    if not files:
        return []
    rows = f"select build, schema_name, name, columns from {_rows(files)} order by build"
    return [Published(*row) for row in engine.run(rows)]


def connect(profile: Profile, places: Sequence[str] = ()) -> AbstractContextManager[DuckDB]:
    """The published marts, each a view on its Parquet; also those of the builds in `places`."""
    return marts(lake_of(profile), profile.schema, places, writes=False)


@contextmanager
def marts(lake: Storage, schema: str, places: Sequence[str], *, writes: bool) -> Iterator[DuckDB]:
    """The same for a lake, to read from it or to publish in it."""
    with lake.engine(schema, writes=writes) as engine:
        own = [relation for relation in published(lake, engine) if relation.schema == schema]
        views = {(schema, relation.name): relation for relation in own}
        views |= {(part.build, part.name): part for part in own if part.build in places}
        for name in (schema, *places):
            engine.run(f"create schema if not exists {quote(name)}")
        for (home, name), relation in views.items():
            files = lake.files_in(f"{schema}/builds/{relation.build}/{schema}/{name}")
            view = f"{quote(home)}.{quote(name)}"
            if files:
                engine.run(f"create view {view} as from {_rows(files)}")
            else:
                # Sail writes no file when there are no rows.
                columns = relation.columns.replace("`", '"').replace("array<bigint>", "bigint[]")
                engine.run(f"create table {view} ({columns})")
        # What loader/publications records about them.
        for file in lake.files_in(schema):
            name = quote(file.rpartition("/")[2].removesuffix(".parquet"))
            engine.run(f"create table {quote(schema)}.{name} as from {_rows([file])}")
        yield engine


def parquet(engine: DuckDB, rows: str) -> bytes:
    """The rows of a query as a Parquet file."""
    with tempfile.TemporaryDirectory(prefix="labmart-") as folder:
        path = Path(folder) / "rows.parquet"
        engine.run(f"copy ({rows}) to {literal(str(path))} (format parquet)")
        return path.read_bytes()


def _rows(files: Iterable[str], *, union_by_name: bool = False) -> str:
    """SQL for the rows of files, some of which may lack columns that others have."""
    listed = ", ".join(map(literal, files))
    return f"read_parquet([{listed}], union_by_name = {union_by_name})"


# Writing the raw tables.


@contextmanager
def connect_raw(profile: Profile, *, write: bool) -> Iterator[LakeRaw]:  # noqa: ARG001 -- by many
    """See `raw_store.open_store`."""
    lake = lake_of(profile)
    with lake.engine(profile.raw_schema, writes=True) as engine:
        engine.run(IN_ANY_ORDER)
        store = LakeRaw(engine, lake)
        try:
            yield store
        finally:
            store.abandon()


class LakeRaw(RawStore):
    """The ledger is a table in an in-memory DuckDB. Rows go into Parquet at once; changes to the
    ledger are written on commit.
    """

    engine: DuckDB
    # They are Spark's.
    runs_models = False
    # A Parquet file holds a whole chunk.
    chunk = 64 << 20

    def __init__(self, engine: DuckDB, lake: Storage) -> None:
        super().__init__(engine)
        self._lake = lake
        # What this call has written, by table and load, and the numbers it was given; without a
        # commit nothing of it remains.
        self._parts: dict[tuple[str, int], list[str]] = {}
        self._claims: list[int] = []
        self._deleting = False
        self._declared: Sequence[Input] = ()
        self._read_ledger()

    def _name(self, *parts: object) -> str:
        return "/".join(map(str, (self.engine.schema, *parts)))

    def _entries(self, after: int = 0) -> dict[int, str]:
        """The names of the ledger's entries after that one, by number."""
        names = self._lake.names(self._name(LEDGER))
        numbers = {int(name.partition(".")[0]): self._name(LEDGER, name) for name in names}
        return {number: name for number, name in numbers.items() if number > after}

    def _entry_rows(self, entries: dict[int, str]) -> str:
        # Older entries lack columns added later.
        return _rows(map(self._lake.path, entries.values()), union_by_name=True)

    def _read_ledger(self) -> None:
        """Fill the ledger's table from the entries, and remember that state.

        `_used` holds every number in the ledger, also those of deleted loads.
        """
        self.run(f"create schema if not exists {self.engine.home}")
        entries, ledger = self._entries(), self.table(LEDGER)
        self._number = max(entries, default=0)
        self._used: set[int] = set()
        self.run(f"drop table if exists {ledger}")
        if entries:
            self.run(
                f"create table {ledger} as from {self._entry_rows(entries)} "
                "qualify row_number() over (partition by load_id order by entry desc) = 1"
            )
            self._used = {load_id for (load_id,) in self.run(f"select load_id from {ledger}")}
            self.run(f"delete from {ledger} where status = '{_PRUNED}'")
            self.run(f"alter table {ledger} drop column entry")
        # Columns that an older ledger lacks, or all of them.
        super().prepare([])
        self._base = self._by_id()

    def _by_id(self) -> dict[int, Load]:
        return {load.load_id: load for load in self.loads()}

    def prepare(self, inputs: Sequence[Input]) -> None:
        """See `RawStore`. Columns declared after a load are filled on commit."""
        self._declared = inputs

    def _fill_declared(self) -> None:
        """Fill columns declared after the loads from what these kept beyond the declared ones.

        Only a load that has such a column under one of its names is read, and rewritten once, each
        file atomically.
        """
        for table in self._declared:
            loads = [load for load in self._base.values() if load.input == table.name]
            for column, key, ids in kept_under(table.columns, loads):
                for folder in (self._name(table.name, load_id) for load_id in ids):
                    for name in self._lake.names(folder):
                        rows = _rows([self._lake.path(f"{folder}/{name}")])
                        present = [present for present, *_ in self.run(f"describe from {rows}")]
                        if column not in present and EXTRA in present:
                            value = f"{self.engine.json_value(EXTRA, key)} as {quote(column)}"
                            self._write_parquet(
                                f"select *, {value} from {rows}", f"{folder}/{name}"
                            )

    def _write_parquet(self, rows: str, name: str) -> None:
        with self._lake.written(name) as path:
            self.run(f"copy ({rows}) to {literal(path)} (format parquet, compression zstd)")

    def next_load_id(self) -> int:
        """See `RawStore`. No other load gets the number."""
        # Rows kept back belong to the load whose number was given out last.
        self.settle()
        claims = map(int, self._lake.names(self._name(_CLAIMS)))
        load_id = max((*self._used, *claims), default=0) + 1
        while taken := self._taken(load_id):
            load_id = taken + 1
        self._claims.append(load_id)
        return load_id

    def _taken(self, load_id: int) -> int:
        """0 if the number was free and is now ours; else the greatest number taken."""
        claim = self._name(_CLAIMS, load_id)
        if not self._lake.hold(claim):
            return load_id
        # Its previous holder wrote to the ledger before releasing the claim.
        greatest = max(self._told_since(), default=0)
        if greatest < load_id:
            return 0
        self._lake.delete(claim)
        return greatest

    def _told_since(self) -> set[int]:
        """The loads added to the ledger since we read it."""
        new = self._entries(after=self._number)
        told = self.run(f"select distinct load_id from {self._entry_rows(new)}") if new else []
        return {load_id for (load_id,) in told}

    def insert(self, name: str, columns: Sequence[str], delimiter: str, chunk: bytes) -> None:
        """See `RawStore`. Rows become a Parquet file of the load with the latest number."""
        if name == LEDGER:
            super().insert(name, columns, delimiter, chunk)
            return
        load_id = self._claims[-1]
        parts = self._parts.setdefault((name, load_id), [])
        part = self._name(name, load_id, f"{len(parts)}.parquet")
        with self.engine.records(columns, delimiter, chunk) as rows:
            self._write_parquet(rows, part)
        parts.append(self._lake.path(part))

    def counts(self, table: str, first: int) -> dict[int, int]:  # noqa: ARG002 -- of this call
        files = [
            file for (name, _), parts in self._parts.items() for file in parts if name == table
        ]
        counted = f"select load_id, count(*) from {_rows(files)} group by load_id"
        return dict(self.run(counted)) if files else {}

    def delete(self, loads: Sequence[Load]) -> None:
        """See `RawStore`. Also deletes what belongs to no load."""
        super().delete(loads)
        self._deleting = True

    def commit(self) -> None:
        """See `RawStore`. Keeps what others have committed meanwhile and applies ours on top."""
        void = self._void() if self._deleting else set()
        claims = list(self._claims)
        self.settle()
        self._fill_declared()
        # From here on the rows may belong to the ledger, so only prune may delete them.
        self._parts.clear()
        self._claims.clear()
        while not self._write_entry(void):
            self._put_upon_others()
            void -= self._used
        for load_id in claims:
            self._lake.delete(self._name(_CLAIMS, load_id))
        if self._deleting:
            self._sweep()

    def abandon(self) -> None:
        """Remove what was written and never committed."""
        for table, load_id in (*self._parts, *((_CLAIMS, load_id) for load_id in self._claims)):
            self._lake.delete(self._name(table, load_id))

    def _write_entry(self, void: set[int]) -> bool:
        """Add an entry to the ledger; False if another has that number."""
        loads, number = self._by_id(), self._number + 1
        gone = self._base.keys() - loads.keys() | void
        changed = [load_id for load_id, load in loads.items() if load != self._base.get(load_id)]
        if not changed and not gone:
            return True
        is_complete = number % _COMPLETE_EVERY == 0
        if is_complete:
            changed, gone = list(loads), gone | (self._used - loads.keys())
        rows = (
            f"from {self.table(LEDGER)} where load_id in {_array(changed)} union all by name "
            f"select unnest({_array(gone)}) as load_id, '{_PRUNED}' as status"
        )
        content = parquet(self.engine, f"select *, {number:d}::bigint as entry from ({rows})")
        if not self._lake.create(self._name(LEDGER, f"{number:012d}.parquet"), content):
            return False
        for old, name in self._entries().items() if is_complete else ():
            if old < number - _COMPLETE_EVERY:
                self._lake.delete(name)
        return True

    def _put_upon_others(self) -> None:
        """Read the ledger again and apply what this call changed in the one it had read.

        Raises DatabaseFault if the changes made by others rule that out.
        """
        base, mine = self._base, self._by_id()
        added = [load for load_id, load in mine.items() if load_id not in base]
        gone = [load for load_id, load in base.items() if load_id not in mine]
        marks = {
            load_id: REVERTED if mine[load_id].status == REVERTED else CURRENT
            for load_id in mine.keys() & base
            if (mine[load_id].status == REVERTED) != (base[load_id].status == REVERTED)
        }
        self._read_ledger()
        if added and all(load.load_id in self._base for load in added):
            # The entry was our own: the store's reply had been lost.
            return
        if self._used & {load.load_id for load in added}:
            raise DatabaseFault(
                self.engine.where,
                "a prune has given this load up, which took too long.",
                "Call again.",
            )
        if marks.keys() - self._base:
            raise DatabaseFault(
                self.engine.where, "a prune has deleted what this call is about.", "Call again."
            )
        for load in added:
            self.add(load)
        # Somebody may have made a load current again that was to be pruned.
        still = {load.load_id for load in not_current(self.loads())}
        super().delete([load for load in gone if load.load_id in still])
        self.set_status(marks)
        self.set_status(changes(self.loads()))

    def _void(self) -> set[int]:
        """The numbers of killed loads: claimed long ago, and named by no entry."""
        numbers = {number for _, number in self._folders()}
        ages = {number: self._lake.age(self._name(_CLAIMS, number)) for number in numbers}
        old = {n for n, age in ages.items() if age is None or age > _LONGEST_LOAD_SECONDS}
        # Read last: a loader writes to the ledger before it releases a claim.
        return old - self._used - self._by_id().keys() - self._told_since()

    def _folders(self) -> list[tuple[str, int]]:
        """Folders that hold something of a load: the table, or `claims`, and the load's number."""
        return [
            (table, int(name))
            for table in self._lake.names(self.engine.schema)
            if table != LEDGER
            for name in self._lake.names(self._name(table))
            if name.isdigit()
        ]

    def _sweep(self) -> None:
        """Delete what belongs neither to a load of the ledger nor to one in progress."""
        for folder in (LEDGER, _CLAIMS):
            self._lake.delete_unfinished(self._name(folder))
        self._read_ledger()
        for table, load_id in self._folders():
            if load_id in self._used and (table == _CLAIMS or load_id not in self._base):
                self._lake.delete(self._name(table, load_id))


def _array(numbers: Collection[int]) -> str:
    return f"array[{', '.join(map(str, numbers))}]::bigint[]"
