"""What is published: a build is made and tested beside what readers see, then put in its place.

With target schema S dbt builds into schemas of its own, `<place>`, `<place>_staging` and so on
(macros/overrides/generate_schema_name.sql). What readers see, in S, S_staging and S_seeds, are
views on one of these places. To publish is to lead all of these views to another place in one
transaction, if every test is green; to go back is the same. So whatever others have made on a mart,
views and rights, stands on a view that stays.

    fingerprint  what the marts are made by
    postgres     places are `S__next` while dbt builds and `S__b7` once they are published
    duckdb       DuckDB renames no schema: places are `S__1`, `S__2` ..., the first that is free
    lake         dbt itself publishes there, by a pointer (macros/lake/publish.sql)

Two tables in S say what is published. `publications` has a row for each publication, with what it
read and left behind, so that a build that would do the same again can be left out. `mart_status`
has a row for each mart of the one that readers see. Both change in the transaction of the views.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import msgspec

from loader import __version__
from loader.dbt import BuildResult
from loader.engines import dbt_turn
from loader.engines.sql import quote
from loader.errors import ConfigError, NotBuilt, UsageError
from loader.profile import Profile

PUBLICATIONS, MART_STATUS = "publications", "mart_status"
# Of a publication: readers see it; it can be put back; its tables are gone.
CURRENT, KEPT, GONE = "current", "kept", "gone"
KEEP_VARIABLE = "LABMART_KEEP"
_TIME = "timestamp with time zone"
TABLES = {
    PUBLICATIONS: {
        "build": "bigint",
        "status": "text",
        "published_at": _TIME,
        "published_by": "text",
        "replaced_at": _TIME,
        "loads": "text",
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
    },
    MART_STATUS: {
        "mart": "text",
        "build": "bigint",
        "published_at": _TIME,
        "tests_passed": "bigint",
        "mart_rows": "bigint",
        "newest_load": "bigint",
        "rows_rejected": "bigint",
        "open_issues": "bigint",
    },
}
_BUILT = ("model", "seed")

# Schema and name.
Table = tuple[str, str]


class Mart(msgspec.Struct):
    """What is said of one mart of a build; `inputs` are those that it is made of.

    None where the project has no mart that would say it.
    """

    name: str
    tests_passed: int
    inputs: list[str]
    rows: int = 0
    newest_load: int | None = None
    rows_rejected: int | None = None
    open_issues: int | None = None


@dataclass(frozen=True)
class Relation:
    """A relation of a build: what its schema is called behind place or target, and its name."""

    suffix: str
    name: str
    is_view: bool = False


@dataclass(frozen=True)
class GreenBuild:
    """A build of which every test has passed. `code` is None where the next one is due anyway."""

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


@dataclass(frozen=True)
class Publication:
    """A row of the table `publications`; `replaced_at` is when readers saw it last."""

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


class _Config(msgspec.Struct):
    materialized: str = ""


class _DependsOn(msgspec.Struct):
    nodes: list[str] = []


class _Node(msgspec.Struct):
    resource_type: str
    schema: str = ""
    name: str = ""
    alias: str = ""
    language: str = "sql"
    config: _Config = msgspec.field(default_factory=_Config)
    depends_on: _DependsOn = msgspec.field(default_factory=_DependsOn)


class _Manifest(msgspec.Struct):
    nodes: dict[str, _Node]
    sources: dict[str, dict[str, Any]]


class _Result(msgspec.Struct):
    unique_id: str
    status: str


class _Results(msgspec.Struct):
    results: list[_Result]


def read_build(profile: Profile, place: str, code: str | None, result: BuildResult) -> GreenBuild:
    """A green build, as dbt describes it in its artifacts.

    Without a place dbt has built where it always does. Raises ConfigError if it should have built
    in the place, and has not.
    """
    place = place or profile.schema
    files = [result.artifacts / name for name in ("manifest.json", "run_results.json")]
    manifest = msgspec.json.decode(files[0].read_bytes(), type=_Manifest)
    results = msgspec.json.decode(files[1].read_bytes(), type=_Results).results
    built = {
        unique_id: node
        for unique_id, node in manifest.nodes.items()
        if node.resource_type in _BUILT and node.config.materialized != "ephemeral"
    }
    for model in built.values():
        if model.schema != place and not model.schema.startswith(f"{place}_"):
            raise ConfigError(
                profile.path,
                f"dbt has built {model.schema}.{model.alias}, and not in {place}: the project's "
                "macro generate_schema_name has to heed LABMART_BUILD_SCHEMA, as that of labmart "
                "does (macros/overrides/generate_schema_name.sql).",
            )
    green = {node.unique_id for node in results if node.status == "pass"}
    tests: dict[str, int] = {}
    for test in green:
        for parent in manifest.nodes[test].depends_on.nodes if test in manifest.nodes else ():
            tests[parent] = tests.get(parent, 0) + 1
    statuses = [
        (node.unique_id in built, node.status)
        for node in results
        if not node.unique_id.startswith("operation.")
    ]
    has_python = any(node.language == "python" for node in manifest.nodes.values())
    reads_files = "external_location" in json.dumps(list(manifest.sources.values()))
    return GreenBuild(
        place=place,
        relations=tuple(
            Relation(
                node.schema.removeprefix(place), node.alias, node.config.materialized == "view"
            )
            for node in built.values()
        ),
        marts=tuple(
            Mart(node.alias, tests.get(unique_id, 0), _inputs_of(manifest, unique_id))
            for unique_id, node in built.items()
            if node.schema == place
        ),
        sources=tuple(
            (str(source["schema"]), str(source["identifier"]))
            for source in manifest.sources.values()
        ),
        models_built=sum(is_built for is_built, _ in statuses),
        tests_passed=sum(status == "pass" for _, status in statuses),
        tests_warned=sum(status == "warn" for _, status in statuses),
        seconds=result.seconds,
        invocation_id=result.invocation_id,
        code=None if has_python or reads_files else code,
    )


def _inputs_of(manifest: _Manifest, unique_id: str) -> list[str]:
    """The names of the sources, and of the seeds without `raw_`, that a node is made of."""
    names, seen, waiting = set(), {unique_id}, [unique_id]
    while waiting:
        one = waiting.pop()
        if one in manifest.sources:
            names.add(str(manifest.sources[one]["name"]))
        node = manifest.nodes.get(one)
        if node is not None and node.resource_type == "seed":
            names.add(node.name.removeprefix("raw_"))
        new = {parent for parent in (node.depends_on.nodes if node else ()) if parent not in seen}
        seen |= new
        waiting += new
    return sorted(names)


class Publications:
    """The publications of a target; here none, and dbt builds where readers look."""

    def is_current(self, code: str) -> bool:  # noqa: ARG002 -- for those who know more
        """Whether what readers see was made by this code, and nothing has changed since."""
        return False

    def begin(self) -> str:
        """Make ready for a build; the place where dbt is to build, '' where it always does."""
        return ""

    def keep(self, build: GreenBuild, keep: int) -> None:
        """Note a build that dbt has put in place itself."""

    def publish(self, build: GreenBuild, keep: int) -> int:
        """Put a build in place, all of it in one step; its number.

        `keep` is how many of those before stay. Raises DatabaseFault when readers could not be
        waited for, or when something that others have made is in the way.
        """
        raise NotImplementedError

    def roll_back(self, build: int | None) -> tuple[Publication, Publication]:  # noqa: ARG002
        """Put a kept publication in place, the newest one by default: the one before, and it.

        Raises UsageError if it is not kept.
        """
        raise UsageError("This engine keeps no earlier builds.")

    def all(self) -> list[Publication]:
        """The publications from the oldest to the newest."""
        return []

    @property
    def current(self) -> Publication | None:
        """What readers see, if anything has been published."""
        return next((one for one in self.all() if one.status == CURRENT), None)


@contextmanager
def open_publications(profile: Profile, *, write: bool = True) -> Iterator[Publications]:
    """The publications of a target. With `write` one build at a time has them.

    Raises DatabaseUnreachable.
    """
    if profile.engine == "postgres":
        from loader.publications.postgres import connected

        with connected(profile, write=write) as opened:
            yield opened
    elif profile.engine == "duckdb":
        from loader.publications.duckdb import DuckDBPublications

        if write:
            with dbt_turn(profile):
                yield DuckDBPublications(profile)
        else:
            yield DuckDBPublications(profile, write=False)
    elif profile.engine == "spark":
        from loader.publications.lake import LakePublications

        yield LakePublications(profile)
    else:
        yield Publications()


class SqlPublications(Publications):
    """Publications of an engine that speaks SQL; `literal` writes a text as one."""

    def __init__(self, profile: Profile, literal: Callable[[str], str]) -> None:
        self.profile = profile
        self.schema = profile.schema
        self.literal = literal

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement; its rows."""
        raise NotImplementedError

    def table(self, name: str) -> str:
        """A table of the target schema as SQL."""
        return self.relation(self.schema, name)

    def relation(self, schema: str, name: str) -> str:
        """A relation as SQL."""
        return f"{quote(schema)}.{quote(name)}"

    def make_tables(self) -> str:
        """SQL that makes the two tables where they are not."""
        statements = []
        for name, columns in TABLES.items():
            listed = ", ".join(f"{quote(column)} {type_}" for column, type_ in columns.items())
            statements.append(f"create table if not exists {self.table(name)} ({listed})")
        return "; ".join(statements)

    def read(self) -> list[Publication]:
        """See `all`; of a database in which the tables are."""
        names = [field.name for field in fields(Publication)]
        rows = self.run(f"select {', '.join(names)} from {self.table(PUBLICATIONS)} order by build")
        return [_publication(dict(zip(names, row, strict=True))) for row in rows]

    def figures(self, build: GreenBuild, rows: Mapping[str, int]) -> tuple[int, ...]:
        """Complete what is said of the marts, and the loads that the build is made of.

        `rows` are those of marts whose rows have been counted.
        """
        names = {mart.name for mart in build.marts}
        for mart in build.marts:
            relation = self.relation(build.place, mart.name)
            mart.rows = rows.get(mart.name, -1)
            if mart.rows < 0:
                [(mart.rows,)] = self.run(f"select count(*) from {relation}")
        loads: list[int] = []
        if not {"input_reconciliation", "input_issues"} <= names:
            return ()
        rejected: dict[str, int] = {}
        newest: dict[str, int] = {}
        issues: dict[str, int] = {}
        reconciliation = self.relation(build.place, "input_reconciliation")
        for name, load_id, count in self.run(
            "select input, load_id, cast(sum(rejected_lines + rejected_rows) as bigint) "
            f"from {reconciliation} group by input, load_id"
        ):
            rejected[name] = rejected.get(name, 0) + count
            if load_id is not None:
                loads.append(load_id)
                newest[name] = max(newest.get(name, 0), load_id)
        for name, count in self.run(
            f"select input, count(*) from {self.relation(build.place, 'input_issues')} "
            "where status = 'open' group by input"
        ):
            issues[name] = count
        for mart in build.marts:
            known = [name for name in mart.inputs if name in rejected]
            mart.newest_load = max((newest[name] for name in known if name in newest), default=None)
            mart.rows_rejected = sum(rejected[name] for name in known)
            mart.open_issues = sum(issues.get(name, 0) for name in known)
        return tuple(sorted(loads))

    def entry(self, build: GreenBuild, number: int, place: str, loads: Sequence[int]) -> str:
        """SQL that notes the publication of a build and takes it for the current one."""
        now = datetime.now(UTC).isoformat()
        values = {
            "status": CURRENT,
            "published_at": now,
            "published_by": _person(),
            "loads": json.dumps(loads),
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
        }
        listed = ", ".join(map(self._value, values.values()))
        return (
            f"update {self.table(PUBLICATIONS)} set status = '{KEPT}', "
            f"replaced_at = {self.literal(now)} "
            f"where status = '{CURRENT}'; insert into {self.table(PUBLICATIONS)} "
            f"(build, {', '.join(values)}) values ({number:d}, {listed})"
        )

    def next_number(self) -> int:
        """The number of the publication to come."""
        [(last,)] = self.run(f"select max(build) from {self.table(PUBLICATIONS)}")
        return int(last or 0) + 1

    def tell_marts(self, number: int) -> None:
        """Say of each mart of a publication that readers see it."""
        chosen = next(one for one in self.read() if one.build == number)
        at = f"cast({self.literal(chosen.published_at.isoformat())} as timestamptz)"
        self.run(f"delete from {self.table(MART_STATUS)}")
        for mart in chosen.marts:
            figures = (
                *(mart.tests_passed, mart.rows, mart.newest_load),
                *(mart.rows_rejected, mart.open_issues),
            )
            self.run(
                f"insert into {self.table(MART_STATUS)} values ({self.literal(mart.name)}, "
                f"{number:d}, {at}, {', '.join(map(self._value, figures))})"
            )

    def forget(self, number: int) -> None:
        """Note that the tables of a publication are gone."""
        self.run(
            f"update {self.table(PUBLICATIONS)} set status = '{GONE}', state = null "
            f"where build = {number:d}"
        )

    def exchange(self, current: Publication, chosen: Publication) -> str:
        """SQL that notes that a kept publication takes the place of the current one."""
        now = self.literal(datetime.now(UTC).isoformat())
        table = self.table(PUBLICATIONS)
        return (
            f"update {table} set status = '{KEPT}', replaced_at = {now} "
            f"where build = {current.build:d}; "
            f"update {table} set status = '{CURRENT}', replaced_at = null "
            f"where build = {chosen.build:d}"
        )

    def chosen(self, build: int | None) -> tuple[Publication, Publication]:
        """What readers see, and what is to be put back. Raises UsageError."""
        known = self.all()
        current = next((one for one in known if one.status == CURRENT), None)
        kept = kept_of(known)
        if current is None:
            raise NotBuilt(f"{self.schema}.{PUBLICATIONS}", self.profile.target)
        before = [one for one in kept if build is None or one.build == build]
        if not before:
            numbers = ", ".join(str(one.build) for one in kept)
            there_is = f"kept: {numbers}" if kept else f"none is kept ({KEEP_VARIABLE}=1 keeps one)"
            which = "no earlier build" if build is None else f"no build {build} that is not current"
            raise UsageError(f"There is {which} to put back; {there_is}.")
        return current, before[-1]

    def surplus(self, keep: int) -> list[Publication]:
        """The kept publications that are more than `keep`, those that were seen longest ago."""
        kept = kept_of(self.read())
        return kept[: max(len(kept) - keep, 0)]

    def _value(self, value: object) -> str:
        if value is None:
            return "null"
        return self.literal(value) if isinstance(value, str) else str(value)


