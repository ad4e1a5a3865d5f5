"""Publications on PostgreSQL; see the package.

Putting a build in place locks each published view for a moment, in one transaction. A reader that
has read one of them in a transaction still open keeps its lock, and so sees one build: with a
snapshot older than the new tables it would find them empty. Nobody queues behind us for such a
reader: after a moment we release everything and try again later.
"""

from __future__ import annotations

import re
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import count
from typing import NamedTuple

import psycopg2
from psycopg2 import errors

from loader.contract import MART_STATUS
from loader.engines import quote
from loader.engines.postgres import Postgres, literal, open_connection, where
from loader.errors import DatabaseFault, UsageError
from loader.locks import wait_until
from loader.project import Profile
from loader.publications import (
    PUBLICATIONS,
    GreenBuild,
    Publications,
    Relation,
    current_of,
)
from loader.sources import LONGEST_NAME

# Readers wait only a moment, which may have to be longer on a slow machine; we may wait longer for
# whoever keeps us from publishing.
_MOMENTS = (0.5, 0.5, 1.0, 1.0, 2.0)
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
_TOLD_AFTER = 2
_PATIENCE_SECONDS = 600.0
# The longest suffix that a target schema's name gets.
_LONGEST_SUFFIX = len("__b1234567_staging")
# SQLSTATE's classes "syntax error or access rule violation" and "dependent objects still exist".
_IN_THE_WAY = ("42", "2B")
_IN_USE = (errors.QueryCanceled, errors.LockNotAvailable, errors.DeadlockDetected)
# Relations by name, in SQL: kind, and columns with their types.
_FIND = """
select
    name, c.oid::bigint, c.relkind::text,
    array(
        select concat(attname, ' ', format_type(atttypid, atttypmod)) from pg_attribute
        where attrelid = c.oid and attnum > 0 and not attisdropped order by attnum
    )
from unnest(%s::text[]) as name
inner join pg_class as c on c.oid = to_regclass(name)
where c.relkind in ('r', 'p', 'm', 'v')
"""
# SQL that points the views of others, which read these relations, to what now has their names.
_DEPENDENTS = """
select distinct format(
    'create or replace view %%s%%s as %%s', v.oid::regclass,
    ' with (' || array_to_string(v.reloptions, ', ') || ')', rtrim(pg_get_viewdef(v.oid), ';')
)
from pg_depend as d
inner join pg_rewrite as r on r.oid = d.objid
inner join pg_class as v on v.oid = r.ev_class
where
    d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
    and d.refobjid = any(%s) and v.relkind = 'v' and not v.oid = any(%s)
"""
# SQL that grants the rights on a relation and its columns to what now has its name.
_RIGHTS = """
select format(
    'grant %%s%%s on %%s to %%s%%s', acl.privilege_type, '(' || quote_ident(a.attname) || ')',
    c.oid::regclass,
    case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end,
    case when acl.is_grantable then ' with grant option' end
)
from pg_class as c
cross join lateral (
    select null::name as attname, c.relacl as rights
    union all
    select attname, attacl from pg_attribute where attrelid = c.oid and not attisdropped
) as a
cross join aclexplode(a.rights) as acl
where c.oid = %s and acl.grantee <> c.relowner and acl.privilege_type <> 'MAINTAIN'
"""
# SQL that gives published views the descriptions of what they read, where they differ.
_COMMENTS = """
select format(
    'comment on %%s is %%L',
    case
        when a.attname is null then 'view ' || pair.view
        else format('column %%s.%%I', pair.view, a.attname)
    end,
    d.description
)
from unnest(%s::text[], %s::text[]) as pair(view, source)
inner join pg_description as d
    on d.objoid = pair.source::regclass and d.classoid = 'pg_class'::regclass
left join pg_attribute as a
    on a.attrelid = d.objoid and a.attnum = d.objsubid and d.objsubid > 0
left join pg_attribute as v on v.attrelid = pair.view::regclass and v.attname = a.attname
where d.description is distinct from col_description(pair.view::regclass, coalesce(v.attnum, 0))
"""
# Readers may not look names up in a build's schema.
_IS_SEEN = """
exists (
    select from pg_rewrite as r
    inner join pg_depend as d on d.objid = r.oid and d.classid = 'pg_rewrite'::regclass
    inner join pg_class as c on c.oid = d.refobjid and d.refclassid = 'pg_class'::regclass
    inner join pg_namespace as n on n.oid = c.relnamespace
    where
        r.ev_class = to_regclass(format('%I.%I', {schema}, {name}))
        and n.nspname = {place} and c.relname = {name}
)
"""
_KINDS = {"v": "view", "m": "materialized view"}
_HOLDERS = """
select format(
    'process %%s (%%s, %%s) has used %%s in a transaction that is open since %%s', a.pid, a.usename,
    coalesce(nullif(a.application_name, ''), 'a program'), min(l.relation::regclass::text),
    to_char(a.xact_start, 'HH24:MI:SS')
)
from pg_locks as l
inner join pg_stat_activity as a on a.pid = l.pid
where
    l.relation = any(array(select to_regclass(name)::oid from unnest(%s::text[]) as name))
    and l.granted and l.pid <> pg_backend_pid()
group by a.pid, a.usename, a.application_name, a.xact_start
order by a.xact_start
limit 3
"""


