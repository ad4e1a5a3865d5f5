"""The strict YAML gate, which this project passes in test_documentation.py, sees every typo."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.in_process import Done, program
from support.project import ROOT

GATE = ROOT / "tests/python/support/yaml_gate.py"

PROFILE = """
scratch:
  target: test
  outputs:
    test: {type: postgres, host: nowhere, port: 5432, user: u, password: "", dbname: d, schema: s}
"""
PROJECT = """
name: scratch
version: 1.0.0
profile: scratch
flags: {send_anonymous_usage_stats: false}
models:
  scratch:
    +materialized: table
seeds:
  scratch:
    +quote_columns: true
data_tests:
  scratch:
    +limit: 10
"""
MODELS = """
models:
  - name: numbers
    description: One row per number.
    config:
      materialized: view
      contract: {enforced: true}
      meta: {order_by: [number]}
    columns:
      - name: number
        data_type: integer
        description: The number.
        data_tests:
          - not_null:
              config: {severity: error}
          - accepted_values:
              arguments: {values: [1]}
sources:
  - name: raw
    tables:
      - name: loads
        columns:
          - name: load_id
            description: The load.
unit_tests:
  - name: one
    model: numbers
    given: []
    expect:
      rows: [{number: 1}]
"""
# What stands in MODELS and its misspelling; of dbt's own, only those that it lets pass.
TYPOS = {
    "description: The number.": "descripton: The number.",
    "data_tests:": "data_tets:",
    "materialized:": "matirialized:",
    "enforced:": "enforcd:",
    "severity:": "severty:",
    "description: The load.": "descripshun: The load.",
    "unit_tests:": "unit_test:",
}
PROJECT_TYPOS = {
    "+materialized:": "+matirialized:",
    "\n    +quote_columns:": "\n    quote_columns:",
    "data_tests:\n  scratch:": "data_tests:\n  scrtch:",
}


def run_gate(project: Path) -> Done:
    return program(sys.executable, GATE, project, cwd=project)


@pytest.mark.slow
@pytest.mark.prove("tries the gate itself, typo by typo")
def test_every_typo_goes_red(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for folder in (models, tmp_path / "seeds"):
        folder.mkdir()
    (tmp_path / "profiles.yml").write_text(PROFILE)
    (tmp_path / "dbt_project.yml").write_text(PROJECT)
    (models / "_models.yml").write_text(MODELS)
    (models / "numbers.sql").write_text("select 1 as number\n")
    (tmp_path / "seeds/letters.csv").write_text("letter\na\n")
    assert (run_gate(tmp_path).code, run_gate(tmp_path).out) == (0, "")

    for number, (right, typo) in enumerate(TYPOS.items()):
        assert MODELS.count(right) == 1
        # One file per typo, so that none hides another; names are unique in a dbt project.
        text = MODELS.replace(right, typo).replace("numbers", f"numbers_{number}")
        text = text.replace("name: raw", f"name: raw_{number}")
        text = text.replace("name: one", f"name: one_{number}")
        (models / f"typo_{number}.yml").write_text(text)
        (models / f"numbers_{number}.sql").write_text("select 1 as number\n")
    result = run_gate(tmp_path)
    assert result.code == 1, result.err
    for number, typo in enumerate(TYPOS.values()):
        key = typo.split(":")[0].strip()
        told = [line for line in result.out.splitlines() if f"typo_{number}.yml" in line]
        assert any(key in line for line in told), (key, told)
        assert not any("_models.yml" in line for line in told)

    text = PROJECT
    for right, typo in PROJECT_TYPOS.items():
        assert text.count(right) == 1
        text = text.replace(right, typo)
    (tmp_path / "dbt_project.yml").write_text(text)
    result = run_gate(tmp_path)
    assert result.code == 1, result.err
    for key in ("matirialized", "quote_columns", "scrtch"):
        assert key in result.out
