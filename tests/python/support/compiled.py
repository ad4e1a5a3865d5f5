"""The models as dbt compiles them, run by the driver: a laboratory in a tenth of a second.

dbt compiles once for each engine. A laboratory is then a transaction: its rows go into the seeds
and the raw tables, every model is created in the order of its dependencies, the marts are read,
and everything is rolled back. What dbt itself adds (materialisations, contracts, hooks, the
reading of seeds) is left to whole builds: workbench.py.
"""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb
import psycopg2.extras
import pytest
from support.dbt_project import DbtProject
from support.engines import DuckDB, Engine, Lake, Postgres, fresh_engine
from support.in_process import environment
from support.oracle import MARTS, Lab, marts
from support.project import copy_of_project
from support.spark import session_at
from support.workbench import KEYS, differences, ledger_row, printed

from loader.publications import Relation as PublishedRelation
from loader.publications import changes_of, replaced_rows

Rows = Sequence[Sequence[object]]
SENTENCES = {"input_issues": ("message",), "issue_counts": ("remedy",)}
# What labmart sets while it builds an increment, and where.
INCREMENT = {"LABMART_INCREMENT": "1"}
NEXT = "labmart__next"


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


def compile_for(engine: Engine, folder: Path, **more: str) -> CompiledProject:
    """Let dbt compile the models of the project in the folder, with `more` in the environment.

    Fails the test where dbt does not compile them.
    """
    offline = ("--no-populate-cache", "--no-introspect")
    nodes_wanted = ("--select", "+path:models/marts,resource_type:model", "path:tests/cross_db")
    # Without the tests of the models, which nobody runs here.
    without_tests = ("--indirect-selection", "empty")
    project = DbtProject(folder, engine.name)
    with environment({**engine.environment, **more}):
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


def columns_of(mart: str) -> list[str]:
    """The columns that the oracle knows, and the sentences of which it knows nothing."""
    return [*MARTS[mart].split(), *SENTENCES.get(mart, ())]


def _in_order(mart: str, relation: str) -> str:
    keys = ", ".join(str(at) for at in range(1, KEYS[mart] + 1))
    return f"select {', '.join(columns_of(mart))} from {relation}" + (
        f" order by {keys}" if keys else ""
    )


class Session:
    """What a laboratory is in on an engine, for nobody else to see."""

    def __init__(self, run: Callable[[str], Rows], insert: Callable[[str, Rows], None]) -> None:
        self._run, self._insert = run, insert

    def run(self, sql: str) -> Rows:
        """The rows of statements."""
        return self._run(sql)

    def fill(self, tables: dict[str, Rows]) -> None:
        for name, rows in tables.items():
            if rows:
                self._insert(name, rows)

    def create(self, relations: Sequence[Relation]) -> None:
        for schema in sorted({one.name.rpartition(".")[0] for one in relations}):
            self.run(f"create schema if not exists {schema.rpartition('.')[2]}")
        for one in relations:
            columns = ", ".join(f'"{name}" {kind}' for name, kind in one.columns.items())
            self.run(f"create table {one.name} ({columns})")

    def build(self, models: Sequence[Model]) -> None:
        for schema in sorted({one.name.rpartition(".")[0] for one in models}):
            self.run(f"create schema if not exists {schema.rpartition('.')[2]}")
        for one in models:
            self.run(f"create {'view' if one.is_view else 'table'} {one.name} as\n{one.sql}")

    def marts(self, project: CompiledProject) -> dict[str, Rows]:
        return {mart: self.run(_in_order(mart, name)) for mart, name in project.marts.items()}


class LakeSession(Session):
    """The same in a lake: all relations are temporary views of one session, on Parquet."""

    def __init__(self, lake: Lake) -> None:
        self._spark = session_at(lake.url)
        self._place = Path(tempfile.mkdtemp(dir=lake.folder))
        self._relations: dict[str, Relation] = {}
        self._names: list[str] = []

    def _local(self, sql: str) -> str:
        names = "|".join(re.escape(name) for name in self._names)
        pattern = rf"(?<![\w.`])(?:{names})(?![\w`])"
        return re.sub(pattern, lambda match: re.sub(r"\W+", "__", match[0]), sql)

    def run(self, sql: str) -> Rows:
        return [tuple(row) for row in self._spark.sql(self._local(sql)).collect()]

    def create(self, relations: Sequence[Relation]) -> None:
        self._relations |= {relation.name: relation for relation in relations}
        self._names += self._relations

    def fill(self, tables: dict[str, Rows]) -> None:
        for relation, rows in tables.items():
            name = self._local(relation)
            path = str(self._place / f"{name}.parquet")
            with duckdb.connect() as connection:
                columns = self._relations[relation].columns.items()
                listed = ", ".join(f'"{column}" {kind}' for column, kind in columns)
                connection.execute(f"create table written ({listed})")
                _insert(connection, "written", rows)
                connection.table("written").write_parquet(path)
            self._spark.read.parquet(path).createOrReplaceTempView(name)

    def build(self, models: Sequence[Model]) -> None:
        self._names += [model.name for model in models]
        for model in models:
            name = self._local(model.name)
            frame = self._spark.sql(self._local(model.sql))
            path = str(self._place / name)
            # In the lake every model is Parquet. Sail writes no file for no rows.
            frame.write.parquet(path)
            self._spark.read.schema(frame.schema).parquet(path).createOrReplaceTempView(name)


