"""Where the embedded PostgreSQL keeps its files.

    <directory of profiles.yml>/.labmart/
        data/        the data directory
        run/         the socket; elsewhere if this path is long, see `place_of`
        log/         postgres.log, and the one before it
        user.conf    a person's own settings
        lock         held while the server is being started or stopped

The server belongs to the directory of profiles.yml, which is the project root unless
DBT_PROFILES_DIR says otherwise: the host in profiles.yml is computed from that directory.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from loader.errors import PrivateDirectoryRefused

ROLE = "labmart"
DATABASE = "labmart"
PORT = 5432

# A socket address holds 107 bytes; "/.s.PGSQL.5432" takes 14 of them. profiles.yml.example
# has the same number.
LONGEST_RUN_PATH = 90


@dataclass(frozen=True)
class Place:
    """The paths of one embedded server; all absolute."""

    home: Path
    run: Path

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.home / "log" / "postgres.log"

    @property
    def lock(self) -> Path:
        """Held while the server is started or stopped."""
        return self.home / "lock"

    @property
    def user_settings(self) -> Path:
        """A person's own settings; may be missing."""
        return self.home / "user.conf"

    @property
    def socket_lock(self) -> Path:
        """The file by which postgres reserves the socket."""
        return self.run / f".s.PGSQL.{PORT}.lock"


def place_of(profiles_dir: Path) -> Place:
    """The server that belongs to a directory with a profiles.yml.

    A run path of more than 90 bytes is too long for a socket. A directory in /tmp, named by the
    hash of the path, takes its place; profiles.yml.example computes the same.
    """
    home = profiles_dir / ".labmart"
    run = home / "run"
    as_bytes = os.fsencode(run)
    if len(as_bytes) > LONGEST_RUN_PATH:
        digest = hashlib.md5(as_bytes, usedforsecurity=False).hexdigest()[:16]
        run = Path("/tmp") / f"labmart-{digest}"
    return Place(home=home, run=run)


def is_embedded(host: str, profiles_dir: Path) -> bool:
    """Whether a profile's host means the embedded server beside that profile."""
    if not host.startswith("/"):
        return False
    return os.path.realpath(host) == os.path.realpath(place_of(profiles_dir).run)


def url_of(place: Place) -> str:
    """A connection URI that psql and every libpq program understands."""
    return f"postgresql://{ROLE}@/{DATABASE}?host={quote(str(place.run), safe='/')}"


def make_private(path: Path, *, owner: int | None = None) -> None:
    """Make a directory that only `owner` (default: this user) can enter, or check that it is so.

    Raises PrivateDirectoryRefused for what somebody else could have put there: in /tmp anybody
    can make a directory, or a symbolic link, under the name we are going to use.
    """
    wanted = os.geteuid() if owner is None else owner
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        if wanted != os.geteuid():
            os.chown(path, wanted, -1)
        # The umask may have taken bits away.
        path.chmod(0o700)
        return
    found = require_private(path, wanted, os.geteuid())
    if found.st_uid != wanted:
        os.chown(path, wanted, -1)


def require_private(path: Path, *owners: int) -> os.stat_result:
    """Check that a directory belongs to one of the owners and that nobody else can enter it.

    Raises PrivateDirectoryRefused.
    """
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
        raise PrivateDirectoryRefused(path, "is not a directory but something put in its place")
    if found.st_uid not in owners:
        raise PrivateDirectoryRefused(path, f"belongs to another user (uid {found.st_uid})")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise PrivateDirectoryRefused(path, "is open to other users")
    return found
