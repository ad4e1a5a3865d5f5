"""What a second worker brings: Apache Spark's own cluster, and two loaders beside one.

A master, workers of one core and their own memory each, and a Spark Connect server apart from them,
all processes of this machine. On one worker and then on two, in turns: `dbt run` of all models on
the same lake, started warm. Spark itself tells how long each worker's tasks took and what went
from one to the other. The load is timed likewise: the same files by one loader bound to one core,
and by two, each bound to a core of its own, half of the files each.

On two cores the server and dbt take from the second worker what they need; so the seconds of tasks
say more about a cluster than the seconds on the clock.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pyspark

from benchmarks.bench import BenchmarkError, Scratch, report, say, scratch
from benchmarks.generate import Laboratory, write
from loader.engines import Column
from loader.table import layout

_START_SECONDS = 120.0
_SPARK = Path(pyspark.__file__).parent
_DEPLOY = "org.apache.spark.deploy"
_CONNECT = "org.apache.spark.sql.connect.service.SparkConnectServer"


@dataclass(frozen=True)
class Work:
    """What an executor has done: tasks, their seconds, and bytes that it got from shuffles."""

    tasks: int
    seconds: float
    shuffled: int

    def __sub__(self, earlier: Work) -> Work:
        return Work(
            self.tasks - earlier.tasks,
            self.seconds - earlier.seconds,
            self.shuffled - earlier.shuffled,
        )


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs; `url` is what SPARK_REMOTE has to be."""

    url: str
    api: str
    workers: Sequence[subprocess.Popen[bytes]]

    def work(self) -> dict[str, Work]:
        """What each executor has done so far; those that are gone too."""
        [application] = self._get("applications")
        executors = self._get(f"applications/{application['id']}/allexecutors")
        return {
            executor["id"]: Work(
                executor["completedTasks"],
                executor["totalDuration"] / 1000,
                executor["totalShuffleRead"],
            )
            for executor in executors
            if executor["id"] != "driver"
        }

    def _get(self, what: str) -> list[dict[str, Any]]:
        with urlopen(f"{self.api}/{what}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())
            return found


@contextmanager
def cluster(folder: Path, workers: int, memory: str = "1g") -> Iterator[Cluster]:
    """Start a cluster with a Spark Connect server; end all of its processes.

    Raises BenchmarkError when it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    master, port, ui = _free_port(), _free_port(), _free_port()
    settings = {
        "spark.master": f"spark://127.0.0.1:{master}",
        "spark.executor.memory": memory,
        "spark.executor.cores": 1,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": port,
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": folder / "warehouse",
        "spark.sql.shuffle.partitions": 4,
        "spark.ui.port": ui,
    }
    submit = [_SPARK / "bin" / "spark-submit", "--class", _CONNECT]
    for name, value in settings.items():
        submit += ["--conf", f"{name}={value}"]
    environment = {**os.environ, "SPARK_HOME": str(_SPARK), "SPARK_LOCAL_IP": "127.0.0.1"}
    # It would be the server that Spark's own programs connect to.
    environment.pop("SPARK_REMOTE", None)
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
                env=environment,
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        place = ("--host", "127.0.0.1", "--webui-port", 0)
        spark = _SPARK / "bin" / "spark-class"
        first = start("master", spark, f"{_DEPLOY}.master.Master", "--port", master, *place)
        _wait(first, master, folder)
        started = []
        for number in range(workers):
            size = ("--cores", 1, "--memory", memory, "--work-dir", folder / f"work{number}")
            worker = (spark, f"{_DEPLOY}.worker.Worker", *place, *size, settings["spark.master"])
            # Its executor, which it starts, is bound to the core with it.
            started.append(start(f"worker{number}", *_on_core(number), *worker))
        _wait(start("server", *submit, "spark-internal"), port, folder)
        running = Cluster(f"sc://127.0.0.1:{port}", f"http://127.0.0.1:{ui}/api/v1", tuple(started))
        deadline = time.monotonic() + _START_SECONDS
        while len(running.work()) < workers:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"only {len(running.work())} of {workers} workers came")
            time.sleep(0.2)
        yield running


def _on_core(number: int) -> list[str]:
    if shutil.which("taskset") is None:
        return []
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "--cpu-list", str(cores[number % len(cores)])]


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    logs = "\n".join(log.read_text(errors="replace")[-2000:] for log in folder.glob("*.log"))
    raise BenchmarkError(f"the cluster does not start:\n{logs}")


def measure(laboratory: Laboratory) -> None:
    """Time one and two of both, and print the report. `user_features` must stay the same."""
    columns = [Column("what", "text"), Column("seconds", "numeric"), Column("ratio", "numeric")]
    columns += [Column("tasks", "text"), Column("task seconds", "text"), Column("shuffled", "text")]
    rows: list[tuple[str | None, ...]] = []
    results = set()
    with scratch() as made:
        say(f"making {laboratory.experiments:,} experiments")
        halves = _halves(laboratory, made.files)
        os.environ["LABMART_LAKE"] = str(made.files / "loaded twice")
        one = _loading(made, [halves])
        os.environ["LABMART_LAKE"] = str(made.files / "lake")
        two = _loading(made, [[half] for half in halves])
        rows.append(("labmart load, one process", f"{one:.1f}", "1.00", None, None, None))
        rows.append(("labmart load, two", f"{two:.1f}", f"{two / one:.2f}", None, None, None))
        first = None
        for workers in (1, 2):
            with cluster(made.files / f"cluster of {workers}", workers) as running:
                os.environ["SPARK_REMOTE"] = running.url
                made.dbt("spark", "seed")
                # Java is slow in the first run.
                made.dbt("spark", "run")
                before = running.work()
                seconds = made.dbt("spark", "run").seconds
                after = running.work()
                results.add(
                    subprocess.check_output(
                        made.labmart("spark", "show", "user_features", "--format", "csv")
                    )
                )
            first = first or seconds
            done = [work - before[name] for name, work in sorted(after.items())]
            rows.append(
                (
                    f"dbt run, {workers} worker{'s'[: workers - 1]}",
                    f"{seconds:.1f}",
                    f"{seconds / first:.2f}",
                    " + ".join(f"{work.tasks:,}" for work in done),
                    " + ".join(f"{work.seconds:.0f}" for work in done),
                    " + ".join(f"{work.shuffled / 1e6:.0f} MB" for work in done),
                )
            )
    if len(results) > 1:
        raise BenchmarkError("user_features differ between one worker and two")
    size = f"{laboratory.experiments:,} experiments, {laboratory.dirty:.1%} dirty"
    report([f"{size}; Spark {pyspark.__version__}"], list(layout(columns, rows, None).lines))


def _halves(laboratory: Laboratory, folder: Path) -> list[Path]:
    """Two folders that together hold the laboratory, with half of the experiments each."""
    halves = [folder / "first", folder / "second"]
    for half in halves:
        half.mkdir()
    for path in write(laboratory, folder):
        if path.name != "user_experiments.csv":
            path.rename(halves[0] / path.name)
            continue
        with path.open("rb") as lines:
            header = next(lines)
            for number, half in enumerate(halves):
                with (half / f"user_experiments_{number}.csv").open("wb") as out:
                    out.write(header)
                    for _ in range((laboratory.experiments + 1 - number) // 2):
                        out.write(next(lines))
        path.unlink()
    return halves


def _loading(made: Scratch, calls: Sequence[Sequence[Path]]) -> float:
    """Seconds until all calls of the loader, which run at once, have ended."""
    begun = time.monotonic()
    loading = [
        subprocess.Popen(
            [*_on_core(core), *made.labmart("spark", "load", *map(str, paths))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for core, paths in enumerate(calls)
    ]
    for process in loading:
        _, said = process.communicate()
        if process.returncode:
            raise BenchmarkError(f"labmart load failed:\n{said.decode(errors='replace')}")
    return time.monotonic() - begun
