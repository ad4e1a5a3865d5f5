"""What a server or a worker is started with."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from loader.database import Database
from loader.profile import Profile

# Host names that only reach this machine.
_LOOPBACK_NAMES = ("localhost", "ip6-localhost")


@dataclass(frozen=True)
class Settings:
    """Where a server listens, what it works on, what it accepts; sizes in bytes, times in seconds.

    `landing` is the one folder whose files `POST /v1/runs` may load; None: there is none.
    `spool` holds uploads until they are loaded; service and worker have to share it.
    """

    database: Database
    target: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    landing: Path | None = None
    spool: Path | None = None
    worker: bool = True
    require_token: bool = False
    token_file: Path | None = None
    upload_bytes: int = 10_000_000_000
    upload_files: int = 1000
    # At the same time.
    uploads: int = 128
    # Jobs that wait or run.
    queued_jobs: int = 1000
    # Of one caller; what is not used in ten seconds may come at once.
    requests_per_second: float = 50.0
    # Wrong tokens from one address at once, and again in a minute.
    failed_logins: int = 10
    # An upload ends when nothing comes for `idle`, or, after `grace`, less than `slowest` a second.
    idle: float = 30.0
    grace: float = 60.0
    slowest: int = 1000

    @property
    def profile(self) -> Profile:
        return self.database.profile

    @property
    def schema(self) -> str:
        """The schema of the service's own tables."""
        return f"{self.profile.schema}_service"

    @property
    def spool_folder(self) -> Path:
        return self.spool or self.database.project.root / ".labmart" / "uploads"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def open_to_all(self) -> bool:
        """Whether a call without a token may do everything."""
        return self.is_loopback and not self.require_token


def is_loopback(host: str) -> bool:
    """Whether a host's name, or its address, means this machine alone."""
    bare = host.strip().rstrip(".").lower().removeprefix("[").removesuffix("]")
    if bare in _LOOPBACK_NAMES or bare.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False
