"""Publications: a build is made and tested beside what readers see, then put in its place.

With target schema S, dbt builds into separate schemas, `<place>`, `<place>_staging` and so on
(macros/overrides/generate_schema_name.sql). What readers see, in S, S_staging and S_seeds, are
views on one of these places. Publishing points all these views to another place in one transaction,
if every test has passed; rolling back works the same way. So other people's views and grants on a
mart are attached to a view that stays.

    postgres     places are `S__next` while dbt builds and `S__b7` once published
    duckdb       DuckDB cannot rename schemas: places are `S__1`, `S__2` ..., the first free one
    lake         dbt itself publishes there, by a pointer (macros/lake/publish.sql)

An increment is built the same way, from the changed rows alone, by models that read the published
ones beside them (macros/increments). It changes the tables of the current build in one transaction,
so the build it is based on is gone.

The table `publications` in S has a row for each publication, with the code that made it and a
digest of the ledger from the start of the build, so that a build that would do the same again can
be skipped. It changes in the same transaction as the views. `mart_status` is a view on it, with a
row for each mart of a publication that readers see.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from hashlib import sha256
from importlib import import_module
from typing import Any

import msgspec

from loader import __version__
from loader.contract import MART_STATUS
from loader.engines import ENGINES, Engine, quote
from loader.errors import DatabaseFault, NotBuilt, UsageError
from loader.project import Profile, person
from loader.sources import LEDGER

PUBLICATIONS = "publications"
# Of a publication: readers see it; it can be put back; its tables are gone.
CURRENT, KEPT, GONE = "current", "kept", "gone"
# What the next build has to do.
NOTHING, INCREMENT, WHOLE = "nothing", "increment", "whole"
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
    "ledger": "text",
    "place": "text",
    "relations": "text",
    "based_on": "bigint",
    "can_grow": "boolean",
}
# The largest share of rows from added or removed loads; beyond that a full build is faster.
LARGEST_INCREMENT = 0.2


class Mart(msgspec.Struct):
    """What is recorded about one mart of a build."""

    name: str
    tests_passed: int
    rows: int = 0


@dataclass(frozen=True)
class Relation:
    """A relation of a build: its schema's suffix after the place or target, and its name.

    For an increment, `replaced` says which published rows `old` its rows replace, as SQL with
    {next} for what precedes the suffix; without it, the relation holds all rows. `rows` is a faster
    query for their number in {place} than counting them.
    """

    suffix: str
    name: str
    is_view: bool = False
    replaced: tuple[str, ...] = ()
    rows: str = ""

    def at(self, base: str) -> str:
        """Its name as SQL; `base` is the place of a build, or the target schema."""
        return f"{quote(base + self.suffix)}.{quote(self.name)}"


@dataclass(frozen=True)
class GreenBuild:
    """A build whose tests have all passed.

    `code` is None if the next build is due anyway. `can_grow` means that all its models support
    increments, `is_increment` that it is one. `by` is who publishes it; '' means the account that
    runs the call.
    """

    place: str
    relations: tuple[Relation, ...]
    marts: tuple[Mart, ...]
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
    """A row of the table `publications`; `replaced_at` is when readers last saw it.

    An increment has taken over the tables of the build that it is `based_on`.
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
    # The columns below may be missing in a table of an earlier version.
    code: str | None = None
    ledger: str | None = None
    based_on: int | None = None
    can_grow: bool | None = None


def open_publications(
    profile: Profile, *, write: bool = True
) -> AbstractContextManager[Publications]:
    """The publications of a target. With `write`, one build at a time has them.

    Raises DatabaseUnreachable.
    """
    module = import_module(f"{__name__}.{ENGINES[profile.engine]}")
    publications: AbstractContextManager[Publications] = module.connected(profile, write=write)
    return publications


