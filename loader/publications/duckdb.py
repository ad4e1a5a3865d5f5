"""Publications in a DuckDB file; see the package.

Nobody else has the file open while dbt or we write to it, so readers never meet a publication. It
is one transaction all the same: a process that is killed leaves the views as they were.

Beside the file stands the state in which the last build has left it, since a note in it would
change it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import duckdb

from loader.engines.duckdb import Connection, one_line, opened, path_of
from loader.engines.sql import literal, quote
from loader.errors import DatabaseFault
from loader.profile import Profile
from loader.publications import (
    GONE,
    PUBLICATIONS,
    GreenBuild,
    Publication,
    Relation,
    SqlPublications,
)

# Descriptions of the relations of a schema, and of their columns.
_COMMENTS = """
select schema_name, table_name, null, comment from duckdb_tables()
where database_name = current_database() and comment is not null
union all
select schema_name, view_name, null, comment from duckdb_views()
where database_name = current_database() and comment is not null
union all
select schema_name, table_name, column_name, comment from duckdb_columns()
where database_name = current_database() and comment is not null
"""
_KINDS = """
select schema_name, table_name, 'table' from duckdb_tables()
where database_name = current_database()
union all
select schema_name, view_name, 'view' from duckdb_views()
where database_name = current_database()
"""
_SCHEMAS = "select schema_name from duckdb_schemas() where database_name = current_database()"


class DuckDBPublications(SqlPublications):
    """See `Publications`. With `write` the caller holds the file's lock."""

    def __init__(self, profile: Profile, *, write: bool = True) -> None:
        super().__init__(profile, literal)
        self._write = write
        self._connection: Connection | None = None
        self._database = path_of(profile)
        self._record = self._database.with_name(f"{self._database.name}.last_build")

    def is_current(self, code: str) -> bool:
        """See `Publications`."""
        with suppress(OSError, ValueError):
            return bool(json.loads(self._record.read_text()) == self._state(code))
        return False

    def begin(self) -> str:
        """See `Publications`."""
        with suppress(OSError):
            self._record.unlink()
        with self._open():
            self.run(f"create schema if not exists {quote(self.schema)}; {self.make_tables()}")
            known = [one.place for one in self.read() if one.status != GONE]
            place = next(
                name
                for number in range(1, len(known) + 2)
                if (name := f"{self.schema}__{number}") not in known
            )
            self._drop(place)
        return place

    def publish(self, build: GreenBuild, keep: int) -> int:
        """See `Publications`."""
        with self._open():
            number = self.next_number()
            loads = self.figures(build, {})

            def note() -> None:
                self.run(self.entry(build, number, build.place, loads))

            self._put_in_place(build.relations, build.place, number, note)
            for one in self.surplus(keep):
                self._drop(one.place)
                self.forget(one.build)
        if build.code is not None and not self.profile.values.get("attach"):
            with suppress(OSError):
                self._record.write_text(json.dumps(self._state(build.code)))
        return number

    def roll_back(self, build: int | None) -> tuple[Publication, Publication]:
        """See `Publications`."""
        current, chosen = self.chosen(build)

        def note() -> None:
            self.run(self.exchange(current, chosen))

        with self._open():
            self._put_in_place(chosen.relations, chosen.place, chosen.build, note)
        return current, chosen

    def all(self) -> list[Publication]:
        """See `Publications`."""
        with self._open(write=False):
            kinds = {(schema, name) for schema, name, _ in self.run(_KINDS)}
            return self.read() if (self.schema, PUBLICATIONS) in kinds else []

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        assert self._connection is not None
        return self._connection.execute(sql).fetchall()

    @contextmanager
    def _open(self, *, write: bool = True) -> Iterator[None]:
        with opened(self.profile, write=write, locks=not self._write) as connection:
            self._connection = connection
            try:
                yield
            except duckdb.Error as error:
                raise DatabaseFault(
                    str(self._database), one_line(error), "Correct that and build again."
                ) from None
            finally:
                self._connection = None

    def _put_in_place(
        self, relations: Sequence[Relation], place: str, number: int, note: Callable[[], None]
    ) -> None:
        """Lead all published views to the place, and note it, in one transaction."""
        kinds = {(schema, name): kind for schema, name, kind in self.run(_KINDS)}
        steps = []
        for own in sorted({self.schema + one.suffix for one in relations}):
            steps.append(f"create schema if not exists {quote(own)}")
        kept = {(self.schema + one.suffix, one.name) for one in relations}
        earlier = {
            (self.schema + one.suffix, one.name) for known in self.read() for one in known.relations
        }
        for own, name in sorted(earlier - kept):
            if kinds.get((own, name)) == "view":
                steps.append(f"drop view {self.relation(own, name)}")
        for one in relations:
            own = self.schema + one.suffix
            if kinds.get((own, one.name)) == "table":
                steps.append(f"drop table {self.relation(own, one.name)}")
            source = self.relation(place + one.suffix, one.name)
            view = self.relation(own, one.name)
            steps.append(f"create or replace view {view} as select * from {source}")
        for schema, name, column, comment in self.run(_COMMENTS):
            own = self.schema + schema.removeprefix(place)
            if (schema == place or schema.startswith(f"{place}_")) and (own, name) in kept:
                kind, what = "view", self.relation(own, name)
                if column is not None:
                    kind, what = "column", f"{what}.{quote(column)}"
                steps.append(f"comment on {kind} {what} is {literal(comment)}")
        self.run("begin transaction")
        try:
            self.run("; ".join(steps))
            note()
            self.tell_marts(number)
            self.run("commit")
        except BaseException:
            with suppress(duckdb.Error):
                self.run("rollback")
            raise

    def _drop(self, place: str) -> None:
        for (schema,) in self.run(_SCHEMAS):
            if schema == place or schema.startswith(f"{place}_"):
                self.run(f"drop schema {quote(schema)} cascade")

    def _state(self, code: str) -> list[object]:
        log = self._database.with_name(f"{self._database.name}.wal")
        files = [path.stat() for path in (self._database, log) if path.exists()]
        return [code, *([file.st_ino, file.st_size, file.st_mtime_ns] for file in files)]
