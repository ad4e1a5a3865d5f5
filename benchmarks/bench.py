"""Scratch schemas in the database of the profile, and what a measurement does in them."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import psycopg2.extensions

from benchmarks.generate import Laboratory, add_options, laboratory_of, write
from loader.database import Database, find_database
from loader.errors import EXIT_BUILD, ConfigError, LabmartError
from loader.project import Project, open_project

SCHEMA = "labmart_bench"
RAW = f"{SCHEMA}_raw"
# Where the references write; no schemas of dbt's.
REFERENCE = f"{SCHEMA}_reference"
REFERENCE_MARTS = f"{SCHEMA}_reference_marts"
_SCHEMAS = (SCHEMA, RAW, REFERENCE, REFERENCE_MARTS, f"{SCHEMA}_seeds", f"{SCHEMA}_staging")
_DBT = "import sys; sys.argv[0] = 'dbt'; from dbt.cli.main import cli; cli()"
# dbt as a program of its own.
DBT = (sys.executable, "-P", "-c", _DBT)


class BenchmarkError(LabmartError):
    """dbt failed, or a result is not what it must be."""

    exit_code = EXIT_BUILD


@dataclass(frozen=True)
class Bench:
    """The project, and the database that has the scratch schemas."""

    project: Project
    database: Database

    @property
    def artifacts(self) -> Path:
        """dbt's artifacts; those of a person's own runs stay as they are."""
        return self.project.target / "benchmark"

    def connect(self) -> psycopg2.extensions.connection:
        """A connection to the profile's database."""
        profile = self.database.profile
        password = profile.text("password") or profile.text("pass")
        return psycopg2.connect(self.database.url(), password=password or None)

    def execute(self, *statements: str) -> None:
        """Run statements, each in a transaction of its own."""
        with closing(self.connect()) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def dbt(self, *command: str) -> float:
        """Run dbt on the raw tables; the seconds from its start to its end."""
        return self.dbt_in(self.project.root, *command)

    def dbt_in(self, root: Path, *command: str) -> float:
        """Run dbt in a project, or a copy of it; the seconds from its start to its end."""
        return timed(
            [
                *(*DBT, "--quiet", "--no-use-colors"),
                *("--log-path", str(self.artifacts / "logs"), *command),
                # The same vars in every call: dbt parses the project anew when they change.
                *("--vars", "input: loads", "--target", self.database.profile.target),
                *("--project-dir", str(root)),
                *("--profiles-dir", str(self.project.profiles_dir)),
                *("--target-path", str(self.artifacts)),
            ],
            what=f"dbt {command[0]}",
            cwd=root,
        )

    def seconds_per_model(self) -> dict[str, float]:
        """What dbt noted for each model of its last run."""
        text = (self.artifacts / "run_results.json").read_text(encoding="utf-8")
        return {
            result["unique_id"].rpartition(".")[2]: float(result["execution_time"])
            for result in json.loads(text)["results"]
            if result["unique_id"].startswith("model.")
        }

    def copy_in(self, laboratory: Laboratory) -> float:
        """Put a laboratory into the raw tables by COPY; the seconds of it."""
        with tempfile.TemporaryDirectory(prefix="labmart-bench-") as folder:
            paths = write(laboratory, Path(folder))
            begun = time.monotonic()
            with closing(self.connect()) as connection, connection, connection.cursor() as cursor:
                for load_id, path in enumerate(paths, start=1):
                    _copy_file(cursor, path, load_id)
            seconds = time.monotonic() - begun
        # The server would do it by itself, but some time later, amid the measurement.
        self.execute(*(f"vacuum (analyze) {RAW}.{path.stem}" for path in paths))
        return seconds

    def run_reference(self, path: Path) -> float:
        """Time one reference. Its table stays, named like its file."""
        sql = path.read_text(encoding="utf-8")
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(
                f"drop table if exists {REFERENCE}.{path.stem}; "
                f"set search_path = {REFERENCE}, {RAW}"
            )
            connection.commit()
            begun = time.monotonic()
            cursor.execute(sql)
            connection.commit()
            seconds = time.monotonic() - begun
            cursor.execute(f"alter table {REFERENCE}.user_features rename to {path.stem}")
            connection.commit()
        return seconds

    def run_marts_reference(self, path: Path) -> float:
        """Time the reference that makes all marts, in a schema of its own. They stay."""
        sql = path.read_text(encoding="utf-8")
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(
                f"drop schema if exists {REFERENCE_MARTS} cascade; "
                f"create schema {REFERENCE_MARTS}; set search_path = {REFERENCE_MARTS}"
            )
            connection.commit()
            begun = time.monotonic()
            cursor.execute(sql)
            connection.commit()
            return time.monotonic() - begun

    def check_marts_reference(self, marts: Sequence[str]) -> None:
        """Raise BenchmarkError unless each mart has the same rows in the models and the reference.

        Compared are the columns of the reference, by their names: a mart may have more.
        """
        for mart in marts:
            ((columns,),) = self.query(
                "select string_agg(quote_ident(attname), ', ' order by attname) from pg_attribute "
                f"where attrelid = '{REFERENCE_MARTS}.{mart}'::regclass and attnum > 0"
            )
            digests = [
                self.query(
                    "select count(*), sum(hashtextextended(cast(r as text), 0)) "
                    f"from (select {columns} from {schema}.{mart}) as r"
                )
                for schema in (SCHEMA, REFERENCE_MARTS)
            ]
            if digests[0] != digests[1]:
                raise BenchmarkError(
                    f"{mart} of the models and of reference/postgres/marts.sql differ in "
                    f"{columns}: {digests[0]} and {digests[1]}"
                )

    def check_reference(self, path: Path) -> None:
        """Raise BenchmarkError unless the models have the same user_features, cell by cell."""
        table = f"{REFERENCE}.{path.stem}"
        # The mart may have more columns than the reference.
        ((columns,),) = self.query(
            "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute "
            f"where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped"
        )
        models, reference = (
            f"select {columns} from {relation}" for relation in (f"{SCHEMA}.user_features", table)
        )
        for one, other, whose in (
            (models, reference, "the models"),
            (reference, models, f"reference/postgres/{path.name}"),
        ):
            found = self.query(f"select * from ({one} except all {other}) as d order by 1 limit 3")
            if found:
                rows = "\n".join(", ".join(map(str, row)) for row in found)
                raise BenchmarkError(
                    f"reference/postgres/{path.name} and the models differ. Only {whose} have, "
                    f"among other rows:\n{columns}\n{rows}"
                )


