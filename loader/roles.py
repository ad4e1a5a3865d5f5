"""Database roles with the least rights: who loads, who builds, who reads.

    <raw>_loader       owns the raw schema <raw>_raw: writes raw tables and the ledger, sees no
                       results
    <schema>_builder   owns the schemas that dbt fills, reads the raw tables, changes none of them
    <schema>_reader    reads the marts, the ledger and the rejected lines, writes nothing

They are groups: nobody logs in as one of them, people and programs are made members. What a member
creates belongs to the group when it becomes the group first (`role:` in profiles.yml, or `alter
role … set role …`). dbt drops each mart and makes it anew, so the reader's right stands in the
default privileges: a new table has it from its first moment, and dbt's `grants` would need the role
on every database that the project is ever built on.
"""

from __future__ import annotations

from contextlib import closing

import psycopg2
import psycopg2.errors

from loader.database import Database
from loader.engines.postgres import LONGEST_NAME, literal, one_line, open_connection, sql_of, where
from loader.engines.raw_store import gaps, raw_tables
from loader.engines.sql import quote
from loader.errors import ConfigError, DatabaseFault, QueryFailed, UsageError
from loader.profile import RAW_SCHEMA_VARIABLE
from loader.sources import LEDGER, REJECTED, read_inputs


def loader_of(raw_schema: str) -> str:
    """The role that loads. The targets that read one raw schema share it: labmart_loader."""
    return f"{raw_schema.removesuffix('_raw')}_loader"


def builder_of(schema: str) -> str:
    """The role that runs dbt."""
    return f"{schema}_builder"


def reader_of(schema: str) -> str:
    """The role that reads results."""
    return f"{schema}_reader"


def set_up_roles(database: Database) -> None:
    """Make the roles and give them their rights; a second time changes nothing.

    Raises DatabaseFault when the user of the profile may not do it, and DatabaseUnreachable.
    """
    database.ready()
    with closing(open_connection(database.profile, "labmart roles")) as connection:
        try:
            with connection, connection.cursor() as cursor:
                for sql in _statements(database, cursor):
                    cursor.execute(sql)
        except psycopg2.errors.InsufficientPrivilege as error:
            raise DatabaseFault(
                where(database.profile),
                f"the roles cannot be made: {one_line(error)}",
                "`labmart roles --sql` prints what somebody with the right to do it can run.",
                outcome="Nothing was changed.",
            ) from None
        except psycopg2.Error as error:
            raise QueryFailed(where(database.profile), one_line(error)) from None


def roles_sql(database: Database) -> str:
    """The same as a script for psql, for the user of the profile; it can be run again."""
    database.ready()
    with (
        closing(open_connection(database.profile, "labmart roles")) as connection,
        connection.cursor() as cursor,
    ):
        return ";\n".join(["begin", *_statements(database, cursor), "commit;"])


# Who made a role may give it away, but is no member by that: it could not become it. `create schema
# if not exists` would ask for a right also where there is nothing to create.
_ROLES_AND_SCHEMAS = """
declare
    role text;
    item record;
begin
    foreach role in array array[{loader}, {builder}, {reader}] loop
        if not exists (select from pg_roles where rolname = role) then
            execute format('create role %I nologin', role);
        end if;
        if not (select rolsuper from pg_roles where rolname = {user}) then
            execute format('grant %I to %I', role, {user});
        end if;
    end loop;
    for item in
        select s.name, s.owner, pg_get_userbyid(n.nspowner) as present
        from (values {schemas}) as s (name, owner)
        left join pg_namespace as n on s.name = n.nspname
    loop
        if item.present is null then
            execute format('create schema %I', item.name);
        end if;
        if item.present is distinct from item.owner then
            execute format('alter schema %I owner to %I', item.name, item.owner);
        end if;
    end loop;
end
"""
_TABLES = """
declare
    item record;
begin
    for item in
        select c.oid::regclass::text as name, s.owner
        from (values {schemas}) as s (name, owner)
        inner join pg_namespace as n on s.name = n.nspname
        inner join pg_class as c on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f') and pg_get_userbyid(c.relowner) <> s.owner
    loop
        execute format('alter table %s owner to %I', item.name, item.owner);
    end loop;
end
"""


# The tables that are there, and those that the owners will make.
_GRANTS = (
    "grant connect on database {database} to {loader}, {builder}, {reader}",
    "grant usage on schema {raw} to {builder}, {reader}",
    "grant select on all tables in schema {raw} to {builder}",
    "alter default privileges for role {loader}, {user} in schema {raw} "
    "grant select on tables to {builder}",
    f"grant select on {{raw}}.{quote(LEDGER)}, {{raw}}.{quote(REJECTED)} to {{reader}}",
    "grant usage on schema {schema} to {reader}",
    "grant select on all tables in schema {schema} to {reader}",
    "alter default privileges for role {builder}, {user} in schema {schema} "
    "grant select on tables to {reader}",
)


def _statements(database: Database, cursor: psycopg2.extensions.cursor) -> list[str]:
    profile = database.profile
    cursor.execute("select session_user::text")
    [(user,)] = cursor.fetchall()
    if profile.engine != "postgres":
        raise ConfigError(profile.path, f"target {profile.target!r} is no PostgreSQL server.")
    schema, raw = profile.schema, profile.raw_schema
    loader, builder, reader = loader_of(raw), builder_of(schema), reader_of(schema)
    if len(builder.encode()) > LONGEST_NAME:
        raise ConfigError(profile.path, f"`schema` is too long for names of roles: {schema!r}.")
    if max(len(name.encode()) for name in (raw, loader)) > LONGEST_NAME:
        raise UsageError(f"{RAW_SCHEMA_VARIABLE} is too long for names of roles: {raw!r}.")
    owners = {
        raw: loader,
        **dict.fromkeys((schema, f"{schema}_staging", f"{schema}_seeds"), builder),
    }
    named = {"loader": loader, "builder": builder, "reader": reader, "user": user}
    texts = {name: literal(text) for name, text in named.items()}
    texts["schemas"] = ", ".join(f"({literal(s)}, {literal(o)})" for s, o in owners.items())
    named |= {"schema": schema, "raw": raw, "database": profile.database}
    ids = {name: quote(text) for name, text in named.items()}
    missing = gaps(raw_tables(read_inputs(database.project.sources_file)), {}, raw, _refuse)
    return [
        # A load that is at work is waited for, but not for as long as it may take.
        "set local lock_timeout = '30s'",
        # Nobody loads, and nobody else makes the roles, in the meantime.
        "select pg_advisory_xact_lock(hashtextextended('labmart roles', 0))",
        "select pg_advisory_xact_lock("
        f"hashtextextended('labmart raw tables ' || {literal(raw)}, 0))",
        f"do {literal(_ROLES_AND_SCHEMAS.format_map(texts))}",
        *(sql_of(gap, raw) for gap in missing),
        f"do {literal(_TABLES.format_map(texts))}",
        *(statement.format_map(ids) for statement in _GRANTS),
    ]


def _refuse(problem: str, next_step: str) -> DatabaseFault:
    return DatabaseFault("for the roles", problem, next_step)
