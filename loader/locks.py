"""Waiting: for lock files, statements, and anything else that becomes free in time."""

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
# Python handles signals between attempts, not inside a blocking system call.
_SECONDS = 0.2
ANOTHER_LOAD = "another load is at work; waiting …"


def wait_until(attempt: Callable[[], _T | None], *, waiting: str = ANOTHER_LOAD) -> _T:
    """Retry until `attempt` returns something truthy, and return it.

    `waiting` is printed once, on stderr, if the first attempt fails.
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
    """Hold a lock file, exclusively or shared; it is released even if the process is killed.

    Raises OSError if the file cannot be created.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    except OSError:
        if not shared:
            raise
        # Where no file can be created, there is no writer either.
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
    """The result of a call during which a driver waits in C.

    On its own, a driver notices a signal only after the statement, or turns it into its own error.
    Here the call runs in a thread; a signal ends it through `interrupt` and is raised unchanged.
    Only the main thread receives signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    result: Future[_T] = Future()

    def work() -> None:
        # A signal may have arrived before this began.
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
            # A statement that has not begun yet misses the first interrupt.
            with suppress(Exception):
                interrupt()
            wait([result], 0.05)
        raise
