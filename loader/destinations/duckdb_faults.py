"""DuckDB's errors as sentences."""

from __future__ import annotations

import re

import duckdb

from loader.errors import DatabaseFault

_AGAIN = "Call again."
# By what DuckDB says: what is wrong, and what to do.
_KNOWN = (
    (
        "No space left|disk quota|File too large",
        "its disk is full",
        "Make room, for example with `labmart prune`, and call again.",
    ),
    (
        "Out of Memory|failed to allocate|could not allocate",
        "it is out of memory",
        "Give it more (`settings: {memory_limit: …}` in profiles.yml), or close other programs; "
        "call again.",
    ),
    ("read-only", "it takes no writing", "See who owns the file and its folder, and call again."),
    (
        "IO Error|Serialization Error|FATAL|INTERNAL",
        "it cannot read or write its file",
        "Look at the disk, then call again.",
    ),
    ("TransactionContext", "the work collided with somebody else's", _AGAIN),
)


def fault(error: duckdb.Error, where: str) -> DatabaseFault:
    """What to tell a person."""
    said = one_line(error)
    for pattern, problem, step in _KNOWN:
        if re.search(pattern, said, re.IGNORECASE):
            return DatabaseFault(where, f"{problem}: {said}", step)
    return DatabaseFault(where, f"it refused the work: {said}", "Correct that and call again.")


def one_line(error: Exception) -> str:
    """DuckDB's message without the picture of the statement, ending with a full stop."""
    text = " ".join(str(error).split("\n\nLINE ")[0].split())
    return text if text.endswith((".", "?", "!")) else f"{text}."
