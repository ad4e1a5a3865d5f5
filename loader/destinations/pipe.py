"""Batches through a pipe, for an engine whose reader of CSV takes the name of a file.

A thread fills the pipe while the engine reads: nothing is ever on disk, and of the records only
some batches are in memory.
"""

from __future__ import annotations

import fcntl
import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from loader.readers import Batch

# Each change between the two sides costs; Linux lets anybody have a pipe of a megabyte.
_PIPE_BYTES = 1 << 20
_LOOK_MILLISECONDS = 200


class Pipe:
    """`path` is what to read; `failure` is what ended the batches early, if anything did."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.failure: BaseException | None = None
        self._batches = batches
        self._reading, self._writing = os.pipe()
        self._stopped = False
        self.path = f"/dev/fd/{self._reading}"
        # An engine that has given up may keep the pipe open and never read it.
        os.set_blocking(self._writing, False)
        # Only Linux has it, and a person may have used up what they may have.
        if set_size := getattr(fcntl, "F_SETPIPE_SZ", None):
            with suppress(OSError):
                fcntl.fcntl(self._writing, set_size, _PIPE_BYTES)

    def fill(self) -> None:
        """Run through the batches; the thread's work."""
        try:
            for batch in self._batches:
                self._write(memoryview(batch.text.encode()))
                if self._stopped:
                    break
        except BaseException as error:
            self.failure = error
        finally:
            self._close_batches()
            os.close(self._writing)

    def stop(self) -> None:
        """Make the thread end at its next batch; the engine comes to the end then."""
        self._stopped = True

    def close(self) -> None:
        """Let go of what the engine has read."""
        os.close(self._reading)

    def _write(self, text: memoryview) -> None:
        room = select.poll()
        room.register(self._writing, select.POLLOUT)
        while text and not self._stopped:
            try:
                text = text[os.write(self._writing, text) :]
            except BlockingIOError:
                room.poll(_LOOK_MILLISECONDS)
            except BrokenPipeError:
                # Whoever reads no more has a reason, and tells it.
                self._stopped = True

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
    finally:
        pipe.stop()
        thread.join()
        pipe.close()
        # What ended the batches is the reason of whatever the engine says of them.
        if pipe.failure is not None:
            raise pipe.failure
