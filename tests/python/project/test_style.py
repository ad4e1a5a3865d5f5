"""The style of Python and SQL, and the types, as the project's settings have them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.databases import Database
from support.in_process import program
from support.project import ROOT

from loader.project import open_project

# What macros lay out or dbt writes (quoted names, indentation, stars) is not judged.
FILLED_IN = (
    *("layout", "capitalisation.types", "ambiguous.column_count", "ambiguous.order_by_limit"),
    *("references.consistent", "references.keywords", "references.quoting"),
    *("structure.column_order", "structure.constant_expression", "structure.nested_case"),
)


def has_no_fault(call: str, *words: str | Path, env: Mapping[str, str] | None = None) -> None:
    name, *options = call.split()
    done = program(Path(sys.executable).with_name(name), *options, *words, env=env)
    assert done.code == 0, done.out + done.err


@pytest.mark.parametrize("call", ["ruff format --check --quiet .", "ruff check --quiet ."])
def test_python(call: str) -> None:
    has_no_fault(call)


# Each half a minute: beside each other.
@pytest.mark.xdist_group("types")
def test_types() -> None:
    has_no_fault("mypy")


@pytest.fixture
def dbt_environment(database: Database, tmp_path: Path) -> dict[str, str]:
    """What dbt compiles with: profiles.yml, a database to look into, and a place to write to."""
    open_project(ROOT)
    places = {"DBT_TARGET_PATH": str(tmp_path / "target"), "DBT_LOG_PATH": str(tmp_path)}
    return {**os.environ, **database.environment, **places}


@pytest.mark.slow
@pytest.mark.xdist_group("sql")
def test_sql(dbt_environment: dict[str, str]) -> None:
    has_no_fault("sqlfluff lint --disable-progress-bar models tests", env=dbt_environment)


@pytest.mark.slow
@pytest.mark.prove("the style of what macros write, which the lint of the models passes over")
def test_sql_with_its_macros_filled_in(dbt_environment: dict[str, str], tmp_path: Path) -> None:
    # A few rows of the tables in tests/cross_db/: all are written by the same lines.
    has_no_fault("dbt --quiet compile --vars", "examples: 3", env=dbt_environment)
    compiled = [
        path
        for path in (tmp_path / "target" / "compiled").rglob("*.sql")
        if path.parent.suffix != ".yml"
    ]
    assert compiled
    rules = ("--config", ROOT / ".sqlfluff", "--exclude-rules", ",".join(FILLED_IN))
    has_no_fault("sqlfluff lint --disable-progress-bar --templater raw", *rules, *compiled)
