"""Every mart of random laboratories, cell by cell against the oracle.

A laboratory goes the whole way: into `seeds/` and the raw tables, through `dbt build`, out of
`labmart show --format csv`. With LABMART_RANDOM_LABS=200 in the environment 200 more are tried.
A failure names the laboratory; `random_lab(seed, mode=..., dirt=...)` gives it again.
"""

from __future__ import annotations

import csv
import datetime
import io
import os
import random
import reprlib
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner
from conftest import NOT_COPIED, ROOT, Database
from dbt.artifacts.schemas.run import RunExecutionResult
from dbt.cli.main import dbtRunner
from oracle import MARTS, Cell, File, Lab, Value, marts
from random_labs import catalogue_lab, random_lab

from loader.cli import labmart

COLUMNS = {
    "users": ("user_id", "name", "email", "signup_date"),
    "user_experiments": (
        *("experiment_id", "user_id"),
        *("experiment_compound_ids", "experiment_run_time"),
    ),
    "compounds": ("compound_id", "compound_name", "compound_structure"),
}
LEDGER = "load_id input file sha256 bytes dialect mode status records_read records_rejected"
# What tells the rows of a mart apart. The other two marts are compared as bags of rows.
KEYS = {
    "users": 1,
    "compounds": 1,
    "experiments": 1,
    "experiment_compounds": 2,
    "user_compound_usage": 2,
    "compound_usage": 1,
    "user_features": 1,
    "input_issues": 0,
    "input_reconciliation": 0,
}
Mode = Literal["seeds", "loads"]
Shown = str | Decimal
MODES: tuple[Mode, ...] = ("seeds", "loads")
CASES: list[tuple[int, Mode, float]] = [
    *((1, "seeds", 0.0), (2, "seeds", 0.05), (3, "seeds", 0.3)),
    *((1, "loads", 0.0), (2, "loads", 0.05), (3, "loads", 0.3)),
]
MORE = int(os.environ.get("LABMART_RANDOM_LABS", "0"))
DIRT = (0.02, 0.1, 0.2, 0.4, 0.7)
CASES += [(1000 + n, MODES[n % 2], DIRT[n // 2 % len(DIRT)]) for n in range(MORE)]


@dataclass(frozen=True)
class Workbench:
    """A copy of the project with a database, used for one laboratory after the other."""

    project: Path
    database: Database

    def dbt(self, *arguments: str) -> None:
        """Run dbt in this process: its start-up is most of the time of so small a build."""
        places = ("--project-dir", str(self.project), "--profiles-dir", str(self.project))
        done = dbtRunner().invoke(["--quiet", *arguments, *places])
        if not done.success:
            found = done.result.results if isinstance(done.result, RunExecutionResult) else ()
            failed = [f"{r.node.name}: {r.message}" for r in found if r.status == "error"]
            pytest.fail("\n".join(failed) or f"dbt {arguments[0]}: {done.exception!r}")

    def fill(self, lab: Lab) -> None:
        """Put the laboratory into the seeds and the raw tables, and nothing else."""
        for file in lab.files:
            if file.load_id is None:
                self._write_seed(file)
        loads = [file for file in lab.files if file.load_id is not None]
        with closing(self.database.connect()) as connection, connection.cursor() as cursor:
            for name, (columns, rows) in raw_tables(loads).items():
                table = f"labmart_raw.{name}"
                cursor.execute(f"truncate {table}")
                text = io.StringIO("".join("\t".join(map(copy_text, row)) + "\n" for row in rows))
                cursor.copy_expert(f"copy {table} ({', '.join(columns)}) from stdin", text)

    def _write_seed(self, file: File) -> None:
        path = self.project / "seeds" / f"{file.input}.csv"
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(COLUMNS[file.input])
            writer.writerows(row.cells for row in file.rows)

    def shown(self, mart: str) -> list[dict[str, str]]:
        """What the command prints of a mart."""
        call = ["--project-dir", str(self.project), "show", mart, "--format", "csv"]
        done = CliRunner().invoke(labmart, call, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        text = io.StringIO(done.stdout_bytes.decode(), newline="")
        return list(csv.DictReader(text, strict=True))


def raw_tables(
    loads: list[File],
) -> dict[str, tuple[tuple[str, ...], list[tuple[Cell | int, ...]]]]:
    """Columns and rows of each raw table. The rows are shuffled: no order may be relied on."""
    rows: dict[str, list[tuple[Cell | int, ...]]] = {name: [] for name in COLUMNS}
    rejected: list[tuple[Cell | int, ...]] = []
    ledger: list[tuple[Cell | int, ...]] = []
    for file in loads:
        origin = (file.load_id, file.input, file.name, f"{file.load_id:064x}", 1, "comma", "add")
        counts = (len(file.rows) + len(file.rejected), len(file.rejected))
        ledger.append((*origin, file.status, *counts))
        rows[file.input] += [(*row.cells, file.load_id, row.line) for row in file.rows]
        rejected += [(file.load_id, r.line, r.rule, r.detail, r.content) for r in file.rejected]
    tables = {name: ((*COLUMNS[name], "load_id", "line"), rows[name]) for name in COLUMNS}
    tables["rejected_lines"] = (("load_id", "line", "rule", "detail", "content"), rejected)
    tables["loads"] = (tuple(LEDGER.split()), ledger)
    for _, lines in tables.values():
        random.Random(7).shuffle(lines)
    return tables


def copy_text(value: Cell | int) -> str:
    """A value in the text format of COPY."""
    if value is None:
        return "\\N"
    text = str(value).replace("\\", "\\\\").replace("\t", "\\t")
    return text.replace("\n", "\\n").replace("\r", "\\r")


@pytest.fixture(scope="module")
def bench(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    project = tmp_path_factory.mktemp("oracle") / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    shutil.copy(project / "profiles.yml.example", project / "profiles.yml")
    name = f"oracle_{uuid.uuid4().hex[:12]}"
    with closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"create database {name}")
        database = Database(server.host, server.port, server.user, name, server.password)
        bench = Workbench(project, database)
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in database.environment.items():
                patch.setenv(variable, value)
            bench.dbt("run-operation", "create_raw_tables")
        yield bench
        cursor.execute(f"drop database {name} with (force)")


def comparable(value: Value) -> Shown:
    """The oracle's value as `--format csv` prints it; decimals stay numbers."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.date):
        return value.isoformat()
    return "" if value is None else str(value)


def differences(
    mart: str, expected: list[dict[str, Value]], shown: list[dict[str, str]]
) -> list[str]:
    """One sentence for each cell, or row, that the two do not share."""
    columns = MARTS[mart].split()
    if shown and (lacking := [c for c in columns if c not in shown[0]]):
        return [f"{mart} has no column {', '.join(lacking)}"]
    decimals = {c for row in expected for c in columns if isinstance(row[c], Decimal)}
    right = [tuple(comparable(row[c]) for c in columns) for row in expected]
    found = [tuple(number(row[c]) if c in decimals else row[c] for c in columns) for row in shown]
    size = KEYS[mart]
    if size and right != found and Counter(right) == Counter(found):
        return [f"{mart}: the rows are right but not in the order of the key"]
    lacking_rows = list((Counter(right) - Counter(found)).elements())
    extra_rows = list((Counter(found) - Counter(right)).elements())
    sentences = []
    for row in lacking_rows:
        twins = [other for other in extra_rows if size and other[:size] == row[:size]]
        if not twins:
            sentences.append(f"{mart}: not shown: {named(columns, row)}")
            continue
        extra_rows.remove(twins[0])
        for column, mine, its in zip(columns, row, twins[0], strict=True):
            if mine != its:
                place = f"{mart} [{named(columns[:size], row[:size])}] {column}"
                sentences.append(
                    f"{place}: {reprlib.repr(its)} is shown, {reprlib.repr(mine)} is right"
                )
    return sentences + [f"{mart}: should not be there: {named(columns, row)}" for row in extra_rows]


def number(text: str) -> Shown:
    return Decimal(text) if text else ""


def named(columns: Iterable[str], row: Iterable[Shown]) -> str:
    pairs = zip(columns, row, strict=True)
    return ", ".join(f"{column}={reprlib.repr(value)}" for column, value in pairs)


def check(bench: Workbench, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in bench.database.environment.items():
        monkeypatch.setenv(variable, value)
    bench.fill(lab)
    left_out = ("test", "unit_test", "exposure")
    bench.dbt("build", *(part for kind in left_out for part in ("--exclude-resource-type", kind)))
    right = marts(lab)
    wrong = [line for mart in MARTS for line in differences(mart, right[mart], bench.shown(mart))]
    assert not wrong, f"{len(wrong)} differences\n" + "\n".join(wrong[:40])


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "mode", "dirt"), CASES)
def test_every_mart_of_a_random_laboratory_is_as_calculated(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, seed: int, mode: Mode, dirt: float
) -> None:
    check(bench, random_lab(seed, mode=mode, dirt=dirt), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_every_mart_of_the_catalogue_of_odd_values_is_as_calculated(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    check(bench, catalogue_lab(mode), monkeypatch)


@pytest.mark.slow
def test_every_mart_of_an_empty_laboratory_is_empty(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = (File(name, None, f"seeds/{name}.csv", "current", ()) for name in COLUMNS)
    check(bench, Lab(tuple(files)), monkeypatch)


def test_a_difference_is_told_in_a_sentence() -> None:
    columns, date = MARTS["users"].split(), datetime.date(1, 2, 3)
    right: list[dict[str, Value]] = [
        dict(zip(columns, (1, "a", None, date, None, None), strict=True)),
    ]
    empty = {"email": "", "load_id": "", "line": ""}
    same = {"user_id": "1", "name": "a", "signup_date": "0001-02-03"} | empty
    other = {"user_id": "2", "name": "b", "signup_date": ""} | empty
    assert differences("users", right, [same]) == []
    assert differences("users", right, [same | {"name": "A"}]) == [
        "users [user_id='1'] name: 'A' is shown, 'a' is right"
    ]
    (extra,) = differences("users", right, [same, other])
    assert extra.startswith("users: should not be there: user_id='2', name='b'")
    (lacking,) = differences("users", right, [])
    assert lacking.startswith("users: not shown: user_id='1', name='a'")
