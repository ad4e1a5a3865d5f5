"""The models as dbt compiles them, run by the driver: a laboratory in a tenth of a second.

dbt compiles once for each engine. A laboratory is then a transaction: its rows go into the seeds
and the raw tables, every model is created in the order of its dependencies, the marts are read,
and everything is rolled back. What dbt itself adds (materialisations, contracts, hooks, the
reading of seeds) is left to whole builds: workbench.py.
"""

from __future__ import annotations

import csv
import datetime
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Protocol

import duckdb
import psycopg2.extras
import pytest
from support.databases import Database
from support.dbt_project import DbtProject
from support.engines import DuckDB, Postgres, Target, fresh_engine
from support.oracle import MARTS, Lab, marts
from support.project import copy_of_project
from support.spark import KINDS, lake_on, session_at
from support.workbench import KEYS, differences, ledger_row

Rows = Sequence[Sequence[object]]


@dataclass(frozen=True)
class Relation:
    """A seed or a raw table: its name in SQL, and its columns with their types."""

    name: str
    columns: dict[str, str]


@dataclass(frozen=True)
class Model:
    """A model: the name of its relation in SQL, its compiled SELECT, what dbt says of it."""

    name: str
    is_view: bool
    sql: str
    node: dict[str, Any]


@dataclass(frozen=True)
class CompiledProject:
    """Everything that is needed to run the models without dbt.

    `models` is in an order in which each can be created. `marts`, `seeds` and `raw` are by name;
    `fixed` has the rows of seeds that are no input. `examples` are the queries of tests/cross_db/,
    which return what an engine does otherwise than the others.
    """

    models: tuple[Model, ...]
    marts: dict[str, str]
    seeds: dict[str, Relation]
    raw: dict[str, Relation]
    fixed: dict[str, tuple[Relation, Rows]]
    examples: dict[str, str]

    @property
    def relations(self) -> list[Relation]:
        """What has to be there before the first model."""
        return [*self.seeds.values(), *self.raw.values(), *(one for one, _ in self.fixed.values())]


class Runner(Protocol):
    """Runs the models of a compiled project on one engine."""

    def read(self, project: CompiledProject, tables: dict[str, Rows]) -> dict[str, Rows]:
        """Every mart, ordered by its key, after the tables hold these rows and no others."""
        ...

    def query(self, sql: str) -> Rows:
        """The rows of a query that reads no table."""
        ...


def compile_project(folder: Path, target: str) -> CompiledProject:
    """Let dbt compile the models of the project in the folder.

    Fails the test where dbt does not compile them.
    """
    offline = ("--no-populate-cache", "--no-introspect")
    nodes_wanted = ("--select", "+path:models/marts,resource_type:model", "path:tests/cross_db")
    # Without the tests of the models, which nobody runs here.
    without_tests = ("--indirect-selection", "empty")
    project = DbtProject(folder, target)
    project.dbt("compile", *offline, *nodes_wanted, *without_tests)
    manifest = json.loads((project.artifacts / "manifest.json").read_text(encoding="utf-8"))
    nodes = manifest["nodes"]
    models = {
        key: node
        for key, node in nodes.items()
        if node["resource_type"] == "model" and node.get("compiled")
    }
    order = TopologicalSorter({k: n["depends_on"]["nodes"] for k, n in models.items()})
    seeds: dict[str, Relation] = {}
    fixed: dict[str, tuple[Relation, Rows]] = {}
    for node in nodes.values():
        if node["resource_type"] != "seed":
            continue
        relation = Relation(node["relation_name"], dict.fromkeys(node["columns"], "text"))
        name = node["name"].removeprefix("raw_")
        if name in ("users", "user_experiments", "compounds"):
            seeds[name] = relation
        else:
            with (folder / node["original_file_path"]).open(encoding="utf-8", newline="") as file:
                header, *rows = csv.reader(file)
            fixed[name] = (Relation(relation.name, dict.fromkeys(header, "text")), rows)
    raw = {
        source["name"]: Relation(
            source["relation_name"],
            {name: column["data_type"] for name, column in source["columns"].items()},
        )
        for source in manifest["sources"].values()
        if source["source_name"] == "raw"
    }
    compiled = tuple(
        Model(
            node["relation_name"],
            node["config"]["materialized"] == "view",
            node["compiled_code"],
            node,
        )
        for key in order.static_order()
        if (node := models.get(key)) and node["config"]["materialized"] != "ephemeral"
    )
    names = {node["alias"]: node["relation_name"] for node in models.values()}
    examples = {
        node["name"]: node["compiled_code"]
        for node in nodes.values()
        if node["original_file_path"].startswith("tests/cross_db/")
    }
    return CompiledProject(
        compiled, {mart: names[mart] for mart in MARTS}, seeds, raw, fixed, examples
    )


