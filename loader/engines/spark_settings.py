"""What a profile says of Spark: its settings, its master, its metastore."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from loader.errors import ConfigError, DatabaseUnreachable, MissingExtra, MissingJava, UsageError
from loader.profile import RAW_SCHEMA_VARIABLE, Profile

# Spark 4 runs on Java 17 and later.
JAVA = 17
_MASTER_SECONDS = 10.0
_DERBY = re.compile(r"jdbc:derby:(?:;databaseName=)?([^;]+)")
_VERSION = re.compile(r'version "(\d+)')
# What the loader needs whatever the profile says. Text is never cut short or padded, times are
# UTC, and a person sees labmart's words alone.
_OWN = {
    "spark.sql.catalogImplementation": "hive",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.showConsoleProgress": "false",
}
_DEFAULTS = {"spark.master": "local[*]", "spark.app.name": "labmart", "spark.ui.enabled": "false"}


def settings_of(profile: Profile) -> dict[str, str]:
    """Spark's settings: those of the profile, as dbt-spark's session method has them.

    Raises ConfigError for a profile that means another way to reach Spark.
    """
    method = profile.text("method")
    if method != "session":
        raise ConfigError(
            profile.path,
            f"target {profile.target!r} has `method: {method}`; labmart itself reaches Spark by "
            "`method: session`. dbt alone can use it as it is.",
        )
    given = profile.values.get("server_side_parameters") or {}
    if not isinstance(given, Mapping):
        raise ConfigError(
            profile.path, f"`server_side_parameters` of target {profile.target!r} is no mapping."
        )
    named = {str(key): _text(value) for key, value in given.items()}
    return {**_DEFAULTS, **named, **_OWN}


def where(profile: Profile) -> str:
    """The Spark of a profile in a person's words: its master."""
    return settings_of(profile)["spark.master"]


def metastore_of(settings: Mapping[str, str]) -> Path | None:
    """The folder of the embedded metastore; None where a service or another database is it."""
    if settings.get("spark.hadoop.hive.metastore.uris"):
        return None
    found = _DERBY.match(settings.get("spark.hadoop.javax.jdo.option.ConnectionURL", ""))
    return Path(found[1]).absolute() if found else None


def check_schema(profile: Profile) -> None:
    """Raise ConfigError or UsageError for a schema that Spark's metastore cannot name."""
    if not re.fullmatch("[A-Za-z0-9_]+", profile.raw_schema):
        raise UsageError(
            f"{RAW_SCHEMA_VARIABLE} is {profile.raw_schema!r}, and on Spark it has letters of "
            "ASCII, digits and _ alone."
        )
    if not re.fullmatch("[A-Za-z0-9_]+", profile.schema):
        raise ConfigError(
            profile.path,
            f"`schema` is {profile.schema!r}, and on Spark it has letters of ASCII, digits and _ "
            "alone.",
        )


def check_java() -> None:
    """Raise MissingJava unless a suitable Java is there, MissingExtra without Spark itself."""
    try:
        import pyspark  # noqa: F401 -- only whether it is there
    except ImportError:
        raise MissingExtra("The target spark", "spark") from None
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    if java is None:
        raise MissingJava(f"there is none in {home}" if home else "there is none on the PATH", JAVA)
    said = ""
    with suppress(OSError):
        said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    version = _VERSION.search(said)
    if version is None or int(version[1]) < JAVA:
        number = version[1] if version else "of an unknown version"
        raise MissingJava(f"{java} is Java {number}", JAVA)


def unreachable_at(place: str, problem: str, next_step: str) -> DatabaseUnreachable:
    """Spark does not start, or its master or workers do not answer."""
    return DatabaseUnreachable(f"Spark at {place}: {problem} {next_step}")


def check_master(settings: Mapping[str, str]) -> None:
    """Raise DatabaseUnreachable if no master of a standalone cluster answers.

    Spark itself would go on trying for minutes.
    """
    master = settings["spark.master"]
    if not master.startswith("spark://"):
        return
    problems = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_MASTER_SECONDS):
                return
        except ValueError:
            problems.append("the address has no port.")
        except OSError as error:
            problems.append(f"{error.strerror or error}.")
    raise unreachable_at(
        master,
        f"no master answers: {problems[0]}",
        "Start it, or correct the address (SPARK_MASTER, or profiles.yml).",
    )


def _text(value: object) -> str:
    # In YAML true is a bool, and Spark knows it as a word.
    return str(value).lower() if isinstance(value, bool) else str(value)
