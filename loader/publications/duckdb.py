"""Publications in a DuckDB file; see the package.

Nobody else has the file open while dbt or we write to it, so readers never meet a publication. It
is one transaction all the same: a process that is killed leaves the views as they were.

Beside the file stands the state in which the last build has left it, since a note in it would
change it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import duckdb

from loader.engines import dbt_turn, literal, quote
from loader.engines.duckdb import Connection, one_line, opened, path_of
from loader.errors import DatabaseFault
from loader.project import Profile
from loader.publications import (
    GONE,
    MART_STATUS,
    GreenBuild,
    Publications,
    Relation,
    changes_of,
    current_of,
)

# Descriptions of the relations of a schema, and of their columns.
_COMMENTS = " union all ".join(
    f"select schema_name, {name}, {column}, comment from {function}() "
    "where database_name = current_database() and comment is not null"
    for function, name, column in (
        ("duckdb_tables", "table_name", "null"),
        ("duckdb_views", "view_name", "null"),
        ("duckdb_columns", "table_name", "column_name"),
    )
)
_KINDS = """
select table_schema, table_name, table_type from information_schema.tables
where table_catalog = current_database()
"""


@contextmanager
def connected(profile: Profile, *, write: bool) -> Iterator[DuckDBPublications]:
    """See `open_publications`."""
    with dbt_turn(profile) if write else nullcontext():
        yield DuckDBPublications(profile, write=write)


class DuckDBPublications(Publications):
    """See `Publications`. With `write` the caller holds the file's lock."""

    def __init__(self, profile: Profile, *, write: bool) -> None:
        super().__init__(profile, literal)
        # A view of plain dbt reads no build.
        self.is_seen = (
            "exists (select 1 from duckdb_views() as v where v.view_name = m.name "
            f"and v.schema_name = {literal(self.schema)} "
            "and contains(replace(v.sql, '\"', ''), p.place || '.'))"
        )
        self._write = write
        self._connection: Connection | None = None
        self._database = path_of(profile)
        self._record = self._database.with_name(f"{self._database.name}.last_build")

    def is_current(self, code: str) -> bool:
        with suppress(OSError, ValueError):
            return bool(json.loads(self._record.read_text()) == self._state(code))
        return False

    def is_whole(self) -> bool:
        current = current_of(self.read())
        assert current is not None
        kinds = {(schema, name): kind for schema, name, kind in self.run(_KINDS)}
        views = [(self.schema + one.suffix, one.name) for one in current.relations]
        places = [(current.place + one.suffix, one.name) for one in current.relations]
        seen = self.run(f"select count(*) from {self.relation(self.schema, MART_STATUS)}")
        return (
            all(kinds.get(view) == "VIEW" for view in views)
            and all(place in kinds for place in places)
            and seen == [(len(current.marts),)]
        )

    def begin(self, *, grows: bool = False) -> str:  # noqa: ARG002 -- all is cheap to look at
        with suppress(OSError):
            self._record.unlink()
        with self.opened():
            self.run(f"create schema if not exists {quote(self.schema)}")
            self.make_tables()
            known = [one.place for one in self.read() if one.status != GONE]
            place = next(
                name
                for number in range(1, len(known) + 2)
                if (name := f"{self.schema}__{number}") not in known
            )
            self.drop(self.schemas_of(place))
        return place

    def publish(self, build: GreenBuild, keep: int) -> int:
        with self.opened():
            number = self.next_number()
            if build.is_increment:
                self._grow(build, number)
            else:
                entry = self.entry(build, number, build.place)
                self.put_in_place(build.relations, build.place, entry)
            self.drop_surplus(keep)
        if build.code is not None and not self.profile.values.get("attach"):
            with suppress(OSError):
                self._record.write_text(json.dumps(self._state(build.code)))
        return number

    def _grow(self, build: GreenBuild, number: int) -> None:
        """Put an increment into the tables of the current build."""
        current = current_of(self.read())
        assert current is not None
        tables = {(one.suffix, one.name) for one in current.relations if not one.is_view}
        with self._transaction():
            for one in build.relations:
                if (one.suffix, one.name) in tables:
                    deletes, insert = changes_of(one, build.place, current.place)
                    for statement in (*deletes, insert):
                        self.run(statement)
            self.run(self.entry(build, number, current.place))
        self.drop(self.schemas_of(build.place))

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        assert self._connection is not None
        return self._connection.execute(sql).fetchall()

    @contextmanager
    def opened(self) -> Iterator[None]:
        with opened(self.profile, write=self._write, locks=not self._write) as connection:
            self._connection = connection
            try:
                yield
            except duckdb.Error as error:
                raise DatabaseFault(
                    str(self._database), one_line(error), "Correct that and build again."
                ) from None
            finally:
                self._connection = None

    def put_in_place(
        self, relations: Sequence[Relation], place: str, note: str, before: Sequence[str] = ()
    ) -> None:
        kinds = {(schema, name): kind for schema, name, kind in self.run(_KINDS)}
        kept = {(self.schema + one.suffix, one.name): one for one in relations}
        earlier = {
            (self.schema + one.suffix, one.name) for known in self.read() for one in known.relations
        }
        schemas = sorted({schema for schema, _ in kept})
        steps = [*before, *(f"create schema if not exists {quote(name)}" for name in schemas)]
        for view in sorted(earlier - set(kept)):
            if kinds.get(view) == "VIEW":
                steps.append(f"drop view {self.relation(*view)}")
        for view, one in kept.items():
            if kinds.get(view) == "BASE TABLE":
                steps.append(f"drop table {self.relation(*view)}")
            source = self.relation(place + one.suffix, one.name)
            steps.append(f"create or replace view {self.relation(*view)} as select * from {source}")
        for schema, name, column, comment in self.run(_COMMENTS):
            view = self.schema + schema.removeprefix(place), name
            if (schema == place or schema.startswith(f"{place}_")) and view in kept:
                kind, what = "view", self.relation(*view)
                if column is not None:
                    kind, what = "column", f"{what}.{quote(column)}"
                steps.append(f"comment on {kind} {what} is {literal(comment)}")
        with self._transaction():
            self.run("; ".join(steps))
            self.run(note)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.run("begin transaction")
        try:
            yield
            self.run("commit")
        except BaseException:
            with suppress(duckdb.Error):
                self.run("rollback")
            raise

    def _state(self, code: str) -> list[object]:
        log = self._database.with_name(f"{self._database.name}.wal")
        files = [path.stat() for path in (self._database, log) if path.exists()]
        return [code, *([file.st_ino, file.st_size, file.st_mtime_ns] for file in files)]