class Publications:
    """The publications of a target. `where` names the database in messages."""

    # While they are `opened`.
    engine: Engine

    # The marts of a publication `p` as rows `m`.
    marts_as_rows = """(
        select unnest(from_json(
            p.marts, '[{"name": "VARCHAR", "tests_passed": "BIGINT", "rows": "BIGINT"}]'
        ), max_depth := 2)
    ) as m"""
    # What is read of each load; any change to the ledger changes it.
    load_columns: tuple[str, ...] = ("load_id", "status", "records_read")

    def __init__(self, profile: Profile, where: str) -> None:
        self.profile, self.schema, self.where = profile, profile.schema, where
        # The table of the publications as SQL.
        self.table = self.relation(PUBLICATIONS)
        # The digest of the ledger at the start of the build.
        self.ledger_read: str | None = None

    def next_build(self, code: str) -> str:
        """What this code has to build so that readers see all that the current loads give.

        NOTHING if this code made what they see and the ledger is unchanged; INCREMENT if other
        loads are current, but not too many, and its models support increments; else WHOLE.
        """
        with self.opened():
            seen = self.made_by(code)
            if seen is None:
                return WHOLE
            ledger = self.ledger()
            loads = self._loads() if seen.can_grow else []
        before = set(seen.loads)
        now = {load_id for load_id, status, *_ in loads if status == "current"}
        all_, changed = (
            sum(records for load_id, _, records, *_ in loads if load_id in ids)
            for ids in (before, before ^ now)
        )
        if before and now and before != now and changed <= LARGEST_INCREMENT * all_:
            return INCREMENT
        return NOTHING if ledger == seen.ledger else WHOLE

    def made_by(self, code: str) -> Publication | None:
        """What readers see, if this code made it and all of it exists.

        The caller has it `opened`.
        """
        seen = current_of(self.read())
        return seen if seen and seen.code == code and self.is_whole(seen) else None

    def is_whole(self, seen: Publication) -> bool:
        """Whether readers see all relations of the current publication."""
        rows = [
            (self.schema + relation.suffix, relation.name, seen.place + relation.suffix)
            for relation in seen.relations
        ]
        listed = ", ".join(f"({', '.join(map(self.literal, row))})" for row in rows)
        values = f"(values {listed}) as own (schema, name, place)"
        is_seen = self.is_seen("own.schema", "own.name", "own.place")
        return bool(rows) and self.run(f"select 1 from {values} where not ({is_seen})") == []

    def ledger(self) -> str:
        """A digest of the ledger; it changes when something is loaded or undone."""
        return sha256(json.dumps(self._loads()).encode()).hexdigest()

    def _loads(self) -> list[tuple[Any, ...]]:
        """What is read of each load; empty if there is no ledger yet."""
        schema = self.profile.raw_schema
        if not self.columns_of(schema, LEDGER):
            return []
        columns, ledger = ", ".join(self.load_columns), Relation("", LEDGER).at(schema)
        return self.run(f"select {columns} from {ledger} order by load_id")

    def begin(self) -> str:
        """Prepare a build; returns the place where dbt is to build."""
        with self.opened():
            left = (publication for publication in self.read() if publication.status != GONE)
            place = self.make_room([publication.place for publication in left])
            if self.schema not in self.schemas_of(self.schema):
                self.run(f"create schema {quote(self.schema)}")
            is_there = self.columns_of(self.schema, MART_STATUS)
            if not is_there or COLUMNS.keys() - self.columns_of(self.schema, PUBLICATIONS):
                self.make_tables()
            # This build may or may not see what is loaded from now on: the next one is due then.
            self.ledger_read = self.ledger()
        return place

    def publish(self, build: GreenBuild, keep: int) -> int | None:
        """Put a build in place in one step, unless dbt has; returns its number, if it has one.

        `keep` is how many earlier builds stay. Raises DatabaseFault if readers hold it up for too
        long, or if something that others have made is in the way.
        """
        with self.opened():
            number = self.next_number()
            if build.is_increment:
                self._grow(build, number)
            else:
                place, renames = self.settled(build, number)
                entry = self.entry(build, number, place)
                self.put_in_place(build.relations, place, entry, renames)
            self.drop_surplus(keep)
        return number

    def _grow(self, build: GreenBuild, number: int) -> None:
        """Apply an increment to the tables of the current build; readers do not wait for it."""
        with self.transaction():
            seen = current_of(self.read())
            if seen is None or not self.is_whole(seen):
                raise DatabaseFault(
                    self.where,
                    "what is published was changed while an increment of it was built.",
                    "Build again.",
                    outcome="Nothing was published.",
                )
            tables = {table.at(seen.place) for table in seen.relations if not table.is_view}
            for relation in build.relations:
                if relation.at(seen.place) in tables:
                    for statement in changes_of(relation, build.place, seen.place):
                        self.run(statement)
            self.run(self.entry(build, number, seen.place, seen))
        self.drop(self.schemas_of(build.place))

    def roll_back(self, build: int | None) -> tuple[Publication, Publication]:
        """Put a kept publication in place, by default the newest; returns the old and the new one.

        Raises UsageError if it is not kept.
        """
        with self.opened():
            current, chosen = self.chosen(build)
            self.put_in_place(chosen.relations, chosen.place, self.exchange(current, chosen))
        return current, chosen

    def all(self) -> list[Publication]:
        """The publications from oldest to newest."""
        with self.opened():
            return self.read()

    # What each engine implements.

    def opened(self) -> AbstractContextManager[None]:
        """The database, in which `run` runs."""
        return nullcontext()

    def is_seen(self, schema: str, name: str, place: str) -> str:
        """SQL: whether the view of that schema and name reads the place; all three are SQL."""
        raise NotImplementedError

    def make_room(self, kept: Sequence[str]) -> str:
        """Drop what unpublished builds have left; returns a place for the next one."""
        raise NotImplementedError

    def settled(
        self,
        build: GreenBuild,
        number: int,  # noqa: ARG002 -- where schemas can be renamed
    ) -> tuple[str, list[str]]:
        """The place of a build once it is published, and statements that move it there."""
        return build.place, []

    def put_in_place(
        self, relations: Sequence[Relation], place: str, note: str, before: Sequence[str] = ()
    ) -> None:
        """Point all published views to the place, and run `note`, in one transaction."""
        raise NotImplementedError

    # What all engines share.

    def run(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a statement; returns its rows. Raises DatabaseFault."""
        return self.engine.run(sql, values)

    def literal(self, text: str) -> str:
        return self.engine.literal(text)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.run("begin transaction")
        try:
            yield
            self.run("commit")
        except BaseException:
            # The connection may be lost.
            with suppress(Exception):
                self.run("rollback")
            raise

    def drop(self, schemas: Sequence[str]) -> None:
        for schema in schemas:
            self.run(f"drop schema if exists {quote(schema)} cascade")

    def relation(self, name: str) -> str:
        """A relation of the target schema as SQL."""
        return Relation("", name).at(self.schema)

    def schemas_of(self, place: str) -> list[str]:
        """The schemas of a build, or of the target schema."""
        names = self.engine.schemas()
        return [name for name in names if name == place or name.startswith(f"{place}_")]

    def columns_of(self, schema: str, name: str) -> Collection[str]:
        """The columns of a relation; none if it does not exist."""
        return self.engine.tables(schema).get(name, ())

    def make_table(self) -> None:
        """Create `publications` if it is missing, and add columns of later versions."""
        listed = {name: f"{quote(name)} {type_}" for name, type_ in COLUMNS.items()}
        self.run(f"create table if not exists {self.table} ({', '.join(listed.values())})")
        for name in COLUMNS.keys() - self.columns_of(self.schema, PUBLICATIONS):
            self.run(f"alter table {self.table} add column {listed[name]}")

    def make_tables(self) -> None:
        """Create `publications` and the view `mart_status`."""
        self.make_table()
        view = self.relation(MART_STATUS)
        self.run(f"create or replace view {view} as {self.status_of_marts()}")

    def status_of_marts(self) -> str:
        """The query of `mart_status`."""
        is_seen = self.is_seen(self.literal(self.schema), "m.name", "p.place")
        return (
            "select m.name as mart, p.build, p.published_at, m.tests_passed, m.rows as mart_rows, "
            f"p.newest_load, p.rows_rejected, p.open_issues from {self.table} as p "
            f"cross join lateral {self.marts_as_rows} "
            f"where p.status = '{CURRENT}' and {is_seen}"
        )

    def read(self) -> list[Publication]:
        """See `all`."""
        present = self.columns_of(self.schema, PUBLICATIONS)
        names = [field.name for field in fields(Publication) if field.name in present]
        if not names:
            return []
        rows = self.run(f"select {', '.join(names)} from {self.table} order by build")
        return [_publication(dict(zip(names, row, strict=True))) for row in rows]

    def entry(
        self, build: GreenBuild, number: int, place: str, base: Publication | None = None
    ) -> str:
        """SQL that records the publication of a build and makes it the current one.

        An increment of `base` is in place already.
        """
        source = place if base else build.place
        queries = {
            relation.name: relation.rows for relation in build.relations if not relation.suffix
        }
        for mart in build.marts:
            query = queries.get(mart.name) or f"select count(*) from {{place}}.{quote(mart.name)}"
            [(count,)] = self.run(query.format(place=quote(source)))
            mart.rows = int(count)
        loads: list[int] = []
        rejected = issues = None
        if {"input_reconciliation", "input_issues"} <= {mart.name for mart in build.marts}:
            rows = self.run(
                "select load_id, cast(sum(rejected_lines + rejected_rows) as bigint) "
                f"from {quote(source)}.input_reconciliation group by load_id order by load_id"
            )
            loads = [load_id for load_id, _ in rows if load_id is not None]
            rejected = sum(count for _, count in rows)
            [(issues,)] = self.run(
                f"select count(*) from {quote(source)}.input_issues where status = 'open'"
            )
        relations = base.relations if base else build.relations
        now = datetime.now(UTC).isoformat()
        values = {name: value for name, value in vars(build).items() if name in COLUMNS} | {
            "build": number,
            "status": CURRENT,
            "published_at": now,
            "published_by": build.by or person(),
            "loads": json.dumps(loads),
            "newest_load": max(loads, default=None),
            "rows_rejected": rejected,
            "open_issues": issues,
            "marts": msgspec.json.encode(build.marts).decode(),
            "labmart_version": __version__,
            "ledger": self.ledger_read,
            "place": place,
            "relations": json.dumps([[r.suffix, r.name, r.is_view] for r in relations]),
            "based_on": base.build if base else None,
        }
        texts = (
            self.literal(value)
            if isinstance(value, str)
            else "null"
            if value is None
            else str(value)
            for value in values.values()
        )
        return (
            f"update {self.table} set status = '{GONE if base else KEPT}', "
            f"replaced_at = {self.literal(now)} where status = '{CURRENT}'; "
            f"insert into {self.table} ({', '.join(values)}) values ({', '.join(texts)})"
        )

    def next_number(self) -> int:
        """The number of the next publication."""
        [(last,)] = self.run(f"select max(build) from {self.table}")
        return int(last or 0) + 1

    def exchange(self, current: Publication, chosen: Publication) -> str:
        """SQL that records that a kept publication replaces the current one.

        It records no ledger for it, so that a build is due next.
        """
        now = self.literal(datetime.now(UTC).isoformat())
        # A table of an earlier version lacks this column.
        due = ", ledger = null" if chosen.ledger else ""
        return (
            f"update {self.table} set status = '{KEPT}', replaced_at = {now} "
            f"where build = {current.build:d}; "
            f"update {self.table} set status = '{CURRENT}', replaced_at = null{due} "
            f"where build = {chosen.build:d}"
        )

    def chosen(self, build: int | None) -> tuple[Publication, Publication]:
        """The current publication, and the one to put back. Raises NotBuilt and UsageError."""
        publications = self.read()
        current, kept = current_of(publications), kept_of(publications)
        if current is None:
            raise NotBuilt(f"{self.schema}.{PUBLICATIONS}", self.profile.target)
        if build is None and current.based_on is not None:
            others = ", ".join(f"`labmart rollback {older.build}`" for older in kept)
            raise UsageError(
                f"Build {current.build} is an increment of build {current.based_on}, whose tables "
                "it has changed: that one cannot be put back. `labmart undo LOAD` and `labmart "
                "build` take back what a load has brought."
                + (f" What is kept is older: {others}." if others else "")
            )
        before = [older for older in kept if build is None or older.build == build]
        if not before:
            numbers = ", ".join(str(older.build) for older in kept)
            there_is = f"kept: {numbers}" if kept else f"none is kept ({KEEP_VARIABLE}=1 keeps one)"
            which = "no earlier build" if build is None else f"no build {build} that is not current"
            raise UsageError(f"There is {which} to put back; {there_is}.")
        return current, before[-1]

    def drop_surplus(self, keep: int) -> None:
        """Drop kept builds beyond `keep`, those seen longest ago first."""
        kept = kept_of(self.read())
        for surplus in kept[: max(len(kept) - keep, 0)]:
            self.drop(self.schemas_of(surplus.place))
            self.run(f"update {self.table} set status = '{GONE}' where build = {surplus.build:d}")


def _publication(row: dict[str, Any]) -> Publication:
    """A row as a publication; lists are stored as JSON."""
    lists = {
        "loads": tuple(json.loads(row["loads"])),
        "marts": tuple(msgspec.json.decode(row["marts"], type=list[Mart])),
        "relations": tuple(Relation(*item) for item in json.loads(row["relations"])),
    }
    return Publication(**{**row, **lists})


def replaced_rows(suffix: str, increment: object) -> tuple[str, ...]:
    """`Relation.replaced` of a model from the key `increment` of its meta.

    It lists conditions, and {RELATION: [COLUMN, …]}: the relation has the key of the row.
    """
    conditions: list[str] = []
    for item in increment if isinstance(increment, list) else ():
        if isinstance(item, str):
            conditions.append(item)
        for relation, columns in item.items() if isinstance(item, dict) else ():
            same = " and ".join(f"gone.{column} = old.{column}" for column in columns)
            source = f'"{{next}}{suffix}".{quote(relation)}'
            conditions.append(f"exists (select 1 from {source} as gone where {same})")
    return tuple(conditions)


def changes_of(relation: Relation, next_: str, place: str) -> list[str]:
    """Statements that put the rows of an increment, built in `next_`, into a table of a build.

    The last one inserts; the others delete rows of the table, aliased `old`. An unchanged table is
    left alone.
    """
    table, rows = relation.at(place), relation.at(next_)
    insert = f"insert into {table} select * from {rows}"
    if relation.replaced:
        wheres = [condition.replace("{next}", next_) for condition in relation.replaced]
        return [*(f"delete from {table} as old where {where}" for where in wheres), insert]
    # With equal counts and no row missing from the other table, the rows are the same.
    differ = (
        f"(select count(*) from {table}) <> (select count(*) from {rows}) or exists "
        f"(select t::text from {table} as t except all select t::text from {rows} as t)"
    )
    return [
        f"delete from {table} as old where {differ}",
        f"{insert} where not exists (select 1 from {table})",
    ]


def kept_builds() -> int:
    """How many earlier builds stay, from LABMART_KEEP; 1 by default. Raises UsageError."""
    text = os.environ.get(KEEP_VARIABLE, "") or "1"
    if not text.isascii() or not text.isdigit() or len(text) > 3:
        raise UsageError(f"{KEEP_VARIABLE} is {text!r}, and should be a number from 0 to 999.")
    return int(text)


def current_of(publications: Sequence[Publication]) -> Publication | None:
    """The one that readers see."""
    return next((each for each in publications if each.status == CURRENT), None)


def kept_of(publications: Sequence[Publication]) -> list[Publication]:
    """Those that can be put back; the last is the one readers saw most recently."""
    kept = [publication for publication in publications if publication.status == KEPT]
    return sorted(kept, key=lambda publication: publication.replaced_at or publication.published_at)


def describe(publication: Publication) -> str:
    """A publication in one line."""
    when = publication.published_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    loads = f"{len(publication.loads)} loads" if publication.loads else "the seeds"
    by = f" by {publication.published_by}" if publication.published_by else ""
    base = f", an increment of build {publication.based_on}," if publication.based_on else ""
    return f"build {publication.build}{base} of {loads}, published {when} UTC{by}"
