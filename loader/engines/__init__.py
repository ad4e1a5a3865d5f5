"""Engines: an `Engine` reads marts, a `RawStore` (raw_store) writes raw tables.

    raw_store  what the raw tables look like, and the store of engines that speak SQL
    feeding    records on their way into an engine
    sql        how SQL is written
    postgres, duckdb, lake   one module an engine, with `connect`, `connect_raw` and `move_raw`

Values come as Python's own: int, Decimal, float, str, bool, date, datetime, None. A Decimal keeps
the digits that the engine has (12.500000).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import IO, TYPE_CHECKING, Protocol

from loader.errors import ConfigError, MissingExtra
from loader.profile import Profile

if TYPE_CHECKING:
    from loader.engines.raw_store import RawStore

Value = int | Decimal | float | str | bool | date | datetime | None
Row = tuple[Value, ...]
# The module of each engine, by the `type` of a target in profiles.yml.
ENGINES = {"postgres": "postgres", "duckdb": "duckdb", "spark": "lake"}


@dataclass(frozen=True)
class Column:
    """A column; `type` in PostgreSQL's words, such as numeric(18,6)."""

    name: str
    type: str


@dataclass(frozen=True)
class Filter:
    """Rows for which `column operator value` holds; the operators are those of `engines.sql`.

    Values are written as the column's type reads them: `12.5`, `2023-01-31`, `true`. With `others`
    it is enough if it holds for one of the columns.
    """

    column: Column
    operator: str
    values: tuple[str, ...] = ()
    others: tuple[Column, ...] = ()


@dataclass(frozen=True)
class Position:
    """A row's values of what an order compares, None for NULL.

    `seen` is how many rows with just these values have been given; 0 where there is but one.
    """

    values: tuple[str | None, ...]
    seen: int = 0


@dataclass(frozen=True)
class Selection:
    """Rows of one relation: which columns, which rows (all `filters` hold), order, how many.

    `descending` names columns of the order that go from the greatest down. `paged` compares texts
    by so little that a `Position` stays short, and `after` leaves out the rows up to one; both on
    PostgreSQL only.
    """

    relation: str
    columns: tuple[Column, ...]
    order_by: tuple[Column, ...] = ()
    filters: tuple[Filter, ...] = ()
    limit: int | None = None
    descending: frozenset[str] = frozenset()
    paged: bool = False
    after: Position | None = None


class Engine(Protocol):
    """An open connection to one engine. A context manager that closes it."""

    def __enter__(self) -> Engine: ...

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


@dataclass(frozen=True)
class Load:
    """One row of the ledger: one file, or one sheet of it, in one input.

    `call_id` is the load_id of the first load of the call that brought it. `reading` is a JSON
    object of what was said about how to read the file, and of the `sheet` that was read; '' where
    an earlier version kept nothing. `arrived_at` is when the file was last changed, or when it came
    where nothing else is known. The next five are what was said of its cells:
    loader.sources.CellFormats. `columns_ignored` is a JSON array of the header's names that mean no
    declared column; None where there are none. `header` is one of all its names as written, empty
    where the file has none.
    """

    load_id: int
    status: str
    mode: str
    input: str
    file: str
    records_read: int
    records_rejected: int
    bytes: int
    dialect: str
    started_at: datetime
    finished_at: datetime
    loaded_by: str
    sha256: str
    call_id: int
    reading: str
    arrived_at: datetime
    decimal: str | None = None
    dates: str | None = None
    list_separator: str | None = None
    id_prefix: str | None = None
    durations: str | None = None
    columns_ignored: str | None = None
    header: str | None = None


def open_store(profile: Profile, *, write: bool = True) -> AbstractContextManager[RawStore]:
    """Open the raw tables of a profile. With `write` one load at a time has them.

    Raises DatabaseUnreachable, DatabaseFault or ConfigError.
    """
    store: AbstractContextManager[RawStore] = _module(profile).connect_raw(profile, write=write)
    return store


def adopt_raw(profile: Profile) -> str | None:
    """Move raw tables from where they were while they followed the target; a sentence about it.

    None if there is nothing to move. Raises UsageError if there is, but the new schema is there
    already: two laboratories are never mixed.
    """
    earlier = profile.earlier_raw_schema
    if earlier is None or not _module(profile).move_raw(profile, earlier):
        return None
    return (
        f"moved the raw tables from the schema {earlier} to {profile.raw_schema}, "
        "which all targets read"
    )


def open_engine(profile: Profile) -> AbstractContextManager[Engine]:
    """Connect to the engine of a profile. Raises DatabaseUnreachable or ConfigError."""
    engine: AbstractContextManager[Engine] = _module(profile).connect(profile)
    return engine


def dbt_turn(profile: Profile) -> AbstractContextManager[None]:
    """Keep other loads away while dbt works on an engine that serves one process at a time.

    A server needs nothing of the kind.
    """
    if profile.engine == "duckdb":
        from loader.engines.duckdb import file_lock

        return file_lock(profile)
    return nullcontext()


def dbt_session(profile: Profile) -> AbstractContextManager[None]:
    """What dbt computes in, ready while this is open. A database is there already.

    Raises MissingExtra, and what `loader.spark_server.session` raises.
    """
    if profile.engine == "duckdb" and find_spec("dbt.adapters.duckdb") is None:
        raise MissingExtra(f"The target {profile.target}", "duckdb")
    if profile.engine == "spark":
        from loader.spark_server import session

        return session(profile)
    return nullcontext()


def _module(profile: Profile) -> ModuleType:
    """The module of the profile's engine; only that engine's driver is imported."""
    if profile.engine not in ENGINES:
        known = ", ".join(ENGINES)
        raise ConfigError(
            profile.path,
            f"target {profile.target!r} has `type: {profile.engine}`; labmart works with {known}.",
        )
    return import_module(f"{__name__}.{ENGINES[profile.engine]}")


def named(columns: Sequence[Column], name: str) -> Column | None:
    """The column of that name, if there is one."""
    return next((column for column in columns if column.name == name), None)
