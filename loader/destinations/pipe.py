"""Batches through a pipe, for an engine whose reader of CSV takes the name of a file.

A thread fills the pipe while the engine reads: nothing is ever on disk, and of the records only
some batches are in memory.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from loader.readers import Batch

# Each change between the two sides costs; Linux lets anybody have a pipe of a megabyte.
_PIPE_BYTES = 1 << 20


class Pipe:
    """`path` is what to read; `failure` is what ended the batches early, if anything did."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.failure: BaseException | None = None
        self._batches = batches
        self._reading, self._writing = os.pipe()
        self._is_read = True
        self.path = f"/dev/fd/{self._reading}"
        # Only Linux has it, and a person may have used up what they may have.
        if set_size := getattr(fcntl, "F_SETPIPE_SZ", None):
            with suppress(OSError):
                fcntl.fcntl(self._writing, set_size, _PIPE_BYTES)

    def fill(self) -> None:
        """Run through the batches; the thread's work."""
        try:
            with os.fdopen(self._writing, "wb") as file:
                for batch in self._batches:
                    file.write(batch.text.encode())
                    if not self._is_read:
                        break
        except BaseException as error:
            # Whoever reads no more has a reason of their own.
            if self._is_read:
                self.failure = error
        finally:
            self._close_batches()

    def close(self) -> None:
        """Read no more: a thread that waits for room in the pipe gets an error then."""
        self._is_read = False
        os.close(self._reading)

    def _close_batches(self) -> None:
        """A generator holds files open; let go of them in the thread that ran it."""
        close = getattr(self._batches, "close", None)
        try:
            if close is not None:
                close()
        except BaseException as error:
            self.failure = self.failure or error


@contextmanager
def piped(batches: Iterator[Batch]) -> Iterator[Pipe]:
    """Start the thread; it has ended when this is left, and its failure is raised."""
    pipe = Pipe(batches)
    thread = threading.Thread(target=pipe.fill, name="labmart-reader", daemon=True)
    thread.start()
    try:
        yield pipe
        # All has been read; what the batches failed with is known when they have ended.
        thread.join()
    finally:
        pipe.close()
        thread.join()
    if pipe.failure is not None:
        raise pipe.failure
