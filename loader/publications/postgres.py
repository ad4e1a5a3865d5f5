"""Publications on PostgreSQL; see the package.

To put a build in place takes each published view for a moment, in one transaction. Whoever has read
one of them in a transaction that is still open keeps it, and so a transaction sees one build: a
reader whose snapshot is older than the new tables would find them empty. Nobody waits for such a
reader in a queue behind us: after a moment we let go of everything, and try again later.
"""

from __future__ import annotations

import json
import re
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg2
from psycopg2 import errors

from loader.engines import quote
from loader.engines.postgres import (
    LONGEST_NAME,
    Connection,
    fault,
    literal,
    open_connection,
    where,
)
from loader.errors import DatabaseFault, UsageError
from loader.locks import interruptible, wait_until
from loader.project import Profile
from loader.publications import (
    COLUMNS,
    CURRENT,
    GONE,
    MART_STATUS,
    PUBLICATIONS,
    GreenBuild,
    Publications,
    Relation,
    Table,
    changes_of,
    current_of,
)

# Readers wait no longer than a moment, which may have to be longer on a slow machine; whoever keeps
# us from publishing may do so for longer.
_MOMENTS = (0.5, 0.5, 1.0, 1.0, 2.0)
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
_TOLD_AFTER = 2
_PATIENCE_SECONDS = 600.0
# What a name of a target schema gets behind it at most.
_LONGEST_SUFFIX = len("__b1234567_staging")
_IN_THE_WAY = (
    errors.DependentObjectsStillExist,
    errors.InsufficientPrivilege,
    errors.InvalidTableDefinition,
    errors.UndefinedColumn,
    errors.DatatypeMismatch,
    errors.CannotCoerce,
    errors.UndefinedFunction,
    errors.WrongObjectType,
)
# Of relations: identity, kind, columns with their types, and a digest of it all and of what a view
# reads.
_FIND = """
select
    n.nspname::text,
    c.relname::text,
    c.oid::bigint,
    c.relkind::text,
    (
        select array_agg(concat(attname, ' ', format_type(atttypid, atttypmod)) order by attnum)
        from pg_attribute
        where attrelid = c.oid and attnum > 0 and not attisdropped
    ),
    md5(concat(
        c.relkind, case when c.relkind = 'v' then pg_get_viewdef(c.oid) end,
        (
            select string_agg(
                concat(attname, ' ', format_type(atttypid, atttypmod)), ', ' order by attnum
            )
            from pg_attribute
            where attrelid = c.oid and attnum > 0 and not attisdropped
        )
    ))
from unnest(%s::text[], %s::text[]) as relation(schema, name)
inner join pg_namespace as n on relation.schema = n.nspname
inner join pg_class as c on n.oid = c.relnamespace and relation.name = c.relname
where c.relkind in ('r', 'p', 'm', 'v')
"""
# Views of others that read a relation, and SQL that makes them read what has its name then.
_DEPENDENTS = """
select distinct
    v.oid::bigint,
    format(
        'create or replace view %%I.%%I%%s as %%s', n.nspname, v.relname,
        ' with (' || array_to_string(v.reloptions, ', ') || ')', rtrim(pg_get_viewdef(v.oid), ';')
    )
from pg_depend as d
inner join pg_rewrite as r on r.oid = d.objid
inner join pg_class as v on v.oid = r.ev_class
inner join pg_namespace as n on n.oid = v.relnamespace
where
    d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
    and d.refobjid = any(%s) and v.relkind = 'v' and not v.oid = any(%s)
"""
# Rights on a relation and its columns, as SQL that gives them to what stands in its place.
_RIGHTS = """
select format(
    'grant %%s%%s on %%s to %%s%%s', a.privilege_type, '(' || quote_ident(a.attname) || ')', %s,
    case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
    case when a.is_grantable then ' with grant option' else '' end
)
from (
    select c.relowner, null::name as attname, acl.*
    from pg_class as c cross join aclexplode(c.relacl) as acl
    where c.oid = %s
    union all
    select c.relowner, t.attname, acl.*
    from pg_class as c
    inner join pg_attribute as t on t.attrelid = c.oid and not t.attisdropped
    cross join aclexplode(t.attacl) as acl
    where c.oid = %s
) as a
where a.grantee <> a.relowner and a.privilege_type <> 'MAINTAIN'
"""
# Descriptions that published views lack, or have another text of.
_COMMENTS = """
select
    format(
        'comment on %%s is %%L',
        case
            when d.attname is null then format('view %%I.%%I', pn.nspname, p.relname)
            else format('column %%I.%%I.%%I', pn.nspname, p.relname, d.attname)
        end,
        d.description
    )
from unnest(%s::text[], %s::text[], %s::text[]) as pair(schema, place, name)
inner join pg_namespace as pn on pn.nspname = pair.schema
inner join pg_class as p on p.relnamespace = pn.oid and p.relname = pair.name
inner join pg_namespace as n on n.nspname = pair.place
inner join pg_class as c on c.relnamespace = n.oid and c.relname = pair.name
inner join lateral (
    select x.objsubid, a.attname, x.description
    from pg_description as x
    left join pg_attribute as a
        on a.attrelid = c.oid and a.attnum = x.objsubid and x.objsubid > 0
    where x.objoid = c.oid and x.classoid = 'pg_class'::regclass
) as d on true
left join pg_attribute as pa on pa.attrelid = p.oid and pa.attname = d.attname
left join pg_description as e
    on e.objoid = p.oid and e.classoid = 'pg_class'::regclass
    and e.objsubid = case when d.attname is null then 0 else pa.attnum end
where e.description is distinct from d.description
"""
# Whether the view of the mart `m` reads the build `p`: plain dbt may have made another.
_IS_SEEN = """
exists (
    select from pg_rewrite as r
    inner join pg_depend as d on d.objid = r.oid and d.classid = 'pg_rewrite'::regclass
    inner join pg_class as c on c.oid = d.refobjid and d.refclassid = 'pg_class'::regclass
    inner join pg_namespace as n on n.oid = c.relnamespace
    where r.ev_class = to_regclass(format('%I.%I', {schema}, m.name)) and n.nspname = p.place
)
"""
_KINDS = {"v": "view", "m": "materialized view"}
_HOLDERS = """
select
    a.pid, coalesce(a.usename, '')::text, coalesce(nullif(a.application_name, ''), 'a program'),
    min(l.relation::regclass::text), to_char(a.xact_start, 'HH24:MI:SS')
from pg_locks as l
inner join pg_stat_activity as a on a.pid = l.pid
where l.relation = any(%s) and l.granted and l.pid <> pg_backend_pid()
group by a.pid, a.usename, a.application_name, a.xact_start
order by a.xact_start
limit 3
"""


