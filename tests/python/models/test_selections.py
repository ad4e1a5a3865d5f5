"""Any selection is a good selection: after every dbt command the database of PostgreSQL is whole.

dbt replaces a table by dropping the one before with CASCADE, which takes along every view on it. So
after each command every relation of the manifest must be there, and the project's views and
people's own as they were. All of it is one database and one copy of the project, with dbt in this
process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.graph.nodes import ManifestNode, ModelNode
from support.dbt_project import DbtProject
from support.engines import Postgres, fresh_engine
from support.in_process import environment, labmart
from support.project import ROOT, copy_of_project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("production")]

PRODUCTION = "labmart"
MODELS_AND_SEEDS = ("--resource-type", "seed", "--resource-type", "model")
Row = tuple[object, ...]
# A person's own: a view, a view on that, one of a mart that is a view itself, a materialized one.
OWN = """
    create schema own;
    create view own.people with (security_barrier = true) as
        select user_id, name as "the Name", signup_date from labmart.users;
    comment on view own.people is 'It''s ours';
    comment on column own.people."the Name" is 'as written';
    grant select on own.people to pg_monitor;
    create view own.letters as select upper("the Name") as "the Name" from own.people;
    grant select on own.letters to public;
    grant select on own.letters to pg_monitor with grant option;
    create view own.runs as
        select user_id, sum(run_time) as run_time from labmart.experiments group by user_id;
    create materialized view own.days as
        select signup_date, count(*) as users from labmart.users group by signup_date;
    create unique index one_row_per_day on own.days (signup_date);
"""
# Everything that there is, with rights, options and comments; indexes of tables are named anew.
RELATIONS = """
    select
        format('%s.%s', nspname, relname), cast(relkind as text), cast(relacl as text),
        cast(reloptions as text), obj_description(pg_class.oid, 'pg_class'),
        col_description(pg_class.oid, 2)
    from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid
    where nspname like 'labmart%' and relkind in ('r', 'v') or nspname = 'own'
    order by 1
"""
CONTENTS = """
    select 'letters', count(*)::text, max("the Name") from own.letters
    union all select 'runs', count(*)::text, max(run_time)::text from own.runs
    union all select 'days', count(*)::text, max(signup_date)::text from own.days
    order by 1
"""


@dataclass(frozen=True)
class Lab:
    """A project in production, built from loads, and its database."""

    project: DbtProject
    engine: Postgres
    manifest: Manifest
    relations: list[Row]
    contents: list[Row]

    def dbt(self, *command: str) -> None:
        """Run a command of dbt, which succeeds and leaves production as it was."""
        self.project.dbt(*command)
        self.is_whole(f"dbt {' '.join(command)}")
        assert self.engine.rows(CONTENTS) == self.contents

    def is_whole(self, after: str) -> None:
        """Fail with the relations of production that are missing, or are not as they were."""
        missing = relations(self.manifest) - self.present()
        assert not missing, f"after {after} there is no {', '.join(sorted(missing))}"
        assert self.engine.rows(RELATIONS) == self.relations, after

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
    order = TopologicalSorter(manifest.parent_map).static_order()
    return [
        node
        for unique_id in order
        if (node := manifest.nodes.get(unique_id))
        and node.resource_type in kinds
        and node.config.materialized != "ephemeral"
    ]


def below(manifest: Manifest, model: ManifestNode) -> set[str]:
    """The names of a model and of all that are built on it."""
    ids = {model.unique_id}
    for unique_id in TopologicalSorter(manifest.parent_map).static_order():
        if ids.intersection(manifest.parent_map.get(unique_id, ())):
            ids.add(unique_id)
    return {
        node.name
        for unique_id in ids
        if isinstance(node := manifest.nodes.get(unique_id), ModelNode)
    }


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Production, built from the files of examples/messy."""
    folder = tmp_path_factory.mktemp("selections")
    with (
        fresh_engine("postgres", request, folder) as engine,
        environment(engine.environment, alone=True),
    ):
        assert isinstance(engine, Postgres)
        project = DbtProject(copy_of_project(folder), "postgres")
        loaded = labmart(project.root, "load", str(ROOT / "examples" / "messy"))
        assert loaded.code == 0, loaded.err
        manifest = project.parse()
        project.dbt("build", *MODELS_AND_SEEDS)
        engine.rows(OWN)
        yield Lab(project, engine, manifest, engine.rows(RELATIONS), engine.rows(CONTENTS))


@pytest.fixture(autouse=True)
def same_environment(lab: Lab) -> Iterator[None]:
    """Each test has the environment of the module: another fixture takes it away."""
    with environment(lab.engine.environment):
        yield


