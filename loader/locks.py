"""Waiting for others: lock files, statements, and whatever else frees itself in time."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
# Python sees a signal between two attempts, not within a wait in the system.
_SECONDS = 0.2
ANOTHER_LOAD = "another load is at work; waiting …"


def wait_until(attempt: Callable[[], _T | None], *, waiting: str = ANOTHER_LOAD) -> _T:
    """Try again and again until it gives something; that.

    `waiting` is told once, on stderr, if the first try gives nothing.
    """
    told = not waiting
    while not (gained := attempt()):
        if not told:
            print(waiting, file=sys.stderr, flush=True)
            told = True
        time.sleep(_SECONDS)
    return gained


@contextmanager
def locked(
    file: Path, *, shared: bool = False, waiting: str = ANOTHER_LOAD, mode: int = 0o666
) -> Iterator[None]:
    """Hold a lock file, alone or with others who share it; a process that is killed lets it go.

    Raises OSError if it cannot be made.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
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
        wait_until(is_free, waiting=waiting)
        yield
    finally:
        os.close(descriptor)


def interruptible(call: Callable[[], _T], interrupt: Callable[[], object]) -> _T:
    """What a call gives for which a driver waits in C.

    By itself the driver sees a signal when the statement is done, or makes an error of its own of
    it. Here the call runs in a thread; a signal ends it by `interrupt`, and is raised as it is.
    Signals reach the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    result: Future[_T] = Future()

    def work() -> None:
        # A signal may have come before it began.
        if result.set_running_or_notify_cancel():
            try:
                result.set_result(call())
            except BaseException as error:
                result.set_exception(error)

    try:
        threading.Thread(target=work, name="labmart-statement", daemon=True).start()
        return result.result()
    except BaseException:
        while not result.cancel() and not result.done():
            # A statement that is only about to begin does not see the first.
            with suppress(Exception):
                interrupt()
            wait([result], 0.05)
        raise
