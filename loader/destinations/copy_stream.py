"""A file-like object for COPY that a thread fills ahead of it.

While the thread runs Python, each read of COPY costs a change of the thread that may run, up to
5 ms. So reads are few and large: 8 MiB, joined from several batches. At most three such chunks
are in memory: the one being filled, the one that waits and the one being sent.

The stream ends after each portion of 64 MiB; then the next COPY reads on. During COPY libpq does
not look at what the server says, and would send the rest of a large file to a server whose disk
has been full for long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from loader.parsers.records import Batch, close_batches

CHUNK = 8 * 1024**2
_WAITING = 1
_CHUNKS_PER_COPY = 8


class CopyStream:
    """What COPY reads from. `failure` is what ended the batches early, if anything did."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.failure: BaseException | None = None
        self._batches = batches
        self._turn = threading.Condition()
        self._chunks: list[bytes] = []
        self._ended = False
        self._stopped = False
        reads = self._reads()
        next(reads)
        self.read: Callable[[int], bytes] = reads.send

    @property
    def exhausted(self) -> bool:
        """Whether everything has been read. A failure is there to be raised by a read."""
        with self._turn:
            return self._ended and not self._chunks and self.failure is None

    def _reads(self) -> Generator[bytes, int, None]:
        """The next bytes, at most as many as are sent in; none at the end of each portion.

        A generator, because the driver makes a text of any exception, and whoever started COPY
        has to raise it as it was. A signal that came while the driver was at work is raised where
        Python begins again: in a method that is before its first line, here it is at `yield`.
        """
        try:
            size = yield b""
            while True:
                for _ in range(_CHUNKS_PER_COPY):
                    view = memoryview(chunk := self._next())
                    while len(view) > size:
                        size, view = (yield bytes(view[:size])), view[size:]
                    size = yield chunk if len(view) == len(chunk) else bytes(view)
                    if not chunk:
                        break
                else:
                    size = yield b""
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise

    def stop(self) -> None:
        """Make the thread end at its next batch."""
        with self._turn:
            self._stopped = True
            self._turn.notify_all()

    def fill(self) -> None:
        """Run through the batches; the thread's work."""
        try:
            pieces: list[bytes] = []
            held = 0
            for batch in self._batches:
                piece = batch.text.encode()
                if pieces and held + len(piece) > CHUNK:
                    self._put(b"".join(pieces))
                    pieces, held = [], 0
                pieces.append(piece)
                held += len(piece)
                if self._stopped:
                    break
            self._put(b"".join(pieces))
        except BaseException as error:
            with self._turn:
                # A signal is there first, of which a child process that reads may have died.
                self.failure = self.failure or error
        finally:
            self._close_batches()
            with self._turn:
                self._ended = True
                self._turn.notify_all()

    def _next(self) -> bytes:
        with self._turn:
            self._turn.wait_for(lambda: self._chunks or self._ended or self.failure)
            if self.failure is not None:
                raise self.failure
            chunk = self._chunks.pop(0) if self._chunks else b""
            self._turn.notify_all()
            return chunk

    def _put(self, chunk: bytes) -> None:
        if not chunk:
            return
        with self._turn:
            self._turn.wait_for(lambda: self._stopped or len(self._chunks) < _WAITING)
            if not self._stopped:
                self._chunks.append(chunk)
                self._turn.notify_all()

    def _close_batches(self) -> None:
        try:
            close_batches(self._batches)
        except BaseException as error:
            with self._turn:
                self.failure = self.failure or error


@contextmanager
def reading_ahead(batches: Iterator[Batch]) -> Iterator[CopyStream]:
    """Start the thread; it has ended when this is left, however it is left."""
    stream = CopyStream(batches)
    thread = threading.Thread(target=stream.fill, name="labmart-reader", daemon=True)
    thread.start()
    try:
        yield stream
    finally:
        stream.stop()
        thread.join()
