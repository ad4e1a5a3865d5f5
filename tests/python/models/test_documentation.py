"""The YAML is what dbt takes it for, and everything in the dbt project is described."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.in_process import Done, program
from support.project import ROOT, copy_of_project

from loader.contract import mart_contracts, raw_contract
from loader.dbt import without_tests
from loader.project import open_project
from loader.service.marts import RowQuery
from loader.sources import LEDGER, REJECTED

# A column's meaning is written once, in a doc block, and referred to wherever the column surfaces.
DOC = re.compile(r"^\{\{ doc\('\w+'\) \}\}$")
# Of inputs, staging, intermediate and marts; but for the inputs as dbt_project.yml has them.
COLOURS = ("#c3cdd4", "#8fa3b0", "#e0a458", "#2a9d8f")

Node = dict[str, Any]


def run_gate(project: Path, target: Path) -> Done:
    """What the strict check of a project's YAML says; the target has what dbt then knows."""
    script = ROOT / "tests/python/support/yaml_gate.py"
    return program(sys.executable, script, project, target, cwd=project)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """What dbt knows of the project, whose YAML has no fault."""
    folder = tmp_path_factory.mktemp("documentation")
    done = run_gate(copy_of_project(folder), folder / "target")
    assert done.code == 0, done.out + done.err
    known: Node = json.loads((folder / "target" / "manifest.json").read_text(encoding="utf-8"))
    return known


# Misspellings, of dbt's own only those that it lets pass, each in a file of its own, so that none
# hides another: the file, the key that is told, what is to stand there, and what stands there.
CONTRACT = "config: {contract: {enforcd: true}}\n    columns:"
MISSPELT_PATH = "data_tests:\n  labmrt: {+limit: 10}\nseeds:\n"
TYPOS = (
    ("models/marts/_marts.yml", "descripton", "      description:", "      descripton:"),
    ("models/intermediate/_intermediate.yml", "data_tets", "data_tests:", "data_tets:"),
    ("models/staging/_staging.yml", "wher", "where: error_rule", "wher: error_rule"),
    ("models/staging/base/_base.yml", "enforcd", "columns:", CONTRACT),
    ("models/staging/_sources.yml", "loaded_at_qury", "loaded_at_query:", "loaded_at_qury:"),
    ("seeds/_seeds.yml", "colum_types", "column_types:", "colum_types:"),
    ("models/marts/_unit_tests.yml", "unit_test", "unit_tests:", "unit_test:"),
)
PROJECT_TYPOS = (
    ("dbt_project.yml", "matirialized", "+materialized: view", "+matirialized: view"),
    ("dbt_project.yml", "quote_columns", "    +quote_columns:", "    quote_columns:"),
    ("dbt_project.yml", "labmrt", "seeds:\n", MISSPELT_PATH),
)


@pytest.mark.slow
@pytest.mark.prove("tries the gate itself, typo by typo")
@pytest.mark.parametrize("typos", [TYPOS, PROJECT_TYPOS], ids=["models", "project"])
def test_every_typo_goes_red(
    project_copy: Path, tmp_path: Path, typos: Sequence[tuple[str, str, str, str]]
) -> None:
    for name, _, right, wrong in typos:
        text = (project_copy / name).read_text()
        assert right in text
        (project_copy / name).write_text(text.replace(right, wrong, 1))
    done = run_gate(project_copy, tmp_path / "target")
    assert done.code == 1, done.err
    for name, key, *_ in typos:
        told = [line for line in done.out.splitlines() if re.search(rf"\b{key}\b", line)]
        assert [line for line in told if name in line or typos is PROJECT_TYPOS], (key, done.out)


def described(manifest: Node) -> Iterator[Node]:
    """Every node of the project that has columns: models, seeds and sources."""
    for node in [*manifest["nodes"].values(), *manifest["sources"].values()]:
        if node["resource_type"] in ("model", "seed", "source"):
            yield node


def marts(manifest: Node) -> list[Node]:
    found = [n for n in described(manifest) if n["path"].startswith("marts/")]
    assert found
    return found


def yaml_columns() -> Iterator[tuple[str, Node]]:
    """Each column as it is declared, with a name to find it by."""
    for path in sorted([*ROOT.glob("models/**/*.yml"), *ROOT.glob("seeds/*.yml")]):
        document = yaml.safe_load(path.read_text())
        relations = [*document.get("models", []), *document.get("seeds", [])]
        for source in document.get("sources", []):
            relations += source.get("tables", [])
        for relation in relations:
            for column in relation.get("columns", []):
                yield f"{path.relative_to(ROOT)}: {relation['name']}.{column['name']}", column


