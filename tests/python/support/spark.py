"""Spark for tests: a small session that starts quickly, and whether this machine can run one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from loader.engines.spark_session import open_session
from loader.engines.spark_settings import check_java
from loader.errors import MissingExtra, MissingJava
from loader.profile import Profile

# A test's JVM lives for seconds: what pays off later is not worth its start. The first compiler
# alone would have a fifth of the usual room for code, which a build of all models outgrows.
QUICK = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"


@dataclass(frozen=True)
class Spark:
    """A folder with a metastore and tables; small, and quick to start. See `engines.Target`."""

    folder: Path

    name = "spark"

    @property
    def environment(self) -> dict[str, str]:
        """What makes the project's profile mean it."""
        return {
            "LABMART_TARGET": "spark",
            "LABMART_SPARK_WAREHOUSE": str(self.folder / "warehouse"),
            "SPARK_MASTER": "local[2]",
            "SPARK_DRIVER_MEMORY": "2g",
            "SPARK_SHUFFLE_PARTITIONS": "2",
            "JAVA_TOOL_OPTIONS": QUICK,
        }


def need_java() -> None:
    """Skip the test, and say why, where there is no Java that Spark runs on."""
    try:
        check_java()
    except (MissingJava, MissingExtra) as missing:
        pytest.skip(str(missing))


def spark_profile(folder: Path, schema: str = "labmart", **settings: str) -> Profile:
    """A profile whose metastore and tables are in a folder."""
    home = folder / "spark"
    parameters = {
        "spark.master": "local[2]",
        "spark.driver.memory": "1g",
        "spark.sql.warehouse.dir": str(home / "warehouse"),
        "spark.hadoop.javax.jdo.option.ConnectionURL": (
            f"jdbc:derby:;databaseName={home / 'metastore'};create=true"
        ),
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.variable.substitute": "false",
        "spark.driver.extraJavaOptions": QUICK,
        **settings,
    }
    values: dict[str, object] = {
        "method": "session",
        "host": "none",
        "schema": schema,
        "server_side_parameters": parameters,
    }
    return Profile(folder / "profiles.yml", "spark", "spark", values, f"{schema}_raw")


@contextmanager
def held_session(folder: Path, **settings: str) -> Iterator[Profile]:
    """A session of its own that stays open, so that what opens it again need not wait for it."""
    need_java()
    close_shared_session()
    profile = spark_profile(folder, **settings)
    with open_session(profile):
        yield profile


# A process has one JVM at a time, and its start takes longer than most tests. All tests of a
# process that can do with any session share this one.
_shared = ExitStack()
_shared_profile: Profile | None = None


def shared_session() -> Profile:
    """The session that tests share; each takes a schema of its own."""
    global _shared_profile
    if _shared_profile is None:
        need_java()
        # A path with a space: locations are URIs, and must survive it.
        folder = _shared.enter_context(tempfile.TemporaryDirectory(prefix="a lab "))
        profile = spark_profile(Path(folder))
        _shared.enter_context(open_session(profile))
        _shared_profile = profile
    return _shared_profile


def close_shared_session() -> None:
    """End the shared session, before a test that needs another one; the next to ask begins it."""
    global _shared_profile
    _shared_profile = None
    _shared.close()
