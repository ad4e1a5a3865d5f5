"""The PostgreSQL that comes in a wheel: one server per project, on a private Unix socket.

    server    where its files are, as whom it runs, and start, stop, status
    settings  its configuration, fitted to the machine

Only the wheel's programs are used, not its Python layer: that one opens every directory above the
data to others, and gives up after ten seconds. pg_ctl is not used either: it takes whatever process
has the number in postmaster.pid for the server.
"""

from __future__ import annotations

from loader.embedded.server import (
    DATABASE,
    ROLE,
    Place,
    Status,
    is_embedded,
    place_of,
    start,
    status,
    stop,
    url_of,
)

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
