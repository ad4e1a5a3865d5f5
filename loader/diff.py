"""`labmart status`, `rollback` and `diff`: what is published, and what a build has changed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress

from loader.contract import STATUS, Column, Contract, mart_contracts
from loader.database import Database
from loader.engines import Engine, Row, quote
from loader.errors import DatabaseFault, NotBuilt, UnknownMart, UsageError
from loader.publications import (
    GONE,
    PUBLICATIONS,
    Publication,
    current_of,
    describe,
    kept_of,
    open_publications,
)
from loader.query import select
from loader.show import ORIGIN, print_rows

_COLUMNS = tuple(
    Column(name, "text") for name in ("mart", "change", "key", "column_name", "before", "after")
)
_MANY = 2**62
# On a screen, up to this many rows with the same change are listed one by one.
_ALIKE = 5


def show_status(database: Database, *, format_: str) -> None:
    """Print which build readers see of each mart; stderr lists the kept builds.

    Raises NotBuilt if nothing has been published.
    """
    columns, rows, builds = published(database)
    print_rows(columns, rows, format_, f"{STATUS.name}: {len(rows)} rows")
    print("\n".join(builds), file=sys.stderr)


def published(database: Database) -> tuple[tuple[Column, ...], list[Row], list[str]]:
    """Which build readers see of each mart, and a sentence on each kept build.

    Raises NotBuilt if nothing has been published.
    """
    with database.open() as source:
        selection = select(STATUS, source)
        rows = list(source.rows(selection))
    at = selection.columns.index(selection.order_by[0])
    seen = {row[at] for row in rows}
    history: list[Publication] = []
    # A user who may read only some of the marts sees only these.
    with (
        suppress(DatabaseFault),
        open_publications(database.profile, write=False) as publications,
    ):
        history = publications.all()
    current = current_of(history)
    others = [mart.name for mart in current.marts if mart.name not in seen] if current else []
    sentences = [f"built by plain dbt since: {', '.join(others)}"] if others else []
    for build in history:
        if build.status != GONE:
            warned = f", {build.tests_warned} warned" if build.tests_warned else ""
            tests = f"{build.tests_passed} tests passed{warned}"
            sentences.append(f"{build.status}: {describe(build)}; {tests}")
    return selection.columns, rows, sentences


def roll_back(database: Database, build: int | None) -> str:
    """Put an earlier build in place; a sentence about it. Raises UsageError if none is kept."""
    database.ready()
    with open_publications(database.profile) as publications:
        before, now = publications.roll_back(build)
    return (
        f"{describe(now)}, is published again. `labmart rollback {before.build}` undoes that; "
        "the next build replaces it."
    )


def show_changes(
    database: Database,
    builds: Sequence[int],
    *,
    mart: str | None,
    format_: str,
    limit: int | None,
) -> None:
    """Print what differs between two kept builds, by mart and key; stderr counts it.

    By default from the last kept one to the current one. `limit` applies to each mart; None means
    the format's default, 0 means all. Raises UsageError, UnknownMart and NotBuilt.
    """
    database.ready()
    with open_publications(database.profile, write=False) as publications:
        old, new = _chosen(publications.all(), builds, database)
    contracts = mart_contracts(database.project)
    if mart is not None and mart not in contracts:
        raise UnknownMart(mart, list(contracts))
    most = (100 if format_ == "table" else 0) if limit is None else limit
    counts: dict[str, Counter[str]] = {}
    opened: AbstractContextManager[Engine] = database.open()
    if database.profile.engine == "spark":
        # Its DuckDB takes long to import.
        from loader.engines.lake import connect

        opened = connect(database.profile, (old.place, new.place))
    with opened as source:
        rows = [
            row
            for contract in contracts.values()
            if mart in (None, contract.name)
            for row in _changes(source, contract, old, new, counts, most or _MANY)
        ]
    if format_ == "table":
        rows = list(_told_once(rows))
    print_rows(_COLUMNS, rows, format_, f"from build {old.build} to build {new.build}")
    for name, count in counts.items():
        words = ", ".join(f"{number:,} {change}" for change, number in sorted(count.items()))
        print(f"{name}: {words or 'no change'}", file=sys.stderr)


def _chosen(
    history: Sequence[Publication], builds: Sequence[int], database: Database
) -> tuple[Publication, Publication]:
    kept = {publication.build: publication for publication in history if publication.status != GONE}
    if missing := [str(build) for build in builds if build not in kept]:
        numbers = ", ".join(map(str, kept))
        raise UsageError(f"Build {missing[0]} is not kept. These are: {numbers or 'none'}.")
    current = current_of(history)
    if current is None:
        raise NotBuilt(f"{database.profile.schema}.{PUBLICATIONS}", database.profile.target)
    if builds:
        old, new, *_ = (*(kept[build] for build in builds), current)
        return old, new
    others, base = kept_of(history), current.based_on
    gone = f"Build {base} is gone, of which build {current.build} is an increment. " if base else ""
    if not others:
        raise UsageError(
            f"{gone}No other build is kept that the current one could be compared with."
        )
    if gone:
        print(f"{gone}The last one that is kept is compared.", file=sys.stderr)
    return others[-1], current


def _changes(
    source: Engine,
    contract: Contract,
    old: Publication,
    new: Publication,
    counts: dict[str, Counter[str]],
    limit: int,
) -> Iterator[Row]:
    """The differences of a mart, up to `limit` rows; counts all of them."""
    name, count = contract.name, counts.setdefault(contract.name, Counter())
    is_in = [
        any(relation.name == name and relation.suffix == "" for relation in build.relations)
        for build in (old, new)
    ]
    if not all(is_in):
        if any(is_in):
            count["mart that only one of them has"] = 1
        return
    places = [f"{quote(build.place)}.{quote(name)}" for build in (old, new)]
    before, after = (
        [column.name for column in source.query(f"select * from {place}", 0)[0]] for place in places
    )
    for kind, have, lack in (("column removed", before, after), ("column added", after, before)):
        for column in have:
            if column not in lack:
                count[kind] += 1
                yield (name, kind, None, column, None, None)
    shared = [column for column in before if column in after]
    # Sending a file again changes where every row came from.
    columns = [column for column in shared if column not in ORIGIN]
    # Without a key the whole row is the key, plus a number that tells equal rows apart.
    keys = [key for key in contract.order_by if contract.has_key and key in shared] or columns
    values = [column for column in columns if column not in keys]
    alike = f"row_number() over (partition by {', '.join(map(quote, keys))})"
    texts = [f"coalesce(cast({quote(key)} as text), '') as key_{i}" for i, key in enumerate(keys)]
    cells = f"{alike if keys == columns else 1} as nth, {', '.join(texts)}, t.*"
    old_rows, new_rows = (f"(select {cells} from {place} as t)" for place in places)
    both = [f"key_{i}" for i in range(len(keys))]
    differs = [f" or o.{quote(value)} is distinct from n.{quote(value)}" for value in values]
    listed = [
        "case when o.nth is null then 'added' when n.nth is null then 'removed' "
        "else 'changed' end as change",
        *both,
        *(f"cast({side}.{quote(value)} as text)" for side in ("o", "n") for value in values),
    ]
    changed = (
        f"select {', '.join(listed)} from {old_rows} as o full join {new_rows} as n "
        f"using (nth, {', '.join(both)}) where o.nth is null or n.nth is null{''.join(differs)}"
    )
    _, totals = source.query(f"select change, count(*) from ({changed}) as c group by change", 9)
    count.update({str(change): int(str(number)) for change, number in totals})
    order = ", ".join(f"coalesce(n.{quote(key)}, o.{quote(key)})" for key in keys)
    _, rows = source.query(f"{changed} order by {order}", limit)
    for change, *compared in rows:
        key_cells, olds = compared[: len(keys)], compared[len(keys) :]
        pairs = zip(keys, key_cells, strict=True)
        key = ", ".join(f"{column}={cell}" for column, cell in pairs if cell)
        if change != "changed":
            yield (name, change, key, None, None, None)
            continue
        for column, was, is_ in zip(values, olds, olds[len(values) :], strict=False):
            if was != is_:
                yield (name, change, key, column, was, is_)


def _told_once(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows, with only one for a change that many rows of a mart share, such as of a mean."""
    shared = Counter((row[0], *row[3:]) for row in rows if row[3] is not None)
    told: set[Row] = set()
    for row in rows:
        change = (row[0], *row[3:])
        if shared[change] <= _ALIKE:
            yield row
        elif change not in told:
            told.add(change)
            yield (row[0], row[1], f"{shared[change]:,} rows alike", *row[3:])
