"""Taking turns: whoever wants to write waits until nobody else does, and says so once."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Python sees a signal between two looks, not within a wait in the system.
_SECONDS = 0.2
_WAITING = "another load is at work; waiting …"


def wait_until(is_free: Callable[[], bool], *, say: str = _WAITING) -> None:
    """Ask again and again."""
    told = False
    while not is_free():
        if not told:
            print(say, file=sys.stderr, flush=True)
            told = True
        time.sleep(_SECONDS)


@contextmanager
def turn(lock: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock file, alone or with others who share it; a process that is killed lets it go."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        if not shared:
            raise
        # A folder that takes no file has no writer either.
        yield
        return
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX

    def is_free() -> bool:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        wait_until(is_free)
        yield
    finally:
        os.close(descriptor)
