"""The engines that a test of the loader runs on, each behind the same few words.

A test that asks for the fixture `engine` runs on every one of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from support.databases import Database

from loader.project import Profile

Rows = list[tuple[object, ...]]
OLDER_POSTGRES = "postgres-16"


class Engine(ABC):
    """A fresh, empty database, and a way to look into it; `name` is its type in profiles.yml."""

    name: str

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """What makes the project's profile mean it."""

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Have that environment."""
        for variable, value in self.environment.items():
            patch.setenv(variable, value)

    @abstractmethod
    def profile(self, schema: str = "labmart") -> Profile:
        """The same as a Profile; raw tables in a schema of their own, `<schema>_raw`."""

    @abstractmethod
    def rows(self, sql: str) -> Rows:
        """The rows of statements of standard SQL, the last one's."""

    @abstractmethod
    def schemas(self, ending: str) -> list[str]:
        """The schemas whose names end so, by name."""

    def tables(self, schema: str) -> list[str]:
        found = self.rows(
            f"select table_name from information_schema.tables where table_schema = '{schema}'"
        )
        return sorted(str(name) for (name,) in found)

    def everything(self, schema: str) -> dict[str, Rows]:
        """Every row of every table of a schema, down to the last timestamp, by table."""
        return {
            name: self.rows(f"select t::text from {schema}.{name} as t order by 1")
            for name in self.tables(schema)
        }


@dataclass(frozen=True)
class Postgres(Engine):
    """A database of the server of these tests."""

    database: Database

    name = "postgres"

    @property
    def environment(self) -> dict[str, str]:
        return {**self.database.environment, "LABMART_TARGET": "postgres"}

    def profile(self, schema: str = "labmart") -> Profile:
        from support.raw_store import profile_of

        return profile_of(self.database, schema)

    def rows(self, sql: str) -> Rows:
        return self.database.rows(sql)

    def schemas(self, ending: str) -> list[str]:
        found = self.rows("select nspname from pg_namespace order by 1")
        return [str(name) for (name,) in found if str(name).endswith(ending)]


@dataclass(frozen=True)
class DuckDB(Engine):
    """A file."""

    path: Path

    name = "duckdb"

    @property
    def environment(self) -> dict[str, str]:
        return {"LABMART_TARGET": "duckdb", "LABMART_DUCKDB_PATH": str(self.path)}

    def profile(self, schema: str = "labmart") -> Profile:
        entries = {"path": str(self.path), "schema": schema}
        return Profile(Path("profiles.yml"), "test", "duckdb", entries, f"{schema}_raw")

    def rows(self, sql: str) -> Rows:
        self.path.parent.mkdir(exist_ok=True)
        with duckdb.connect(str(self.path)) as connection:
            found = connection.execute(sql)
            return found.fetchall() if found.description else []

    def schemas(self, ending: str) -> list[str]:
        if not self.path.exists():
            return []
        found = self.rows("select schema_name from duckdb_schemas() where not internal order by 1")
        return [str(name) for (name,) in found if str(name).endswith(ending)]

    def tables(self, schema: str) -> list[str]:
        return super().tables(schema) if self.path.exists() else []


@dataclass(frozen=True)
class Lake(Engine):
    """A lake in a folder; `url` is the server that computes in it. It is read by plain DuckDB."""

    folder: Path
    url: str = ""

    name = "spark"

    @property
    def place(self) -> Path:
        # A path with a space: locations are URIs, and must survive it.
        return self.folder / "a lab" / ".labmart" / "lake"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LABMART_TARGET": "spark",
            "LABMART_LAKE": str(self.place),
            "SPARK_REMOTE": self.url,
        }

    def profile(self, schema: str = "labmart") -> Profile:
        path = self.place.parent.parent / "profiles.yml"
        return Profile(path, "test", "spark", {"schema": schema}, f"{schema}_raw")

    def rows(self, sql: str) -> Rows:
        from support.random_tables import INPUTS

        columns = {entry.name: entry.columns for entry in INPUTS}
        with duckdb.connect() as connection:
            for schema in self.schemas("_raw"):
                connection.execute(f"create schema {schema}")
                for name in {*columns, "rejected_lines", *self.tables(schema)}:
                    rows = self._rows_of(schema, name, columns.get(name, ()))
                    connection.execute(f"create view {schema}.{name} as {rows}")
            found = connection.execute(sql)
            return found.fetchall() if found.description else []

    def _rows_of(self, schema: str, name: str, columns: Sequence[str]) -> str:
        """SQL for the rows of a raw table."""
        place = self.place / schema / name
        if name == "loads":
            return (
                f"select * exclude (entry) from read_parquet('{place}/*.parquet', "
                "union_by_name = true) qualify row_number() over "
                "(partition by load_id order by entry desc) = 1 and status <> 'pruned'"
            )
        own = ("rule", "detail", "content") if name == "rejected_lines" else columns
        texts = "".join(f"null::text as {column}, " for column in own)
        empty = f"select {texts}null::bigint as load_id, null::bigint as line where false"
        if not any(place.glob("*/*.parquet")):
            return empty
        parquet = f"from read_parquet('{place}/*/*.parquet', union_by_name = true)"
        return f"{empty} union all by name {parquet}"

    def schemas(self, ending: str) -> list[str]:
        if not self.place.exists():
            return []
        return sorted(path.name for path in self.place.iterdir() if path.name.endswith(ending))

    def tables(self, schema: str) -> list[str]:
        """The raw tables that have files."""
        place = self.place / schema
        return sorted({path.relative_to(place).parts[0] for path in place.rglob("*.parquet")})


@contextmanager
def fresh_engine(name: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    """A fresh database of an engine: of KINDS in spark.py with their server, `lake` without one.

    A server is started, or asked for, only if it is needed.
    """
    if name == "duckdb":
        # A database called as a schema would make `labmart.users` ambiguous in the tests' SQL.
        yield DuckDB(folder / "test.duckdb")
    elif name == "lake":
        yield Lake(folder)
    elif name in ("postgres", OLDER_POSTGRES):
        from support.databases import fresh_database

        server = request.getfixturevalue("older_server" if name == OLDER_POSTGRES else "server")
        with fresh_database(server) as database:
            yield Postgres(database)
    else:
        from support.spark import lake_on, session_at

        lake = lake_on(name, folder)
        # dbt finds the session that is there.
        session_at(lake.url)
        yield lake
