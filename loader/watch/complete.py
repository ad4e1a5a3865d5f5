"""Whether a file has been written to its end.

Nothing in a file system says so. A file is taken for complete when it has not changed for an
interval, by its time of writing or by what was seen of it, or when it was seen under the name of an
unfinished file before and has been renamed. On Linux a file that somebody has open for writing is
not complete, however long nothing has come: an instrument may write a line an hour.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from loader.watch.places import Found


@dataclass
class Quiet:
    """Remembers since when files have been as they are; `interval` in seconds."""

    interval: float
    _since: dict[str, tuple[str, float]] = field(default_factory=dict)

    def has_lasted(self, found: Found) -> bool:
        """Whether the file is as it was an interval ago."""
        now = time.monotonic()
        identity, since = self._since.setdefault(found.name, (found.identity, now))
        if identity != found.identity:
            self._since[found.name] = (found.identity, now)
            return False
        # The clock of a file server may be ahead of ours; then the second way decides.
        return time.time() - found.modified >= self.interval or now - since >= self.interval

    def forget_others(self, names: Collection[str]) -> None:
        """Forget files that are there no more."""
        self._since = {name: seen for name, seen in self._since.items() if name in names}


def is_being_written(path: Path) -> bool:
    """Whether some process has the file open for writing; False where that cannot be known.

    A read lease (fcntl_locking(2)) is given only for a file that nobody has open for writing.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    # Whoever opens the file in the moment of the lease makes the system send this signal.
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, before)
    return False
