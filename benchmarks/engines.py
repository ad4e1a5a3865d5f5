"""How long each engine takes from the files to all marts, side by side.

user_features must be the same everywhere, else the call fails. `sail` and `spark` are the servers
that `labmart spark start` starts on this machine; what they take to start is not counted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import duckdb

from benchmarks.bench import BenchmarkError, Scratch, ratio_lines, report, run, say, scratch, server
from benchmarks.generate import Laboratory

_REFERENCE = Path(__file__).resolve().parent / "reference" / "duckdb" / "tuned.sql"
# The target of profiles.yml that each one is, and LABMART_SPARK.
_TARGETS = {
    "postgres": ("postgres", ""),
    "duckdb": ("duckdb", ""),
    "sail": ("spark", "sail"),
    "spark": ("spark", "local"),
}


def measure(laboratory: Laboratory, engines: Sequence[str]) -> None:
    """Time the engines and print the report."""
    for engine in engines:
        if engine not in _TARGETS:
            raise click.BadParameter(f"{engine!r} is none of {', '.join(_TARGETS)}")
    seconds: dict[str, float] = {}
    results: dict[str, str] = {}
    with scratch() as made:
        made.make(laboratory)
        for engine in engines:
            target, kind = _TARGETS[engine]
            with _ready(made, target, kind):
                # The models refer to the seeds, although none is read here.
                made.dbt(target, "seed")
                alone = min(made.dbt(target, "run").seconds for _ in range(2))
                load = run(made.labmart(target, "load", str(made.files)), f"load on {engine}")
                seconds[f"{engine}: labmart load"] = load.seconds
                seconds[f"{engine}: dbt run, all models"] = made.dbt(target, "run").seconds
                seconds[f"{engine}: - of it dbt alone"] = alone
                show = made.labmart(target, "show", "user_features", "--format", "csv")
                results[engine] = run(show, "show").out
        if not laboratory.dirty and "duckdb" in engines:
            name = "reference/duckdb/tuned.sql, from the files"
            seconds[name], results[name] = _reference(made)
    if len(set(results.values())) > 1:
        raise BenchmarkError(f"user_features differ between {', '.join(results)}")
    say(f"user_features are the same: {', '.join(results)}")
    report([str(laboratory)], ratio_lines(seconds))


def _reference(made: Scratch) -> tuple[float, str]:
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
    return done.seconds, out.read_text()


@contextmanager
def _ready(made: Scratch, target: str, kind: str) -> Iterator[None]:
    """Start what the engine needs, and let the profile mean it."""
    if target == "postgres":
        with server(made):
            yield
    elif not kind:
        yield
    else:
        # A lake of its own: each engine begins with an empty one.
        os.environ["LABMART_LAKE"] = str(made.project / ".labmart" / f"lake of {kind}")
        os.environ["LABMART_SPARK"] = kind
        run(made.labmart(target, "spark", "start"), f"start of {kind}")
        address = run(made.labmart(target, "spark", "url"), "spark url").out
        os.environ["SPARK_REMOTE"] = address.strip()
        try:
            yield
        finally:
            for name in ("LABMART_LAKE", "LABMART_SPARK", "SPARK_REMOTE"):
                del os.environ[name]
            run(made.labmart(target, "spark", "stop"), f"stop of {kind}")
