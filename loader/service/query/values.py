"""A value of a request as its column's type has it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal

from loader.contract import ContractColumn
from loader.engines import Value
from loader.errors import BadParameter

_MOST_DIGITS = 200
_LONGEST_SHOWN = 60


def parse(column: ContractColumn, text: str, parameter: str) -> Value:
    """The value that the text means. Raises BadParameter, which names the parameter."""
    kind, expected, read = _of(column)
    try:
        return read(text)
    except ValueError:
        shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
        raise BadParameter(
            parameter, f"{shown!r} is no {kind}, which the column {column.name} holds ({expected})."
        ) from None


def _of(column: ContractColumn) -> tuple[str, str, Callable[[str], Value]]:
    return _KINDS.get(column.kind, _KINDS["text"])


def _integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", text, re.ASCII):
        raise ValueError(text)
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(text)
    return number


def _decimal(text: str) -> Decimal:
    if len(text) > _MOST_DIGITS or not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text, re.ASCII):
        raise ValueError(text)
    return Decimal(text)


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _date(text: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
        raise ValueError(text)
    return date.fromisoformat(text)


def _moment(text: str) -> datetime:
    # A plus sign that a client did not escape has become a space.
    found = datetime.fromisoformat(re.sub(r" (\d\d(:?\d\d)?)$", r"+\1", text))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _text(text: str) -> str:
    text.encode()  # A lone surrogate is no character: UnicodeEncodeError is a ValueError.
    if "\0" in text:
        raise ValueError(text)
    return text


_KINDS: dict[str, tuple[str, str, Callable[[str], Value]]] = {
    "bigint": ("whole number", "such as 12", _integer),
    "integer": ("whole number", "such as 12", _integer),
    "numeric": ("number", "such as 12.5", _decimal),
    "boolean": ("truth value", "true or false", _boolean),
    "date": ("date", "such as 2023-01-31", _date),
    "timestamp with time zone": ("time", "such as 2023-01-31T12:00:00Z", _moment),
    "text": ("text", "without NUL", _text),
}