@contextmanager
def edited(lab: Lab, **edits: Callable[[str], str]) -> Iterator[None]:
    """The project parsed with other texts of these models, and of the marts' YAML, for a while."""
    files = {node.name: node.original_file_path for node in built(lab.manifest, "model")}
    files["_marts"] = "models/marts/_marts.yml"
    by_path = {lab.project.root / files[name]: edit for name, edit in edits.items()}
    texts = {path: path.read_text(encoding="utf-8") for path in by_path}
    try:
        for path, edit in by_path.items():
            path.write_text(edit(texts[path]), encoding="utf-8")
        lab.project.parse()
        yield
    finally:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
        lab.project.parse()


def in_the_middle(manifest: Manifest) -> ManifestNode:
    """A model that is built on others, and on which many others are built."""
    models = built(manifest, "model")
    return max(models[len(models) // 3 :], key=lambda node: len(below(manifest, node)))


def marts(manifest: Manifest) -> list[ManifestNode]:
    return [node for node in built(manifest, "model") if "marts" in node.fqn]


@contextmanager
def developing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manifest]:
    """The same project with another target schema; what it has made is dropped afterwards."""
    try:
        with monkeypatch.context() as patch:
            patch.setenv("LABMART_SCHEMA", "dev")
            yield lab.project.manifest()
    finally:
        for made in ("dev", "dev_staging", "dev_seeds"):
            lab.engine.rows(f"drop schema if exists {made} cascade")


def test_a_few_models_leave_the_database_whole(lab: Lab) -> None:
    roots = [node for node in built(lab.manifest, "model") if node.config.materialized == "table"]
    lab.dbt("run", "--select", roots[0].name)
    lab.dbt("run", "--select", "users", "experiments", in_the_middle(lab.manifest).name)
    lab.dbt("show", "--select", marts(lab.manifest)[-1].name, "--limit", "1")


@pytest.mark.prove(
    "each model alone and with its parents: minutes, where a few show the same fault"
)
def test_every_model_alone_and_with_its_parents_leaves_the_database_whole(lab: Lab) -> None:
    for node in built(lab.manifest, "model"):
        lab.dbt("run", "--select", node.name)
        lab.dbt("build", "--select", f"+{node.name}")


def test_an_empty_build_leaves_the_database_whole(lab: Lab) -> None:
    """`--empty` builds everything without rows, and every test passes on that."""
    lab.project.dbt("build", "--empty", "--exclude-resource-type", "unit_test")
    lab.is_whole("an empty build")
    assert lab.rows("labmart.users") == 0
    lab.dbt("build", "--full-refresh", *MODELS_AND_SEEDS)


def test_a_retry_after_a_failure_leaves_the_database_whole(lab: Lab) -> None:
    model = in_the_middle(lab.manifest)
    with edited(lab, **{model.name: lambda sql: f"{sql.rstrip()} where 1 / 0 = 1\n"}):
        assert not lab.project.run("--write-json", "run", "--select", f"{model.name}+").success
        lab.is_whole("a dbt run that fails")
    lab.dbt("--write-json", "retry")
    results = json.loads((lab.project.artifacts / "run_results.json").read_text(encoding="utf-8"))
    retried = {result["unique_id"].rpartition(".")[2] for result in results["results"]}
    assert below(lab.manifest, model) <= retried


def test_views_show_what_was_built_last(lab: Lab, tmp_path: Path) -> None:
    oids = "select cast('own.people' as regclass)::oid, 'own.letters'::regclass::oid"
    before = lab.engine.rows(oids)
    late = tmp_path / "late.csv"
    late.write_text("user_id,name,email,signup_date\n900,zzz,,2031-01-01\n")
    loaded = labmart(lab.project.root, "load", str(late))
    assert loaded.code == 0, loaded.err
    lab.project.dbt("run", "--select", "+users")
    shown = {name: greatest for name, _, greatest in lab.engine.rows(CONTENTS)}
    assert (shown["letters"], shown["days"]) == ("ZZZ", "2031-01-01")
    assert lab.engine.rows(oids) == before, "they are the same views, not others of their names"
    newest = lab.engine.rows("select max(load_id) from labmart_raw.loads")
    assert labmart(lab.project.root, "undo", str(newest[0][0])).code == 0
    lab.dbt("run", "--select", "+users")


def test_a_seed_that_labmart_has_published_is_seeded_as_a_table(lab: Lab) -> None:
    """dbt refuses to seed a view."""
    lab.engine.rows("""
        create schema place;
        alter table labmart_seeds.raw_compounds set schema place;
        create view labmart_seeds.raw_compounds as select * from place.raw_compounds;
        create view place.structures as
            select compound_structure from labmart_seeds.raw_compounds;
    """)
    lab.project.dbt("seed", "--select", "raw_compounds")
    kind = "select relkind::text from pg_class where oid = 'labmart_seeds.raw_compounds'::regclass"
    assert lab.engine.rows(kind) == [("r",)]
    before = lab.rows("place.structures")
    lab.engine.rows("delete from labmart_seeds.raw_compounds where compound_id = '1'")
    assert lab.rows("place.structures") == before - 1
    lab.engine.rows("drop schema place cascade")
    lab.project.dbt("seed", "--select", "raw_compounds")
    lab.dbt("run", "--select", "base_seed_compounds+1")


def test_a_column_of_another_type_takes_views_along_and_a_lost_one_is_named(lab: Lab) -> None:
    lab.engine.rows("""
        create schema other;
        create view other.dates as select user_id, signup_date from labmart.users;
        create view other.years as select extract(year from signup_date) as y from other.dates;
        create view other.on_dates as select user_id from other.dates;
        grant select on other.on_dates to pg_monitor;
    """)
    types = "select pg_typeof(signup_date)::text from other.dates limit 1"
    with edited(
        lab,
        users=lambda sql: sql.replace("cast(signup_date as date)", "cast(signup_date as text)"),
        _marts=lambda yaml: yaml.replace("data_type: date", "data_type: text", 1),
    ):
        lab.project.dbt("run", "--select", "users")
        lost = "they belong to a role you are no member of): other.years\n"
        logs = (lab.project.root / "logs" / "dbt.log").read_text().splitlines(keepends=True)
        assert [line for line in logs if line.endswith(lost)]
        own = [row for row in lab.engine.rows(RELATIONS) if str(row[0]).startswith("own.")]
        assert own == [row for row in lab.relations if str(row[0]).startswith("own.")]
        right = "select has_table_privilege('pg_monitor', 'other.on_dates', 'select')"
        assert lab.engine.rows(right) == [(True,)]
        assert lab.engine.rows(types) == [("text",)]
    lab.dbt("run", "--select", "users")
    assert lab.engine.rows(types) == [("date",)]


def test_a_clone_and_what_is_built_in_it_leave_production_whole(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = str(lab.project.artifacts)
    with developing(lab, monkeypatch) as manifest:
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
    with developing(lab, monkeypatch) as manifest:
        lab.dbt("run")
        models = {f"{node.schema}.{node.alias}" for node in built(manifest, "model")}
        assert models <= lab.present()
        for node in marts(manifest):
            theirs = f"{PRODUCTION}.{node.alias}"
            assert lab.rows(f"dev.{node.alias}") == lab.rows(theirs), node.name
            assert lab.rows(theirs) > 0, node.name


def test_what_is_changed_is_built_and_tested_beside_production(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `make changed` does: in another schema, whose name is no change of any model."""
    middle = in_the_middle(lab.manifest)
    state = ("--select", "state:modified+", "--state", str(lab.project.artifacts))

    def modified() -> set[str]:
        listed = lab.project.dbt("ls", *state, "--resource-type", "model", "--output", "name")
        assert isinstance(listed.result, list)
        return set(listed.result)

    with developing(lab, monkeypatch):
        assert modified() == set()
        with edited(lab, **{middle.name: lambda sql: f"{sql}-- changed\n"}):
            assert modified() == below(lab.manifest, middle)
            lab.dbt("build", *state, "--defer", "--favor-state")
            made = {name for name in lab.present() if name.startswith("dev")}
            assert f"dev{middle.schema.removeprefix(PRODUCTION)}.{middle.alias}" in made
            lab.dbt("run-operation", "require_rows")
        with monkeypatch.context() as patch:
            patch.delenv("LABMART_SCHEMA")
            lab.dbt("run", "--select", f"{middle.name}+1")
        assert made <= lab.present(), "production's build took along what reads it"


def test_a_relation_without_rows_where_production_has_some_fails(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mart = marts(lab.manifest)[-1]
    with developing(lab, monkeypatch):
        lab.engine.rows(f"create schema dev; create table dev.{mart.alias} (x int)")
        assert not lab.project.run("run-operation", "require_rows").success
        assert f'"dev"."{mart.alias}" ({mart.name})' in capsys.readouterr().out
        on_purpose = f"{{may_be_empty: [{mart.name}]}}"
        lab.project.dbt("run-operation", "require_rows", "--args", on_purpose)
        lab.engine.rows(f"insert into dev.{mart.alias} values (1)")
        lab.project.dbt("run-operation", "require_rows")
    assert not lab.project.run("run-operation", "require_rows").success, "compared with itself"
