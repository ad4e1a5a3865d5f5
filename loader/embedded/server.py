"""Start, stop and look at the embedded server of one place.

`postgres` is started directly, in a session of its own, so that it outlives the command and no
signal meant for the command reaches it. A lock makes two starts at once into one.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loader.embedded import account as accounts
from loader.embedded import postmaster
from loader.embedded.binaries import MAJOR, Binaries, find_binaries
from loader.embedded.cluster import ensure_cluster, hint_for, server_environment
from loader.embedded.paths import DATABASE, PORT, Place, make_private
from loader.embedded.probe import answers, connect_to, ensure_database
from loader.embedded.settings import this_machine, write_settings
from loader.errors import EmbeddedError, StartFailed, StopFailed

if TYPE_CHECKING:
    import subprocess

# Recovery after a crash replays up to max_wal_size; minutes on a slow disk.
START_SECONDS = 600.0
STOP_SECONDS = 60.0
ORPHANS_SECONDS = 30.0
_ORPHANS = "pre-existing shared memory block"
_LARGE_LOG = 10 * 1024**2


@dataclass(frozen=True)
class Status:
    """What `labmart db status` tells; sizes in bytes, times in seconds."""

    place: Place
    pid: int | None
    version: str | None
    size: int | None
    uptime: float | None

    @property
    def running(self) -> bool:
        """Whether it answers."""
        return self.version is not None


def start(place: Place, *, major: int = MAJOR) -> bool:
    """Start the server unless it runs; True if it was started. Returns when it answers.

    Raises EmbeddedError and its subclasses.
    """
    if answers(place):
        return False
    binaries = find_binaries(major)
    try:
        make_private_home(place)
        with _locked(place):
            if answers(place):
                return False
            _start_locked(place, binaries)
    except OSError as error:
        raise EmbeddedError(
            f"The embedded PostgreSQL cannot be started: {error.filename or place.home}: "
            f"{error.strerror}. Make room or correct the permissions, and call again."
        ) from None
    return True


def stop(place: Place, *, seconds: float = STOP_SECONDS) -> bool:
    """Stop the server if it runs; True if it was stopped. Open transactions are rolled back."""
    if not place.home.is_dir():
        return False
    with _locked(place):
        pid = postmaster.running_pid(place.data)
        if pid is None:
            return False
        _signal(pid, signal.SIGINT)
        if not _gone(pid, place.data, seconds):
            # Like a crash, but orderly: nothing is lost, the next start recovers.
            _signal(pid, signal.SIGQUIT)
            if not _gone(pid, place.data, 10.0):
                raise StopFailed(pid, "it does not react. Look into " + str(place.log))
        return True


def status(place: Place) -> Status:
    """Look, and change nothing."""
    pid = postmaster.running_pid(place.data)
    size = _size(place.data) if place.data.is_dir() else None
    connection = connect_to(place, DATABASE) or connect_to(place, "postgres")
    if connection is None:
        return Status(place=place, pid=pid, version=None, size=size, uptime=None)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "select current_setting('server_version'), "
                "extract(epoch from clock_timestamp() - pg_postmaster_start_time())::float8"
            )
            row = cursor.fetchone()
    finally:
        connection.close()
    version, uptime = row or (None, None)
    return Status(place=place, pid=pid, version=version, size=size, uptime=uptime)


def make_private_home(place: Place) -> None:
    """Make .labmart, closed to others; an existing one is closed."""
    home = place.home
    home.mkdir(mode=0o700, exist_ok=True)
    if home.stat().st_uid == os.geteuid():
        home.chmod(0o700)


def _start_locked(place: Place, binaries: Binaries) -> None:
    _stop_if_moved(place)
    # A server that has been started but does not answer yet is waited for. One that is just being
    # stopped looks the same until its process is gone; then it is up to us to start one.
    if not _answers_before_it_ends(place):
        account = accounts.choose_account(place, binaries.postgres)
        _own(account, place.home)
        make_private(place.run, owner=account.owner)
        ensure_cluster(place, binaries, account)
        written = write_settings(place, this_machine(place))
        _own(account, written)
        accounts.give(account, place.data)
        _rotate_log(place)
        _launch_and_wait(place, binaries, account)
    ensure_database(place)


def _own(account: accounts.Account, path: Path) -> None:
    if account.user is not None:
        os.chown(path, account.user, -1)


def _stop_if_moved(place: Place) -> None:
    """A server whose directory was moved under it listens at the old path: end it."""
    found = postmaster.read_pid_file(place.data)
    if found is None or found.socket_dir in ("", str(place.run)):
        return
    if postmaster.serves(found.pid, place.data):
        _signal(found.pid, signal.SIGINT)
        _gone(found.pid, place.data, STOP_SECONDS)


def _launch_and_wait(place: Place, binaries: Binaries, account: accounts.Account) -> None:
    deadline = time.monotonic() + ORPHANS_SECONDS
    while True:
        skip = _size_of_log(place)
        process = _launch(place, binaries, account)
        try:
            return _wait_until_it_answers(place, process, skip)
        except StartFailed as error:
            # After kill -9 its children take a moment to notice that their postmaster is gone.
            if _ORPHANS not in error.last_lines or time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def _launch(place: Place, binaries: Binaries, account: accounts.Account) -> subprocess.Popen[bytes]:
    environment = server_environment() | _forgive_stale_pid(place)
    log = _open_log(place)
    try:
        return account.popen(
            [str(binaries.postgres), "-D", str(place.data), "-c", f"port={PORT}"],
            output=log,
            env=environment,
        )
    except OSError as error:
        raise StartFailed("PostgreSQL cannot be run", place.data, error.strerror or "") from None
    finally:
        os.close(log)


def _forgive_stale_pid(place: Place) -> dict[str, str]:
    """Let postgres start although the id in postmaster.pid belongs to some other process now.

    Deleting the file would also take away postgres's own guard against server processes that
    outlived their postmaster, which it finds through the file. PG_GRANDPARENT_PID, which pg_ctl
    sets for its shell, tells it instead that a process with this id is no reason to refuse.
    """
    found = postmaster.read_pid_file(place.data)
    # The socket's own lock file guards nothing: its directory is ours, and nobody serves it.
    place.socket_lock.unlink(missing_ok=True)
    if found is None or not postmaster.exists(found.pid):
        return {}
    return {"PG_GRANDPARENT_PID": str(found.pid)}


def _rotate_log(place: Place) -> None:
    if place.log.exists() and place.log.stat().st_size > _LARGE_LOG:
        place.log.replace(place.log.with_suffix(".log.1"))


def _open_log(place: Place) -> int:
    place.log.parent.mkdir(mode=0o700, exist_ok=True)
    return os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _answers_before_it_ends(place: Place) -> bool:
    """Wait for the server that runs until it answers; False if it ends first, or none runs."""
    return _wait_for(
        place, lambda: postmaster.running_pid(place.data) is not None, _size_of_log(place)
    )


def _wait_until_it_answers(place: Place, process: subprocess.Popen[bytes], skip: int) -> None:
    """Wait for a server; `skip` is how many bytes of its log are about earlier ones."""
    if not _wait_for(place, lambda: process.poll() is None, skip):
        lines = _last_lines(place.log, skip)
        raise StartFailed(
            "PostgreSQL did not start", place.data, "\n".join(lines), hint_for(lines)
        )
    # It is meant to outlive us; without this Python would warn about it.
    process.returncode = 0


def _wait_for(place: Place, is_alive: Callable[[], bool], skip: int) -> bool:
    """Whether the server answers before its process ends. Raises StartFailed if it does neither."""
    deadline = time.monotonic() + START_SECONDS
    pause = 0.01
    while time.monotonic() < deadline:
        alive = is_alive()
        if alive and answers(place):
            return True
        if not alive:
            return False
        time.sleep(pause)
        pause = min(0.2, pause * 1.5)
    raise StartFailed(
        f"PostgreSQL does not answer after {START_SECONDS:.0f} seconds",
        place.data,
        "\n".join(_last_lines(place.log, skip)),
    )


def _size_of_log(place: Place) -> int:
    return place.log.stat().st_size if place.log.exists() else 0


def _last_lines(log: Path, skip: int, count: int = 12) -> list[str]:
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(skip, log.stat().st_size - 8192))
        return file.read().decode(errors="replace").splitlines()[-count:]


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        raise StopFailed(pid, "it belongs to another user. Stop it as that user.") from None


def _gone(pid: int, data: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not postmaster.serves(pid, data):
            return True
        time.sleep(0.05)
    return False


def _size(data: Path) -> int:
    total = 0
    for folder, _, files in os.walk(data, onerror=None):
        for name in files:
            try:
                total += (Path(folder) / name).lstat().st_size
            except OSError:
                continue  # A file may go while we look.
    return total


@contextmanager
def _locked(place: Place) -> Iterator[None]:
    """Hold the place's lock. The kernel lets go of it when we die, however that happens."""
    descriptor = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
