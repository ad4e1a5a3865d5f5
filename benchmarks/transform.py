"""How long the models take, against hand-written SQL on the same PostgreSQL.

Unit tests read no data and are left out. On clean data each reference must have the same marts as
the models, row by row, else the call fails. Dirty data would stop the references.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.bench import (
    RAW,
    REFERENCE,
    SCHEMA,
    BenchmarkError,
    Scratch,
    Server,
    ratio_lines,
    report,
    run,
    say,
    scratch,
    server,
)
from benchmarks.generate import Laboratory
from loader.contract import mart_contracts

_REFERENCES = Path(__file__).resolve().parent / "reference" / "postgres"
_EMPTY_RUNS = 3


def measure(laboratory: Laboratory, repeat: int) -> None:
    """Time everything and print the report."""
    references = [] if laboratory.dirty else sorted(_REFERENCES.glob("*.sql"))
    with scratch() as made, server(made) as started:
        say("preparing: dbt seed, dbt run over empty raw tables")
        # The models refer to the seeds, although none is read here.
        made.dbt("postgres", "seed")
        alone = min(made.dbt("postgres", "run").seconds for _ in range(_EMPTY_RUNS))
        files = made.make(laboratory)
        run(made.labmart("postgres", "load", str(made.files)), "labmart load")
        # The server would do it by itself, but some time later, amid the measurement.
        started.execute(*(f"vacuum (analyze) {RAW}.{name}" for name in files))
        taken: dict[str, list[float]] = {}
        per_model: dict[str, float] = {}
        for _ in range(repeat):
            for path in references:
                taken.setdefault(path.name, []).append(_run_reference(started, path))
            taken.setdefault("dbt run, all models", []).append(made.dbt("postgres", "run").seconds)
            per_model = _seconds_per_model(made)
            tests = made.dbt("postgres", "test", "--exclude", "test_type:unit").seconds
            taken.setdefault("dbt test, all data tests", []).append(tests)
        marts = list(mart_contracts(started.database.project))
        for path in references:
            _check_reference(started, path, marts)
            say(f"{path.name} and the models have the same rows")
        best = {what: min(seconds) for what, seconds in taken.items()}
        best["- of it dbt alone (1)"] = alone
        counts = [f"{_count(started, mart):>12,}  {mart}" for mart in marts]
        settings = started.lines()
    report(
        [f"{laboratory}; the best of {repeat}"],
        [
            *ratio_lines(best, *(path.name for path in references)),
            "(1) the same dbt run over empty raw tables, the best of three",
        ],
        # Models run side by side, so the sum exceeds the duration.
        ratio_lines(dict(sorted(per_model.items(), key=lambda item: -item[1]))),
        ["rows of the marts", *counts],
        settings,
    )


def _seconds_per_model(made: Scratch) -> dict[str, float]:
    """What dbt noted for each model of its last run."""
    results = json.loads((made.project / "target" / "run_results.json").read_text("utf-8"))
    return {
        result["unique_id"].rpartition(".")[2]: float(result["execution_time"])
        for result in results["results"]
        if result["unique_id"].startswith("model.")
    }


def _count(started: Server, mart: str) -> int:
    ((count,),) = started.query(f"select count(*) from {SCHEMA}.{mart}")
    return int(str(count))


def _schema(path: Path) -> str:
    return f"{REFERENCE}_{path.stem}"


def _run_reference(started: Server, path: Path) -> float:
    """Time one reference. What it makes stays, in a schema of its own."""
    sql, schema = path.read_text(encoding="utf-8"), _schema(path)
    started.execute(f"drop schema if exists {schema} cascade; create schema {schema}")
    with closing(started.connect()) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"set search_path = {schema}, {RAW}")
        begun = time.monotonic()
        cursor.execute(sql)
        connection.commit()
        seconds = time.monotonic() - begun
    say(f"{path.name}: {seconds:.1f} s")
    return seconds


def _check_reference(started: Server, path: Path, marts: Sequence[str]) -> None:
    """Raise BenchmarkError unless the models have the same rows in the marts of the reference.

    Compared are the columns of the reference, by their names: a mart may have more.
    """
    for mart in marts:
        relation = f"{_schema(path)}.{mart}"
        ((columns,),) = started.query(
            "select string_agg(quote_ident(attname), ', ' order by attname) from pg_attribute "
            f"where attrelid = to_regclass('{relation}') and attnum > 0 and not attisdropped"
        )
        digests = [
            started.query(
                "select count(*), sum(hashtextextended(cast(r as text), 0)) "
                f"from (select {columns} from {compared}) as r"
            )
            for compared in (f"{SCHEMA}.{mart}", relation)
            if columns
        ]
        if digests and digests[0] != digests[1]:
            raise BenchmarkError(
                f"{mart} of the models and of {path.name} differ in {columns}: "
                f"{digests[0]} and {digests[1]}"
            )
