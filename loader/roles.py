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
from pathlib import Path

import psycopg2
import psycopg2.errors

from loader.database import Database
from loader.engines.postgres import LONGEST_NAME, literal, one_line, open_connection, sql_of, where
from loader.engines.raw_store import gaps, raw_tables
from loader.engines.sql import quote
from loader.errors import ConfigError, DatabaseFault, QueryFailed, UsageError
from loader.profile import RAW_SCHEMA_VARIABLE
from loader.sources import LEDGER, REJECTED, read_inputs

# What stands around a block in roles.sql.
_QUOTE = "$labmart$"


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
                cursor.execute(_script(database, cursor))
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
        return f"begin;\n{_script(database, cursor)}commit;"


def _script(database: Database, cursor: psycopg2.extensions.cursor) -> str:
    """roles.sql for the profile."""
    profile = database.profile
    if profile.engine != "postgres":
        raise ConfigError(profile.path, f"target {profile.target!r} is no PostgreSQL server.")
    schema, raw = profile.schema, profile.raw_schema
    loader, builder = loader_of(raw), builder_of(schema)
    if len(builder.encode()) > LONGEST_NAME:
        raise ConfigError(profile.path, f"`schema` is too long for names of roles: {schema!r}.")
    if max(len(name.encode()) for name in (raw, loader)) > LONGEST_NAME:
        raise UsageError(f"{RAW_SCHEMA_VARIABLE} is too long for names of roles: {raw!r}.")
    cursor.execute("select session_user::text")
    [(user,)] = cursor.fetchall()
    names = {
        "schema": schema,
        "raw": raw,
        "database": profile.database,
        "user": user,
        "loader": loader,
        "builder": builder,
        "reader": reader_of(schema),
        "ledger": LEDGER,
        "rejected": REJECTED,
    }
    if any(_QUOTE in name for name in names.values()):
        raise UsageError(f"A schema or user with {_QUOTE} in its name cannot have roles.")
    results = (schema, f"{schema}_staging", f"{schema}_seeds")
    owners = {raw: loader, **dict.fromkeys(results, builder)}
    missing = gaps(raw_tables(read_inputs(database.project.sources_file)), {}, raw, _refuse)
    return (
        Path(__file__)
        .with_name("roles.sql")
        .read_text(encoding="utf-8")
        .format(
            **{name: quote(text) for name, text in names.items()},
            **{f"{name}_text": literal(text) for name, text in names.items()},
            owners=", ".join(
                f"({literal(name)}, {literal(owner)})" for name, owner in owners.items()
            ),
            raw_tables=";\n".join(sql_of(gap, raw) for gap in missing),
        )
    )


def _refuse(problem: str, next_step: str) -> DatabaseFault:
    return DatabaseFault("for the roles", problem, next_step)
