"""An increment leaves what a full build would: every cell, after every step of random histories."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pytest
from psycopg2.extras import execute_values
from support.compiled import (
    CompiledProject,
    as_printed,
    compile_for,
    create,
    in_order,
    insert,
    tables_of,
)
from support.engines import DuckDB, Engine, Postgres, fresh_engine
from support.oracle import MARTS, Lab, marts
from support.project import copy_of_project
from support.random_labs import catalogue_lab, random_lab
from support.workbench import differences

from loader.publications import Relation, changes_of, replaced_rows

pytestmark = pytest.mark.slow

NEXT = "labmart__next"
Rows = list[tuple[Any, ...]]
Tables = dict[str, Sequence[Sequence[object]]]


@dataclass(frozen=True)
class Compiled:
    """The models for a full build, and for an increment."""

    engine: Engine
    full: CompiledProject
    increment: CompiledProject

    @property
    def tables(self) -> list[str]:
        """What a full build leaves, as it is called in SQL."""
        return [model.name for model in self.full.models if not model.is_view]

    def changes(self) -> list[str]:
        """The statements that publish an increment."""
        found = []
        for model in self.increment.models:
            base = model.name.replace(NEXT, "labmart")
            if base in self.tables:
                suffix = str(model.node["schema"]).removeprefix(NEXT)
                meta = model.node["config"]["meta"].get("increment")
                rows = replaced_rows(suffix, meta)
                found.append(Relation(suffix, model.node["alias"], replaced=rows))
        statements = []
        for one in found:
            deletes, insert = changes_of(one, NEXT, "labmart")
            statements += [*deletes, insert]
        return statements


@dataclass
class Database:
    """An open transaction, in any engine."""

    run: Callable[[str], Rows]
    fill: Callable[[Tables], None]

    def build(self, models: CompiledProject) -> None:
        for model in models.models:
            kind = "view" if model.is_view else "table"
            self.run(f"create {kind} {model.name} as\n{model.sql}")

    def read(self, project: CompiledProject) -> dict[str, Rows]:
        return {mart: self.run(in_order(mart, name)) for mart, name in project.marts.items()}


@contextmanager
def opened(engine: Engine) -> Iterator[Database]:
    """A transaction that is rolled back at the end."""
    match engine:
        case Postgres(database):
            with closing(database.connect()) as connection, connection.cursor() as cursor:
                connection.autocommit = False

                def run(sql: str) -> Rows:
                    cursor.execute(sql)
                    return cursor.fetchall() if cursor.description else []

                def fill(tables: Tables) -> None:
                    for name, rows in tables.items():
                        execute_values(cursor, f"insert into {name} values %s", rows)

                yield Database(run, fill)
        case DuckDB(path):
            with duckdb.connect(str(path)) as file:
                file.begin()
                yield Database(
                    lambda sql: (
                        ((found := file.execute(sql)).description and found.fetchall()) or []
                    ),
                    lambda tables: insert(file, tables),
                )
                file.rollback()


@pytest.fixture(scope="module", params=["postgres", "duckdb"])
def compiled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Compiled]:
    folder = tmp_path_factory.mktemp("increments")
    project = copy_of_project(folder)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        engine = stack.enter_context(
            fresh_engine(request.param, lambda: request.getfixturevalue("server"), folder)
        )
        full = compile_for(engine, project)
        patch.setenv("LABMART_BUILD_SCHEMA", NEXT)
        patch.setenv("LABMART_INCREMENT", "1")
        yield Compiled(engine, full, compile_for(engine, project))


def history(lab: Lab, seed: int, steps: int) -> Iterator[Lab]:
    """The laboratory with other current loads in each step; never without any."""
    rng = random.Random(seed)
    files = list(lab.files)
    loaded = [at for at, file in enumerate(files) if file.load_id is not None]
    for _ in range(steps):
        for at in rng.sample(loaded, min(rng.choice((1, 1, 2, 3)), len(loaded))):
            status = "reverted" if files[at].status == "current" else "current"
            files[at] = replace(files[at], status=status)
        if not any(files[at].status == "current" for at in loaded):
            files[loaded[0]] = replace(files[loaded[0]], status="current")
        yield Lab(tuple(files))


def rows_of(database: Database, table: str) -> Rows:
    return database.run(f"select t::text from {table} as t order by 1")


def check_history(compiled: Compiled, lab: Lab, seed: int, steps: int) -> None:
    """Fail with what an increment leaves otherwise than the oracle, or than a full build."""
    changes = compiled.changes()
    with opened(compiled.engine) as database:
        create(database.run, compiled.full)
        first, *others = history(lab, seed, steps)
        tables = tables_of(compiled.full, first)
        database.fill(tables)
        database.build(compiled.full)
        for step, now in enumerate(others):
            for name, rows in tables_of(compiled.full, now).items():
                database.run(f"delete from {name}")
                database.fill({name: rows})
            seeds = replace(compiled.increment, raw={})
            create(database.run, seeds)
            database.fill(
                {
                    one.name: rows
                    for one in seeds.relations
                    if (rows := tables_of(compiled.increment, now)[one.name])
                }
            )
            database.build(compiled.increment)
            for statement in changes:
                database.run(statement)
            for suffix in ("", "_staging", "_seeds"):
                database.run(f"drop schema {NEXT}{suffix} cascade")
            shown = database.read(compiled.full)
            right = marts(now)
            wrong = [
                line
                for mart, columns in MARTS.items()
                for line in differences(mart, right[mart], as_printed(columns.split(), shown[mart]))
            ]
            if isinstance(compiled.engine, Postgres):
                left = {name: rows_of(database, name) for name in compiled.tables}
                database.run("savepoint incremental")
                for model in reversed(compiled.full.models):
                    database.run(f"drop {'view' if model.is_view else 'table'} {model.name}")
                database.build(compiled.full)
                for name in compiled.tables:
                    assert left[name] == rows_of(database, name), f"step {step}: {name}"
                database.run("rollback to savepoint incremental")
            assert not wrong, f"step {step}: {len(wrong)} differences\n" + "\n".join(wrong[:40])


@pytest.mark.parametrize("seed", range(8))
def test_increments_are_as_calculated(compiled: Compiled, seed: int) -> None:
    lab = random_lab(seed, mode="loads", dirt=(0.05, 0.3)[seed % 2])
    check_history(compiled, lab, seed, 6)


def test_the_catalogue(compiled: Compiled) -> None:
    check_history(compiled, catalogue_lab("loads"), 1, 8)
