"""Any selection is a good selection: after every dbt command the database of PostgreSQL is whole.

dbt replaces a table by dropping the one before with CASCADE, which takes along every view on it. So
each command is followed by the question whether every relation of the manifest is still there. All
of it is one database and one copy of the project, with dbt in this process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.graph.nodes import ManifestNode
from support.databases import Database
from support.dbt_project import DbtProject
from support.engines import Postgres, fresh_engine
from support.in_process import environment, labmart
from support.project import ROOT, copy_of_project

pytestmark = pytest.mark.slow

PRODUCTION = "labmart"


@dataclass(frozen=True)
class Lab:
    """A project in production, built from loads, and its database."""

    project: DbtProject
    engine: Postgres
    manifest: Manifest

    def dbt(self, *command: str) -> None:
        """Run a command of dbt, which succeeds and leaves every relation of production."""
        self.project.dbt(*command)
        self.is_whole(f"dbt {' '.join(command)}")

    def is_whole(self, after: str) -> None:
        """Fail with the relations of production that are missing."""
        missing = relations(self.manifest) - self.present()
        assert not missing, f"after {after} there is no {', '.join(sorted(missing))}"

    def present(self) -> set[str]:
        """All relations of the database, as schema.name."""
        found = self.engine.rows(
            "select relnamespace::regnamespace::text || '.' || relname from pg_class "
            "where relkind in ('r', 'v', 'm')"
        )
        return {str(name) for (name,) in found}

    def rows(self, relation: str) -> int:
        """How many rows a relation has."""
        [(count,)] = self.engine.rows(f"select count(*) from {relation}")
        assert isinstance(count, int)
        return count


def relations(manifest: Manifest) -> set[str]:
    """The relations that the project makes, as schema.name."""
    return {f"{node.schema}.{node.alias}" for node in built(manifest, "model", "seed")}


def built(manifest: Manifest, *kinds: str) -> list[ManifestNode]:
    """The nodes of these resource types that become relations, parents before children."""
    nodes = [
        node
        for node in manifest.nodes.values()
        if node.resource_type in kinds and node.config.materialized != "ephemeral"
    ]
    return sorted(nodes, key=lambda node: (len(ancestors(manifest, node.unique_id)), node.name))


def ancestors(manifest: Manifest, unique_id: str) -> set[str]:
    return _reached(unique_id, lambda one: manifest.parent_map.get(one, []))


def descendants(manifest: Manifest, unique_id: str) -> set[str]:
    return _reached(unique_id, lambda one: manifest.child_map.get(one, []))


def _reached(unique_id: str, following: Callable[[str], Iterable[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [unique_id]
    while waiting:
        for found in following(waiting.pop()):
            if found not in reached:
                reached.add(found)
                waiting.append(found)
    return reached


@pytest.fixture(scope="module")
def lab(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Production, built from the files of examples/messy."""
    folder = tmp_path_factory.mktemp("selections")
    with (
        fresh_engine("postgres", lambda: server, folder) as engine,
        environment(engine.environment, alone=True),
    ):
        assert isinstance(engine, Postgres)
        project = DbtProject(copy_of_project(folder), "postgres")
        loaded = labmart(project.root, "load", str(ROOT / "examples" / "messy"))
        assert loaded.code == 0, loaded.err
        made = Lab(project, engine, project.parse())
        made.project.dbt("seed")
        made.project.dbt("run")
        yield made


@pytest.fixture(autouse=True)
def same_environment(lab: Lab) -> Iterator[None]:
    """Each test has the environment of the module: another fixture takes it away."""
    with environment(lab.engine.environment):
        yield


@contextmanager
def changed(lab: Lab, *names: str) -> Iterator[None]:
    """The models' files with a further comment, which dbt takes for a change.

    Whoever wants it to see the change has to parse the project anew, and once more afterwards.
    """
    paths = [lab.project.root / node.original_file_path for node in named(lab.manifest, *names)]
    before = [path.read_bytes() for path in paths]
    for path, content in zip(paths, before, strict=True):
        path.write_bytes(content + b"-- changed\n")
    try:
        yield
    finally:
        for path, content in zip(paths, before, strict=True):
            path.write_bytes(content)


