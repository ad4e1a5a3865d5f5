"""Faults of Apache Spark before and while it works."""

# ruff: noqa: N818 -- a name says the fault; that it is an error, its base class says.

from __future__ import annotations

from pathlib import Path

from loader.errors.base import UsageError
from loader.errors.database import DatabaseUnreachable


class MissingJava(UsageError):
    """No Java that Spark runs on."""

    def __init__(self, found: str, needed: int) -> None:
        self.found = found
        super().__init__(
            f"Spark needs Java {needed} or later, and {found}. Install one (a package such as "
            f"openjdk-{needed}-jre-headless), or name its folder with JAVA_HOME."
        )


class SparkUnreachable(DatabaseUnreachable):
    """Spark does not start, or its master or workers do not answer."""

    def __init__(self, where: str, problem: str, next_step: str) -> None:
        self.where = where
        self.problem = problem
        super().__init__(f"Spark at {where}: {problem} {next_step}")


class MetastoreInUse(DatabaseUnreachable):
    """Another Spark has the metastore open, which serves one process at a time."""

    def __init__(self, metastore: Path, holder: str) -> None:
        self.metastore = metastore
        super().__init__(
            f"The metastore {metastore} is open in {holder}, and an embedded one serves one Spark "
            "at a time. End that one and call again, or use a metastore service "
            "(spark.hadoop.hive.metastore.uris), which serves many."
        )
