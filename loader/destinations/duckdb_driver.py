"""What DuckDB's driver does not do by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import duckdb

_T = TypeVar("_T")


class _Work(Generic[_T]):
    """A call and what came of it."""

    def __init__(self, call: Callable[[], _T]) -> None:
        self._call = call
        self.results: list[_T] = []
        self.failure: BaseException | None = None
        # Thread.join takes a thread for ended when a signal comes (bpo-45274).
        self.is_done = threading.Event()

    def run(self) -> None:
        try:
            self.results.append(self._call())
        except BaseException as error:
            self.failure = error
        finally:
            self.is_done.set()


def interruptible(
    connection: duckdb.DuckDBPyConnection,
    call: Callable[[], _T],
    stop: Callable[[], None] = lambda: None,
) -> _T:
    """Call in a thread, so that a signal ends the statement and is raised as what it means.

    By itself the driver makes a RuntimeError of a signal, or sees it when the statement is done.
    `stop` is called besides, if the statement may wait for something else.
    """
    work = _Work(call)
    threading.Thread(target=work.run, name="labmart-duckdb", daemon=True).start()
    try:
        work.is_done.wait()
    except BaseException:
        stop()
        connection.interrupt()
        work.is_done.wait()
        raise
    if work.failure is not None:
        raise work.failure
    return work.results[0]
