"""Every rule of the SQL, broken on purpose, is noticed.

A mutant is compiled and run on laboratories until a mart differs from the oracle. What no mart
shows has to fail in `dbt build` on the sample laboratory.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from support.compiled import CompiledModels, compile_for
from support.databases import Database, fresh_database
from support.dbt_project import DbtProject, failures
from support.engines import Postgres
from support.in_process import environment
from support.oracle import Lab
from support.project import ROOT, copy_of_project
from support.random_labs import MODES, catalogue_lab, random_lab

# One rule broken: in `file`, `replace` becomes `with`. `survives` if nothing can notice it.
MUTANTS: list[dict[str, Any]] = tomllib.loads(
    (ROOT / "tests/mutants/mutants.toml").read_text(encoding="utf-8")
)["mutant"]


@dataclass(frozen=True)
class Laboratory:
    """A copy of the project to break, and a server for databases to build it in."""

    project: Path
    server: Database
    labs: tuple[Lab, ...]

    def broken_by(self, mutant: dict[str, Any]) -> str:
        """What shows the mutant: a cell of a mart, the engine's error, or a test; '' if nothing."""
        path = self.project / mutant["file"]
        whole = path.read_text(encoding="utf-8")
        path.write_text(whole.replace(mutant["replace"], mutant["with"]), encoding="utf-8")
        try:
            return self._differs() or self._fails()
        finally:
            path.write_text(whole, encoding="utf-8")

    def _differs(self) -> str:
        with fresh_database(self.server) as database:
            target = Postgres(database)
            models = CompiledModels(compile_for(target, self.project), target)
            for lab in self.labs:
                try:
                    if wrong := models.differences(lab):
                        return wrong[0]
                except psycopg2.Error as error:
                    return str(error)
        return ""

    def _fails(self) -> str:
        with fresh_database(self.server) as database, environment(database.environment):
            project = DbtProject(self.project, "postgres")
            return failures(project.run("build", "--vars", "{sample_lab: true}"))


@pytest.fixture(scope="module")
def laboratory(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    project = copy_of_project(tmp_path_factory.mktemp("mutants"))
    labs = (
        *(catalogue_lab(mode) for mode in MODES),
        *(random_lab(seed, mode="loads", dirt=0.3) for seed in range(12)),
        *(random_lab(seed, mode="seeds", dirt=0.1) for seed in range(4)),
    )
    return Laboratory(project, server, labs)


def test_every_mutant_finds_what_it_breaks() -> None:
    texts = {m["file"]: (ROOT / m["file"]).read_text(encoding="utf-8") for m in MUTANTS}
    assert [m["name"] for m in MUTANTS if texts[m["file"]].count(m["replace"]) != 1] == []


@pytest.mark.slow
@pytest.mark.prove("each of the mutants is a compilation of its own")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant["name"])
def test_a_broken_rule_is_noticed(laboratory: Laboratory, mutant: dict[str, Any]) -> None:
    noticed = laboratory.broken_by(mutant)
    print(noticed)
    assert bool(noticed) is not mutant.get("survives", False)