def test_every_column_description_is_a_doc_block() -> None:
    columns = list(yaml_columns())
    assert columns
    assert [name for name, c in columns if not DOC.match(c.get("description", ""))] == []


def test_the_contracts_are_what_dbt_makes_of_the_yaml(manifest: Node) -> None:
    """The service reads the YAML itself, so that it can tell of marts before the first build."""

    def told(columns: Node) -> list[tuple[str, str, str]]:
        return [
            (c["name"], c["data_type"].replace(", ", ","), " ".join(c["description"].split()))
            for c in columns.values()
        ]

    project = open_project(ROOT)
    found = mart_contracts(project)
    assert set(found) == {n["alias"] for n in marts(manifest)}
    for node in marts(manifest):
        contract = found[node["alias"]]
        assert contract.description == " ".join(node["description"].split())
        assert [(c.name, c.type, c.description) for c in contract.columns] == told(node["columns"])
        assert contract.has_key == bool(node["primary_key"])
        # The order that a page is completed by has to be as fine as the key.
        if contract.has_key:
            assert set(node["primary_key"]) == set(contract.order_by)
    for source in manifest["sources"].values():
        if source["name"] in (LEDGER, REJECTED):
            raw = raw_contract(project, source["name"])
            assert [(c.name, c.type, c.description) for c in raw.columns] == told(source["columns"])


def picture(manifest: Node) -> str:
    """Inputs, models and marts as Mermaid draws them, each with what it reads by itself.

    The steps in base/ are passed over, and so is what is read by way of another drawn model.
    """
    nodes = {**manifest["nodes"], **manifest["sources"]}
    layers: dict[str, dict[str, str]] = {
        "inputs": {},
        "staging": {},
        "intermediate": {},
        "marts": {},
    }
    for unique_id, node in nodes.items():
        kind = node["resource_type"]
        layer = node["fqn"][1] if kind == "model" else "inputs"
        if kind in ("model", "source", "seed") and layer in layers and "base" not in node["fqn"]:
            layers[layer][unique_id] = f"raw.{node['name']}" if kind == "source" else node["name"]
    drawn = {unique_id: name for layer in layers.values() for unique_id, name in layer.items()}

    def parents(unique_id: str) -> set[str]:
        found: set[str] = set()
        for parent in manifest["parent_map"].get(unique_id, ()):
            found |= {parent} if parent in drawn else parents(parent)
        return found & drawn.keys()

    def ancestors(unique_id: str) -> set[str]:
        return set().union(*({p} | ancestors(p) for p in parents(unique_id)))

    lines = ["flowchart LR"]
    for unique_id, name in drawn.items():
        direct = parents(unique_id) - set().union(*map(ancestors, parents(unique_id)))
        if direct:
            lines.append(f"  {' & '.join(sorted(drawn[p] for p in direct))} --> {name}")
    lines[1:] = sorted(lines[1:])
    for (layer, names), colour in zip(layers.items(), COLOURS, strict=True):
        lines.append(f"  classDef {layer} fill:{colour},color:#000,stroke:none")
        lines.append(f"  class {','.join(sorted(names.values()))} {layer}")
    return "\n".join(lines)


