"""What a person sees on stderr while a load or a build runs.

On a terminal, the last line shows the current step and is overwritten continuously.
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass

from loader.printable import printable

# Minimum seconds between updates of the last line.
_PACE = 0.1
TESTS = ("test", "unit_test")
# dbt's statuses of a node, as shown to the user.
_WORDS = {"success": "done", "pass": "passed", "warn": "WARNS", "error": "FAILED", "fail": "FAILED"}


@dataclass(frozen=True)
class NodeResult:
    """How one node of a dbt run ended: dbt's status, and seconds."""

    kind: str
    name: str
    status: str
    seconds: float


class Report:
    """Reports the progress of a load or a build on stderr; the service overrides it for a job.

    Each model and seed gets a line; passing tests, of which there are hundreds, are only counted.
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._written_at = 0.0
        self._passed = 0

    def say(self, text: str) -> None:
        """Print a sentence that stays."""
        self._clear()
        print(printable(text), file=sys.stderr, flush=True)

    def working(self, text: str) -> None:
        """Show the current step until the next; '' clears it."""
        now = time.monotonic()
        if not text:
            self._clear()
        elif self._live and now - self._written_at >= _PACE:
            self._written_at = now
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[2K{printable(text)[:width]}")
            sys.stderr.flush()

    def built(self, node: NodeResult) -> None:
        """Report that a node of a build has ended."""
        if node.kind in TESTS and node.status in ("pass", "success"):
            self._passed += 1
            self.working(f"{self._passed} tests passed")
        elif node.status != "skipped":
            word = _WORDS.get(node.status, node.status)
            self.say(f"{node.kind:<9} {node.name:<40} {word:<8} {node.seconds:6.1f} s")

    def _clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[2K")
            self._written_at = 0.0


def size_of(count: int) -> str:
    """A number of bytes, human-readable."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds, human-readable: `4.2 s`, `3 min 10 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
