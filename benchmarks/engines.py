"""How long each engine takes from the files to all marts, side by side.

On each engine named, in turns: `labmart load` of a laboratory's files into empty tables; `dbt run`,
all models with all rules; the same over empty tables, which is what dbt itself takes. On clean data
DuckDB also runs reference/duckdb/tuned.sql, from the files to user_features alone, no rule checked.
user_features must be the same everywhere, else the call fails.

`spark:N` is a standalone cluster of one master and N workers with one core each, started for the
call on this machine; `spark` is Spark in one process with all cores.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import duckdb

from benchmarks.bench import BenchmarkError, Scratch, ratio_lines, report, run, say, scratch, server
from benchmarks.cluster import cluster
from benchmarks.generate import Laboratory, write

_REFERENCE = Path(__file__).resolve().parent / "reference" / "duckdb" / "tuned.sql"
_NAMES = ("postgres", "duckdb", "spark")


def measure(laboratory: Laboratory, engines: Sequence[str]) -> None:
    """Time the engines and print the report."""
    for engine in engines:
        target, _, workers = engine.partition(":")
        if target not in _NAMES or (workers and (target != "spark" or not workers.isdigit())):
            raise click.BadParameter(f"{engine!r} is none of {', '.join(_NAMES)}, spark:N")
    seconds: dict[str, float] = {}
    results: dict[str, bytes] = {}
    with scratch() as made:
        say(f"making {laboratory.experiments:,} experiments")
        write(laboratory, made.files)
        for engine in engines:
            target, _, workers = engine.partition(":")
            with _ready(made, target, int(workers or 0)):
                # The models refer to the seeds, although none is read here.
                made.dbt(target, "seed")
                alone = min(made.dbt(target, "run").seconds for _ in range(2))
                load = run(made.labmart(target, "load", str(made.files)), f"load on {engine}")
                seconds[f"{engine}: labmart load"] = load.seconds
                seconds[f"{engine}: dbt run, all models"] = made.dbt(target, "run").seconds
                seconds[f"{engine}: - of it dbt alone"] = alone
                results[engine] = _shown(made, target)
        if not laboratory.dirty and "duckdb" in engines:
            name = "reference/duckdb/tuned.sql, from the files"
            seconds[name], results[name] = _reference(made)
    if len(set(results.values())) > 1:
        raise BenchmarkError(f"user_features differ between {', '.join(results)}")
    say(f"user_features are the same: {', '.join(results)}")
    title = (
        f"{laboratory.experiments:,} experiments, {laboratory.users:,} users, "
        f"{laboratory.compounds:,} compounds, {laboratory.dirty:.1%} dirty"
    )
    report([title], ratio_lines(seconds))


def _shown(made: Scratch, target: str) -> bytes:
    """What the command prints of user_features, as csv."""
    command = made.labmart(target, "show", "user_features", "--format", "csv")
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise BenchmarkError(done.stderr.decode())
    return done.stdout


def _reference(made: Scratch) -> tuple[float, bytes]:
    """Run the hand-written SQL; its seconds, and what it gives as csv."""
    database = made.files / "reference.duckdb"
    program = (
        f"import duckdb, os; os.chdir({str(made.files)!r}); "
        f"duckdb.connect({str(database)!r}).execute({_REFERENCE.read_text()!r})"
    )
    done = run([sys.executable, "-P", "-c", program], _REFERENCE.name)
    out = made.files / "user_features.csv"
    with duckdb.connect(str(database)) as connection:
        connection.execute(
            f"copy (from user_features order by user_id) to '{out}' (format csv, header true)"
        )
    return done.seconds, out.read_bytes()


@contextmanager
def _ready(made: Scratch, target: str, workers: int) -> Iterator[None]:
    """Start what the engine needs, and let the profile mean it."""
    if target == "postgres":
        with server(made):
            yield
    elif not workers:
        yield
    else:
        before = dict(os.environ)
        # Tables of its own: each engine begins with empty ones.
        shutil.rmtree(made.project / ".labmart" / "spark", ignore_errors=True)
        with cluster(made.project / ".labmart" / "cluster", workers=workers) as started:
            os.environ.update(SPARK_MASTER=started.address, SPARK_LOCAL_IP="127.0.0.1")
            try:
                yield
            finally:
                os.environ.clear()
                os.environ.update(before)