def named(manifest: Manifest, *names: str) -> list[ManifestNode]:
    return [node for node in built(manifest, "model") if node.name in names]


def in_the_middle(manifest: Manifest) -> ManifestNode:
    """The model that is built on others, and on which many others are built."""
    models = {node.unique_id for node in built(manifest, "model")}
    return max(
        built(manifest, "model"),
        key=lambda node: (
            min(
                len(models & descendants(manifest, node.unique_id)),
                len(models & ancestors(manifest, node.unique_id)),
            ),
            node.name,
        ),
    )


def marts(manifest: Manifest) -> list[ManifestNode]:
    return [node for node in built(manifest, "model") if "marts" in node.fqn]


@contextmanager
def developing(lab: Lab, schema: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manifest]:
    """The same project with another target schema; what it has made is dropped afterwards."""
    try:
        with monkeypatch.context() as patch:
            patch.setenv("LABMART_SCHEMA", schema)
            yield lab.project.manifest()
    finally:
        for made in (schema, f"{schema}_staging", f"{schema}_seeds"):
            lab.engine.rows(f"drop schema if exists {made} cascade")


def test_a_few_models_alone_leave_the_database_whole(lab: Lab) -> None:
    middle = in_the_middle(lab.manifest)
    roots = [node for node in built(lab.manifest, "model") if node.config.materialized == "table"]
    for name in dict.fromkeys((roots[0].name, middle.name)):
        lab.dbt("run", "--select", name)


@pytest.mark.prove(
    "each model alone and with its parents: minutes, where a few show the same fault"
)
def test_every_model_alone_and_with_its_parents_leaves_the_database_whole(lab: Lab) -> None:
    for node in built(lab.manifest, "model"):
        lab.dbt("run", "--select", node.name)
        lab.dbt("build", "--select", f"+{node.name}")
    lab.dbt("test")


def test_seeds_that_are_loaded_anew_leave_the_database_whole(lab: Lab) -> None:
    lab.dbt("seed", "--full-refresh")


def test_an_empty_build_leaves_the_database_whole(lab: Lab) -> None:
    """`--empty` builds everything without rows, and every test passes on that."""
    lab.dbt("build", "--empty", "--exclude-resource-type", "unit_test")
    lab.dbt("run")


def test_a_retry_after_a_failure_leaves_the_database_whole(lab: Lab) -> None:
    model = in_the_middle(lab.manifest)
    path = lab.project.root / model.original_file_path
    sql = path.read_text(encoding="utf-8")
    try:
        path.write_text(f"{sql.rstrip()} where 1 / 0 = 1\n", encoding="utf-8")
        lab.project.parse()
        assert not lab.project.run("run").success
        lab.is_whole("a dbt run that fails")
    finally:
        path.write_text(sql, encoding="utf-8")
        lab.project.parse()
    lab.dbt("retry")
    below = built(lab.manifest, "model")
    again = {n.name for n in below if n.unique_id in descendants(lab.manifest, model.unique_id)}
    assert {model.name, *again} <= retried(lab)


def retried(lab: Lab) -> set[str]:
    results = json.loads((lab.project.artifacts / "run_results.json").read_text(encoding="utf-8"))
    return {r["unique_id"].rpartition(".")[2] for r in results["results"]}


def test_a_mart_can_be_shown(lab: Lab) -> None:
    lab.dbt("show", "--select", marts(lab.manifest)[-1].name, "--limit", "1")


