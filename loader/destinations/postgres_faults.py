"""PostgreSQL's errors as sentences. Codes: postgresql.org, "PostgreSQL Error Codes"."""

from __future__ import annotations

import psycopg2

from loader.destinations.postgres_connection import one_line
from loader.errors import DatabaseFault

_AGAIN = "Call again."
# By code, or by class (its first two characters): what is wrong, and what to do.
_KNOWN = {
    "53100": (
        "its disk is full",
        "Make room, for example with `labmart prune`, and call again.",
    ),
    "53200": ("it is out of memory", "Give it more memory, or close other programs; call again."),
    "53": ("it is short of a resource", "Look into its log, then call again."),
    "25006": (
        "it takes no writing",
        "Name the primary server with PGHOST, or a user who may write with PGUSER.",
    ),
    "55P03": ("a table is locked by somebody else", "Call again when the other work is done."),
    "57014": ("the work was cancelled", _AGAIN),
    "40": ("the work collided with somebody else's", _AGAIN),
    "54": ("something is larger than PostgreSQL can hold", "Take it out of the file."),
    "58": ("it cannot read or write its files", "Look into its log, then call again."),
    "XX": ("it found a fault in itself or its files", "Look into its log."),
    "23505": ("somebody else made the same thing at the same moment", _AGAIN),
    "42P06": ("somebody else made the same thing at the same moment", _AGAIN),
    "42P07": ("somebody else made the same thing at the same moment", _AGAIN),
}
_LOST = ("57P01", "57P02", "57P03", "57P05", "25P03", "25P04")
_RESTART = "See that the server runs, and call again."


def fault(error: psycopg2.Error, where: str, *, need: str = "") -> DatabaseFault:
    """What to tell a person. `need` is the SQL that would give the right that is missing."""
    code, said = error.pgcode or "", _said(error)
    if is_lost(error):
        return DatabaseFault(where, f"the connection was lost: {said}", _RESTART)
    if code == "42501":
        step = f"Its owner or an administrator can give it: {need};" if need else ""
        return DatabaseFault(where, f"a right is missing: {said}", step or "Ask its owner.")
    problem, step = _KNOWN.get(code) or _KNOWN.get(code[:2]) or ("it refused the work", "")
    return DatabaseFault(where, f"{problem}: {said}", step or "Correct that and call again.")


def commit_fault(error: psycopg2.Error, where: str) -> DatabaseFault:
    """The same for an error of the commit itself."""
    if not is_lost(error):
        return fault(error, where)
    return DatabaseFault(
        where,
        f"the connection was lost in the moment of the commit: {_said(error)}",
        f"{_RESTART} `labmart loads` shows which; what is there already is not loaded twice.",
        outcome="Either all of it was written or nothing.",
    )


def is_lost(error: psycopg2.Error) -> bool:
    """Whether there is no connection any more."""
    code = error.pgcode
    if code is not None:
        return code in _LOST or code.startswith("08")
    return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)


def _said(error: psycopg2.Error) -> str:
    parts = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
    told = [part.rstrip(".") + "." for part in parts if part]
    return " ".join(" ".join(told).split()) if told else one_line(error)