@contextmanager
def session_on(engine: Engine) -> Iterator[Session]:
    """What is done in it stays in it: nothing is ever committed."""
    match engine:
        case Postgres(database):
            with closing(database.connect()) as connection, connection.cursor() as cursor:
                connection.autocommit = False

                def run(sql: str) -> Rows:
                    # psycopg2 reads a percent sign as a parameter only where there are parameters.
                    cursor.execute(sql)
                    return cursor.fetchall() if cursor.description else []

                def insert(name: str, rows: Rows) -> None:
                    psycopg2.extras.execute_values(cursor, f"insert into {name} values %s", rows)

                yield Session(run, insert)
                connection.rollback()
        case DuckDB(path):
            with duckdb.connect(str(path)) as file:
                file.begin()
                yield Session(lambda sql: file.execute(sql).fetchall(), partial(_insert, file))
                file.rollback()
        case Lake():
            yield LakeSession(engine)


def _insert(connection: duckdb.DuckDBPyConnection, name: str, rows: Rows) -> None:
    for start in range(0, len(rows), 500):
        part = rows[start : start + 500]
        marks = ", ".join([f"({', '.join('?' * len(part[0]))})"] * len(part))
        values = [value for row in part for value in row]
        connection.execute(f"insert into {name} values {marks}", values)


@dataclass(frozen=True)
class CompiledModels:
    """The models of the project on one engine; `increments` compiles them for increments."""

    project: CompiledProject
    engine: Engine
    increments: Callable[[], CompiledProject] | None = None

    def differences(self, lab: Lab) -> list[str]:
        """A sentence for each row of any mart that is not as the oracle says."""
        return self.wrong(lab, self.read(lab))

    def read(self, lab: Lab) -> dict[str, Rows]:
        """The marts of a laboratory, with `columns_of` each."""
        with session_on(self.engine) as session:
            session.create(self.project.relations)
            session.fill(tables_of(self.project, lab))
            session.build(self.project.models)
            return session.marts(self.project)

    def wrong(self, lab: Lab, shown: dict[str, Rows]) -> list[str]:
        """The same of marts that have been read."""
        right = marts(lab)
        return [
            line
            for mart, rows in shown.items()
            for line in differences(
                mart,
                right[mart],
                [dict(zip(columns_of(mart), map(printed, row), strict=True)) for row in rows],
            )
        ]

    def check(self, lab: Lab) -> None:
        """Fail with what is not as the oracle says."""
        wrong = self.differences(lab)
        assert not wrong, f"{len(wrong)} differences\n" + "\n".join(wrong[:40])


def check_history(models: CompiledModels, labs: Iterable[Lab]) -> None:
    """Build the first laboratory whole, and increments to the others in turn.

    Fails with what an increment leaves otherwise than the oracle says, or than a whole build.
    """
    assert models.increments is not None
    full, increment = models.project, models.increments()
    tables = [model.name for model in full.models if not model.is_view]
    own = replace(increment, raw={}).relations
    changes: list[str] = []
    for model in increment.models:
        if model.name.replace(NEXT, "labmart") in tables:
            suffix = model.node["schema"].removeprefix(NEXT)
            rows = replaced_rows(suffix, model.node["config"]["meta"].get("increment"))
            relation = PublishedRelation(suffix, model.node["alias"], replaced=rows)
            changes += changes_of(relation, NEXT, "labmart")
    first, *others = labs
    with session_on(models.engine) as session:

        def left() -> dict[str, Rows]:
            return {
                name: session.run(f"select t::text from {name} t order by 1") for name in tables
            }

        session.create(full.relations)
        session.fill(tables_of(full, first))
        session.build(full.models)
        for step, lab in enumerate(others):
            for name in tables_of(full, lab):
                session.run(f"delete from {name}")
            session.create(own)
            session.fill(tables_of(full, lab))
            session.fill({one.name: tables_of(increment, lab)[one.name] for one in own})
            session.build(increment.models)
            for statement in changes:
                session.run(statement)
            for schema in {
                name.split(".")[-2] for name in (model.name for model in increment.models)
            }:
                session.run(f"drop schema {schema} cascade")
            session.run(f"drop schema {NEXT}_seeds cascade")
            wrong = models.wrong(lab, session.marts(full))
            assert not wrong, f"step {step}: {len(wrong)} differences\n" + "\n".join(wrong[:40])
            grown = left()
            for model in reversed(full.models):
                session.run(f"drop {'view' if model.is_view else 'table'} {model.name}")
            session.build(full.models)
            for name, whole in left().items():
                assert grown[name] == whole, f"step {step}: {name}"


@contextmanager
def compiled_models(
    engine: str, request: pytest.FixtureRequest, folder: Path
) -> Iterator[CompiledModels]:
    """The project as it stands, compiled for an engine, with a database of its own to run in."""
    project = copy_of_project(folder)
    with fresh_engine(engine, request, folder) as target:
        yield CompiledModels(
            compile_for(target, project),
            target,
            cache(lambda: compile_for(target, project, LABMART_BUILD_SCHEMA=NEXT, **INCREMENT)),
        )
