"""A copy of the project on one engine, used for one laboratory after the other.

A laboratory goes the whole way: into `seeds/` and the raw tables, through `dbt build`, out of
`labmart show --format csv`, and is then compared cell by cell with the oracle.
"""

from __future__ import annotations

import csv
import datetime
import io
import random
import reprlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import pytest
from support.dbt_project import DbtProject
from support.engines import Engine, fresh_engine
from support.in_process import labmart
from support.oracle import MARTS, File, Lab, Value, lost_lines, marts
from support.project import copy_of_project
from support.raw_store import DAY

from loader.engines.raw_store import open_store
from loader.ledger import APPEND, Load
from loader.parsers.records import Batch, RejectedLine, csv_cell
from loader.project import Profile, load_profile, open_project
from loader.sources import Input, read_inputs

# What tells the rows of a mart apart. The other marts are compared as bags of rows.
KEYS = {
    "users": 1,
    "compounds": 1,
    "experiments": 1,
    "experiment_compounds": 2,
    "user_compound_usage": 2,
    "compound_usage": 1,
    "user_features": 1,
    "input_issues": 0,
    "issue_counts": 0,
    "input_reconciliation": 0,
}
# Tests, which are most of a build, have tests of their own.
_MODELS_ALONE = [
    part for kind in ("test", "unit_test", "exposure") for part in ("--exclude-resource-type", kind)
]


@dataclass(frozen=True)
class Workbench:
    """The project's copy and an engine."""

    project: Path
    engine: Engine

    @property
    def profile(self) -> Profile:
        """What profiles.yml says of the engine."""
        return load_profile(open_project(self.project), self.engine.name)

    @property
    def inputs(self) -> dict[str, Input]:
        """The declared inputs by name."""
        inputs = read_inputs(self.project / "models" / "staging" / "_sources.yml")
        return {entry.name: entry for entry in inputs}

    @cached_property
    def parsed(self) -> DbtProject:
        """The project for dbt in this process; who changes a model has to parse it anew."""
        made = DbtProject(self.project, self.engine.name)
        made.parse()
        return made

    def dbt(self, *arguments: str) -> None:
        """Run dbt; fails the test when dbt fails."""
        self.parsed.dbt(*arguments)

    def build(self) -> None:
        """Build all seeds and models."""
        self.dbt("build", *_MODELS_ALONE)

    def labmart(self, *arguments: str) -> str:
        """What the command prints."""
        done = labmart(self.project, *arguments)
        assert done.code == 0, done.err
        return done.out

    def fill(self, lab: Lab) -> Lab:
        """Put the laboratory, and nothing else, into the seeds and the raw tables.

        Load numbers are never given out again: the laboratory with those it got.
        """
        for file in lab.files:
            if file.load_id is None:
                self._write_seed(file)
        with open_store(self.profile) as store:
            store.prepare(list(self.inputs.values()))
            store.delete(store.loads())
            store.commit()
        loaded = sorted(
            (file for file in lab.files if file.load_id is not None),
            key=lambda one: one.load_id or 0,
        )
        seeds = tuple(file for file in lab.files if file.load_id is None)
        return Lab((*seeds, *(self._load(file) for file in loaded)))

    def _write_seed(self, file: File) -> None:
        path = self.project / "seeds" / f"raw_{file.input}.csv"
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(self.inputs[file.input].column_names)
            writer.writerows(row.cells for row in file.rows)

    def _load(self, file: File) -> File:
        entry = self.inputs[file.input]
        with open_store(self.profile) as store:
            load_id = store.next_load_id()
            store.write_records(entry, entry.column_names, ",", iter([_batch(file, load_id)]))
            rejected = [RejectedLine(r.line, r.rule, r.detail, r.content) for r in file.rejected]
            store.write_rejected(load_id, rejected)
            store.add(ledger_row(file, load_id))
            store.commit()
        return replace(file, load_id=load_id)

    def shown(self, mart: str) -> list[dict[str, str]]:
        """The rows that the command prints of a mart."""
        text = io.StringIO(self.labmart("show", mart, "--format", "csv"), newline="")
        return list(csv.DictReader(text, strict=True))

    def check(self, lab: Lab) -> None:
        """Fill, build, and fail with what is not as the oracle says."""
        known = self.fill(lab)
        self.build()
        wrong = self.differences(marts(known))
        assert not wrong, f"{len(wrong)} differences\n" + "\n".join(wrong[:40])

    def differences(self, right: dict[str, list[dict[str, Value]]]) -> list[str]:
        """A sentence for each row of any mart that is not as calculated."""
        return [line for mart in MARTS for line in differences(mart, right[mart], self.shown(mart))]


@contextmanager
def open_workbench(
    engine: str, request: pytest.FixtureRequest, folder: Path
) -> Iterator[Workbench]:
    """A copy of the project in the folder, with an empty database of the engine."""
    with fresh_engine(engine, request, folder) as fresh, pytest.MonkeyPatch.context() as patch:
        fresh.enter(patch)
        bench = Workbench(copy_of_project(folder), fresh)
        bench.dbt("run-operation", "create_raw_tables")
        yield bench


def _batch(file: File, load_id: int) -> Batch:
    """The rows as a parser gives them, but shuffled: no order may be relied on."""
    lines = []
    for row in file.rows:
        cells = (csv_cell(None if cell is None else str(cell)) for cell in row.cells)
        lines.append(",".join((str(row.line), str(load_id), *cells)))
    random.Random(7).shuffle(lines)
    return Batch("".join(f"{line}\n" for line in lines), len(lines), (), 0)


def ledger_row(file: File, load_id: int) -> Load:
    """What the ledger says of a file that was loaded under this number."""
    lost = lost_lines(file)
    return Load(
        load_id=load_id,
        call_id=file.workbook or load_id,
        input=file.input,
        file=file.name,
        sha256=f"{file.workbook or load_id:064x}",
        bytes=1,
        dialect="comma",
        mode=APPEND,
        status=file.status,
        records_read=len(file.rows) + lost,
        records_rejected=lost,
        started_at=DAY,
        finished_at=DAY,
        loaded_by="oracle",
        reading="{}",
        arrived_at=DAY,
        **file.formats._asdict(),
    )


def differences(
    mart: str, expected: Sequence[dict[str, Value]], shown: Sequence[dict[str, str]]
) -> list[str]:
    """A sentence for each row that the two do not share."""
    columns = MARTS[mart].split()
    if shown and (lacking := [c for c in columns if c not in shown[0]]):
        return [f"{mart} has no column {', '.join(lacking)}"]
    right = [tuple(printed(row[c]) for c in columns) for row in expected]
    found = [tuple(row[c] for c in columns) for row in shown]
    size = KEYS[mart]
    if size and right != found and Counter(right) == Counter(found):
        return [f"{mart}: the rows are right but not in the order of the key"]
    told = {
        "not shown": Counter(right) - Counter(found),
        "should not be there": Counter(found) - Counter(right),
    }
    return [
        f"{mart}: {what}: "
        + ", ".join(f"{c}={reprlib.repr(value)}" for c, value in zip(columns, row, strict=True))
        for what, rows in told.items()
        for row in rows
    ]


def printed(value: object) -> str:
    """A value as `--format csv` prints it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Decimal():
            return f"{value:f}"
        case datetime.date():
            return value.isoformat()
        case _:
            return str(value)