def test_a_clone_and_what_is_built_in_it_leave_production_whole(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = str(lab.project.artifacts)
    with developing(lab, "dev", monkeypatch) as manifest:
        lab.dbt("clone", "--state", state)
        assert relations(manifest) <= lab.present()
        for node in built(manifest, "model"):
            own = f"{node.schema}.{node.alias}"
            theirs = f"{PRODUCTION}{node.schema.removeprefix('dev')}.{node.alias}"
            assert lab.rows(own) == lab.rows(theirs), own
        lab.dbt("run", "--select", f"{in_the_middle(manifest).name}+")
        assert relations(manifest) <= lab.present()
        with monkeypatch.context() as patch:
            patch.delenv("LABMART_SCHEMA")
            lab.dbt("run", "--select", in_the_middle(lab.manifest).name)
        assert relations(manifest) <= lab.present(), "production's build took the clone along"


def test_a_developers_schema_reads_the_same_loads(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without seeds, too: with loads nothing needs them."""
    with developing(lab, "dev", monkeypatch) as manifest:
        lab.dbt("run")
        models = {f"{node.schema}.{node.alias}" for node in built(manifest, "model")}
        assert models <= lab.present()
        for node in marts(manifest):
            theirs = f"{PRODUCTION}.{node.alias}"
            assert lab.rows(f"dev.{node.alias}") == lab.rows(theirs), node.name
            assert lab.rows(theirs) > 0, node.name


def test_what_two_changes_modify_is_what_depends_on_them(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another schema, whose name is no change of any model."""
    models = built(lab.manifest, "model")
    first, second = models[0], in_the_middle(lab.manifest)
    after = {first.unique_id, second.unique_id}.union(
        descendants(lab.manifest, first.unique_id), descendants(lab.manifest, second.unique_id)
    )
    expected = {node.name for node in lab.manifest.nodes.values() if node.unique_id in after}
    state = str(lab.project.artifacts)
    select = ("--select", "state:modified+", "--state", state, "--resource-type", "model")
    with changed(lab, first.name, second.name), developing(lab, "modified", monkeypatch):
        lab.project.parse()
        listed = lab.project.dbt("ls", *select, "--output", "name").result
    assert isinstance(listed, list)
    assert set(listed) == {
        name for name in expected if f"model.labmart.{name}" in lab.manifest.nodes
    }
    with developing(lab, "dev", monkeypatch):
        lab.project.manifest()
        assert lab.project.dbt("ls", *select, "--output", "name").result == []


def test_changed_models_are_built_and_tested_beside_production(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `make changed` does."""
    state = str(lab.project.artifacts)
    deferred = ("--select", "state:modified+", "--defer", "--favor-state", "--state", state)
    model = in_the_middle(lab.manifest)
    with changed(lab, model.name), developing(lab, "modified", monkeypatch):
        lab.project.parse()
        lab.dbt("build", *deferred)
        made = {name for name in lab.present() if name.startswith("modified")}
        assert f"modified{model.schema.removeprefix(PRODUCTION)}.{model.alias}" in made
        lab.dbt("run-operation", "require_rows")
        with monkeypatch.context() as patch:
            patch.delenv("LABMART_SCHEMA")
            lab.dbt("run", "--select", f"{model.name}+1")
        assert made <= lab.present(), "production's build took along what reads it"


def test_a_relation_without_rows_where_production_has_some_fails(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mart = marts(lab.manifest)[-1]
    with developing(lab, "dev", monkeypatch):
        lab.engine.rows(f"create schema dev; create table dev.{mart.alias} (x int)")
        assert not lab.project.run("run-operation", "require_rows").success
        assert f'"dev"."{mart.alias}" ({mart.name})' in capsys.readouterr().out
        on_purpose = f"{{may_be_empty: [{mart.name}]}}"
        lab.project.dbt("run-operation", "require_rows", "--args", on_purpose)
        lab.engine.rows(f"insert into dev.{mart.alias} values (1)")
        lab.project.dbt("run-operation", "require_rows")
    assert not lab.project.run("run-operation", "require_rows").success, "compared with itself"


def test_all_tests_pass_in_the_end(lab: Lab) -> None:
    lab.dbt("test", "--exclude-resource-type", "unit_test")
