r"""How long the loader takes, against the database's own reading of the same file.

Both are timed from outside as programs, in turns, and both tables are compared cell by cell.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import duckdb

from benchmarks.bench import (
    RAW,
    REFERENCE,
    BenchmarkError,
    Run,
    Scratch,
    Server,
    ratio_lines,
    report,
    run,
    scratch,
    server,
)
from benchmarks.generate import Laboratory
from loader.embedded import programs

_OTHERS = Path(__file__).resolve().parent / "others"
_TABLE = "user_experiments"
_COLUMNS = "experiment_id, user_id, experiment_compound_ids, experiment_run_time"
_READ_CSV = """
import sys, duckdb
with duckdb.connect(sys.argv[1]) as connection:
    read = "create table copied as select * from read_csv(?, all_varchar = true)"
    connection.execute(read, sys.argv[2:])
"""


class _Postgres:
    r"""psql's `\copy`; the table has the raw table's columns."""

    name = "psql \\copy"

    def __init__(self, started: Server) -> None:
        self.server = started

    def empty(self) -> None:
        texts = _COLUMNS.replace(",", " text,")
        self.server.execute(
            f"drop table if exists {REFERENCE}.copied",
            f"create table {REFERENCE}.copied ({texts} text, load_id bigint, line bigint)",
            f"drop schema if exists {RAW} cascade",
            "checkpoint",
        )

    def own(self, path: Path) -> list[str]:
        psql = shutil.which("psql") or str(programs() / "psql")
        command = f"\\copy {REFERENCE}.copied ({_COLUMNS}) from '{path}' with (format csv, header)"
        url = self.server.database.url()
        return [psql, "--no-psqlrc", "--quiet", "--dbname", url, "-c", command]

    def query(self, sql: str) -> list[tuple[object, ...]]:
        names = {"copied": f"{REFERENCE}.copied", "loaded": f"{RAW}.{_TABLE}"}
        return self.server.query(sql.format_map(names))


class _DuckDB:
    """Its own read_csv; each side has a file of its own."""

    name = "DuckDB's own read_csv"

    def __init__(self, folder: Path) -> None:
        self._copied, self._loaded = folder / "copied.duckdb", folder / "loaded.duckdb"
        os.environ["LABMART_DUCKDB_PATH"] = str(self._loaded)

    def empty(self) -> None:
        for file in self._copied.parent.glob("*.duckdb*"):
            file.unlink()

    def own(self, path: Path) -> list[str]:
        return [sys.executable, "-P", "-c", _READ_CSV, str(self._copied), str(path)]

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with duckdb.connect() as connection:
            for name, path in (("copies", self._copied), ("loads", self._loaded)):
                connection.execute(f"attach '{path}' as {name} (read_only)")
            names = {"copied": "copies.copied", "loaded": f"loads.{RAW}.{_TABLE}"}
            return connection.execute(sql.format_map(names)).fetchall()


_Engine = _Postgres | _DuckDB


def measure(
    laboratory: Laboratory, target: str, repeat: int, others: str | None, other_rows: int
) -> None:
    """Time both sides in turns and print the report. Raises BenchmarkError if they differ."""
    with scratch() as made, ExitStack() as stack:
        is_postgres = target == "postgres"
        engine = (
            _Postgres(stack.enter_context(server(made))) if is_postgres else _DuckDB(made.files)
        )
        path = made.make(laboratory)[_TABLE]
        load = made.labmart(target, "load", str(path))
        sides: dict[str, list[Run]] = {engine.name: [], "labmart load": []}
        for _ in range(repeat):
            engine.empty()
            for name, command in ((engine.name, engine.own(path)), ("labmart load", load)):
                sides[name].append(run(command, name))
        _compare(engine)
        megabytes = path.stat().st_size / 1e6
        seconds = {name: min(done.seconds for done in runs) for name, runs in sides.items()}
        processor = {name: min(done.processor for done in runs) for name, runs in sides.items()}
        memory = max(done.memory for done in sides["labmart load"])
        paragraphs = [
            [f"{laboratory.experiments:,} records, {megabytes:,.0f} MB; the best of {repeat}"],
            ratio_lines(seconds, engine.name),
            ["the same in seconds of processor time of these programs, without a server's"],
            ratio_lines(processor, engine.name),
            [f"peak memory of the loader's process: {memory / 1e6:,.0f} MB"],
        ]
        if isinstance(engine, _Postgres):
            if others:
                small = made.make(Laboratory(other_rows, users=1_000, seed=laboratory.seed))
                ratios = _others(made, engine, small[_TABLE], others)
                paragraphs += [[f"{other_rows:,} experiment records"], ratios]
            paragraphs.append(engine.server.lines())
    report(*paragraphs)


def _compare(engine: _Engine) -> None:
    """Raise BenchmarkError unless the loader's table has the cells of the other one."""
    ((copied, same, numbered),) = engine.query(
        "select (select count(*) from {copied}), "
        f"(select count(*) from (select {_COLUMNS} from {{copied}} "
        f"intersect all select {_COLUMNS} from {{loaded}}) as s), "
        "(select count(distinct line) from {loaded})"
    )
    if not copied == same == numbered:
        raise BenchmarkError(
            f"The tables differ: {copied} rows were copied, {same} of them were loaded too, with "
            f"{numbered} different lines."
        )


def _others(made: Scratch, engine: _Postgres, path: Path, python: str) -> list[str]:
    """Seconds of what people use today and of the loader, on one small file."""
    engine.empty()
    load = run(made.labmart("postgres", "load", str(path)), "labmart load")
    taken = {"labmart load": load.seconds}
    for script in ("pandas_to_sql", "dlt_replace"):
        url = engine.server.database.url()
        command = [python, str(_OTHERS / f"{script}.py"), url, REFERENCE, str(path)]
        taken[script] = run(command, script).seconds
    shutil.copy(path, made.project / "seeds")
    taken["dbt seed"] = made.dbt("postgres", "seed", "--select", _TABLE).seconds
    return ratio_lines(taken, "labmart load")
