"""Which column is made of which: a page beside dbt's documentation.

dbt draws which model reads which, but not the columns. sqlglot follows each column through the SQL
that dbt has compiled; the catalog says which columns there are. Reads what `dbt docs generate` has
written into target/ and writes column_lineage.html there, one file that loads nothing.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import sqlglot
from sqlglot import exp
from sqlglot.lineage import Node, lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

from loader.dbt import without_tests

PAGE = "column_lineage.html"


@dataclass(frozen=True, order=True)
class Column:
    """A column of a model, seed or source; without a name, the rows of it, which are counted."""

    relation: str
    name: str


Lineage = Mapping[Column, frozenset[Column]]


def column_lineage(
    manifest: Mapping[str, Any], catalog: Mapping[str, Any]
) -> dict[Column, frozenset[Column]]:
    """What each column of each model is made of; empty for a constant.

    `manifest` and `catalog` are dbt's artifacts of one run of `dbt docs generate`. Relations are
    named by dbt's unique ids. Raises sqlglot.errors.SqlglotError for SQL that it cannot read.
    """
    schema, unique_ids = _relations(catalog)
    dialect = manifest["metadata"]["adapter_type"]
    made_of = {}
    for unique_id, node in manifest["nodes"].items():
        if node["resource_type"] == "model" and unique_id in catalog["nodes"]:
            query = qualify(
                sqlglot.parse_one(node["compiled_code"], dialect=dialect),
                schema=schema,
                dialect=dialect,
                identify=False,
            )
            assert isinstance(query, exp.Query)
            for name, sources in _columns(query, schema, dialect):
                made_of[Column(unique_id, name)] = frozenset(
                    Column(unique_ids[relation], column) for relation, column in sources
                )
    return made_of


def origins(made_of: Lineage, column: Column) -> frozenset[Column]:
    """The columns of sources and seeds that a column is made of in the end."""
    reached, waiting = {column}, [column]
    # What is added meanwhile is gone through, too.
    for current in waiting:
        new = made_of.get(current, frozenset()) - reached
        reached |= new
        waiting += new
    return frozenset(end for end in waiting if end.name and end not in made_of)


_Name = tuple[str, str, str]
# By database, schema, relation and column: the type.
_Schema = dict[str, object]


def _relations(catalog: Mapping[str, Any]) -> tuple[_Schema, dict[_Name, str]]:
    """Types by database, schema, relation and column, and the unique id of each relation."""
    types: dict[str, dict[str, dict[str, dict[str, str]]]] = defaultdict(lambda: defaultdict(dict))
    unique_ids = {}
    for unique_id, entry in {**catalog["nodes"], **catalog["sources"]}.items():
        where = entry["metadata"]
        name = (where["database"] or "", where["schema"], where["name"])
        unique_ids[name] = unique_id
        types[name[0]][name[1]][name[2]] = {
            column: details["type"] for column, details in entry["columns"].items()
        }
    return {database: dict(schemas) for database, schemas in types.items()}, unique_ids


def _columns(
    query: exp.Query, schema: _Schema, dialect: str
) -> Iterator[tuple[str, set[tuple[_Name, str]]]]:
    """Each column that the query gives, and the relations' columns that it is made of."""
    scope = build_scope(query)
    assert scope is not None
    steps = {step.alias: step.this for step in query.find_all(exp.CTE)}
    for name in query.named_selects:
        root = lineage(name, query, schema, scope=scope, dialect=dialect, copy=False)
        assert isinstance(root, Node)
        sources: set[tuple[_Name, str]] = set()
        for node in root.walk():
            # A function that gives rows, such as generate_series, is a table without a schema.
            if isinstance(node.expression, exp.Table) and node.expression.db:
                sources.add((_name(node.expression), node.name.rpartition(".")[2]))
            elif not node.downstream and any(
                isinstance(count.this, exp.Star) for count in node.expression.find_all(exp.Count)
            ):
                sources |= {(relation, "") for relation in _counted(node.source, steps)}
        yield name, sources


def _counted(query: exp.Expr, steps: Mapping[str, exp.Expr]) -> Iterator[_Name]:
    """The relations whose rows a query without columns of them reads."""
    for table in query.find_all(exp.Table):
        if not table.db and table.name in steps:
            yield from _counted(steps[table.name], steps)
        elif table.db:
            yield _name(table)


def _name(table: exp.Table) -> _Name:
    return table.catalog, table.db, table.name


def page(manifest: Mapping[str, Any], made_of: Lineage) -> str:
    """The page, as HTML: for each column what it is made of, and what is made of it."""
    goes_into: dict[Column, set[Column]] = defaultdict(set)
    for column, sources in made_of.items():
        for source in sources:
            goes_into[source].add(column)
    names = {
        unique_id: node["name"] if node["resource_type"] != "source" else f"raw.{node['name']}"
        for unique_id, node in {**manifest["nodes"], **manifest["sources"]}.items()
    }

    def named(columns: Iterable[Column]) -> list[tuple[str, Column]]:
        return sorted((names[column.relation], column) for column in columns)

    relations: dict[str, list[tuple[object, ...]]] = defaultdict(list)
    for column in dict.fromkeys((*made_of, *goes_into)):
        if column.name:
            lists = (
                made_of.get(column, ()),
                goes_into.get(column, ()),
                origins(made_of, column) - {column},
            )
            relations[names[column.relation]].append((column, *map(named, lists)))
    text = Path(__file__).with_name("lineage.html").read_text(encoding="utf-8")
    return jinja2.Template(text, autoescape=True).render(relations=sorted(relations.items()))


def main(target: Path) -> None:
    """Write the page into dbt's folder of artifacts, and let its lineage show models alone."""
    manifest, catalog = (
        json.loads((target / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("manifest", "catalog")
    )
    (target / "manifest.json").write_text(json.dumps(without_tests(manifest)), encoding="utf-8")
    (target / PAGE).write_text(page(manifest, column_lineage(manifest, catalog)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
