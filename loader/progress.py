"""Progress of a dbt run on stderr.

One line per finished model or seed. Tests that pass are only counted: there are hundreds of
them. On a terminal a last line shows what is running.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from typing import Protocol

_TESTS = ("test", "unit_test")
_PASSED = ("pass", "success")


@dataclass(frozen=True)
class NodeResult:
    """How one node ended: dbt's word for it, and seconds."""

    unique_id: str
    kind: str
    name: str
    status: str
    seconds: float


class BuildProgress(Protocol):
    """Tells how a run of dbt goes on."""

    def begin(self) -> None:
        """dbt has been started; it says nothing for a few seconds."""
        ...

    def started(self, name: str) -> None:
        """A node has begun."""
        ...

    def finished(self, node: NodeResult) -> None:
        """A node has ended."""
        ...

    def end(self) -> None:
        """dbt has ended."""
        ...


class Progress:
    """Writes to stderr; see `BuildProgress`."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._passed = 0

    def begin(self) -> None:
        """See `BuildProgress`."""
        self._status("dbt reads the project …")

    def started(self, name: str) -> None:
        """See `BuildProgress`."""
        self._status(f"running {name} …")

    def finished(self, node: NodeResult) -> None:
        """See `BuildProgress`. dbt's total counts unit tests twice, so no total is shown."""
        good = node.status in _PASSED
        if node.kind in _TESTS and good:
            self._passed += 1
            self._status(f"{self._passed} tests passed")
            return
        if node.status == "skipped":
            return
        word = {"success": "done", "pass": "passed", "warn": "WARNS"}.get(node.status, node.status)
        word = {"error": "FAILED", "fail": "FAILED"}.get(word, word)
        self._line(f"{node.kind:<9} {node.name:<40} {word:<8} {node.seconds:6.1f} s")

    def end(self) -> None:
        """See `BuildProgress`."""
        self._clear()

    def _line(self, text: str) -> None:
        self._clear()
        print(text, file=sys.stderr, flush=True)

    def _status(self, text: str) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[2K{text[:width]}")
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[2K")
