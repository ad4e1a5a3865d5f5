"""Making the data directory, so that it is there completely or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from loader.embedded.account import Account
from loader.embedded.binaries import Binaries
from loader.embedded.paths import ROLE, Place
from loader.errors import EmbeddedError, StartFailed, WrongVersion

_NEW = "data.new"


def ensure_cluster(place: Place, binaries: Binaries, account: Account) -> bool:
    """Make the data directory if there is none; True if it was made.

    Raises WrongVersion, EmbeddedError (files that are not ours) or StartFailed (initdb failed).
    """
    _remove_unfinished(place)
    version = place.data / "PG_VERSION"
    if version.is_file():
        found = version.read_text(encoding="ascii", errors="replace").strip()
        if found != str(binaries.major):
            raise WrongVersion(place.data, found, binaries.major)
        return False
    if place.data.exists():
        _remove_half_made(place.data)
    unfinished = place.home / _NEW
    unfinished.mkdir(mode=0o700)
    if account.user is not None:
        os.chown(unfinished, account.user, account.group or -1)
    _initdb(unfinished, place.data, binaries, account)
    # Only a complete data directory ever has the name under which it is looked for.
    unfinished.rename(place.data)
    return True


def _initdb(unfinished: Path, data: Path, binaries: Binaries, account: Account) -> None:
    command = [
        str(binaries.initdb),
        f"--pgdata={unfinished}",
        f"--username={ROLE}",
        # The socket's directory is closed to everybody else.
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-instructions",
        # One transaction log file of 64 MB instead of 16: bulk work switches files less often.
        "--wal-segsize=64",
    ]
    if binaries.major >= 17:
        # Upper and lower case of all of Unicode, the same on every system. Older ones: plain C.
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    with tempfile.TemporaryFile() as output:
        try:
            process = account.popen(command, output=output.fileno(), env=server_environment())
        except OSError as error:
            raise StartFailed("initdb cannot be run", data, error.strerror or "") from None
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if code != 0:
            output.seek(0)
            said = output.read().decode(errors="replace").strip().splitlines()[-8:]
            shutil.rmtree(unfinished, ignore_errors=True)
            raise StartFailed(
                "The data directory could not be made", data, "\n".join(said), hint_for(said)
            )


def server_environment() -> dict[str, str]:
    """Our environment without the PG* variables, which initdb and postgres would follow."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def hint_for(lines: list[str]) -> str:
    """The next step for the faults of the system that people meet."""
    text = "\n".join(lines)
    if "No space left on device" in text:
        return "The disk is full: make room and call again."
    if "Permission denied" in text:
        return "A file or directory is closed to it: see the path below."
    if "could not map anonymous shared memory" in text or "Cannot allocate memory" in text:
        return "Memory is short: set a smaller shared_buffers in .labmart/user.conf."
    return ""


def _remove_unfinished(place: Place) -> None:
    """What a killed initdb left. We hold the lock, so nobody else is at it."""
    unfinished = place.home / _NEW
    if unfinished.exists():
        shutil.rmtree(unfinished)


def _remove_half_made(data: Path) -> None:
    try:
        data.rmdir()
    except OSError:
        raise EmbeddedError(
            f"{data} has files but is no PostgreSQL data directory (PG_VERSION is missing). "
            "Move it away and call again; labmart deletes no file that it did not make."
        ) from None
