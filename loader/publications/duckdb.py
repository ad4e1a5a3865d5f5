"""Publications in a DuckDB file; see the package.

Nobody else has the file open while dbt or we write to it, so readers never meet a publication. It
is one transaction all the same: a process that is killed leaves the views as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count
from typing import Any

import duckdb

from loader.engines import literal, quote
from loader.engines.duckdb import Connection, file_lock, one_line, opened, path_of
from loader.errors import DatabaseFault
from loader.project import Profile
from loader.publications import (
    GreenBuild,
    Publications,
    Relation,
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
    with file_lock(profile) if write else nullcontext():
        yield DuckDBPublications(profile, write=write)


class DuckDBPublications(Publications):
    """See `Publications`. With `write` the caller holds the file's lock."""

    def __init__(self, profile: Profile, *, write: bool) -> None:
        super().__init__(profile, str(path_of(profile)), literal)
        self._write = write
        self._connection: Connection | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        with opened(self.profile, write=self._write, locks=not self._write) as connection:
            self._connection = connection
            try:
                yield
            except duckdb.Error as error:
                next_step = "Correct that and build again."
                raise DatabaseFault(self.where, one_line(error), next_step) from None
            finally:
                self._connection = None

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        assert self._connection is not None
        return self._connection.execute(sql).fetchall()

    def is_seen(self, schema: str, name: str, place: str) -> str:
        return (
            "exists (select 1 from duckdb_views() as v "
            f"where v.schema_name = {schema} and v.view_name = {name} "
            f"and contains(replace(v.sql, '\"', ''), {place} || '.')) "
            "and exists (select 1 from information_schema.tables as t "
            f"where t.table_schema = {place} and t.table_name = {name})"
        )

    def make_room(self, kept: Sequence[str]) -> str:
        places = (f"{self.schema}__{number}" for number in count(1))
        place = next(place for place in places if place not in kept)
        self.drop(self.schemas_of(place))
        return place

    def settled(
        self,
        build: GreenBuild,
        number: int,  # noqa: ARG002 -- DuckDB renames no schema
    ) -> tuple[str, list[str]]:
        return build.place, []

    def put_in_place(
        self, relations: Sequence[Relation], place: str, note: str, before: Sequence[str] = ()
    ) -> None:
        kinds = {self.relation(schema, name): kind for schema, name, kind in self.run(_KINDS)}
        sources = self.named(place, relations)
        views = dict(zip(self.named(self.schema, relations), sources, strict=True))
        earlier = {
            view for known in self.read() for view in self.named(self.schema, known.relations)
        }
        schemas = {quote(self.schema + one.suffix) for one in relations}
        steps = [*before, *(f"create schema if not exists {schema}" for schema in schemas)]
        steps += [f"drop view {view}" for view in earlier - set(views) if kinds.get(view) == "VIEW"]
        for view, source in views.items():
            if kinds.get(view) == "BASE TABLE":
                steps.append(f"drop table {view}")
            steps.append(f"create or replace view {view} as select * from {source}")
        for schema, name, column, comment in self.run(_COMMENTS):
            view = self.relation(self.schema + schema.removeprefix(place), name)
            if views.get(view) == self.relation(schema, name):
                what = f"view {view}" if column is None else f"column {view}.{quote(column)}"
                steps.append(f"comment on {what} is {literal(comment)}")
        with self.transaction():
            self.run("; ".join(steps))
            self.run(note)
