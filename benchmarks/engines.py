"""How long each engine takes from the files to all marts, side by side.

    python -m benchmarks engines --experiments 10000000 postgres duckdb spark

Makes a laboratory (see generate.py) and a copy of the project in a scratch folder, with databases
of its own: nothing of yours is touched. Then, on each engine named, in turns:

* `labmart load FOLDER` into empty tables;
* `dbt run`, all models with all rules, and the same over empty tables: what dbt itself takes.

`spark:N` is a standalone cluster of one master and N workers with one core each, started for the
call on this machine; `spark` is Spark in one process with all cores. On clean data DuckDB also
runs reference/duckdb/tuned.sql, from the files to user_features alone, no rule checked.

user_features must be the same everywhere, else the call fails. The report goes to stdout, progress
to stderr. Exit codes are those of labmart.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import DBT, BenchmarkError, say, timed
from benchmarks.cluster import cluster
from benchmarks.generate import Laboratory, add_options, laboratory_of, write
from benchmarks.report import host_line, seconds_lines
from loader.errors import LabmartError

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = Path(__file__).resolve().parent / "reference" / "duckdb" / "tuned.sql"
NAMES = ("postgres", "duckdb", "spark")
_NOT_COPIED = (".git", ".venv", ".labmart", "target", "logs", "profiles.yml", "*.duckdb*")


@dataclass(frozen=True)
class Engine:
    """A target, for Spark with the number of workers; 0 is Spark in one process."""

    target: str
    workers: int = 0

    def __str__(self) -> str:
        return f"{self.target}:{self.workers}" if self.workers else self.target


@dataclass(frozen=True)
class Taken:
    """Seconds of one engine: the load, `dbt run`, and dbt over empty tables."""

    load: float
    models: float
    dbt_alone: float


@dataclass(frozen=True)
class Scratch:
    """The copy of the project, and the folder of the laboratory's files."""

    project: Path
    files: Path

    def dbt(self, engine: Engine, *command: str) -> float:
        """Run dbt; the seconds from its start to its end."""
        places = ("--project-dir", str(self.project), "--profiles-dir", str(self.project))
        options = ("--target", engine.target, "--vars", "input: loads")
        call = [*DBT, "--quiet", *command, *places, *options]
        return timed(call, what=f"dbt {command[0]} on {engine}", cwd=ROOT)

    def labmart(self, engine: Engine, *command: str) -> float:
        """Run the command; the seconds from its start to its end."""
        call = [sys.executable, "-m", "loader", "--project-dir", str(self.project), *command]
        call += ["--target", engine.target]
        return timed(call, what=f"labmart {command[0]} on {engine}", cwd=ROOT)

    def shown(self, engine: Engine) -> str:
        """What user_features is, as a hash of the csv that the command prints."""
        call = [sys.executable, "-m", "loader", "--project-dir", str(self.project), "show"]
        options = ["--format", "csv", "--target", engine.target]
        done = subprocess.run([*call, *options], cwd=ROOT, capture_output=True, check=False)
        if done.returncode:
            raise BenchmarkError(done.stderr.decode())
        return _hash(done.stdout)

    def reference(self) -> tuple[float, str]:
        """Run the hand-written SQL; its seconds, and the hash of what it gives."""
        import duckdb

        database = self.files / "reference.duckdb"
        run = f"import duckdb; duckdb.connect({str(database)!r}).execute({REFERENCE.read_text()!r})"
        seconds = timed([sys.executable, "-c", run], what=REFERENCE.name, cwd=self.files)
        out = self.files / "user_features.csv"
        with duckdb.connect(str(database)) as connection:
            connection.execute(
                f"copy (from user_features order by user_id) to '{out}' (format csv, header true)"
            )
        return seconds, _hash(out.read_bytes())


