"""Where a page ended, as text that a client hands back as it is.

It holds the values that the order compares, and for a table without a key how many rows with just
these values have been given. It names its order: with another one it would point nowhere. It is no
secret and needs no signature, since every value in it is checked like any other of a request.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from loader.errors import BadParameter

_PARAMETER = "after"
_LONGEST = 20_000


@dataclass(frozen=True)
class Position:
    """The values of the last row given, as text or None, and how many rows had these."""

    values: tuple[str | None, ...]
    seen: int


def encode(position: Position, order: Sequence[str]) -> str:
    """The cursor of a position in an order."""
    document = [_signature(order), position.seen, *position.values]
    text = json.dumps(document, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(text: str, order: Sequence[str]) -> Position:
    """The position of a cursor. Raises BadParameter if it is none, or of another order."""
    try:
        if len(text) > _LONGEST or not text.isascii():
            raise ValueError
        padded = text + "=" * (-len(text) % 4)
        document = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        signature, seen, *values = document
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise BadParameter(_PARAMETER, "this is no cursor. Take it from `next`.") from None
    if signature != _signature(order):
        raise BadParameter(
            _PARAMETER,
            "this cursor belongs to another order or table. Page on with the `order` that it came "
            "with, or leave it out to begin anew.",
        )
    well_formed = (
        isinstance(seen, int)
        and not isinstance(seen, bool)
        and 1 <= seen < 2**62
        and len(values) == len(order)
        and all(value is None or isinstance(value, str) for value in values)
    )
    if not well_formed:
        raise BadParameter(_PARAMETER, "this is no cursor. Take it from `next`.")
    return Position(tuple(values), seen)


def _signature(order: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(order).encode()).hexdigest()[:12]
