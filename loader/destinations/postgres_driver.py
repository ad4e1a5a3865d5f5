"""What psycopg2 does not do by itself."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import psycopg2
import psycopg2.extensions

_LOOK_MILLISECONDS = 500


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end a statement: by itself the driver waits in C until the server is done.

    Not for COPY, which the driver does not do this way.
    """
    psycopg2.extensions.set_wait_callback(_wait)
    try:
        yield
    finally:
        psycopg2.extensions.set_wait_callback(None)


@contextmanager
def honest_copy() -> Iterator[None]:
    """Raise what the server said when it ended the connection during COPY.

    psycopg2 2.9 meets a second error then, "server closed the connection", raises that one and
    gives the first to sys.excepthook, which would print a traceback.
    """
    heard: list[BaseException] = []

    def listen(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
        heard.append(error)

    before = sys.excepthook
    sys.excepthook = listen
    try:
        yield
    except psycopg2.OperationalError as error:
        causes = [cause.__cause__ for cause in heard]
        raise next((said for said in causes if isinstance(said, psycopg2.Error)), error) from None
    finally:
        sys.excepthook = before


def _wait(connection: psycopg2.extensions.connection) -> None:
    """As psycopg2.extras.wait_select, but the exception stays what it was."""
    ready = select.poll()
    try:
        while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
            reads = state == psycopg2.extensions.POLL_READ
            ready.register(connection.fileno(), select.POLLIN if reads else select.POLLOUT)
            # A signal between Python's look for one and the wait is seen after the wait only.
            ready.poll(_LOOK_MILLISECONDS)
    except psycopg2.Error:
        raise
    except BaseException:
        # The driver closes the connection now; the server would go on all the same.
        connection.cancel()
        raise