def _publication(row: Mapping[str, Any]) -> Publication:
    """What a row says; lists are kept as JSON."""
    lists = {
        "loads": tuple(json.loads(row["loads"])),
        "marts": tuple(msgspec.json.decode(row["marts"], type=list[Mart])),
        "relations": tuple(Relation(*item) for item in json.loads(row["relations"])),
    }
    return Publication(**{**row, **lists})


def _person() -> str:
    with suppress(KeyError, OSError, ImportError):
        return getpass.getuser()
    return ""


def kept_builds() -> int:
    """How many earlier builds stay, as LABMART_KEEP has it; 1 by default. Raises UsageError."""
    text = os.environ.get(KEEP_VARIABLE, "") or "1"
    if not text.isascii() or not text.isdigit() or len(text) > 3:
        raise UsageError(f"{KEEP_VARIABLE} is {text!r}, and should be a number from 0 to 999.")
    return int(text)


def kept_of(known: Sequence[Publication]) -> list[Publication]:
    """Those that can be put back; the last is what readers saw last."""
    kept = [one for one in known if one.status == KEPT]
    return sorted(kept, key=lambda one: one.replaced_at or one.published_at)


def describe(publication: Publication) -> str:
    """A publication in a line."""
    when = publication.published_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    loads = f"{len(publication.loads)} loads" if publication.loads else "the seeds"
    by = f" by {publication.published_by}" if publication.published_by else ""
    return f"build {publication.build} of {loads}, published {when} UTC{by}"
