"""How long the loader takes with DuckDB, against DuckDB's own reading of the same file.

    python -m benchmarks load_duckdb --experiments 10000000 --repeat 3

Makes a laboratory (see generate.py) and then, in turns, puts its user_experiments.csv

* by `create table … as select * from read_csv(…)` into a new file, every cell as text,
* by `labmart load --target duckdb` into a new file: recognition, hash, lines, ledger, counts.

Both are timed from outside as programs, and both tables are compared cell by cell. All files lie in
a temporary folder, or in that of --folder. Processor seconds stand beside the seconds: they tell
more on a machine that has other work. The report goes to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.bench import BenchmarkError, say
from benchmarks.generate import add_options, laboratory_of, write
from benchmarks.load import Run, run_program
from benchmarks.report import ratio_lines
from loader.engines.sql import literal

_TABLE = "user_experiments"
_COLUMNS = "experiment_id, user_id, experiment_compound_ids, experiment_run_time"
# A program of its own, as the loader is one.
_OWN = """
import sys, duckdb
with duckdb.connect(sys.argv[1]) as connection:
    connection.execute(
        "create table copied as select * from read_csv(" + sys.argv[2] + ", all_varchar = true)"
    )
"""


@dataclass(frozen=True)
class Turn:
    """A timed program: seconds, memory, and the seconds that processors were at work for it."""

    run: Run
    processor: float


def measure(path: Path, folder: Path, repeat: int) -> tuple[list[Turn], list[Turn]]:
    """Time DuckDB itself and the loader in turns, each into a new file."""
    own, loads = folder / "own.duckdb", folder / "load.duckdb"
    environment = {"LABMART_DUCKDB_PATH": str(loads), "LABMART_RAW_SCHEMA": "bench_raw"}
    copied, loaded = [], []
    for turn in range(1, repeat + 1):
        for file in (*folder.glob("own.duckdb*"), *folder.glob("load.duckdb*")):
            file.unlink()
        command = [sys.executable, "-P", "-c", _OWN, str(own), literal(str(path))]
        copied.append(_timed(command, {}))
        say(f"turn {turn} of {repeat}: DuckDB {copied[-1].run.seconds:.2f} s")
        command = [sys.executable, "-P", "-m", "loader", "load", str(path), "--target", "duckdb"]
        loaded.append(_timed(command, environment))
        say(f"turn {turn} of {repeat}: labmart load {loaded[-1].run.seconds:.2f} s")
    _compare(own, loads)
    return copied, loaded


def _timed(command: list[str], environment: Mapping[str, str]) -> Turn:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = run_program(command, environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Turn(run, used)


def _compare(own: Path, loads: Path) -> None:
    """Raise BenchmarkError unless the loader's table has the cells of the other one."""
    with duckdb.connect() as connection:
        connection.execute(f"attach {literal(str(own))} as own (read_only)")
        connection.execute(f"attach {literal(str(loads))} as loads (read_only)")
        found = connection.execute(
            f"select (select count(*) from own.copied), (select count(*) from (select {_COLUMNS} "
            f"from own.copied intersect all select {_COLUMNS} from loads.bench_raw.{_TABLE})), "
            f"(select count(distinct line) from loads.bench_raw.{_TABLE})"
        ).fetchall()
    ((copied, same, numbered),) = found
    if not copied == same == numbered:
        raise BenchmarkError(
            f"The tables differ: {copied} rows were copied, {same} of them were loaded too, with "
            f"{numbered} different lines."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks load_duckdb", description=__doc__)
    add_options(parser, experiments=10_000_000)
    parser.add_argument("--repeat", type=int, default=3, help="Turns; the best of each counts.")
    parser.add_argument("--folder", type=Path, help="Where the files are made; default: TMPDIR.")
    given = parser.parse_args(arguments)
    laboratory = laboratory_of(given)
    with tempfile.TemporaryDirectory(prefix="labmart-bench-", dir=given.folder) as name:
        folder = Path(name)
        say(f"making {laboratory.experiments:,} experiments")
        path = next(path for path in write(laboratory, folder) if path.stem == _TABLE)
        size = path.stat().st_size
        try:
            copied, loaded = measure(path, folder, given.repeat)
        except BenchmarkError as error:
            say(f"benchmark: {error}")
            return error.exit_code
    reference = "read_csv"
    best = {
        reference: min(turn.run.seconds for turn in copied),
        "labmart load": min(turn.run.seconds for turn in loaded),
    }
    used = {
        reference: min(turn.processor for turn in copied),
        "labmart load": min(turn.processor for turn in loaded),
    }
    memory = max(turn.run.memory for turn in loaded)
    report = [
        f"{laboratory.experiments:,} experiment records, {size / 1e6:,.0f} MB; "
        f"the best of {given.repeat}",
        *("", *ratio_lines(best, reference)),
        *("", "the same in seconds of processor time", *ratio_lines(used, reference)),
        *("", f"peak memory of the loader's process: {memory / 1e6:,.0f} MB"),
        f"machine: {os.cpu_count()} cores, {platform.system()}; DuckDB {duckdb.__version__}, "
        f"Python {platform.python_version()}",
    ]
    print("\n".join(report))
    return 0
