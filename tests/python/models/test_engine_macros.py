"""The macros in macros/cross_db/: a branch for every engine and an example for each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.dbt_project import DbtProject, failures
from support.project import ROOT

ENGINES = ("postgres", "duckdb", "spark")
MACROS = {path.stem: path.read_text() for path in sorted((ROOT / "macros/cross_db").glob("*.sql"))}
EXAMPLES = "".join(path.read_text() for path in sorted((ROOT / "tests/cross_db").glob("*.sql")))
# They say how the engine works, not what a value is: no result depends on them.
WITHOUT_EXAMPLE = {
    "add_raw_columns",
    "analyze",
    "computed_once",
    "create_raw_table",
    "is_held_unique",
    "lock_raw_tables",
    "row_index",
    "unique_index",
    "with_previous_load",
}


@pytest.mark.parametrize("name", MACROS)
def test_each_engine_has_a_branch_of_its_own_and_examples(name: str) -> None:
    found = re.findall(r"{%-? *macro (\w+)\(", MACROS[name])
    assert found == [name, *(f"{engine}__{name}" for engine in ENGINES)]
    assert name in WITHOUT_EXAMPLE or f"{name}(" in EXAMPLES


def test_nothing_but_the_engine_macros_names_an_engine() -> None:
    kinds = ("models", "macros/parsing", "macros/inputs", "macros/integrity", "tests/integrity")
    named = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for kind in kinds
        for path in sorted((ROOT / kind).rglob("*.sql"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"target\.type|adapter\.type|(?:postgres|duckdb|spark)__", line)
    ]
    assert named == []


@pytest.mark.slow
def test_an_engine_without_a_branch_is_named(project_copy: Path) -> None:
    source = project_copy / "macros/cross_db/matches.sql"
    source.write_text(source.read_text().replace("duckdb__", "redshift__"))
    done = DbtProject(project_copy, "duckdb").run("parse")
    assert "'labmart.duckdb__matches'" in failures(done)
