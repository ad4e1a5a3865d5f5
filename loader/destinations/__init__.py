"""Reading from an engine, one module per engine behind one small protocol.

Values come as Python's own: int, Decimal, float, str, bool, date, datetime, None. A Decimal keeps
the digits that the engine has (12.500000).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import IO, Protocol

from loader.errors import ProfileError
from loader.profile import Profile

Value = int | Decimal | float | str | bool | date | datetime | None
Row = tuple[Value, ...]


@dataclass(frozen=True)
class Column:
    """A column as the engine has it; `type` in the engine's words, such as numeric(18,6)."""

    name: str
    type: str


@dataclass(frozen=True)
class Selection:
    """Rows of one relation: which columns, which rows (all `equal` hold), order, how many."""

    relation: str
    columns: tuple[Column, ...]
    order_by: tuple[Column, ...] = ()
    equal: tuple[tuple[str, str], ...] = ()
    limit: int | None = None


class Destination(Protocol):
    """An open connection to one engine. A context manager that closes it."""

    def __enter__(self) -> Destination: ...

    def __exit__(self, *exception: object) -> None: ...

    def columns(self, relation: str) -> tuple[Column, ...]:
        """The columns of a relation of the mart schema. Raises NotBuilt if there is none."""
        ...

    def rows(self, selection: Selection) -> Iterator[Row]:
        """The rows, in order, in bounded memory."""
        ...

    def count(self, selection: Selection) -> int:
        """How many rows there are, whatever the limit."""
        ...

    def write_csv(self, selection: Selection, file: IO[bytes]) -> None:
        """Header line, `,`, LF, RFC 4180 quoting, NULL empty."""
        ...

    def query(self, sql: str, limit: int) -> tuple[tuple[Column, ...], list[Row]]:
        """The first rows of any query."""
        ...


def open_destination(profile: Profile) -> AbstractContextManager[Destination]:
    """Connect to the engine of a profile. Raises DatabaseUnreachable or ProfileError."""
    if profile.engine == "postgres":
        from loader.destinations.postgres import connect

        return connect(profile)
    raise ProfileError(
        profile.path,
        f"target {profile.target!r} has `type: {profile.engine}`; labmart reads from postgres.",
    )


def named(columns: Sequence[Column], name: str) -> Column | None:
    """The column of that name, if there is one."""
    return next((column for column in columns if column.name == name), None)
