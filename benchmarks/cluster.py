"""A standalone Spark cluster of processes on this machine: a master, and workers to be killed.

    with cluster(folder, workers=2) as made:
        profile = spark_profile(folder, **made.settings)
        made.kill_worker()

All of it listens on the loopback address, writes into the folder, and ends with the context.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

_HOST = "127.0.0.1"
_PATIENCE = 120.0
_DAEMON = {"SPARK_DAEMON_MEMORY": "256m", "SPARK_NO_DAEMONIZE": "1", "SPARK_LOCAL_IP": _HOST}
_QUICK = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"


@dataclass
class Cluster:
    """A running cluster; `workers` are those that are alive."""

    address: str
    status_address: str
    workers: list[subprocess.Popen[bytes]]

    @property
    def settings(self) -> dict[str, str]:
        """Spark's settings to use it: one core and a little memory of each worker."""
        return {
            "spark.master": self.address,
            "spark.driver.host": _HOST,
            "spark.driver.bindAddress": _HOST,
            "spark.executor.memory": "512m",
            "spark.executor.cores": "1",
            "spark.executor.extraJavaOptions": _QUICK,
        }

    def status(self) -> Mapping[str, object]:
        """What the master says of itself."""
        with urlopen(self.status_address, timeout=10) as answer:
            found: Mapping[str, object] = json.load(answer)
        return found

    def alive_workers(self) -> int:
        """How many workers the master counts on."""
        count = self.status()["aliveworkers"]
        assert isinstance(count, int)
        return count

    def kill_worker(self) -> None:
        """Kill a worker and what it runs, as a machine that loses its power would."""
        _kill(self.workers.pop())


@contextmanager
def cluster(folder: Path, *, workers: int, memory: str = "4g") -> Iterator[Cluster]:
    """Start a master and workers of one core each; wait until the master knows them."""
    folder.mkdir(parents=True, exist_ok=True)
    port, status_port = _free_ports(2)
    address = f"spark://{_HOST}:{port}"
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(
            _start(
                folder / "master",
                "org.apache.spark.deploy.master.Master",
                *("--host", _HOST, "--port", str(port), "--webui-port", str(status_port)),
            )
        )
        _wait_for_port(port, started[0])
        _wait_for_port(status_port, started[0])
        for number in range(workers):
            place = folder / f"worker{number}"
            started.append(
                _start(
                    place,
                    "org.apache.spark.deploy.worker.Worker",
                    *("--host", _HOST, "--cores", "1", "--memory", memory),
                    *("--webui-port", "0", "--work-dir", str(place / "work"), address),
                )
            )
        made = Cluster(address, f"http://{_HOST}:{status_port}/json/", started[1:])
        deadline = time.monotonic() + _PATIENCE
        while made.alive_workers() < workers:
            assert time.monotonic() < deadline, "the workers do not find the master"
            time.sleep(0.2)
        yield made
    finally:
        for process in reversed(started):
            _kill(process)


def _start(place: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    import pyspark

    place.mkdir(parents=True, exist_ok=True)
    script = Path(pyspark.__file__).parent / "bin" / "spark-class"
    with (place / "log").open("wb") as log:
        return subprocess.Popen(
            [str(script), name, *arguments],
            env={**os.environ, **_DAEMON, "SPARK_DAEMON_JAVA_OPTS": _QUICK},
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process with the executors that it has begun."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_ports(count: int) -> list[int]:
    """Different ports that are free now."""
    sockets = [socket.create_server((_HOST, 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        with suppress(OSError), socket.create_connection((_HOST, port), timeout=1):
            return
        assert process.poll() is None, "the master has ended"
        assert time.monotonic() < deadline, "the master does not answer"
        time.sleep(0.1)
