"""What is published: a build is made and tested beside what readers see, then put in its place.

With target schema S dbt builds into schemas of its own, `<place>`, `<place>_staging` and so on
(macros/overrides/generate_schema_name.sql). What readers see, in S, S_staging and S_seeds, are
views on one of these places. To publish is to lead all of these views to another place in one
transaction, if every test is green; to go back is the same. So whatever others have made on a mart,
views and rights, stands on a view that stays.

    postgres     places are `S__next` while dbt builds and `S__b7` once they are published
    duckdb       DuckDB renames no schema: places are `S__1`, `S__2` ..., the first that is free
    lake         dbt itself publishes there, by a pointer (macros/lake/publish.sql)

An increment is built the same way, of the changed rows alone, by models that read the published
ones beside them (macros/increments). It changes the tables of the build that readers see, in one
transaction, so that the build it is based on is gone.

The table `publications` in S has a row for each publication, with what it read and left behind, so
that a build that would do the same again can be left out. It changes in the transaction of the
views. `mart_status` is a view on it: a row for each mart that readers see of a publication.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import msgspec

from loader import __version__
from loader.engines import quote
from loader.errors import NotBuilt, UsageError
from loader.project import Profile, person

PUBLICATIONS, MART_STATUS = "publications", "mart_status"
# Of a publication: readers see it; it can be put back; its tables are gone.
CURRENT, KEPT, GONE = "current", "kept", "gone"
KEEP_VARIABLE = "LABMART_KEEP"
_TIME = "timestamp with time zone"
COLUMNS = {
    "build": "bigint",
    "status": "text",
    "published_at": _TIME,
    "published_by": "text",
    "replaced_at": _TIME,
    "loads": "text",
    "newest_load": "bigint",
    "rows_rejected": "bigint",
    "open_issues": "bigint",
    "models_built": "bigint",
    "tests_passed": "bigint",
    "tests_warned": "bigint",
    "seconds": "double precision",
    "marts": "text",
    "labmart_version": "text",
    "invocation_id": "text",
    "code": "text",
    "state": "text",
    "place": "text",
    "relations": "text",
    "based_on": "bigint",
    "can_grow": "boolean",
    "last_load": "bigint",
}
# So much of the rows may be of loads that came or went; to build all is quicker beyond that.
LARGEST_INCREMENT = 0.2

# Schema and name.
Table = tuple[str, str]


class Mart(msgspec.Struct):
    """What is said of one mart of a build."""

    name: str
    tests_passed: int
    rows: int = 0


@dataclass(frozen=True)
class Relation:
    """A relation of a build: what its schema is called behind place or target, and its name.

    Of an increment, `replaced` says which published rows `old` its rows stand in for, as SQL that
    has {next} for what is before the suffix; those of a relation without are all there are.
    `rows` is a quicker query for their number in {place} than to count them.
    """

    suffix: str
    name: str
    is_view: bool = False
    replaced: tuple[str, ...] = ()
    rows: str = ""


@dataclass(frozen=True)
class GreenBuild:
    """A build of which every test has passed.

    `code` is None where the next one is due anyway. `can_grow` says that all its models know
    increments, `is_increment` that it is one. `by` is who publishes it; '' means the account that
    runs the call.
    """

    place: str
    relations: tuple[Relation, ...]
    marts: tuple[Mart, ...]
    sources: tuple[Table, ...] = ()
    models_built: int = 0
    tests_passed: int = 0
    tests_warned: int = 0
    seconds: float = 0.0
    invocation_id: str = ""
    code: str | None = None
    can_grow: bool = False
    is_increment: bool = False
    by: str = ""


@dataclass(frozen=True)
class Publication:
    """A row of the table `publications`; `replaced_at` is when readers saw it last.

    An increment has taken the tables of the build that it is `based_on`.
    """

    build: int
    status: str
    place: str
    published_at: datetime
    published_by: str
    replaced_at: datetime | None
    tests_passed: int
    tests_warned: int
    loads: tuple[int, ...]
    marts: tuple[Mart, ...]
    relations: tuple[Relation, ...]
    based_on: int | None = None


@contextmanager
def open_publications(profile: Profile, *, write: bool = True) -> Iterator[Publications]:
    """The publications of a target. With `write` one build at a time has them.

    Raises DatabaseUnreachable.
    """
    name = "lake" if profile.engine == "spark" else profile.engine
    module = import_module(f"loader.publications.{name}")
    with module.connected(profile, write=write) as opened:
        yield opened


class Publications:
    """The publications of a target; `literal` writes a text as one of its SQL."""

    # The marts of a publication `p` as rows `m`, and which of them readers still see.
    marts_as_rows = """(
        select unnest(from_json(
            p.marts, '[{"name": "VARCHAR", "tests_passed": "BIGINT", "rows": "BIGINT"}]'
        ), max_depth := 2)
    ) as m"""
    is_seen = "true"

    def __init__(self, profile: Profile, literal: Callable[[str], str]) -> None:
        self.profile = profile
        self.schema = profile.schema
        self.literal = literal

    def is_current(self, code: str) -> bool:
        """Whether what readers see was made by this code, and nothing has changed since."""
        raise NotImplementedError

    def can_grow(self, code: str) -> bool:
        """Whether the next build can be an increment of what readers see.

        It is of the same code, and nothing has changed but which loads are current, not too much.
        """
        with self.opened():
            if not self.knows_increments(code) or not self.is_whole():
                return False
            [(loads,)] = self.run(f"select loads from {self.table} where status = '{CURRENT}'")
            before = set(json.loads(loads))
            ledger = self.relation(self.profile.raw_schema, "loads")
            rows = self.run(f"select load_id, status, records_read from {ledger}") if before else []
        now = {load_id for load_id, status, _ in rows if status == "current"}
        all_, changed = (
            sum(records for load_id, _, records in rows if load_id in loads)
            for loads in (before, before ^ now)
        )
        return bool(now) and before != now and changed <= LARGEST_INCREMENT * all_

    def knows_increments(self, code: str) -> bool:
        """Whether what readers see was made by this code, and its models know increments.

        The caller has it `opened`.
        """
        sql = f"select code, can_grow from {self.table} where status = '{CURRENT}'"
        # A table of an earlier version lacks some until the next build begins.
        return set(COLUMNS) <= set(self._columns()) and self.run(sql) == [(code, True)]

    def is_whole(self) -> bool:
        """Whether readers see all of the current publication as it was left."""
        raise NotImplementedError

    def begin(self, *, grows: bool = False) -> str:
        """Make ready for a build; the place where dbt is to build, '' where it always does.

        `grows` is what `can_grow` has said.
        """
        raise NotImplementedError

    def publish(self, build: GreenBuild, keep: int) -> int | None:
        """Put a build in place, all of it in one step, unless dbt has; its number, if it has one.

        `keep` is how many of those before stay. Raises DatabaseFault when readers could not be
        waited for, or when something that others have made is in the way.
        """
        raise NotImplementedError

    def roll_back(self, build: int | None) -> tuple[Publication, Publication]:
        """Put a kept publication in place, the newest one by default: the one before, and it.

        Raises UsageError if it is not kept.
        """
        with self.opened():
            current, chosen = self.chosen(build)
            self.put_in_place(chosen.relations, chosen.place, self.exchange(current, chosen))
        return current, chosen

    def all(self) -> list[Publication]:
        """The publications from the oldest to the newest."""
        with self.opened():
            return self.read()

    # What follows is for the engines.

    def opened(self) -> AbstractContextManager[None]:
        """The database, in which `run` runs. Raises DatabaseFault instead of its own errors."""
        raise NotImplementedError

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement; its rows."""
        raise NotImplementedError

    def put_in_place(
        self, relations: Sequence[Relation], place: str, note: str, before: Sequence[str] = ()
    ) -> None:
        """Lead all published views to the place, and run `note`, in one transaction."""
        raise NotImplementedError

    def drop(self, schemas: Sequence[str]) -> None:
        """Drop schemas with all that is in them."""
        for schema in schemas:
            self.run(f"drop schema if exists {quote(schema)} cascade")

    def relation(self, schema: str, name: str) -> str:
        """A relation as SQL."""
        return f"{quote(schema)}.{quote(name)}"

    @property
    def table(self) -> str:
        """The table of the publications as SQL."""
        return self.relation(self.schema, PUBLICATIONS)

    def schemas_of(self, place: str) -> list[str]:
        """The schemas of a build, or of the target schema."""
        rows = self.run("select distinct nspname from pg_namespace order by nspname")
        return [name for (name,) in rows if name == place or name.startswith(f"{place}_")]

    def make_table(self) -> None:
        """Make the table `publications` where it is not, and its columns of later versions."""
        listed = [f"{quote(column)} {type_}" for column, type_ in COLUMNS.items()]
        self.run(f"create table if not exists {self.table} ({', '.join(listed)})")
        there = self._columns()
        for column, sql in zip(COLUMNS, listed, strict=True):
            if column not in there:
                self.run(f"alter table {self.table} add column {sql}")

    def _columns(self) -> list[str]:
        """The columns of the table `publications`; none if it is not there."""
        found = self.run(
            "select column_name from information_schema.columns where table_schema = "
            f"{self.literal(self.schema)} and table_name = '{PUBLICATIONS}'"
        )
        return [name for (name,) in found]

    def make_tables(self) -> None:
        """Make `publications` and the view `mart_status`."""
        self.make_table()
        view = self.relation(self.schema, MART_STATUS)
        self.run(f"create or replace view {view} as {self.status_of_marts()}")

    def status_of_marts(self) -> str:
        """The query of `mart_status`."""
        return (
            "select m.name as mart, p.build, p.published_at, m.tests_passed, m.rows as mart_rows, "
            f"p.newest_load, p.rows_rejected, p.open_issues from {self.table} as p "
            f"cross join lateral {self.marts_as_rows} "
            f"where p.status = '{CURRENT}' and {self.is_seen}"
        )

    def read(self) -> list[Publication]:
        """See `all`."""
        there = self._columns()
        if not there:
            return []
        names = [field.name for field in fields(Publication) if field.name in there]
        rows = self.run(f"select {', '.join(names)} from {self.table} order by build")
        return [_publication(dict(zip(names, row, strict=True))) for row in rows]

    def entry(self, build: GreenBuild, number: int, place: str) -> str:
        """SQL that notes the publication of a build and takes it for the current one.

        The rows of marts that have not been counted are. An increment is in place already.
        """
        source = place if build.is_increment else build.place
        queries = {one.name: one.rows for one in build.relations if not one.suffix}
        for mart in build.marts:
            if not mart.rows:
                count = f"select count(*) from {{place}}.{quote(mart.name)}"
                query = queries.get(mart.name) or count
                [(rows,)] = self.run(query.format(place=quote(source)))
                mart.rows = int(rows)
        loads: list[int] = []
        rejected = issues = None
        if {"input_reconciliation", "input_issues"} <= {mart.name for mart in build.marts}:
            reconciliation = self.relation(source, "input_reconciliation")
            found = self.run(
                "select load_id, cast(sum(rejected_lines + rejected_rows) as bigint) "
                f"from {reconciliation} group by load_id order by load_id"
            )
            loads = [load_id for load_id, _ in found if load_id is not None]
            rejected = sum(count for _, count in found)
            [(issues,)] = self.run(
                f"select count(*) from {self.relation(source, 'input_issues')} "
                "where status = 'open'"
            )
        now = datetime.now(UTC).isoformat()
        values = {
            "build": number,
            "status": CURRENT,
            "published_at": now,
            "published_by": build.by or person(),
            "loads": json.dumps(loads),
            "newest_load": max(loads, default=None),
            "rows_rejected": rejected,
            "open_issues": issues,
            "models_built": build.models_built,
            "tests_passed": build.tests_passed,
            "tests_warned": build.tests_warned,
            "seconds": round(build.seconds, 3),
            "marts": msgspec.json.encode(build.marts).decode(),
            "labmart_version": __version__,
            "invocation_id": build.invocation_id,
            "code": build.code,
            "place": place,
            "relations": json.dumps([[r.suffix, r.name, r.is_view] for r in build.relations]),
            "based_on": None,
            "can_grow": build.can_grow,
        }
        left = f"status = '{KEPT}'"
        if build.is_increment and (base := current_of(self.read())):
            left = f"status = '{GONE}', state = null"
            relations = [[r.suffix, r.name, r.is_view] for r in base.relations]
            values |= {"based_on": base.build, "relations": json.dumps(relations)}
        listed = ", ".join(map(self._value, values.values()))
        return (
            f"update {self.table} set {left}, replaced_at = {self.literal(now)} "
            f"where status = '{CURRENT}'; "
            f"insert into {self.table} ({', '.join(values)}) values ({listed})"
        )

    def next_number(self) -> int:
        """The number of the publication to come."""
        [(last,)] = self.run(f"select max(build) from {self.table}")
        return int(last or 0) + 1

    def exchange(self, current: Publication, chosen: Publication) -> str:
        """SQL that notes that a kept publication takes the place of the current one."""
        now = self.literal(datetime.now(UTC).isoformat())
        return (
            f"update {self.table} set status = '{KEPT}', replaced_at = {now} "
            f"where build = {current.build:d}; "
            f"update {self.table} set status = '{CURRENT}', replaced_at = null "
            f"where build = {chosen.build:d}"
        )

    def chosen(self, build: int | None) -> tuple[Publication, Publication]:
        """What readers see, and what is to be put back. Raises NotBuilt and UsageError."""
        known = self.read()
        current = current_of(known)
        if current is None:
            raise NotBuilt(f"{self.schema}.{PUBLICATIONS}", self.profile.target)
        kept = kept_of(known)
        if build is None and current.based_on is not None:
            others = ", ".join(f"`labmart rollback {one.build}`" for one in kept)
            raise UsageError(
                f"Build {current.build} is an increment of build {current.based_on}, whose tables "
                "it has changed: that one cannot be put back. `labmart undo LOAD` and `labmart "
                "build` take back what a load has brought."
                + (f" What is kept is older: {others}." if others else "")
            )
        before = [one for one in kept if build is None or one.build == build]
        if not before:
            numbers = ", ".join(str(one.build) for one in kept)
            there_is = f"kept: {numbers}" if kept else f"none is kept ({KEEP_VARIABLE}=1 keeps one)"
            which = "no earlier build" if build is None else f"no build {build} that is not current"
            raise UsageError(f"There is {which} to put back; {there_is}.")
        return current, before[-1]

    def drop_surplus(self, keep: int) -> None:
        """Drop the kept builds that are more than `keep`, those that were seen longest ago."""
        kept = kept_of(self.read())
        for one in kept[: max(len(kept) - keep, 0)]:
            self.drop(self.schemas_of(one.place))
            self.run(
                f"update {self.table} set status = '{GONE}', state = null "
                f"where build = {one.build:d}"
            )

    def _value(self, value: object) -> str:
        if value is None:
            return "null"
        return self.literal(value) if isinstance(value, str) else str(value)


