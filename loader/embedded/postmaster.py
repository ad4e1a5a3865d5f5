"""Which process serves a data directory, told from its postmaster.pid.

The file outlives a crash and a reboot, and its process id may then be anybody's. A process
counts only if it is a `postgres` started with exactly this data directory.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class PidFile:
    """What postmaster.pid says: process id, and the directory of the socket ('' if not yet)."""

    pid: int
    socket_dir: str


def read_pid_file(data: Path) -> PidFile | None:
    """None if there is no such file, or it is not complete."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        pid = abs(int(lines[0]))
    except (OSError, ValueError, IndexError):
        return None
    # Its lines: pid, data directory, start time, port, socket directory, …
    socket_dir = lines[4] if len(lines) > 4 else ""
    return PidFile(pid=pid, socket_dir=socket_dir) if pid > 0 else None


def running_pid(data: Path) -> int | None:
    """The process that serves this data directory, or None."""
    found = read_pid_file(data)
    return found.pid if found and serves(found.pid, data) else None


def serves(pid: int, data: Path) -> bool:
    """Whether the process is a live `postgres -D <data>`, or was before data was moved."""
    words = _command_line(pid)
    if not words or Path(words[0]).name != "postgres" or "-D" not in words[:-1]:
        return False
    named = words[words.index("-D") + 1]
    return os.path.realpath(named) == os.path.realpath(data) or _works_in(pid, data)


def exists(pid: int) -> bool:
    """Whether any process has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _works_in(pid: int, data: Path) -> bool:
    # A postmaster's working directory is its data directory, and stays so when that is moved.
    try:
        return (_PROC / str(pid) / "cwd").samefile(data)
    except OSError:
        return False


def _command_line(pid: int) -> list[str]:
    if _PROC.is_dir():
        try:
            raw = (_PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            return []
        return [os.fsdecode(word) for word in raw.rstrip(b"\0").split(b"\0")]
    # Systems without /proc. `ps` joins the words by spaces; our own call has `-D` first, so the
    # path is everything between it and the next option.
    shown = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    program, found, rest = shown.partition(" -D ")
    return [program, "-D", rest.partition(" -c ")[0]] if found else []