def measure(scratch: Scratch, engine: Engine) -> Taken:
    """Time one engine. Its tables stay."""
    # The models refer to the seeds, although none is read here.
    scratch.dbt(engine, "seed")
    alone = min(scratch.dbt(engine, "run") for _ in range(2))
    load = scratch.labmart(engine, "load", str(scratch.files))
    say(f"{engine}: labmart load {load:.1f} s")
    models = scratch.dbt(engine, "run")
    say(f"{engine}: dbt run {models:.1f} s, of it dbt alone {alone:.1f} s")
    return Taken(load, models, alone)


@contextmanager
def open_scratch(laboratory: Laboratory) -> Iterator[Scratch]:
    """Make the files and the project's copy; delete both at the end, the server stopped."""
    with tempfile.TemporaryDirectory(prefix="labmart-bench-") as name:
        folder = Path(name).resolve()
        # The embedded server may have to work under another account.
        folder.chmod(0o755)
        scratch = Scratch(folder / "project", folder / "files")
        scratch.files.mkdir()
        # They could name a person's own databases.
        for variable in [one for one in os.environ if one.startswith(("PG", "LABMART_", "DBT_"))]:
            del os.environ[variable]
        say(f"making {laboratory.experiments:,} experiments")
        write(laboratory, scratch.files)
        shutil.copytree(ROOT, scratch.project, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        shutil.copy(scratch.project / "profiles.yml.example", scratch.project / "profiles.yml")
        try:
            yield scratch
        finally:
            command = [sys.executable, "-m", "loader", "--project-dir", str(scratch.project)]
            subprocess.run([*command, "db", "stop"], cwd=ROOT, capture_output=True, check=False)


@contextmanager
def _ready(engine: Engine, scratch: Scratch) -> Iterator[None]:
    """Start what the engine needs, and let the profile mean it."""
    if engine.target == "postgres":
        scratch.labmart(engine, "db", "start")
    if not engine.workers:
        yield
        return
    before = dict(os.environ)
    # Tables of its own: each engine begins with empty ones.
    shutil.rmtree(scratch.project / ".labmart" / "spark", ignore_errors=True)
    with cluster(scratch.project / ".labmart" / "cluster", workers=engine.workers) as made:
        os.environ.update(SPARK_MASTER=made.address, SPARK_LOCAL_IP="127.0.0.1")
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _hash(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _engine(text: str) -> Engine:
    name, _, workers = text.partition(":")
    if name not in NAMES or (workers and (name != "spark" or not workers.isdigit())):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(NAMES)}, spark:N")
    return Engine(name, int(workers or 0))


def _report(laboratory: Laboratory, engines: Sequence[Engine]) -> list[str]:
    with open_scratch(laboratory) as scratch:
        rows: list[tuple[str, float]] = []
        results: dict[str, str] = {}
        for engine in engines:
            with _ready(engine, scratch):
                taken = measure(scratch, engine)
                rows += [
                    (f"{engine}: labmart load", taken.load),
                    (f"{engine}: dbt run, all models", taken.models),
                    (f"{engine}: - of it dbt alone", taken.dbt_alone),
                ]
                results[str(engine)] = scratch.shown(engine)
        if not laboratory.dirty and Engine("duckdb") in engines:
            seconds, results[REFERENCE.name] = scratch.reference()
            say(f"{REFERENCE.name} {seconds:.1f} s")
            rows.append(("reference/duckdb/tuned.sql, from the files", seconds))
        if len(set(results.values())) > 1:
            raise BenchmarkError(f"user_features differ: {results}")
        say(f"user_features are the same: {', '.join(results)}")
    title = (
        f"{laboratory.experiments:,} experiments, {laboratory.users:,} users, "
        f"{laboratory.compounds:,} compounds, {laboratory.dirty:.1%} dirty"
    )
    return [title, "", *seconds_lines(rows), "", host_line()]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks engines", description=__doc__)
    parser.add_argument("engines", nargs="+", type=_engine, metavar="ENGINE")
    add_options(parser, experiments=10_000_000)
    given = parser.parse_args(arguments)
    try:
        report = _report(laboratory_of(given), given.engines)
    except LabmartError as error:
        say(f"benchmark: {error}")
        return error.exit_code
    print("\n".join(report))
    return 0
