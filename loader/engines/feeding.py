"""Batches of records on their way into an engine: a thread makes them ahead of it.

PostgreSQL's COPY reads from a file-like object, DuckDB's reader of CSV takes names of files, which
are pipes here. Nothing is ever on disk, and of the records only some batches are in memory.
"""

from __future__ import annotations

import fcntl
import os
import select
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from typing import Self

from loader.parsers.records import Batch, close_batches

CHUNK = 8 * 1024**2
_WAITING = 1
_CHUNKS_PER_COPY = 8
# Each change between the two sides costs; Linux lets anybody have a pipe of a megabyte.
_PIPE_BYTES = 1 << 20
_POLL_MILLISECONDS = 200


class _Feeder:
    """A thread that runs through batches; `failure` is what ended them early, if anything did."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.failure: BaseException | None = None
        self._batches = batches
        self._stopped = False

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Start the thread; it has ended when this is left, however it is left."""
        thread = threading.Thread(target=self._run, name="labmart-parser", daemon=True)
        try:
            thread.start()
            yield self
        finally:
            self.stop()
            # A signal may have come before it had begun.
            if thread.ident is not None:
                thread.join()

    def stop(self) -> None:
        """Make the thread end at its next batch."""
        self._stopped = True

    def _run(self) -> None:
        try:
            self._send()
        except BaseException as error:
            # A signal is there first, of which a child process that reads may have died.
            self.failure = self.failure or error
        finally:
            self._end()

    def _send(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        try:
            close_batches(self._batches)
        except BaseException as error:
            self.failure = self.failure or error


class CopyStream(_Feeder):
    """What COPY reads from.

    While the thread runs Python, each read of COPY costs a change of the thread that may run, up to
    5 ms. So reads are few and large: 8 MiB, joined from several batches. At most three such chunks
    are in memory: the one being filled, the one that waits and the one being sent.

    The stream ends after each portion of 64 MiB; then the next COPY reads on. During COPY libpq
    does not look at what the server says, and would send the rest of a large file to a server whose
    disk has been full for long.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        super().__init__(batches)
        self.exhausted = False
        # An empty chunk is the end.
        self._chunks: Queue[bytes] = Queue(_WAITING)
        reads = self._reads()
        next(reads)
        self.read: Callable[[int], bytes] = reads.send

    def _reads(self) -> Generator[bytes, int, None]:
        """The next chunk; an empty one at the end of each portion.

        A generator, because the driver makes a text of any exception, and whoever started COPY
        has to raise it as it was. A signal that came while the driver was at work is raised where
        Python begins again: in a method that is before its first line, here it is at `yield`.
        """
        try:
            yield b""
            while True:
                for _ in range(_CHUNKS_PER_COPY):
                    yield (chunk := self._next())
                    if not chunk:
                        break
                else:
                    yield b""
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise

    def _next(self) -> bytes:
        chunk = self._chunks.get()
        if self.failure is not None:
            raise self.failure
        self.exhausted = not chunk
        return chunk

    def stop(self) -> None:
        super().stop()
        # It may be waiting for room.
        with suppress(Empty):
            self._chunks.get_nowait()

    def _send(self) -> None:
        pieces: list[bytes] = []
        held = 0
        for batch in self._batches:
            piece = batch.text.encode()
            if pieces and held + len(piece) > CHUNK:
                self._chunks.put(b"".join(pieces))
                pieces, held = [], 0
            pieces.append(piece)
            held += len(piece)
            if self._stopped:
                return
        if held:
            self._chunks.put(b"".join(pieces))

    def _end(self) -> None:
        super()._end()
        if not self._stopped:
            self._chunks.put(b"")


class Pipes(_Feeder):
    """Named pipes of which an engine reads each with one thread; `paths` are their names.

    Each batch goes whole into one that has room. In which order the engine reads them does not
    matter: one that it waits for is filled next, or has ended. Before a batch of more than `limit`
    bytes they end; it is `left` to the caller, and so is what comes behind it.
    """

    def __init__(self, batches: Iterator[Batch], count: int, limit: int) -> None:
        super().__init__(batches)
        self.left: bytes | None = None
        self._limit = limit
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

    @contextmanager
    def running(self) -> Iterator[Self]:
        """The same; what ended the batches early is raised at the end."""
        try:
            with super().running():
                yield self
        finally:
            for pipe in self._reading:
                os.close(pipe)
            # What ended the batches is the reason of whatever the engine says of them.
            if self.failure is not None:
                raise self.failure

    def _send(self) -> None:
        texts = self._texts()
        room = select.poll()
        for pipe in self._waiting:
            room.register(pipe, select.POLLOUT)
        # Whoever reads no more has a reason, and tells it.
        with suppress(BrokenPipeError):
            while self._waiting and not self._stopped:
                for pipe, _ in room.poll(_POLL_MILLISECONDS):
                    text = self._waiting[pipe] or memoryview(next(texts, b""))
                    if text:
                        with suppress(BlockingIOError):
                            text = text[os.write(pipe, text) :]
                        self._waiting[pipe] = text
                    else:
                        room.unregister(pipe)
                        os.close(pipe)
                        del self._waiting[pipe]

    def _end(self) -> None:
        if self.left is None:
            super()._end()
        for pipe in self._waiting:
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
