"""The rejected lines of a file, kept until its records are written; on disk when they are many."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress

from loader.parsers import RejectedLine

# Beyond so many bytes the lines are on disk: a file may be damaged from end to end.
_IN_MEMORY = 4 << 20
# So many are told at once.
_SHOWN = 10


class Rejections:
    """Collects rejected lines; iterating gives them back in order, any number of times."""

    def __init__(self) -> None:
        self._spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 -- close()
        self.by_rule: Counter[str] = Counter()
        self.first: list[RejectedLine] = []

    def __len__(self) -> int:
        return self.by_rule.total()

    def __iter__(self) -> Iterator[RejectedLine]:
        self._spool.seek(0)
        for line in self._spool:
            number, rule, detail, content = json.loads(line)
            yield RejectedLine(number, rule, detail, content)
        self._spool.seek(0, 2)

    def add(self, lines: Iterable[RejectedLine]) -> None:
        """Keep some more."""
        for one in lines:
            self.by_rule[one.rule] += 1
            if len(self.first) < _SHOWN:
                self.first.append(one)
            kept = json.dumps([one.line, one.rule, one.detail, one.content])
            self._spool.write(f"{kept}\n".encode())

    def close(self) -> None:
        """Give the memory or the file back; the counts stay."""
        # What a full disk did not take is tried once more, in vain.
        with suppress(OSError):
            self._spool.close()
