"""How long the loader takes, against psql's \\copy of the same file on the same server.

    python -m benchmarks load --experiments 10000000 --repeat 3

Makes a laboratory (see generate.py) and then, in turns, puts its user_experiments.csv

* by `\\copy` into an empty table of the columns that the raw table has,
* by `labmart load` into empty raw tables: recognition, hash, line numbers, ledger, every count.

Both are timed from outside as programs, and both tables are compared cell by cell. The loader's
peak memory is what the system notes of its process. `--others PYTHON` also times, on a file of
--other-rows rows, what people use today: `dbt seed`, and pandas and dlt by an interpreter that has
them (see others/requirements.txt).

The report goes to stdout, progress to stderr. Only schemas labmart_bench* are touched.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import RAW, REFERENCE, Bench, BenchmarkError, run_benchmark, say
from benchmarks.generate import Laboratory, write
from benchmarks.report import machine_lines, ratio_lines
from loader.embedded import programs

_OTHERS = Path(__file__).resolve().parent / "others"
_FILE = "user_experiments.csv"
_TABLE = "user_experiments"


@dataclass(frozen=True)
class Run:
    """One timed program: seconds from outside, and its peak memory in bytes."""

    seconds: float
    memory: int


def measure(bench: Bench, path: Path, repeat: int) -> tuple[list[Run], list[Run]]:
    """Time `\\copy` and the loader in turns, each into empty tables."""
    copies, loads = [], []
    for turn in range(1, repeat + 1):
        copies.append(_copy(bench, path))
        say(f"turn {turn} of {repeat}: \\copy {copies[-1].seconds:.2f} s")
        loads.append(_load(bench, path))
        say(f"turn {turn} of {repeat}: labmart load {loads[-1].seconds:.2f} s")
    _compare(bench)
    return copies, loads


def _copy(bench: Bench, path: Path) -> Run:
    table = f"{REFERENCE}.copied"
    columns = "experiment_id, user_id, experiment_compound_ids, experiment_run_time"
    texts = columns.replace(",", " text,")
    bench.execute(
        f"drop table if exists {table}",
        f"create table {table} ({texts} text, load_id bigint, line bigint)",
        "checkpoint",
    )
    psql = shutil.which("psql") or str(programs() / "psql")
    command = f"\\copy {table} ({columns}) from '{path}' with (format csv, header)"
    return run_program(
        [psql, "--no-psqlrc", "--quiet", "--dbname", bench.database.url(), "-c", command]
    )


def _load(bench: Bench, path: Path) -> Run:
    bench.execute(f"drop schema if exists {RAW} cascade", "checkpoint")
    return run_program(
        [
            *(sys.executable, "-P", "-m", "loader", "load", str(path)),
            *("--target", bench.database.profile.target),
        ]
    )


def _compare(bench: Bench) -> None:
    """Raise BenchmarkError unless the loader's table has the cells of the other one."""
    columns = "experiment_id, user_id, experiment_compound_ids, experiment_run_time"
    ((copied, same, numbered),) = bench.query(
        f"select (select count(*) from {REFERENCE}.copied), "
        f"(select count(*) from (select {columns} from {REFERENCE}.copied "
        f"intersect all select {columns} from {RAW}.{_TABLE}) as s), "
        f"(select count(distinct line) from {RAW}.{_TABLE})"
    )
    if not copied == same == numbered:
        raise BenchmarkError(
            f"The tables differ: {copied} rows were copied, {same} of them were loaded too, with "
            f"{numbered} different lines."
        )


def run_program(command: list[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a program to its end, with some more variables. Raises BenchmarkError if it fails."""
    begun = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
    )
    said = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    # The process has been waited for here; Popen is told so.
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise BenchmarkError(f"{command[0]} failed:\n{said.decode(errors='replace').rstrip()}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, usage.ru_maxrss * unit)


def others(bench: Bench, laboratory: Laboratory, python: str) -> dict[str, float]:
    """Seconds of what people use today and of the loader, on one small file."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="labmart-bench-") as folder:
        path = next(path for path in write(laboratory, Path(folder)) if path.name == _FILE)
        timed: dict[str, Callable[[], float]] = {
            "labmart load": lambda: _load(bench, path).seconds,
            "pandas to_sql": lambda: _other(bench, python, "pandas_to_sql.py", path),
            "dlt, csv to postgres, replace": lambda: _other(bench, python, "dlt_replace.py", path),
            "dbt seed": lambda: _seed(bench, path),
        }
        for name, call in timed.items():
            found[name] = call()
            say(f"{name} {found[name]:.2f} s")
    return found


def _other(bench: Bench, python: str, script: str, path: Path) -> float:
    return run_program(
        [python, str(_OTHERS / script), bench.database.url(), REFERENCE, str(path)]
    ).seconds


def _seed(bench: Bench, path: Path) -> float:
    """`dbt seed` of the file in place of the sample, in a copy of the project."""
    with tempfile.TemporaryDirectory(prefix="labmart-bench-") as folder:
        copy = Path(folder) / "project"
        left_out = shutil.ignore_patterns(".*", "target", "logs")
        shutil.copytree(bench.project.root, copy, ignore=left_out, symlinks=True)
        shutil.copy(path, copy / "seeds" / _FILE)
        return bench.dbt_in(copy, "seed", "--select", _TABLE)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks load", description=__doc__)
    parser.add_argument("--others", metavar="PYTHON", help="An interpreter with pandas and dlt.")
    parser.add_argument("--other-rows", type=int, default=100_000, help="Rows of their file.")
    return run_benchmark(parser, arguments, _report, repeat=3)


def _report(bench: Bench, laboratory: Laboratory, given: argparse.Namespace) -> list[list[str]]:
    with tempfile.TemporaryDirectory(prefix="labmart-bench-") as folder:
        say(f"making {laboratory.experiments:,} experiments")
        path = next(path for path in write(laboratory, Path(folder)) if path.name == _FILE)
        size = path.stat().st_size
        copies, loads = measure(bench, path, given.repeat)
    best_copy = min(run.seconds for run in copies)
    best_load = min(run.seconds for run in loads)
    memory = max(run.memory for run in loads)
    report = [
        [
            f"{laboratory.experiments:,} experiment records, {size / 1e6:,.0f} MB; "
            f"the best of {given.repeat}"
        ],
        ratio_lines({"psql \\copy": best_copy, "labmart load": best_load}, "psql \\copy"),
        [f"peak memory of the loader's process: {memory / 1e6:,.0f} MB"],
    ]
    if given.others:
        small = Laboratory(experiments=given.other_rows, users=1_000, seed=laboratory.seed)
        report.append([f"{given.other_rows:,} experiment records"])
        report.append(ratio_lines(others(bench, small, given.others), "labmart load"))
    return [*report, machine_lines(bench)]