def _publication(row: dict[str, Any]) -> Publication:
    """What a row says; lists are kept as JSON."""
    lists = {
        "loads": tuple(json.loads(row["loads"])),
        "marts": tuple(msgspec.json.decode(row["marts"], type=list[Mart])),
        "relations": tuple(Relation(*item) for item in json.loads(row["relations"])),
    }
    return Publication(**{**row, **lists})


def replaced_rows(suffix: str, increment: object) -> tuple[str, ...]:
    """`Relation.replaced` of a model by the key `increment` of its meta.

    It is a list of conditions, and of {RELATION: [COLUMN, …]}: the relation has the key of the row.
    """
    conditions: list[str] = []
    for one in increment if isinstance(increment, list) else ():
        if isinstance(one, str):
            conditions.append(one)
        for relation, columns in one.items() if isinstance(one, dict) else ():
            same = " and ".join(f"gone.{column} = old.{column}" for column in columns)
            source = f'"{{next}}{suffix}".{quote(relation)}'
            conditions.append(f"exists (select 1 from {source} as gone where {same})")
    return tuple(conditions)


def changes_of(one: Relation, next_: str, place: str) -> tuple[list[str], str]:
    """Statements that put the rows of an increment, built in `next_`, into a table of a build.

    They are some that delete rows of the table, which they call `old`, and one that inserts. A
    table that is as it was is left alone.
    """
    table, rows = (f"{quote(base + one.suffix)}.{quote(one.name)}" for base in (place, next_))
    insert = f"insert into {table} select * from {rows}"
    if one.replaced:
        wheres = [condition.replace("{next}", next_) for condition in one.replaced]
        return [f"delete from {table} as old where {where}" for where in wheres], insert
    # Of as many rows, of which none is missing in the other table, all are the same.
    differ = (
        f"(select count(*) from {table}) <> (select count(*) from {rows}) or exists "
        f"(select t::text from {table} as t except all select t::text from {rows} as t)"
    )
    delete = f"delete from {table} as old where {differ}"
    return [delete], f"{insert} where not exists (select 1 from {table})"


def kept_builds() -> int:
    """How many earlier builds stay, as LABMART_KEEP has it; 1 by default. Raises UsageError."""
    text = os.environ.get(KEEP_VARIABLE, "") or "1"
    if not text.isascii() or not text.isdigit() or len(text) > 3:
        raise UsageError(f"{KEEP_VARIABLE} is {text!r}, and should be a number from 0 to 999.")
    return int(text)


def current_of(known: Sequence[Publication]) -> Publication | None:
    """The one that readers see."""
    return next((one for one in known if one.status == CURRENT), None)


def kept_of(known: Sequence[Publication]) -> list[Publication]:
    """Those that can be put back; the last is what readers saw last."""
    kept = [one for one in known if one.status == KEPT]
    return sorted(kept, key=lambda one: one.replaced_at or one.published_at)


def describe(publication: Publication) -> str:
    """A publication in a line."""
    when = publication.published_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    loads = f"{len(publication.loads)} loads" if publication.loads else "the seeds"
    by = f" by {publication.published_by}" if publication.published_by else ""
    base = f", an increment of build {publication.based_on}," if publication.based_on else ""
    return f"build {publication.build}{base} of {loads}, published {when} UTC{by}"
