"""What a second worker brings: Apache Spark's own cluster, and two loaders beside one.

A master, workers of one core and their own memory each, and a Spark Connect server apart from them,
all processes of this machine. On one worker and then on two: `dbt run` of all models on the same
lake, after one of a small laboratory. Spark itself tells how long each worker's tasks took and what
went from one to the other. The load is timed likewise: the same files by one loader bound to one
core, and by two, each bound to a core of its own, half of the files each.

On two cores the server and dbt take from the second worker what they need; so what is
counted on each worker says more about a cluster than the seconds on the clock.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from operator import sub
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import duckdb
import psutil
import pyspark

from benchmarks.bench import RAW, BenchmarkError, Run, Scratch, report, run, scratch
from benchmarks.generate import Laboratory, write
from loader import spark_server
from loader.contract import Column
from loader.show import layout

_START_SECONDS = 300.0
# Experiments of what a cluster builds first, to be warm.
_SMALL = 20_000
_DEPLOY = "org.apache.spark.deploy"


class Work(NamedTuple):
    """What a worker has done: tasks, their seconds on the clock, bytes that it got from shuffles.

    `processor` is the seconds of processor time of all that runs in it, with Java's own.
    """

    tasks: int
    seconds: float
    shuffled: int
    processor: float


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs; `url` is what SPARK_REMOTE has to be."""

    url: str
    api: str
    folder: Path
    workers: Sequence[subprocess.Popen[bytes]]

    def work(self) -> list[Work]:
        """What each worker has done so far, whether or not it still runs."""
        [application] = self._get("applications")
        told = self._get(f"applications/{application['id']}/allexecutors")
        executors = {executor["id"]: executor for executor in told}
        done = []
        for number, process in enumerate(self.workers):
            started = [path.name for path in (self.folder / f"work{number}").glob("app-*/*")]
            own = [executors[name] for name in started if name in executors]
            worker = psutil.Process(process.pid)
            times = [one.cpu_times() for one in (worker, *worker.children(recursive=True))]
            done.append(
                Work(
                    sum(executor["completedTasks"] for executor in own),
                    sum(executor["totalDuration"] for executor in own) / 1000,
                    sum(executor["totalShuffleRead"] for executor in own),
                    sum(time.user + time.system for time in times),
                )
            )
        return done

    @property
    def executors(self) -> int:
        """How many workers are ready for tasks."""
        [application] = self._get("applications")
        active = self._get(f"applications/{application['id']}/executors")
        return sum(executor["id"] != "driver" for executor in active)

    def _get(self, what: str) -> list[dict[str, Any]]:
        with urlopen(f"{self.api}/{what}", timeout=60) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())
            return found


