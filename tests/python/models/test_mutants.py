"""Every rule of the SQL, broken on purpose, is noticed.

A mutant is compiled and run on laboratories until a mart differs from the oracle. What no mart
shows has to fail in `dbt build` on the sample laboratory.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from support.compiled import CompiledModels, PostgresRunner, compile_for
from support.databases import Database, fresh_database
from support.dbt_project import DbtProject, failures
from support.engines import Postgres
from support.in_process import environment
from support.oracle import Lab
from support.project import ROOT, copy_of_project
from support.random_labs import MODES, catalogue_lab, random_lab


@dataclass(frozen=True)
class Mutant:
    """One rule broken: in `file`, `old` becomes `new`. `survives` if nothing can notice it."""

    name: str
    file: str
    old: str
    new: str
    survives: bool


def mutants() -> list[Mutant]:
    entries = tomllib.loads((ROOT / "tests/mutants/mutants.toml").read_text(encoding="utf-8"))
    return [
        Mutant(e["name"], e["file"], e["replace"], e["with"], e.get("survives", False))
        for e in entries["mutant"]
    ]


@dataclass(frozen=True)
class Laboratory:
    """A copy of the project to break, and a server for databases to build it in."""

    project: Path
    server: Database
    labs: tuple[Lab, ...]

    def broken_by(self, mutant: Mutant) -> str:
        """What shows the mutant: a cell of a mart, the engine's error, or a test; '' if nothing."""
        path = self.project / mutant.file
        whole = path.read_text(encoding="utf-8")
        path.write_text(whole.replace(mutant.old, mutant.new), encoding="utf-8")
        try:
            return self._differs() or self._fails()
        finally:
            path.write_text(whole, encoding="utf-8")

    def _differs(self) -> str:
        with fresh_database(self.server) as database:
            target = Postgres(database)
            models = CompiledModels(compile_for(target, self.project), PostgresRunner(database))
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
    texts = {m.file: (ROOT / m.file).read_text(encoding="utf-8") for m in mutants()}
    assert [m.name for m in mutants() if texts[m.file].count(m.old) != 1] == []


@pytest.mark.slow
@pytest.mark.prove("each of the mutants is a compilation of its own")
@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_a_broken_rule_is_noticed(laboratory: Laboratory, mutant: Mutant) -> None:
    noticed = laboratory.broken_by(mutant)
    print(noticed)
    assert bool(noticed) is not mutant.survives