class _Present(NamedTuple):
    """A relation of the database."""

    oid: int
    kind: str
    columns: list[str]

    def is_continued_by(self, source: _Present) -> bool:
        """Whether it is a view that can read the source and keep its columns."""
        return self.kind == "v" and source.columns[: len(self.columns)] == self.columns


@contextmanager
def connected(profile: Profile, *, write: bool) -> Iterator[PostgresPublications]:
    """See `open_publications`."""
    with closing(open_connection(profile, "labmart build")) as connection:
        connection.autocommit = True
        opened = PostgresPublications(profile, where(profile))
        opened.engine = Postgres(connection, profile.schema, opened.where, writes=True)
        # PostgreSQL then writes all names out in full in view definitions.
        opened.run("set search_path to ''")
        if write:
            # It ends with the connection.
            lock = f"hashtextextended({literal(f'labmart build {profile.schema}')}, 0)"
            wait_until(
                lambda: opened.run(f"select 1 where pg_try_advisory_lock({lock})"),
                waiting=f"waiting for another build of the schema {profile.schema} to end …",
            )
        yield opened


class PostgresPublications(Publications):
    """See `Publications`."""

    marts_as_rows = (
        "json_to_recordset(p.marts::json) as m (name text, tests_passed bigint, rows bigint)"
    )
    # An undo and its redo during a build leave the same statuses, but other rows.
    load_columns = (*Publications.load_columns, "xmin::text")

    def is_seen(self, schema: str, name: str, place: str) -> str:
        return _IS_SEEN.format(schema=schema, name=name, place=place)

    def make_tables(self) -> None:
        super().make_tables()
        own = [Relation("", PUBLICATIONS), Relation("", MART_STATUS)]
        for statement in self._given_to_owner(self.schema, own):
            self.run(statement)

    def make_room(self, kept: Sequence[str]) -> str:
        if len(self.schema.encode()) + _LONGEST_SUFFIX > LONGEST_NAME:
            raise UsageError(
                f"The target schema {self.schema!r} is too long: labmart builds beside it, in "
                f"schemas called {next_place(self.schema)}_staging and the like. Take a name of at "
                f"most {LONGEST_NAME - _LONGEST_SUFFIX} bytes."
            )
        needed = {name for place in kept for name in self.schemas_of(place)}
        places = [name for name in self.schemas_of(self.schema) if is_place(self.schema, name)]
        self.drop([name for name in places if name not in needed])
        return next_place(self.schema)

    def settled(self, build: GreenBuild, number: int) -> tuple[str, list[str]]:
        place = f"{self.schema}__b{number}"
        renames = [
            f"alter schema {quote(schema)} rename to "
            f"{quote(place + schema.removeprefix(build.place))}"
            for schema in self.schemas_of(build.place)
        ]
        return place, renames + self._given_to_owner(place, build.relations, schemas=True)

    def drop(self, schemas: Sequence[str]) -> None:
        """Drop schemas at once. What is still in use is left to the next build."""
        if schemas:
            self.run(f"set lock_timeout = {int(_MOMENTS[0] * 1000)}")
            with suppress(DatabaseFault):
                self.run(f"drop schema if exists {', '.join(map(quote, schemas))} cascade")
            self.run("set lock_timeout = 0")

    # Putting a build in place.

    def put_in_place(
        self, relations: Sequence[Relation], place: str, note: str, before: Sequence[str] = ()
    ) -> None:
        """See `Publications`. Raises DatabaseFault."""
        begun, current = time.monotonic(), current_of(self.read())
        views = [relation.at(self.schema) for relation in relations]
        sources = [relation.at(place) for relation in relations]
        earlier = [relation.at(self.schema) for relation in current.relations] if current else []
        for attempt in count():
            try:
                with self.transaction():
                    for statement in before:
                        self.run(statement)
                    steps = self._steps(relations, place, earlier)
                    # One statement, so that one limit covers all of it.
                    moment = _MOMENTS[min(attempt, len(_MOMENTS) - 1)]
                    self.run(f"set local statement_timeout = {int(moment * 1000)}")
                    self.run(_block(steps))
                    self.run("set local statement_timeout = 0")
                    for (comment,) in self.run(_COMMENTS, (views, sources)):
                        self.run(comment)
                    self.run(note)
            except DatabaseFault as fault:
                if not isinstance(fault.__cause__, _IN_USE):
                    raise self._explained(fault) from None
                texts = [text for (text,) in self.run(_HOLDERS, (views,))]
                holders = "; ".join(texts) or "others are reading all the time"
            else:
                return
            if time.monotonic() - begun > _PATIENCE_SECONDS:
                raise DatabaseFault(
                    self.where,
                    f"the build could not be put in place: {holders}.",
                    "End that transaction, and build again.",
                    outcome="Readers see what they saw before.",
                )
            if attempt == _TOLD_AFTER:
                print(f"waiting to publish: {holders} …", file=sys.stderr, flush=True)
            time.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])

    def _steps(
        self, relations: Sequence[Relation], place: str, earlier: Sequence[str]
    ) -> list[str]:
        """The statements that point the published views to a place; readers now see `earlier`."""
        new = self._find([relation.at(place) for relation in relations])
        old = self._find([*(relation.at(self.schema) for relation in relations), *earlier])
        schemas = {self.schema + relation.suffix for relation in relations}
        needed = sorted(schemas - set(self.schemas_of(self.schema)))
        steps = [f"create schema {quote(schema)}" for schema in needed]
        made_way: list[int] = []
        led: list[int] = []
        drops: dict[str, list[str]] = {"view": [], "materialized view": [], "table": []}
        for relation in relations:
            view, source = relation.at(self.schema), relation.at(place)
            before, create = old.pop(view, None), f"view {view} as select * from {source}"
            if before is None:
                steps.append(f"create {create}")
            elif before.is_continued_by(new[source]):
                steps.append(f"create or replace {create}")
                led.append(before.oid)
            else:
                # It makes way, together with the views of others on it.
                kind, aside = _KINDS.get(before.kind, "table"), f"labmart_before_{before.oid}"
                steps += [f"alter {kind} {view} rename to {aside}", f"create {create}"]
                steps += [sql for (sql,) in self.run(_RIGHTS, (before.oid,))]
                made_way.append(before.oid)
                drops[kind].append(Relation(relation.suffix, aside).at(self.schema))
        if made_way:
            steps += [sql for (sql,) in self.run(_DEPENDENTS, (made_way, [*led, *made_way]))]
        # Published views that have nothing left to read.
        drops["view"] += [view for view, before in old.items() if before.kind == "v"]
        steps += [f"drop {kind} {', '.join(names)}" for kind, names in drops.items() if names]
        return steps + self._given_to_owner(self.schema, relations)

    def _find(self, names: Sequence[str]) -> dict[str, _Present]:
        return {name: _Present(*rest) for name, *rest in self.run(_FIND, (names,))}

    def _given_to_owner(
        self, base: str, relations: Sequence[Relation], *, schemas: bool = False
    ) -> list[str]:
        """Statements that give relations to the owner of the marts, if that is one of our roles.

        A view reads with its owner's rights, so all relations need the same owner.
        """
        owners = self.run(
            "select nspowner::regrole::text from pg_namespace "
            f"where nspname = {literal(self.schema)} "
            "and pg_get_userbyid(nspowner) <> current_user and pg_has_role(nspowner, 'member')"
        )
        names = [f"table {relation.at(base)}" for relation in relations]
        if schemas:
            names += [f"schema {quote(base + suffix)}" for suffix in {r.suffix for r in relations}]
        return [f"alter {name} owner to {owner}" for (owner,) in owners for name in names]

    def _explained(self, fault: DatabaseFault) -> DatabaseFault:
        """The fault, with advice if something that others have made is in the way."""
        error = fault.__cause__
        if not isinstance(error, psycopg2.Error) or (error.pgcode or "")[:2] not in _IN_THE_WAY:
            return fault
        diagnosis = error.diag
        view = re.match(r"create or replace (view \S+) ", diagnosis.internal_query or "")
        parts = (view and view[1], diagnosis.message_primary, diagnosis.message_detail)
        problem = " ".join(": ".join(part for part in parts if part).split())
        return DatabaseFault(
            self.where,
            f"the build cannot take the place of what is published: {problem}.",
            "What others have made on a table has to be dropped or changed by its owner first; "
            "then build again.",
            outcome="Nothing was dropped, and readers see what they saw before.",
        )


def next_place(target: str) -> str:
    """Where dbt builds for a target schema."""
    return f"{target}__next"


def is_place(target: str, schema: str) -> bool:
    """Whether a schema belongs to a build of the target schema."""
    return re.fullmatch(rf"{re.escape(target)}__(next|b\d+)(_.*)?", schema) is not None


def _block(steps: Sequence[str]) -> str:
    """The statements as one; no text in them can end it."""
    tag = f"$labmart_{uuid.uuid4().hex}$"
    return f"do {tag} begin {'; '.join(steps)}; end {tag}"
