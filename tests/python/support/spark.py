"""Spark Connect servers for tests: one of each kind, shared by all tests of a process."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.engines import Lake

from loader import spark_server
from loader.errors import MissingExtra, MissingJava
from loader.project import Profile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# What the environment says of each. `sail` is in `make test`; the others in `make prove`.
KINDS = {
    "sail": {"LABMART_SPARK": "sail"},
    # Two workers, which send each other what they shuffle, as on Kubernetes.
    "sail-cluster": {
        "LABMART_SPARK": "sail",
        "SAIL_MODE": "local-cluster",
        "SAIL_CLUSTER__WORKER_INITIAL_COUNT": "2",
        "SAIL_CLUSTER__WORKER_MAX_COUNT": "2",
        # All tasks of a query that pass rows to each other must run at once.
        "SAIL_CLUSTER__WORKER_TASK_SLOTS": "32",
        "SAIL_EXECUTION__DEFAULT_PARALLELISM": "4",
    },
    "spark": {"LABMART_SPARK": "local"},
}
# A test's JVM lives for seconds: what pays off later is not worth its start. The first compiler
# alone would have a fifth of the usual room for code, which a build of all models outgrows.
_QUICK = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"

_open = ExitStack()
_urls: dict[str, str] = {}
# The session of this process, by its server.
_sessions: dict[str, SparkSession] = {}


def lake_on(engine: str, folder: Path) -> Lake:
    """A fresh lake in the folder, with the shared server of the engine, one of KINDS."""
    if engine not in _urls:
        home = Path(_open.enter_context(tempfile.TemporaryDirectory(prefix="labmart-test-")))
        profile = Profile(home / "profiles.yml", "spark", "spark", {"schema": "labmart"})
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in KINDS[engine].items():
                patch.setenv(variable, value)
            patch.setenv("LABMART_SPARK_MEMORY", "2g")
            patch.setenv("JAVA_TOOL_OPTIONS", _QUICK)
            patch.delenv("SPARK_REMOTE", raising=False)
            # Sail ends with this process; Spark stays, and is stopped.
            _open.callback(spark_server.stop, profile)
            try:
                _open.enter_context(spark_server.session(profile))
            except (MissingJava, MissingExtra) as missing:
                pytest.skip(str(missing))
            _urls[engine] = os.environ["SPARK_REMOTE"]
    return Lake(folder, _urls[engine])


def session_at(url: str) -> SparkSession:
    """This process's session at a server; the one at another server ends."""
    from pyspark.sql import SparkSession

    if url not in _sessions:
        # PySpark would give the one that is there, whatever server it is at.
        end_sessions()
        _sessions[url] = SparkSession.builder.remote(url).getOrCreate()
    os.environ["SPARK_REMOTE"] = url
    return _sessions[url]


def end_sessions() -> None:
    """Before a server ends: they would go on for minutes trying to take leave of one that has."""
    while _sessions:
        _sessions.popitem()[1].stop()


def close_servers() -> None:
    """End the servers that tests have shared."""
    end_sessions()
    _urls.clear()
    _open.close()