@contextmanager
def open_bench(*, target: str | None, keep: bool) -> Iterator[Bench]:
    """The database without scratch schemas. They are dropped at the end, too, unless kept.

    Raises LabmartError when the profile has no such target, the database does not answer, or
    the schema is not ours to choose.
    """
    os.environ["LABMART_SCHEMA"] = SCHEMA
    os.environ["LABMART_RAW_SCHEMA"] = RAW
    project = open_project(start=Path(__file__).resolve().parent)
    database = find_database(project, target)
    profile = database.profile
    if profile.engine != "postgres":
        raise ConfigError(profile.path, f"target {profile.target!r} is no PostgreSQL server.")
    if profile.schema != SCHEMA:
        raise ConfigError(
            profile.path,
            f"`schema` of target {profile.target!r} does not follow LABMART_SCHEMA, so the "
            "benchmark would write into your tables. Write it as profiles.yml.example does.",
        )
    database.ready()
    bench = Bench(project, database)
    drops = [f"drop schema if exists {schema} cascade" for schema in _SCHEMAS]
    bench.execute(*drops, f"create schema {REFERENCE}")
    try:
        yield bench
    finally:
        if not keep:
            bench.execute(*drops)


def run_benchmark(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    measure: Callable[[Bench, Laboratory, argparse.Namespace], list[list[str]]],
    *,
    repeat: int,
) -> int:
    """A benchmark's command line: its own options and those that all have; the exit code.

    `measure` gives the paragraphs of the report, which go to stdout.
    """
    add_options(parser, experiments=10_000_000)
    parser.add_argument(
        "--repeat", type=int, default=repeat, help="Turns; the best of each counts."
    )
    parser.add_argument("--target", help="The dbt target. Default: the profile's own.")
    parser.add_argument("--keep", action="store_true", help=f"Leave the schemas {SCHEMA}* there.")
    given = parser.parse_args(arguments)
    try:
        laboratory = laboratory_of(given)
    except ValueError as error:
        parser.error(str(error))
    if given.repeat < 1:
        parser.error("--repeat is at least 1")
    try:
        with open_bench(target=given.target, keep=given.keep) as bench:
            report = measure(bench, laboratory, given)
    except (LabmartError, psycopg2.Error) as error:
        say(f"benchmark: {error}")
        return error.exit_code if isinstance(error, LabmartError) else EXIT_BUILD
    print("\n\n".join("\n".join(part) for part in report))
    return 0


def timed(call: Sequence[str], *, what: str, cwd: Path) -> float:
    """Run a program; the seconds from its start to its end. Raises BenchmarkError if it fails."""
    begun = time.monotonic()
    done = subprocess.run(
        call,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begun
    if done.returncode != 0:
        raise BenchmarkError(f"{what} failed:\n{done.stdout.rstrip()}")
    return seconds


def say(text: str) -> None:
    """Talk, which goes to stderr."""
    print(text, file=sys.stderr, flush=True)


def _copy_file(cursor: psycopg2.extensions.cursor, path: Path, load_id: int) -> None:
    """One file and its row of the ledger. Load and line are defaults while COPY runs."""
    table, lines = f"{RAW}.{path.stem}", f"{RAW}.lines"
    with path.open("rb") as file:
        columns = file.readline().decode().strip()
        # A table that is emptied in the transaction that fills it skips the log. Line 1 is the
        # header.
        cursor.execute(
            f"truncate {table}; create sequence {lines} start 2 cache 1000; "
            f"alter table {table} alter load_id set default {load_id}, "
            f"alter line set default nextval('{lines}')"
        )
        cursor.copy_expert(f"copy {table} ({columns}) from stdin (format csv)", file)
    records = cursor.rowcount
    cursor.execute(
        f"alter table {table} alter load_id drop default, alter line drop default; "
        f"drop sequence {lines}; "
        f"insert into {RAW}.loads (load_id, input, file, sha256, bytes, mode, status, "
        "records_read, records_rejected) "
        "values (%s, %s, %s, 'not computed', %s, 'add', 'current', %s, 0)",
        (load_id, path.stem, path.name, path.stat().st_size, records),
    )
