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

from collections.abc import Iterator, Sequence
from contextlib import closing

import psycopg2
import psycopg2.errors

from loader.database import Database
from loader.engines.postgres import LONGEST_NAME, literal, one_line, open_connection, sql_of, where
from loader.engines.raw_store import gaps, raw_tables
from loader.engines.sql import quote
from loader.errors import ConfigError, DatabaseFault, QueryFailed, UsageError
from loader.profile import RAW_SCHEMA_VARIABLE
from loader.sources import LEDGER, REJECTED, Input, read_inputs

_PATIENCE_SECONDS = 30
_TABLES = "'r', 'p', 'v', 'm', 'f'"


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
                for sql in _statements(database, _current_user(cursor)):
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
        statements = _statements(database, _current_user(cursor))
    return ";\n".join(["begin", *statements, "commit;"])


def _current_user(cursor: psycopg2.extensions.cursor) -> str:
    cursor.execute("select session_user::text")
    row = cursor.fetchone()
    return str(row[0]) if row else ""


def _statements(database: Database, user: str) -> list[str]:
    profile = database.profile
    if profile.engine != "postgres":
        raise ConfigError(profile.path, f"target {profile.target!r} is no PostgreSQL server.")
    schema, raw = profile.schema, profile.raw_schema
    if len(builder_of(schema).encode()) > LONGEST_NAME:
        raise ConfigError(profile.path, f"`schema` is too long for names of roles: {schema!r}.")
    if max(len(name.encode()) for name in (raw, loader_of(raw))) > LONGEST_NAME:
        raise UsageError(f"{RAW_SCHEMA_VARIABLE} is too long for names of roles: {raw!r}.")
    inputs = read_inputs(database.project.sources_file)
    return [
        # A load that is at work is waited for, but not for as long as it may take.
        f"set local lock_timeout = {_PATIENCE_SECONDS * 1000}",
        # Nobody loads, and nobody else makes the roles, in the meantime.
        "select pg_advisory_xact_lock(hashtextextended('labmart roles', 0))",
        "select pg_advisory_xact_lock("
        f"hashtextextended('labmart raw tables ' || {literal(raw)}, 0))",
        *_roles(schema, raw, user),
        *_raw(schema, raw, user, inputs, profile.database),
        *_results(schema, user, profile.database),
    ]


def _roles(schema: str, raw: str, user: str) -> Iterator[str]:
    for role in (loader_of(raw), builder_of(schema), reader_of(schema)):
        yield _unless(
            f"exists (select from pg_roles where rolname = {literal(role)})",
            f"create role {quote(role)} nologin",
        )
        # Who made a role may give it away, but is no member by that: it could not become it.
        yield _unless(
            f"(select rolsuper from pg_roles where rolname = {literal(user)})",
            f"grant {quote(role)} to {quote(user)}",
        )


def _raw(schema: str, raw: str, user: str, inputs: Sequence[Input], database: str) -> Iterator[str]:
    loader, builder, reader = loader_of(raw), builder_of(schema), reader_of(schema)
    yield from _schema(raw, loader)
    for gap in gaps(raw_tables(inputs), {}, raw, _refuse):
        yield sql_of(gap, raw)
    yield _owned(raw, loader)
    yield f"grant connect on database {quote(database)} to {quote(loader)}"
    yield from _readable(raw, builder, owners=(loader, user))
    yield f"grant usage on schema {quote(raw)} to {quote(reader)}"
    for table in (LEDGER, REJECTED):
        yield f"grant select on {quote(raw)}.{quote(table)} to {quote(reader)}"


def _results(schema: str, user: str, database: str) -> Iterator[str]:
    builder, reader = builder_of(schema), reader_of(schema)
    for name in (schema, f"{schema}_staging", f"{schema}_seeds"):
        yield from _schema(name, builder)
        yield _owned(name, builder)
    yield f"grant connect on database {quote(database)} to {quote(builder)}, {quote(reader)}"
    yield from _readable(schema, reader, owners=(builder, user))


def _schema(name: str, owner: str) -> Iterator[str]:
    # `if not exists` alone would ask for the right to create what is there already.
    there = f"exists (select from pg_namespace where nspname = {literal(name)})"
    yield _unless(there, f"create schema {quote(name)}")
    yield _unless(
        f"(select nspowner::regrole::text = {literal(quote(owner))} or "
        f"nspowner::regrole::text = {literal(owner)} "
        f"from pg_namespace where nspname = {literal(name)})",
        f"alter schema {quote(name)} owner to {quote(owner)}",
    )


def _owned(schema: str, owner: str) -> str:
    """Give what is in a schema to its owner."""
    return _block(
        "declare item record; begin "
        "for item in select c.oid::regclass::text as name from pg_class as c "
        f"where c.relnamespace = to_regnamespace({literal(quote(schema))}) "
        f"and c.relkind in ({_TABLES}) and pg_get_userbyid(c.relowner) <> {literal(owner)} "
        f"loop execute format('alter table %s owner to %I', item.name, {literal(owner)}); "
        "end loop; end"
    )


def _readable(schema: str, role: str, *, owners: Sequence[str]) -> Iterator[str]:
    """Let a role read all tables of a schema, and those that its owners will make in it."""
    yield f"grant usage on schema {quote(schema)} to {quote(role)}"
    yield f"grant select on all tables in schema {quote(schema)} to {quote(role)}"
    for owner in owners:
        yield (
            f"alter default privileges for role {quote(owner)} in schema {quote(schema)} "
            f"grant select on tables to {quote(role)}"
        )


def _unless(condition: str, statement: str) -> str:
    return _block(
        f"begin if not coalesce({condition}, false) then execute {literal(statement)}; end if; end"
    )


def _block(body: str) -> str:
    return f"do {literal(body)}"


def _refuse(problem: str, next_step: str) -> DatabaseFault:
    return DatabaseFault("for the roles", problem, next_step)
