"""Publications in a DuckDB file; see the package.

Nobody else has the file open while dbt or labmart writes to it, so readers never see a publication
in progress. It is still one transaction: a killed process leaves the views as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count

from loader.engines import literal, quote
from loader.engines.duckdb import DuckDB, file_lock, opened, path_of
from loader.project import Profile
from loader.publications import Publications, Relation

# Descriptions of the relations of a schema and of their columns.
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
        super().__init__(profile, str(path_of(profile)))
        self._write = write

    @contextmanager
    def opened(self) -> Iterator[None]:
        with opened(self.profile, write=self._write, locks=not self._write) as connection:
            self.engine = DuckDB(connection, self.schema, self.where, writes=True)
            yield

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

    def put_in_place(
        self, relations: Sequence[Relation], place: str, note: str, before: Sequence[str] = ()
    ) -> None:
        kinds = {f"{quote(schema)}.{quote(name)}": kind for schema, name, kind in self.run(_KINDS)}
        views = {relation.at(self.schema): relation.at(place) for relation in relations}
        earlier = {
            relation.at(self.schema)
            for publication in self.read()
            for relation in publication.relations
        }
        schemas = {quote(self.schema + relation.suffix) for relation in relations}
        steps = [*before, *(f"create schema if not exists {schema}" for schema in schemas)]
        steps += [f"drop view {view}" for view in earlier - set(views) if kinds.get(view) == "VIEW"]
        for view, source in views.items():
            if kinds.get(view) == "BASE TABLE":
                steps.append(f"drop table {view}")
            steps.append(f"create or replace view {view} as select * from {source}")
        for schema, name, column, comment in self.run(_COMMENTS):
            relation = Relation(schema.removeprefix(place), name)
            view = relation.at(self.schema)
            if views.get(view) == relation.at(place):
                what = f"view {view}" if column is None else f"column {view}.{quote(column)}"
                steps.append(f"comment on {what} is {literal(comment)}")
        with self.transaction():
            self.run("; ".join(steps))
            self.run(note)