@contextmanager
def cluster(folder: Path, workers: int, memory: str = "1g") -> Iterator[Cluster]:
    """Start a cluster with a Spark Connect server; end all of its processes.

    Raises BenchmarkError or DatabaseUnreachable when it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    master, port, ui = (spark_server.free_port() for _ in range(3))
    url = f"spark://127.0.0.1:{master}"
    settings = {
        "spark.master": url,
        "spark.executor.memory": memory,
        "spark.executor.cores": "1",
        "spark.sql.shuffle.partitions": "4",
        "spark.ui.port": str(ui),
    }
    with ExitStack() as stack:

        def start(name: str, *command: object) -> subprocess.Popen[bytes]:
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [*map(str, command)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # No address but this machine's own is listened on or told to others.
                env={**spark_server.environment(), "SPARK_LOCAL_IP": "127.0.0.1"},
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        place = ("--host", "127.0.0.1", "--webui-port", 0)
        spark = spark_server.spark_home() / "bin" / "spark-class"
        first = start("master", spark, f"{_DEPLOY}.master.Master", "--port", master, *place)
        spark_server.wait_for(first, master, folder / "master.log", _START_SECONDS)
        started = []
        for number in range(workers):
            size = ("--cores", 1, "--memory", memory, "--work-dir", folder / f"work{number}")
            worker = (spark, f"{_DEPLOY}.worker.Worker", *place, *size, url)
            # Its executor, which it starts, is bound to the core with it.
            started.append(start(f"worker{number}", *_on_core(number), *worker))
        server = start("server", *spark_server.connect_server(port, folder, settings))
        spark_server.wait_for(server, port, folder / "server.log", _START_SECONDS)
        api = f"http://127.0.0.1:{ui}/api/v1"
        running = Cluster(f"sc://127.0.0.1:{port}", api, folder, tuple(started))
        deadline = time.monotonic() + _START_SECONDS
        while running.executors < workers:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"only {running.executors} of {workers} workers came")
            time.sleep(0.2)
        yield running


def _on_core(number: int) -> list[str]:
    if shutil.which("taskset") is None:
        return []
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "--cpu-list", str(cores[number % len(cores)])]


def measure(laboratory: Laboratory) -> None:
    """Time one and two of both, and print the report. `user_features` must stay the same."""
    names = ("ratio", "records or tasks", "processor seconds", "task seconds", "shuffled")
    columns = [Column("what", "text"), Column("seconds", "numeric")]
    columns += [Column(name, "text") for name in names]
    rows: list[tuple[str, ...]] = []
    firsts: dict[str, float] = {}
    results = set()

    def add(what: str, number: int, seconds: float, *of_each: Iterable[str]) -> None:
        """A line of the report: seconds, their ratio to those of one, the figures of each."""
        ratio = seconds / firsts.setdefault(what, seconds)
        figures = [" + ".join(each) for each in of_each]
        rows.append((f"{what}: {number}", f"{seconds:.1f}", f"{ratio:.2f}", *figures))

    with scratch() as made:
        halves = _halves(laboratory, made)
        for calls in ([halves], [[half] for half in halves]):
            lake = made.files / f"lake of {len(calls)}"
            os.environ["LABMART_LAKE"] = str(lake)
            seconds, loaders = _loading(made, calls)
            add(
                "labmart load, processes",
                len(calls),
                seconds,
                (f"{_records(lake, paths):,}" for paths in calls),
                (f"{loader.processor:.1f}" for loader in loaders),
                (),
                (),
            )
        small_lake = str(made.files / "small lake")
        os.environ["LABMART_LAKE"] = small_lake
        small = write(Laboratory(_SMALL), made.files / "small")
        run(made.labmart("spark", "load", *map(str, small)), "labmart load of a small laboratory")
        for number in (1, 2):
            with cluster(made.files / f"cluster of {number}", number) as running:
                os.environ["SPARK_REMOTE"] = running.url
                # Java is slow in the first run.
                os.environ["LABMART_LAKE"] = small_lake
                made.dbt("spark", "run")
                os.environ["LABMART_LAKE"] = str(made.files / "lake of 2")
                before = running.work()
                seconds = made.dbt("spark", "run").seconds
                done = [Work(*map(sub, *two)) for two in zip(running.work(), before, strict=True)]
                show = made.labmart("spark", "show", "user_features", "--format", "csv")
                results.add(run(show, "show").out)
            add(
                "dbt run, workers",
                number,
                seconds,
                (f"{work.tasks:,}" for work in done),
                (f"{work.processor:.0f}" for work in done),
                (f"{work.seconds:.0f}" for work in done),
                (f"{work.shuffled / 1e6:.0f} MB" for work in done),
            )
    if len(results) > 1:
        raise BenchmarkError("user_features differ between one worker and two")
    report([f"{laboratory}; Spark {pyspark.__version__}"], layout(columns, rows, None).lines)


def _halves(laboratory: Laboratory, made: Scratch) -> list[Path]:
    """Two folders that together hold the laboratory, with half of the experiments each."""
    halves = [made.files / "first", made.files / "second"]
    for half in halves:
        half.mkdir()
    files = made.make(laboratory)
    experiments = files.pop("user_experiments")
    for path in files.values():
        path.rename(halves[0] / path.name)
    with experiments.open("rb") as lines:
        header = next(lines)
        for number, half in enumerate(halves):
            with (half / f"user_experiments_{number}.csv").open("wb") as out:
                out.write(header)
                out.writelines(islice(lines, (laboratory.experiments + 1 - number) // 2))
    experiments.unlink()
    return halves


def _loading(made: Scratch, calls: Sequence[Sequence[Path]]) -> tuple[float, list[Run]]:
    """Seconds until all calls of the loader, which run at once, have ended; and each of them."""

    def load(core: int, paths: Sequence[Path]) -> Run:
        call = made.labmart("spark", "load", *map(str, paths))
        return run([*_on_core(core), *call], f"labmart load {', '.join(p.name for p in paths)}")

    begun = time.monotonic()
    with ThreadPoolExecutor(len(calls)) as pool:
        loaders = list(pool.map(load, range(len(calls)), calls))
    return time.monotonic() - begun, loaders


def _records(lake: Path, paths: Sequence[Path]) -> int:
    """How many records of the folders the ledger counts."""
    entries = f"read_parquet('{lake}/{RAW}/loads/*.parquet', union_by_name = true)"
    [(number,)] = duckdb.execute(
        f"select sum(records_read) from {entries} "
        f"where list_contains({[str(path) for path in paths]}, parse_dirpath(file))"
    ).fetchall()
    return int(number)
