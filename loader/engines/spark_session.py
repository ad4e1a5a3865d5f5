"""A Spark session as dbt-spark makes it: the same settings, the same metastore.

Each process has one. It ends with its JVM, so that the embedded metastore, which serves one
process at a time, is free for the next: loads and builds take turns. What the JVM says goes to a
file beside the metastore.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from loader.engines.spark_settings import (
    check_java,
    check_master,
    metastore_of,
    settings_of,
    unreachable_at,
    where,
)
from loader.errors import DatabaseUnreachable
from loader.locks import locked
from loader.profile import Profile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOOK_SECONDS = 0.2
_WORKER_SECONDS = 60.0
# What an orderly end may take before the JVM is killed, which does no harm either.
_END_SECONDS = 20.0
_JAVA_CLASS = re.compile(r"^[\w.$]+(?:Exception|Error): ")
# struct flock of fcntl(2): type, whence, start, length, pid.
_FLOCK = "hhqqi4x"


@dataclass
class _Open:
    """The session of this process, by which settings it was made, how many use it."""

    session: SparkSession
    settings: Mapping[str, str]
    users: int = 1


_open: _Open | None = None


@contextmanager
def open_session(profile: Profile) -> Iterator[SparkSession]:
    """The session of a profile; within another one of the same settings that one again.

    Raises MissingExtra, MissingJava, ConfigError or DatabaseUnreachable.
    """
    global _open
    settings = settings_of(profile)
    if _open is not None and _open.settings == settings:
        _open.users += 1
        try:
            yield _open.session
        finally:
            _open.users -= 1
        return
    check_java()
    check_master(settings)
    with metastore_turn(profile), _running(settings, where(profile)) as session:
        _open = _Open(session, settings)
        try:
            yield session
        finally:
            _open = None


@contextmanager
def metastore_turn(profile: Profile) -> Iterator[None]:
    """Hold the embedded metastore; wait while another load or build of labmart has it.

    Raises DatabaseUnreachable when something else has it open. Other metastores serve many at once.
    """
    metastore = metastore_of(settings_of(profile))
    if metastore is None:
        yield
        return
    metastore.parent.mkdir(parents=True, exist_ok=True)
    with locked(metastore.with_name(f"{metastore.name}.lock")):
        if holder := _holder(metastore):
            raise DatabaseUnreachable(
                f"The metastore {metastore} is open in {holder}, and an embedded one serves one "
                "Spark at a time. End that one and call again, or use a metastore service "
                "(spark.hadoop.hive.metastore.uris), which serves many."
            )
        yield


def _holder(metastore: Path) -> str:
    """The process that has Derby's lock on the metastore, in a person's words; '' if none."""
    try:
        with (metastore / "dbex.lck").open("r+b") as file:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, *_, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except OSError:
        return ""
    if kind == fcntl.F_UNLCK:
        return ""
    return f"process {pid}" if pid > 0 else "a process of another machine"


@contextmanager
def _running(settings: Mapping[str, str], place: str) -> Iterator[SparkSession]:
    """Start a JVM and a session in it, and end both, however this is left."""
    from py4j.protocol import Py4JError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException
    from pyspark.java_gateway import launch_gateway
    from pyspark.logger import PySparkLogger
    from pyspark.sql import SparkSession

    # It would write each fault, with its stack, onto the terminal too.
    PySparkLogger.getLogger("DataFrameQueryContextLogger").setLevel(logging.CRITICAL)
    with _log(settings) as log:
        conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
        # Derby writes a log of its own into the working directory unless told otherwise.
        options = settings.get("spark.driver.extraJavaOptions", "")
        if "derby.stream.error.file" not in options:
            quiet = f"{options} -Dderby.stream.error.file=/dev/null".strip()
            conf.set("spark.driver.extraJavaOptions", quiet)
        try:
            launch: Any = launch_gateway
            gateway = launch(conf, popen_kwargs={"stdout": log, "stderr": log})
        except PySparkException:
            raise unreachable_at(place, "Java ended at once.", _said(log)) from None
        try:
            try:
                SparkContext._ensure_initialized(gateway=gateway, conf=conf)
                session = SparkSession.builder.config(conf=conf).enableHiveSupport().getOrCreate()
                _wait_for_workers(session, settings)
            except (PySparkException, Py4JError, OSError) as error:
                raise unreachable_at(place, first_line(error), _said(log)) from None
            yield session
            stop_by = in_new_thread(session.stop, _END_SECONDS)
            if not stop_by:
                print("Spark does not end by itself; killing it …", file=sys.stderr)
        finally:
            _end(gateway)


def _wait_for_workers(session: SparkSession, settings: Mapping[str, str]) -> None:
    """A master without a worker that has room lets every query wait for ever."""
    if settings["spark.master"].startswith("local"):
        return
    # The driver is counted as one.
    context: Any = session.sparkContext._jsc
    deadline = time.monotonic() + _WORKER_SECONDS
    while context.sc().getExecutorMemoryStatus().size() < 2:
        if time.monotonic() > deadline:
            raise unreachable_at(
                settings["spark.master"],
                f"no worker has taken us on in {_WORKER_SECONDS:.0f} seconds.",
                "Start workers, or ask for less memory or cores per executor "
                "(spark.executor.memory, spark.executor.cores).",
            )
        time.sleep(_LOOK_SECONDS)


def _end(gateway: Any) -> None:
    """End the JVM. It does so by itself when its standard input ends, be it by our death."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    process: subprocess.Popen[bytes] | None = gateway.proc
    with suppress(Exception):
        gateway.shutdown()
    if process is not None:
        with suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    # A later session starts a JVM of its own.
    SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None


def in_new_thread(work: Callable[[], object], seconds: float) -> bool:
    """Do something over a connection to the JVM of its own; whether it was done in time.

    On the thread's own connection may still come the answer to what a signal has interrupted.
    """
    done = []

    def run() -> None:
        with suppress(Exception):
            work()
            done.append(True)

    thread = threading.Thread(target=run, name="labmart-spark", daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(done)


@contextmanager
def _log(settings: Mapping[str, str]) -> Iterator[IO[bytes]]:
    metastore = metastore_of(settings)
    if metastore is None:
        with tempfile.TemporaryFile() as file:
            yield file
        return
    with (metastore.parent / "spark.log").open("w+b") as file:
        yield file


def _said(log: IO[bytes]) -> str:
    """The last thing that the JVM complained of."""
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    telling = [line for line in lines if "ERROR" in line or "Exception" in line]
    said = f"It said: {telling[-1].strip()}" if telling else ""
    name = getattr(log, "name", None)
    return f"{said} All of it is in {name}." if isinstance(name, str) else said


def first_line(error: BaseException) -> str:
    """What Spark says of an error, without the stack that follows; ends with a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    if said.startswith("An error occurred while calling") and len(lines) > 1:
        said = _JAVA_CLASS.sub("", lines[1].lstrip(": "))
    return said if said.endswith((".", "?", "!")) else f"{said}."


def unreachable(place: str, error: BaseException) -> DatabaseUnreachable:
    """The connection to the JVM has broken."""
    return unreachable_at(place, f"the connection was lost: {first_line(error)}", "Call again.")
