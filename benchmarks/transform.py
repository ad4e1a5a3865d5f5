"""How long the models take, against hand-written SQL on the same server.

    python -m benchmarks transform --experiments 10000000

Makes a laboratory (see generate.py), copies it into the raw tables of a schema of its own, and
then times, in turns:

* reference/postgres/plain.sql and tuned.sql: from the raw text to user_features alone, no rule
  checked;
* reference/postgres/marts.sql: the same to all marts;
* `dbt run` of all models, with all that dbt itself takes;
* `dbt test` of all data tests, likewise. Unit tests read no data and are left out.

dbt's own share is timed apart, as the same `dbt run` over empty raw tables. On clean data the first
two must have the same user_features as the models, cell by cell, and the third the same marts, row
by row, else the call fails.
Dirty data would stop the references and is timed without them. The server is the one of the
profile, embedded or named. Only schemas labmart_bench* are touched, and dropped at the end.

The report goes to stdout, progress to stderr. Exit codes are those of labmart.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import SCHEMA, Bench, run_benchmark, say
from benchmarks.generate import Laboratory
from benchmarks.report import Times, count_lines, machine_lines, model_lines, time_lines
from loader.contract import mart_contracts

REFERENCES = Path(__file__).resolve().parent / "reference" / "postgres"
# The one that leaves all marts.
MARTS = REFERENCES / "marts.sql"
_EMPTY_RUNS = 3
_DATA_TESTS = ("test", "--exclude", "test_type:unit")


def measure(bench: Bench, laboratory: Laboratory, repeat: int) -> Times:
    """Everything that is timed. The marts stand in the scratch schema afterwards."""
    references = [] if laboratory.dirty else sorted(REFERENCES.glob("*.sql"))
    say("preparing: dbt seed, dbt run over empty raw tables")
    # The models refer to the seeds, although none is read here.
    bench.dbt("seed")
    dbt_alone = min(bench.dbt("run") for _ in range(_EMPTY_RUNS))
    say(f"making {laboratory.experiments:,} experiments, copying them in")
    copying = bench.copy_in(laboratory)
    taken: dict[str, list[float]] = {path.stem: [] for path in references}
    runs: list[tuple[float, dict[str, float]]] = []
    tests: list[float] = []
    for turn in range(1, repeat + 1):
        for path in references:
            run = bench.run_marts_reference if path == MARTS else bench.run_reference
            taken[path.stem].append(run(path))
            say(f"turn {turn} of {repeat}: {path.name} {taken[path.stem][-1]:.1f} s")
        runs.append((bench.dbt("run"), bench.seconds_per_model()))
        say(f"turn {turn} of {repeat}: dbt run {runs[-1][0]:.1f} s")
        tests.append(bench.dbt(*_DATA_TESTS))
        say(f"turn {turn} of {repeat}: dbt test {tests[-1]:.1f} s")
    for path in references:
        if path == MARTS:
            bench.check_marts_reference(list(mart_contracts(bench.project)))
            say(f"{path.name} and the models have the same marts")
        else:
            bench.check_reference(path)
            say(f"{path.name} and the models have the same user_features")
    models, per_model = min(runs, key=lambda run: run[0])
    return Times(
        references={name: min(seconds) for name, seconds in taken.items()},
        models=models,
        tests=min(tests),
        dbt_alone=dbt_alone,
        per_model=per_model,
        copying=copying,
    )


def row_counts(bench: Bench) -> dict[str, int]:
    """How many rows each mart has."""
    counts = {}
    for name in mart_contracts(bench.project):
        ((count,),) = bench.query(f"select count(*) from {SCHEMA}.{name}")
        counts[name] = int(str(count))
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks transform", description=__doc__)
    return run_benchmark(parser, arguments, _report, repeat=1)


def _report(bench: Bench, laboratory: Laboratory, given: argparse.Namespace) -> list[list[str]]:
    times = measure(bench, laboratory, given.repeat)
    return [
        _title(laboratory, given.repeat),
        time_lines(times),
        model_lines(times),
        count_lines(row_counts(bench)),
        machine_lines(bench),
    ]


def _title(laboratory: Laboratory, repeat: int) -> list[str]:
    return [
        f"{laboratory.experiments:,} experiments, {laboratory.users:,} users, "
        f"{laboratory.compounds:,} compounds, {laboratory.dirty:.1%} dirty, "
        f"{laboratory.order} ids, seed {laboratory.seed}; the best of {repeat}"
    ]