def tables_of(project: CompiledProject, lab: Lab) -> dict[str, Rows]:
    """The rows of every seed and raw table, by the table's name in SQL."""
    tables: dict[str, list[Sequence[object]]] = {one.name: [] for one in project.relations}
    for relation, rows in project.fixed.values():
        tables[relation.name].extend(rows)
    for file in lab.files:
        if file.load_id is None:
            rows = [[cell or None for cell in row.cells] for row in file.rows]
            tables[project.seeds[file.input].name].extend(rows)
            continue
        loaded = [(*row.cells, file.load_id, row.line, None) for row in file.rows]
        # No model may rely on the order of its rows.
        tables[project.raw[file.input].name].extend(sorted(loaded, key=str))
        tables[project.raw["rejected_lines"].name].extend(
            (file.load_id, line.line, line.rule, line.detail, line.content)
            for line in file.rejected
        )
        ledger, entry = project.raw["loads"], asdict(ledger_row(file, file.load_id))
        tables[ledger.name].append([entry.get(column) for column in ledger.columns])
    return dict(tables)


def in_order(mart: str, relation: str) -> str:
    keys = "".join(f", {at}" for at in range(1, KEYS[mart] + 1))
    columns = ", ".join(MARTS[mart].split())
    return f"select {columns} from {relation}" + (f" order by {keys[2:]}" if keys else "")


@dataclass(frozen=True)
class PostgresRunner:
    """See `Runner`. Nothing is ever committed."""

    database: Database

    def read(self, project: CompiledProject, tables: dict[str, Rows]) -> dict[str, Rows]:
        with closing(self.database.connect()) as connection, connection.cursor() as cursor:
            connection.autocommit = False
            create(cursor.execute, project)
            for name, rows in tables.items():
                psycopg2.extras.execute_values(cursor, f"insert into {name} values %s", rows)
            # psycopg2 reads a percent sign as a parameter only where there are parameters.
            _create_models(cursor.execute, project)
            found: dict[str, Rows] = {}
            for mart, relation in project.marts.items():
                cursor.execute(in_order(mart, relation))
                found[mart] = cursor.fetchall()
            connection.rollback()
        return found

    def query(self, sql: str) -> Rows:
        with closing(self.database.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()


@dataclass(frozen=True)
class DuckDBRunner:
    """See `Runner`. Its file stays empty."""

    path: Path

    def read(self, project: CompiledProject, tables: dict[str, Rows]) -> dict[str, Rows]:
        with duckdb.connect(str(self.path)) as connection:
            connection.begin()
            create(connection.execute, project)
            insert(connection, tables)
            _create_models(connection.execute, project)
            found: dict[str, Rows] = {
                mart: connection.execute(in_order(mart, relation)).fetchall()
                for mart, relation in project.marts.items()
            }
            connection.rollback()
        return found

    def query(self, sql: str) -> Rows:
        with duckdb.connect(str(self.path)) as connection:
            return connection.execute(sql).fetchall()


def insert(connection: duckdb.DuckDBPyConnection, tables: dict[str, Rows]) -> None:
    for name, rows in tables.items():
        for start in range(0, len(rows), 500):
            part = rows[start : start + 500]
            marks = ", ".join([f"({', '.join('?' * len(part[0]))})"] * len(part))
            values = [value for row in part for value in row]
            connection.execute(f"insert into {name} values {marks}", values)


def _names(project: CompiledProject) -> list[str]:
    return [*(one.name for one in project.relations), *(one.name for one in project.models)]


def create(execute: Callable[[str], object], project: CompiledProject) -> None:
    schemas = {name.rpartition(".")[0] for name in _names(project)}
    for schema in sorted(schemas):
        execute(f"create schema if not exists {schema.rpartition('.')[2]}")
    for relation in project.relations:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in relation.columns.items())
        execute(f"create table {relation.name} ({columns})")