@dataclass(frozen=True)
class _Found:
    """A relation of the database; no change of it, or of its rows, leaves `state` as it was."""

    oid: int
    kind: str
    columns: tuple[str, ...]
    state: str
    rows: int = 0


@contextmanager
def connected(profile: Profile, *, write: bool) -> Iterator[PostgresPublications]:
    """See `open_publications`."""
    with closing(open_connection(profile, "labmart build")) as connection:
        connection.autocommit = True
        opened = PostgresPublications(connection, profile)
        # PostgreSQL writes out all names in the definitions of views.
        opened.run("set search_path to ''")
        if write:
            opened.wait_for_lock()
        yield opened


class PostgresPublications(Publications):
    """See `Publications`."""

    marts_as_rows = (
        "json_to_recordset(p.marts::json) as m (name text, tests_passed bigint, rows bigint)"
    )

    def __init__(self, connection: Connection, profile: Profile) -> None:
        super().__init__(profile, literal)
        self.is_seen = _IS_SEEN.format(schema=literal(self.schema))
        self._connection = connection
        self._next = next_place(self.schema)
        self._loaded: dict[Table, str] = {}
        self._last_load: int | None = None

    def wait_for_lock(self) -> None:
        """Wait until nobody else builds this schema; the lock ends with the connection."""
        lock = f"hashtextextended({literal(f'labmart build {self.schema}')}, 0)"
        wait_until(
            lambda: bool(self.run(f"select pg_try_advisory_lock({lock})")[0][0]),
            waiting=f"waiting for another build of the schema {self.schema} to end …",
        )

    def is_current(self, code: str) -> bool:
        with suppress(psycopg2.Error, ValueError, KeyError, TypeError):
            [(known, state)] = self.run(
                f"select code, state from {self.table} where status = '{CURRENT}'"
            )
            kept = {(schema, name): state for schema, name, state in json.loads(state)}
            return bool(known == code) and self._state(list(kept)) == kept
        return False

    def is_whole(self) -> bool:
        """See `Publications`. Rows are not looked at: somebody else's are found by `is_current`."""
        [(state,)] = self.run(f"select state from {self.table} where status = '{CURRENT}'")
        kept = {(schema, name): state for schema, name, state in json.loads(state or "[]")}
        found = self._find(list(kept))
        return bool(kept) and all(
            name in found and found[name].state == state.partition(" ")[0]
            for name, state in kept.items()
        )

    def begin(self, *, grows: bool = False) -> str:
        if len(self.schema.encode()) + _LONGEST_SUFFIX > LONGEST_NAME:
            raise UsageError(
                f"The target schema {self.schema!r} is too long: labmart builds beside it, in "
                f"schemas called {self._next}_staging and the like. Take a name of at most "
                f"{LONGEST_NAME - _LONGEST_SUFFIX} bytes."
            )
        with self.opened():
            if not self.run(f"select 1 from pg_namespace where nspname = {literal(self.schema)}"):
                self.run(f"create schema {quote(self.schema)}")
            tables = [Relation("", PUBLICATIONS), Relation("", MART_STATUS)]
            made = self._find([(self.schema, table.name) for table in tables])
            if len(made) < len(tables) or len(self._columns()) < len(COLUMNS):
                self.make_tables()
                for statement in self._given_to_owner(self.schema, tables):
                    self.run(statement)
            kept = [one.place for one in self.read() if one.status != GONE]
            known = {name for place in kept for name in self.schemas_of(place)}
            self.drop(
                name
                for name in self.schemas_of(self.schema)
                if is_place(self.schema, name) and name not in known
            )
            # What is loaded from now on, this build may have seen or not.
            ledger = self.profile.raw_schema, "loads"
            if "load_id bigint" in getattr(self._find([ledger]).get(ledger), "columns", ()):
                [(self._last_load,)] = self.run(f"select max(load_id) from {_name(ledger)}")
            self._loaded = self._grown_state() if grows else self._state(self._raw_tables())
        return self._next

    def publish(self, build: GreenBuild, keep: int) -> int:
        if build.is_increment:
            return self._grow(build, keep)
        with self.opened():
            number = self.next_number()
            place = f"{self.schema}__b{number}"
            tables = [(build.place + r.suffix, r.name) for r in build.relations if not r.is_view]
            built = self._look(tables)
            for mart in build.marts:
                if table := built.get((build.place, mart.name)):
                    mart.rows = table.rows
            entry = self.entry(build, number, place)
            state = self._sources(build)
            renames = []
            for schema in self.schemas_of(build.place):
                published = place + schema.removeprefix(build.place)
                renames.append(f"alter schema {quote(schema)} rename to {quote(published)}")
            renames += self._given_to_owner(place, build.relations, schemas=True)
            self.put_in_place(build.relations, place, entry, renames)
            for (schema, name), one in built.items():
                state[place + schema.removeprefix(build.place), name] = one.state
            views = [(self.schema + one.suffix, one.name) for one in build.relations]
            state |= self._state(views)
            if build.code is not None:
                self._note(number, state)
            self.drop_surplus(keep)
        return number

    def _grow(self, build: GreenBuild, keep: int) -> int:
        """Put an increment into the tables of the current build, which nobody waits for."""
        with self.opened():
            number, sources = self.next_number(), self._sources(build)
            self.run("begin")
            if not self.is_whole():
                raise DatabaseFault(
                    where(self.profile),
                    "what is published was changed while an increment of it was built.",
                    "Build again.",
                    outcome="Nothing was published.",
                )
            [(place, state)] = self.run(
                f"select place, state from {self.table} where status = '{CURRENT}' for update"
            )
            kept = {(schema, name): state for schema, name, state in json.loads(state)}
            [(own,)] = self.run("select pg_current_xact_id()::xid::text::bigint")
            for one in build.relations:
                table = place + one.suffix, one.name
                if one.is_view or table not in kept:
                    continue
                deletes, insert = changes_of(one, build.place, place)
                for delete in deletes:
                    [(gone, of_gone)] = self.run(
                        f"with gone as ({delete} returning old.xmin::text::bigint as id) "
                        "select count(*), coalesce(sum(id), 0) from gone"
                    )
                    kept[table] = _added(kept[table], -gone, -int(of_gone))
                [(new,)] = self.run(f"with new as ({insert} returning 1) select count(*) from new")
                kept[table] = _added(kept[table], new, new * own)
            self.run(self.entry(build, number, place))
            self._note(number, kept | sources)
            self.run("commit")
            self.drop(self.schemas_of(build.place))
            self.drop_surplus(keep)
        return number

    def _note(self, number: int, state: dict[Table, str]) -> None:
        text = json.dumps([[*name, item] for name, item in state.items()])
        self.run(
            f"update {self.table} set state = {literal(text)}, "
            f"last_load = {self._last_load or 0:d} where build = {number:d}"
        )

    @contextmanager
    def opened(self) -> Iterator[None]:
        try:
            yield
        except psycopg2.Error as error:
            with suppress(psycopg2.Error):
                self.run("rollback")
            raise fault(error, where(self.profile)) from None

    def run(self, sql: str, values: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        def execute() -> list[tuple[Any, ...]]:
            with self._connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetchall() if cursor.description else []

        return interruptible(execute, self._connection.cancel)

    def drop(self, schemas: Iterable[str]) -> None:
        """Drop schemas at once. What somebody still uses is left to the next build."""
        if listed := ", ".join(map(quote, schemas)):
            self.run(f"set lock_timeout = {int(_MOMENTS[0] * 1000)}")
            with suppress(psycopg2.Error):
                self.run(f"drop schema if exists {listed} cascade")
            self.run("set lock_timeout = 0")

    # Putting a build in place.

    def put_in_place(
        self, relations: Sequence[Relation], place: str, note: str, before: Sequence[str] = ()
    ) -> None:
        """See `Publications`. Raises DatabaseFault."""
        begun, current = time.monotonic(), current_of(self.read())
        views = [(self.schema + one.suffix, one.name) for one in relations]
        places = [place + one.suffix for one in relations]
        for attempt in range(10**6):
            try:
                self.run("begin")
                for statement in before:
                    self.run(statement)
                steps = self._steps(relations, place, current.relations if current else ())
                # One statement, so that one limit is that of all of it.
                moment = _MOMENTS[min(attempt, len(_MOMENTS) - 1)]
                self.run(f"set local statement_timeout = {int(moment * 1000)}")
                self.run(_block(steps))
                self.run("set local statement_timeout = 0")
                described = ([schema for schema, _ in views], places, [name for _, name in views])
                for (comment,) in self.run(_COMMENTS, described):
                    self.run(comment)
                self.run(note)
                self.run("commit")
                return
            except (errors.QueryCanceled, errors.LockNotAvailable, errors.DeadlockDetected):
                self.run("rollback")
                holders = self._holders(views)
            except _IN_THE_WAY as error:
                self.run("rollback")
                raise self._in_the_way(error) from None
            except BaseException:
                with suppress(psycopg2.Error):
                    self.run("rollback")
                raise
            if time.monotonic() - begun > _PATIENCE_SECONDS:
                raise DatabaseFault(
                    where(self.profile),
                    f"the build could not be put in place: {holders}.",
                    "End that transaction, and build again.",
                    outcome="Readers see what they saw before.",
                )
            if attempt == _TOLD_AFTER:
                print(f"waiting to publish: {holders} …", file=sys.stderr, flush=True)
            time.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])

    def _steps(
        self, relations: Sequence[Relation], place: str, earlier: Sequence[Relation]
    ) -> list[str]:
        """The statements that lead the published views to a place."""
        names = {(self.schema + one.suffix, one.name): one for one in relations}
        new = self._find([(place + one.suffix, one.name) for one in relations])
        old = self._find([*names, *((self.schema + one.suffix, one.name) for one in earlier)])
        there = self.schemas_of(self.schema)
        needed = sorted({schema for schema, _ in names} - set(there))
        steps = [f"create schema {quote(schema)}" for schema in needed]
        dropped: dict[str, list[str]] = {"view": [], "materialized view": [], "table": []}
        replaced: list[str] = []
        oids: list[int] = []
        kept: list[int] = []
        for name, one in names.items():
            known, source = old.pop(name, None), (place + one.suffix, one.name)
            view = f"view {_name(name)} as select * from {_name(source)}"
            columns = new[source].columns
            if known is None:
                steps.append(f"create {view}")
            elif known.kind == "v" and columns[: len(known.columns)] == known.columns:
                steps.append(f"create or replace {view}")
                kept.append(known.oid)
            else:
                # It makes way, with the views of others on it.
                kind = _KINDS.get(known.kind, "table")
                aside = f"{one.name[:50]}__before"
                replaced += [
                    f"alter {kind} {_name(name)} rename to {quote(aside)}",
                    f"create {view}",
                    *(sql for (sql,) in self.run(_RIGHTS, (_name(name), known.oid, known.oid))),
                ]
                oids.append(known.oid)
                dropped[kind].append(_name((name[0], aside)))
        steps += replaced
        if oids:
            steps += [sql for _, sql in self.run(_DEPENDENTS, (oids, [*kept, *oids]))]
        # What was published, and has nothing to read any more.
        dropped["view"] += [_name(name) for name, known in old.items() if known.kind == "v"]
        steps += [f"drop {kind} {', '.join(names)}" for kind, names in dropped.items() if names]
        return steps + self._given_to_owner(self.schema, relations)

    def _given_to_owner(
        self, base: str, relations: Sequence[Relation], *, schemas: bool = False
    ) -> list[str]:
        """Statements that give relations to the owner of the marts, if that is a role of ours.

        A view reads with the rights of its owner, so all of it has to be one's.
        """
        [(owner, is_other)] = self.run(
            "select pg_get_userbyid(nspowner)::text, "
            "pg_get_userbyid(nspowner) <> current_user and pg_has_role(nspowner, 'member') "
            f"from pg_namespace where nspname = {literal(self.schema)}"
        )
        if not is_other:
            return []
        names = [f"schema {quote(base + suffix)}" for suffix in {one.suffix for one in relations}]
        tables = [f"table {self.relation(base + one.suffix, one.name)}" for one in relations]
        listed = [*(names if schemas else ()), *tables]
        return [f"alter {name} owner to {quote(owner)}" for name in listed]

    def _holders(self, views: Sequence[Table]) -> str:
        """Who keeps published views from being led elsewhere, in a person's words."""
        oids = [one.oid for one in self._find(views).values()]
        found = self.run(_HOLDERS, (oids,))
        sentences = [
            f"process {pid} ({user}, {program}) has used {relation} in a transaction that is open "
            f"since {since}"
            for pid, user, program, relation, since in found
        ]
        return "; ".join(sentences) or "others are reading all the time"

    def _in_the_way(self, error: psycopg2.Error) -> DatabaseFault:
        diagnosis = error.diag
        view = re.match(r"create or replace (view \S+) ", diagnosis.internal_query or "")
        parts = (view and view[1], diagnosis.message_primary, diagnosis.message_detail)
        said = " ".join(": ".join(part for part in parts if part).split())
        return DatabaseFault(
            where(self.profile),
            f"the build cannot take the place of what is published: {said}.",
            "What others have made on a table has to be dropped or changed by its owner first; "
            "then build again.",
            outcome="Nothing was dropped, and readers see what they saw before.",
        )

    # What was read and left behind.

    def _raw_tables(self) -> list[Table]:
        sql = "select schemaname::text, tablename::text from pg_tables where schemaname = %s"
        return [(schema, name) for schema, name in self.run(sql, (self.profile.raw_schema,))]

    def _sources(self, build: GreenBuild) -> dict[Table, str]:
        """The state of what the build has read, as it was when the build began."""
        # Tables that dbt has made since, unless somebody has loaded something meanwhile.
        made = [name for name in self._raw_tables() if name not in self._loaded]
        empty = [name for name in made if not self.run(f"select 1 from {_name(name)} limit 1")]
        raw = self._loaded | self._state(empty)
        # A source that is missing here counts as changed.
        return {name: raw.get(name, "") for name in build.sources}

    def _grown_state(self) -> dict[Table, str]:
        """The state of the raw tables, by the one that is known and what was loaded since."""
        [(text, last)] = self.run(
            f"select state, last_load from {self.table} where status = '{CURRENT}'"
        )
        kept = {(schema, name): state for schema, name, state in json.loads(text)}
        found = self._find(self._raw_tables())
        large = [
            name for name, one in found.items() if name in kept and "line bigint" in one.columns
        ]
        state = self._state([name for name in found if name not in large])
        for name in large:
            [(count, ids)] = self.run(
                f"select count(*), coalesce(sum(xmin::text::bigint), 0) from {_name(name)} "
                f"where load_id > {last or 0:d}"
            )
            state[name] = _added(kept[name], count, int(ids))
        return state

    def _state(self, tables: Sequence[Table]) -> dict[Table, str]:
        return {name: one.state for name, one in self._look(tables).items()}

    def _look(self, tables: Sequence[Table]) -> dict[Table, _Found]:
        """The relations that exist, with their rows if they are tables."""
        found = self._find(tables)
        names = [name for name, one in found.items() if one.kind != "v"]
        counts = " union all ".join(
            f"select {number}, count(*), sum(xmin::text::bigint) from {_name(name)}"
            for number, name in enumerate(names)
        )
        for number, count, sum_ in self.run(counts) if names else ():
            one = found[names[number]]
            found[names[number]] = replace(one, rows=count, state=f"{one.state} {count} {sum_}")
        return found

    def _find(self, tables: Sequence[Table]) -> dict[Table, _Found]:
        rows = self.run(_FIND, ([schema for schema, _ in tables], [name for _, name in tables]))
        return {
            (schema, name): _Found(oid, kind, tuple(columns or ()), state)
            for schema, name, oid, kind, columns, state in rows
        }


def next_place(target: str) -> str:
    """Where dbt builds for a target schema."""
    return f"{target}__next"


def is_place(target: str, schema: str) -> bool:
    """Whether a schema belongs to a build of the target schema."""
    return re.fullmatch(r"__(next|b\d+)(_.*)?", schema.removeprefix(target)) is not None


def _added(state: str, rows: int, ids: int) -> str:
    """The state of a table with so many rows more, whose ids of transactions have this sum."""
    shape, count, sum_ = state.split()
    total = int(count) + rows
    return f"{shape} {total} {int(sum_.replace('None', '0')) + ids if total else None}"


def _name(table: Table) -> str:
    return ".".join(map(quote, table))


def _block(steps: Sequence[str]) -> str:
    """The statements as one; no text in them can end it."""
    tag = f"$labmart_{uuid.uuid4().hex}$"
    return f"do {tag} begin {'; '.join(steps)}; end {tag}"
