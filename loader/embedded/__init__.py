"""The PostgreSQL that comes in a wheel: one server per project, on a private Unix socket.

    paths     where its data, socket and log are
    binaries  where the wheel has initdb and postgres
    account   as whom they run (PostgreSQL refuses root)
    settings  a configuration fitted to the machine
    cluster   making the data directory
    postmaster  which process serves it, if any
    probe     asking it whether it is there
    server    start, stop, status

Only the wheel's binaries are used, not its Python layer: that one opens every directory above
the data to others, and gives up after ten seconds.
"""

from __future__ import annotations

from loader.embedded.paths import DATABASE, ROLE, Place, is_embedded, place_of, url_of
from loader.embedded.server import Status, start, status, stop

__all__ = [
    "DATABASE",
    "ROLE",
    "Place",
    "Status",
    "is_embedded",
    "place_of",
    "start",
    "status",
    "stop",
    "url_of",
]