def test_the_picture_in_the_docs_is_what_dbt_knows(manifest: Node) -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{picture(manifest)}\n```" in page


def test_the_lineage_of_the_docs_has_fewer_tests_than_models(manifest: Node) -> None:
    shown = without_tests(manifest)
    kinds = Counter(
        node["resource_type"] for node in shown["nodes"].values() if "test_metadata" not in node
    )
    assert kinds["model"] == sum(n["resource_type"] == "model" for n in manifest["nodes"].values())
    assert kinds["test"] + len(shown["unit_tests"]) == 0 < len(manifest["unit_tests"])


def test_what_figures_are_made_of_is_there_and_has_a_line() -> None:
    marts = mart_contracts(open_project(ROOT))
    declared = [column.config.meta.made_of for mart in marts.values() for column in mart.columns]
    assert any(declared)
    for made_of in filter(None, declared):
        mart = marts[made_of.mart]
        assert not made_of.by or mart.column(made_of.by), made_of
        assert mart.column("line") or mart.column("experiment_id"), made_of


def test_no_column_of_a_mart_is_called_like_a_parameter_of_the_service() -> None:
    project = open_project(ROOT)
    contracts = [*mart_contracts(project).values(), raw_contract(project, LEDGER)]
    names = {column.name for contract in contracts for column in contract.columns}
    assert names.isdisjoint(RowQuery.model_fields)


def test_unit_tests_hold_whatever_variables_a_run_is_given(manifest: Node) -> None:
    """`dbt build --vars 'input: seeds'` tests the same rules."""
    models = {n["name"]: n["raw_code"] for n in described(manifest) if "raw_code" in n}
    read = {name: set(re.findall(r"\bvar\('(\w+)'", code)) for name, code in models.items()}
    assert any(read.values())
    for unit in manifest["unit_tests"].values():
        overridden = (unit["overrides"] or {}).get("vars", {})
        assert read[unit["model"]] <= overridden.keys(), unit["name"]


def test_the_page_on_data_quality_has_every_rule_and_names_tests_that_there_are(
    manifest: Node,
) -> None:
    page = (ROOT / "docs" / "data_quality.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (error|warning) \|", page, re.MULTILINE)
    with (ROOT / "seeds" / "issue_rules.csv").open(encoding="utf-8", newline="") as file:
        rules = [(rule["rule"], rule["severity"]) for rule in csv.DictReader(file)]
    assert sorted(rows) == sorted(rules)
    nodes = [*manifest["nodes"].values(), *manifest["unit_tests"].values()]
    tests = {node["name"] for node in nodes if node["resource_type"].endswith("test")}
    named = set(re.findall(r"`(\w+(?:_\w+){3,})`", page))
    assert named & tests
    assert named - tests - {rule for rule, _ in rules} == {"resolved_by_load_id"}


def test_every_doc_block_is_used() -> None:
    blocks = {
        name
        for path in ROOT.glob("models/**/*.md")
        for name in re.findall(r"\{% docs (\w+) %\}", path.read_text())
    }
    used = {
        name
        for folder in ("models", "seeds", "tests")
        for path in ROOT.glob(f"{folder}/**/*.yml")
        for name in re.findall(r"doc\('(\w+)'\)", path.read_text())
    }
    assert blocks - used - {"__overview__", "__labmart__"} == set()


def test_every_macro_says_what_it_is_for() -> None:
    files = [*ROOT.glob("macros/**/*.sql"), *ROOT.glob("tests/generic/*.sql")]
    assert [str(p.relative_to(ROOT)) for p in files if not p.read_text().startswith("{#")] == []
    named = {n for p in files for n in re.findall(r"\{% macro (\w+)\(", p.read_text())}
    documented = yaml.safe_load((ROOT / "macros/_macros.yml").read_text())["macros"]
    # An engine's implementation has the name of its engine before `__`.
    own = {name for name in named if "__" not in name and not name.startswith("_")}
    assert {macro["name"] for macro in documented} == own
    readme = (ROOT / "tests/generic/README.md").read_text()
    names = [path.stem for path in ROOT.glob("tests/generic/*.sql")]
    assert [name for name in names if f"`{name}`" not in readme] == []


def test_everything_is_described(manifest: Node) -> None:
    tests = [n for n in manifest["nodes"].values() if n["resource_type"] == "test"]
    singular = [n for n in tests if not n.get("test_metadata")]
    assert singular
    assert manifest["exposures"]
    nodes = [*described(manifest), *singular, *manifest["exposures"].values()]
    assert [n["unique_id"] for n in nodes if not n["description"].strip()] == []
    assert [n["unique_id"] for n in described(manifest) if not n["columns"]] == []
    assert manifest["groups"]
    assert all(group["owner"].get("name") for group in manifest["groups"].values())


def test_marts_and_nothing_else_are_public_with_contract_group_question_and_grain(
    manifest: Node,
) -> None:
    for mart in marts(manifest):
        assert mart["contract"]["enforced"], mart["name"]
        assert mart["group"], mart["name"]
        assert mart["access"] == "public", mart["name"]
        assert all(column["data_type"] for column in mart["columns"].values()), mart["name"]
        assert re.match(r"[A-Z][^.?]*\? One row per ", mart["description"]), mart["name"]
    below = [n for n in described(manifest) if n["path"].startswith(("staging/", "intermediate/"))]
    models = [n for n in below if n["resource_type"] == "model"]
    assert models
    assert {n["access"] for n in models} <= {"private", "protected"}
