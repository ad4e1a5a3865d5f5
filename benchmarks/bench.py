"""A scratch copy of the project, programs timed in it, and the tables of a report."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.generate import Laboratory, write
from loader.contract import Column
from loader.database import Database, find_database
from loader.embedded import stop
from loader.engines import Value
from loader.engines.postgres import Connection, open_connection
from loader.errors import EXIT_BUILD, LabmartError
from loader.project import open_project
from loader.show import layout

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = "labmart_bench"
RAW = f"{SCHEMA}_raw"
# Where programs write that labmart is compared with; no schema of dbt's.
REFERENCE = f"{SCHEMA}_reference"
_NOT_COPIED = (".*", "target", "logs", "profiles.yml", "*.duckdb*")
_DBT = "import sys; sys.argv[0] = 'dbt'; from dbt.cli.main import cli; cli()"
_SETTINGS = (
    *("shared_buffers", "work_mem", "max_parallel_workers_per_gather", "max_parallel_workers"),
    *("parallel_tuple_cost", "jit", "wal_level", "fsync", "synchronous_commit"),
)


class BenchmarkError(LabmartError):
    """A program failed, or a result is not what it must be."""

    exit_code = EXIT_BUILD


@dataclass(frozen=True)
class Run:
    """A program that was run: seconds, seconds of processor time, peak memory in bytes, stdout."""

    seconds: float
    processor: float
    memory: int
    out: str


def run(command: Sequence[str], what: str) -> Run:
    """Run a program to its end, timed from outside. Raises BenchmarkError if it fails."""
    begun = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )
        out = process.stdout.read().decode() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        # The process has been waited for here; Popen is told so.
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            told = errors.read().decode(errors="replace")
            raise BenchmarkError(f"{what} failed:\n{out}{told.rstrip()}")
    unit = 1 if sys.platform == "darwin" else 1024
    say(f"{what}: {seconds:.2f} s")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, out)


@dataclass(frozen=True)
class Scratch:
    """A copy of the project, and a folder for files."""

    project: Path
    files: Path

    def labmart(self, target: str, *arguments: str) -> list[str]:
        """The call of the command."""
        call = [sys.executable, "-m", "loader", "--project-dir", str(self.project), *arguments]
        return [*call, "--target", target]

    def make(self, laboratory: Laboratory) -> dict[str, Path]:
        """Write the files of a laboratory, by their inputs."""
        say(f"making {laboratory}")
        return {path.stem: path for path in write(laboratory, self.files)}

    def dbt(self, target: str, *arguments: str) -> Run:
        """Run dbt, on the raw tables as they stand."""
        places = ("--project-dir", str(self.project), "--profiles-dir", str(self.project))
        # The same vars in every call: dbt parses the project anew when they change.
        options = ("--quiet", "--target", target, "--vars", "input: loads")
        command = [sys.executable, "-P", "-c", _DBT, *arguments, *places, *options]
        return run(command, f"dbt {arguments[0]} on {target}")


@dataclass(frozen=True)
class Server:
    """The PostgreSQL of a scratch project."""

    database: Database

    def connect(self) -> Connection:
        return open_connection(self.database.profile, "labmart benchmark")

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

    def lines(self) -> list[str]:
        """Version and settings that matter here."""
        ((server, *values),) = self.query(
            "select current_setting('server_version'), "
            + ", ".join(f"current_setting('{name}')" for name in _SETTINGS)
        )
        which = "embedded" if self.database.embedded else "named by PGHOST"
        settings = map(" ".join, zip(_SETTINGS, map(str, values), strict=True))
        return [f"PostgreSQL {server} ({which}): {', '.join(settings)}"]


@contextmanager
def scratch() -> Iterator[Scratch]:
    """Make the project's copy; delete it at the end."""
    with tempfile.TemporaryDirectory(prefix="labmart-bench-") as name:
        folder = Path(name).resolve()
        # The embedded server may have to work under another account.
        folder.chmod(0o755)
        made = Scratch(folder / "project", folder / "files")
        made.files.mkdir()
        # They could name a person's own databases.
        for variable in [name for name in os.environ if name.startswith(("LABMART_", "DBT_"))]:
            del os.environ[variable]
        os.environ.update(LABMART_SCHEMA=SCHEMA, LABMART_RAW_SCHEMA=RAW)
        shutil.copytree(ROOT, made.project, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        shutil.copy(made.project / "profiles.yml.example", made.project / "profiles.yml")
        yield made


@contextmanager
def server(made: Scratch) -> Iterator[Server]:
    """The scratch project's PostgreSQL, without the schemas that benchmarks make; one of its own is
    stopped at the end.
    """
    started = Server(find_database(open_project(made.project), "postgres"))
    started.database.ready()
    drop = f"""
        do $$ declare name text; begin
            for name in select nspname from pg_namespace where nspname ~ '^{SCHEMA}(_|$)' loop
                execute format('drop schema %I cascade', name);
            end loop;
        end $$
    """
    started.execute(drop, f"create schema {REFERENCE}")
    try:
        yield started
    finally:
        started.execute(drop)
        if place := started.database.embedded:
            stop(place)


def ratio_lines(seconds: Mapping[str, float], *references: str) -> list[str]:
    """Seconds of each, and how many times longer than each reference it takes."""
    columns = [Column("what", "text"), Column("seconds", "numeric")]
    columns += [Column(f"ratio to {reference}", "numeric") for reference in references]
    rows: list[tuple[Value, ...]] = [
        (what, f"{taken:.2f}", *(f"{taken / seconds[name]:.2f}" for name in references))
        for what, taken in seconds.items()
    ]
    return layout(columns, rows, None).lines


def report(*paragraphs: Sequence[str]) -> None:
    """Print the paragraphs, and the machine and versions that they hold for."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    cpu = Path("/proc/cpuinfo")
    names = cpu.read_text(encoding="utf-8").splitlines() if cpu.exists() else []
    models = [line.partition(":")[2].strip() for line in names if line.startswith("model name")]
    processor = models[0] if models else platform.machine()
    host = [
        f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}",
        f"dbt-core {version('dbt-core')}, DuckDB {version('duckdb')}, "
        f"Python {platform.python_version()}",
    ]
    print("\n\n".join("\n".join(lines) for lines in (*paragraphs, host)))


def say(text: str) -> None:
    """Talk, which goes to stderr."""
    print(text, file=sys.stderr, flush=True)
