"""Opening the file of a DuckDB database, as dbt-duckdb would.

One process at a time can have the file open for writing, or any number for reading. So whoever
belongs to labmart takes turns by a lock file beside it; when the turn has come and the file is
still taken, by a DuckDB shell or a dbt that was called by hand, that program is named.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from loader.destinations.sql import literal
from loader.errors import ConfigError, DatabaseUnreachable
from loader.locks import locked, wait_until
from loader.profile import Profile

# Another program may be just about to end.
_PATIENCE_SECONDS = 10.0
_TAKEN = re.compile(r"Could not set lock on file|different configuration")
_HOLDER = re.compile(r"Conflicting lock is held in (.+?) \(PID (\d+)\)")

Setting = str | bool | int | float | list[str]


def path_of(profile: Profile) -> Path:
    """The file of a profile. Raises ConfigError if it means none."""
    path = profile.text("path")
    if not path or path == ":memory:" or re.match(r"[a-z]+:", path):
        raise ConfigError(
            profile.path,
            f"`path` of target {profile.target!r} is {path!r}, and labmart needs a file, such as "
            "`path: labmart.duckdb`.",
        )
    return Path(path).expanduser()


@contextmanager
def file_turn(profile: Profile, *, shared: bool = False) -> Iterator[None]:
    """Keep the file to oneself, or share it with others who read."""
    path = path_of(profile)
    try:
        if not shared:
            path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f"{path.name}.lock"), shared=shared):
            yield
    except OSError as error:
        if error.filename is None:
            raise
        raise DatabaseUnreachable(
            f"{error.filename} cannot be written: {error.strerror}. Correct `path` in "
            f"{profile.path}, or LABMART_DUCKDB_PATH."
        ) from None


@contextmanager
def opened(profile: Profile, *, write: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """The file, open; an empty database if there is none yet and nothing is to be written.

    Raises DatabaseUnreachable or ConfigError.
    """
    path = path_of(profile)
    with file_turn(profile, shared=not write):
        connection = _connect(profile, path, write=write)
        try:
            _set(connection, profile)
            yield connection
        finally:
            connection.close()


def _connect(profile: Profile, path: Path, *, write: bool) -> duckdb.DuckDBPyConnection:
    config = _settings(profile, "config_options")
    if not write and not path.exists():
        return duckdb.connect(":memory:", config=config)
    made: list[duckdb.DuckDBPyConnection] = []
    deadline = time.monotonic() + _PATIENCE_SECONDS
    holder = ""

    def is_open() -> bool:
        nonlocal holder
        try:
            made.append(duckdb.connect(str(path), read_only=not write, config=config))
        except duckdb.Error as error:
            said = " ".join(str(error).split())
            if not _TAKEN.search(said):
                raise DatabaseUnreachable(
                    f"DuckDB cannot open {path}: {said} Correct `path` in {profile.path}, or "
                    "move the file away."
                ) from None
            found = _HOLDER.search(said)
            holder = f"{Path(found[1]).name}, process {found[2]}" if found else "another program"
            if time.monotonic() > deadline:
                raise DatabaseUnreachable(
                    f"The database file {path} is open in {holder}, and DuckDB lets one program "
                    "write, or several read. Close it there and call again."
                ) from None
            return False
        return True

    wait_until(is_open, waiting=f"{path} is open in another program; waiting …")
    return made[0]


def _set(connection: duckdb.DuckDBPyConnection, profile: Profile) -> None:
    # Times are printed; they must not depend on the machine.
    connection.execute("set TimeZone = 'UTC'")
    for name, value in _settings(profile, "settings").items():
        try:
            connection.execute(f"set {name} = {literal(str(value))}")
        except duckdb.Error as error:
            said = " ".join(str(error).split())
            raise ConfigError(profile.path, f"`settings`: {name}: {said}") from None


def _settings(profile: Profile, key: str) -> dict[str, Setting]:
    """A mapping of the profile, whose values DuckDB turns into what they mean."""
    values = profile.values.get(key) or {}
    if not isinstance(values, Mapping):
        raise ConfigError(profile.path, f"`{key}` is no mapping of names to values.")
    return {str(name): str(value) for name, value in values.items()}
