"""The Spark Connect server through which dbt reaches the lake's engine.

SPARK_REMOTE names a server running elsewhere: a cluster's, or Databricks'. Otherwise LABMART_SPARK
says which one runs here: `sail`, a wheel without Java, or `local`, Apache Spark. It stores nothing:
raw data and marts are Parquet in the lake, and each run of dbt tells it where they are.

Both listen on this machine alone and use as much memory as LABMART_SPARK_MEMORY says. Spark
requires a token, which only its user can read. Sail has none: another account of this machine could
use it. So a build's Sail ends with the build, and with the process that started it. A server from
`labmart spark start` stays until `labmart spark stop`; so does Spark, which starts slowly.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import msgspec
import psutil

from loader.errors import DatabaseUnreachable, MissingExtra, MissingJava, UsageError
from loader.locks import locked
from loader.project import Profile

REMOTE, KIND, MEMORY = "SPARK_REMOTE", "LABMART_SPARK", "LABMART_SPARK_MEMORY"
# Spark 4 runs on Java 17 and later.
_JAVA = 17
_START_SECONDS = 90.0
_STOP_SECONDS = 20.0
# Sail 0.7 works only with PySpark up to 4.2, whose Python functions it can run; no model has one.
# With an argument it ends when its standard input does.
_SAIL = """
import os, sys, threading, pyspark
pyspark.__version__ = "4.2"
from pysail.spark import SparkConnectServer
if sys.argv[2:]:
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
SparkConnectServer("127.0.0.1", int(sys.argv[1])).start(background=False)
"""


@dataclass(frozen=True)
class Server:
    """A server of this machine; `started` is when its process began, in seconds of the epoch.

    `url` is the value for SPARK_REMOTE. It contains the token, if there is one.
    """

    kind: str
    pid: int
    started: float
    url: str


def _home(profile: Profile) -> Path:
    home = profile.path.absolute().parent / ".labmart" / "spark"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


def running(profile: Profile) -> Server | None:
    """The server that was started for the project, if it runs."""
    with suppress(OSError, msgspec.MsgspecError, psutil.NoSuchProcess):
        record = (_home(profile) / "server.json").read_bytes()
        server = msgspec.json.decode(record, type=Server)
        process = psutil.Process(server.pid)
        if process.create_time() == server.started and process.status() != "zombie":
            return server
    return None


def start(profile: Profile) -> tuple[Server, bool]:
    """The persistent server, and whether it had to be started.

    Raises DatabaseUnreachable, and what `kind` raises.
    """
    home = _home(profile)
    with locked(home / "server.lock", waiting="", mode=0o600):
        if server := running(profile):
            return server, False
        server, _ = _launch(home, kind(), tied=False)
        record = home / "server.json"
        record.touch(mode=0o600)
        record.write_bytes(msgspec.json.encode(server))
        return server, True


def stop(profile: Profile) -> bool:
    """End the persistent server; returns whether there was one."""
    server = running(profile)
    if server is not None:
        process = psutil.Process(server.pid)
        process.terminate()
        _, alive = psutil.wait_procs([process], _STOP_SECONDS)
        for left in alive:
            left.kill()
        (_home(profile) / "server.json").unlink(missing_ok=True)
    return server is not None


@contextmanager
def session(profile: Profile) -> Iterator[None]:
    """Set SPARK_REMOTE to a server while dbt runs, and start one if needed."""
    if os.environ.get(REMOTE):
        yield
        return
    server, process = running(profile), None
    if server is None and kind() == "sail":
        server, process = _launch(_home(profile), "sail", tied=True)
    elif server is None:
        server, _ = start(profile)
        print("started Spark; `labmart spark stop` ends it", file=sys.stderr)
    os.environ[REMOTE] = server.url
    try:
        yield
    finally:
        os.environ.pop(REMOTE, None)
        if process is not None:
            process.kill()
            process.communicate()


def kind() -> str:
    """Which engine runs here: LABMART_SPARK, else Sail if it is installed and Java is not.

    Raises UsageError, MissingExtra or MissingJava.
    """
    named = os.environ.get(KIND) or ""
    if named not in ("", "sail", "local"):
        raise UsageError(f"{KIND} is {named!r}; it can be `sail` or `local`.")
    missing = MissingExtra("Sail", "sail") if named == "sail" else _missing_of_spark()
    if missing is None:
        return "local"
    if named == "local" or find_spec("pysail") is None:
        raise missing
    return "sail"


def _missing_of_spark() -> MissingExtra | MissingJava | None:
    """What Spark lacks to run here."""
    # The client alone is also called pyspark, but contains no program.
    if find_spec("pyspark") is None or not (spark_home() / "bin" / "spark-submit").exists():
        return MissingExtra("The target spark", "spark")
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    if java is None:
        return MissingJava(f"there is none in {home or 'the PATH'}", _JAVA)
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version and int(version[1]) >= _JAVA:
        return None
    return MissingJava(f"{java} is Java {version[1] if version else 'of unknown version'}", _JAVA)


def spark_home() -> Path:
    """Where Apache Spark is installed."""
    package = find_spec("pyspark")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent


def _launch(home: Path, engine: str, *, tied: bool) -> tuple[Server, subprocess.Popen[bytes]]:
    """Start a server; with `tied` it is Sail, which ends with this process.

    Raises DatabaseUnreachable, and UsageError for a wrong LABMART_SPARK_MEMORY.
    """
    memory = re.fullmatch(r"([1-9][0-9]{0,6})([gm])", (os.environ.get(MEMORY) or "4g").lower())
    if memory is None:
        raise UsageError(f"{MEMORY} is {os.environ[MEMORY]!r}; it is such as 4g, or 512m.")
    port = free_port()
    # Only to this name does the client send a token without encryption.
    url = f"sc://localhost:{port}"
    if engine == "sail":
        command = [sys.executable, "-P", "-c", _SAIL, str(port), *(["tied"] if tied else [])]
        own = {
            "SAIL_RUNTIME__MEMORY_POOL__TYPE": "greedy",
            "SAIL_RUNTIME__MEMORY_POOL__GREEDY__MAX_SIZE": str(
                int(memory[1]) << (30 if memory[2] == "g" else 20)
            ),
            "RUST_LOG": "warn",
        }
    else:
        token = secrets.token_hex(32)
        url += f"/;token={token}"
        settings = {
            "spark.master": "local[*]",
            "spark.driver.memory": memory[0],
            "spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 1)),
            "spark.ui.enabled": "false",
        }
        command = connect_server(port, home, settings)
        # Otherwise it would be visible among the process's arguments.
        own = {"SPARK_CONNECT_AUTHENTICATE_TOKEN": token}
    log = home / "server.log"
    log.touch(mode=0o600)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            # Files with relative names are written here.
            cwd=home,
            stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**environment(), **own},
            start_new_session=True,
        )
    try:
        wait_for(process, port, log)
        started = psutil.Process(process.pid).create_time()
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return Server(engine, process.pid, started, url), process


def connect_server(port: int, home: Path, settings: Mapping[str, str]) -> list[str]:
    """The command for Apache Spark's Connect server on this machine, reachable only from it.

    It writes its files to `home` and needs `environment`.
    """
    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": str(home / "warehouse"),
        "spark.app.name": "labmart",
        **settings,
    }
    submit = str(spark_home() / "bin" / "spark-submit")
    given = [part for item in settings.items() for part in ("--conf", "=".join(item))]
    server = "org.apache.spark.sql.connect.service.SparkConnectServer"
    return [submit, *given, "--class", server, "spark-internal"]


def environment() -> dict[str, str]:
    """The server's environment. With SPARK_REMOTE set, Spark's own programs would connect to it."""
    kept = {name: text for name, text in os.environ.items() if name != REMOTE}
    return {**kept, "SPARK_HOME": str(spark_home())}


def free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def wait_for(
    process: subprocess.Popen[bytes], port: int, log: Path, seconds: float = _START_SECONDS
) -> None:
    """Wait until the process listens. Raises DatabaseUnreachable if it ends or takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines()
            telling = [line for line in lines if "rror" in line or "xception" in line] or lines
            reason = f" It said: {telling[-1].strip()}" if telling else ""
            raise DatabaseUnreachable(f"The Spark server does not start.{reason} All is in {log}.")
        time.sleep(0.05)