def _create_models(execute: Callable[[str], object], project: CompiledProject) -> None:
    for model in project.models:
        kind = "view" if model.is_view else "table"
        execute(f"create {kind} {model.name} as\n{model.sql}")


@dataclass(frozen=True)
class SparkRunner:
    """See `Runner`. All relations are temporary views of one session, on Parquet in the folder."""

    url: str
    folder: Path

    def read(self, project: CompiledProject, tables: dict[str, Rows]) -> dict[str, Rows]:
        names = "|".join(re.escape(name) for name in _names(project))
        pattern = re.compile(rf"(?<![\w.`])(?:{names})(?![\w`])")

        def local(sql: str) -> str:
            return pattern.sub(lambda match: re.sub(r"\W+", "__", match[0]), sql)

        session = session_at(self.url)
        place = Path(tempfile.mkdtemp(dir=self.folder))
        for relation in project.relations:
            path = place / f"{local(relation.name)}.parquet"
            _write_parquet(path, relation, tables[relation.name])
            session.read.parquet(str(path)).createOrReplaceTempView(local(relation.name))
        for model in project.models:
            name = local(model.name)
            frame = session.sql(local(model.sql))
            path = place / name
            # In the lake every model is Parquet. Sail writes no file for no rows.
            frame.write.parquet(str(path))
            session.read.schema(frame.schema).parquet(str(path)).createOrReplaceTempView(name)
        return {
            mart: [tuple(row) for row in session.sql(local(in_order(mart, name))).collect()]
            for mart, name in project.marts.items()
        }

    def query(self, sql: str) -> Rows:
        return [tuple(row) for row in session_at(self.url).sql(sql).collect()]


def _write_parquet(path: Path, relation: Relation, rows: Rows) -> None:
    with duckdb.connect() as connection:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in relation.columns.items())
        connection.execute(f"create table written ({columns})")
        insert(connection, {"written": rows})
        connection.table("written").write_parquet(str(path))


@dataclass(frozen=True)
class CompiledModels:
    """The models of the project on one engine."""

    project: CompiledProject
    runner: Runner

    def differences(self, lab: Lab) -> list[str]:
        """One sentence for each cell, or row, of any mart that is not as the oracle says."""
        shown = self.runner.read(self.project, tables_of(self.project, lab))
        right = marts(lab)
        return [
            line
            for mart, columns in MARTS.items()
            for line in differences(mart, right[mart], as_printed(columns.split(), shown[mart]))
        ]

    def check(self, lab: Lab) -> None:
        """Fail with what is not as the oracle says."""
        wrong = self.differences(lab)
        assert not wrong, f"{len(wrong)} differences\n" + "\n".join(wrong[:40])


def as_printed(columns: Sequence[str], rows: Rows) -> list[dict[str, str]]:
    return [{name: _text(value) for name, value in zip(columns, row, strict=True)} for row in rows]


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Decimal():
            return f"{value:f}"
        case datetime.date():
            return value.isoformat()
        case _:
            return str(value)


@contextmanager
def compiled_models(
    engine: str, server: Callable[[], Database], folder: Path
) -> Iterator[CompiledModels]:
    """The project as it stands, compiled for an engine, with a database of its own to run in."""
    project = copy_of_project(folder)
    if engine in KINDS:
        lake = lake_on(engine, folder)
        yield CompiledModels(compile_for(lake, project), SparkRunner(lake.url, folder))
        return
    with fresh_engine(engine, server, folder) as target:
        runner: Runner
        match target:
            case Postgres(database):
                runner = PostgresRunner(database)
            case DuckDB(path):
                runner = DuckDBRunner(path)
        yield CompiledModels(compile_for(target, project), runner)


def compile_for(target: Target, project: Path) -> CompiledProject:
    """Compile a copy of the project for the engine of the target."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in target.environment.items():
            patch.setenv(variable, value)
        return compile_project(project, target.name)
