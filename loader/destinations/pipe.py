"""Batches through pipes, for an engine whose reader of CSV takes names of files.

A thread fills the pipes while the engine reads: nothing is ever on disk, and of the records only
some batches are in memory. An engine reads a pipe with one thread, so it is given several; each
batch goes whole into one that has room. In which order the engine reads them does not matter: one
that it waits for is filled next, or has ended.
"""

from __future__ import annotations

import fcntl
import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from loader.parsers.records import Batch, close_batches

# Each change between the two sides costs; Linux lets anybody have a pipe of a megabyte.
_PIPE_BYTES = 1 << 20
_LOOK_MILLISECONDS = 200


class Pipes:
    """`paths` are what to read.

    `failure` is what ended the batches early, if anything did; `left` is the text of a batch above
    the limit, before which they stopped.
    """

    def __init__(self, batches: Iterator[Batch], count: int, limit: int) -> None:
        self.failure: BaseException | None = None
        self.left: bytes | None = None
        self._batches = batches
        self._limit = limit
        self._stopped = False
        self._reading: list[int] = []
        # What has still to be written to each pipe that is open.
        self._waiting: dict[int, memoryview] = {}
        for _ in range(count):
            reading, writing = os.pipe()
            self._reading.append(reading)
            self._waiting[writing] = memoryview(b"")
            # An engine that has given up may keep a pipe open and never read it.
            os.set_blocking(writing, False)
            # Only Linux has it, and a person may have used up what they may have.
            if set_size := getattr(fcntl, "F_SETPIPE_SZ", None):
                with suppress(OSError):
                    fcntl.fcntl(writing, set_size, _PIPE_BYTES)
        self.paths = [f"/dev/fd/{reading}" for reading in self._reading]

    def fill(self) -> None:
        """Run through the batches; the thread's work."""
        texts = self._texts()
        try:
            room = select.poll()
            for pipe in self._waiting:
                room.register(pipe, select.POLLOUT)
            while self._waiting and not self._stopped:
                for pipe, _ in room.poll(_LOOK_MILLISECONDS):
                    text = self._waiting[pipe] or memoryview(next(texts, b""))
                    self._waiting[pipe] = text[_write(pipe, text) :] if text else text
                    if not text:
                        room.unregister(pipe)
                        os.close(pipe)
                        del self._waiting[pipe]
        except BrokenPipeError:
            # Whoever reads no more has a reason, and tells it.
            pass
        except BaseException as error:
            self.failure = error
        finally:
            if self.left is None:
                self._close_batches()
            for pipe in self._waiting:
                os.close(pipe)

    def stop(self) -> None:
        """Make the thread end at its next batch; the engine comes to the end then."""
        self._stopped = True

    def close(self) -> None:
        """Let go of what the engine has read."""
        for pipe in self._reading:
            os.close(pipe)

    def _texts(self) -> Iterator[bytes]:
        for batch in self._batches:
            text = batch.text.encode()
            if len(text) > self._limit:
                self.left = text
                return
            # An empty one would mean the end.
            if text:
                yield text

    def _close_batches(self) -> None:
        try:
            close_batches(self._batches)
        except BaseException as error:
            self.failure = self.failure or error


@contextmanager
def piped(batches: Iterator[Batch], *, count: int, limit: int) -> Iterator[Pipes]:
    """Start the thread; it has ended when this is left, and its failure is raised.

    A batch of more than `limit` bytes is left to the caller, and so is what comes behind it.
    """
    pipes = Pipes(batches, count, limit)
    thread = threading.Thread(target=pipes.fill, name="labmart-reader", daemon=True)
    thread.start()
    try:
        yield pipes
    finally:
        pipes.stop()
        thread.join()
        pipes.close()
        # What ended the batches is the reason of whatever the engine says of them.
        if pipes.failure is not None:
            raise pipes.failure


def _write(pipe: int, text: memoryview) -> int:
    try:
        return os.write(pipe, text)
    except BlockingIOError:
        return 0
