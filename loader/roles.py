"""Database roles with the least rights: who loads, who builds, who reads.

    <raw>_loader       owns the raw schema <raw>_raw: writes raw tables and the ledger, sees no
                       results
    <schema>_builder   owns the schemas that dbt fills, creates one for each build, reads the raw
                       tables, changes none of them
    <schema>_reader    reads the marts, the ledger and the rejected lines, writes nothing

They are group roles: nobody logs in as one; people and programs become members. What a member
creates belongs to the group if it switches to the group first (`role:` in profiles.yml, or `alter
role … set role …`). Plain dbt drops and recreates each mart, so the reader's right is in the
default privileges: a new table has it from the first moment, and dbt's `grants` would need the role
on every database that the project is ever built on.

On the embedded server `labmart db expose` lets the reader log in, through a port.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from psycopg2.errors import InsufficientPrivilege

from loader.database import Database
from loader.embedded import start, stop
from loader.embedded.settings import Exposure, exposure_of, keep_exposure
from loader.engines import quote
from loader.engines.postgres import Postgres, literal, one_line, open_connection, where
from loader.engines.raw_store import create_table, raw_tables
from loader.errors import DatabaseFault, UsageError
from loader.project import RAW_SCHEMA_VARIABLE
from loader.publications.postgres import is_place
from loader.sources import LEDGER, LONGEST_NAME, REJECTED, read_inputs

# The ports that `labmart db expose` tries.
_PORTS = range(54330, 54430)
# Without its option HierarchicalNavigation PostgreSQL.Database gives one table of all schemas
# (learn.microsoft.com/powerquery-m/postgresql-database).
_LINES = """\
server    127.0.0.1, port {port}
database  {database}, schema {schema}
user      {user}
password  {password}

Excel and Power BI (Get Data, PostgreSQL database; or as a query, here for user_features):
    PostgreSQL.Database("127.0.0.1:{port}", "{database}")
        {{[Schema="{schema}", Item="user_features"]}}[Data]
    Go on without encryption when asked: the connection stays on this machine.
R:
    DBI::dbConnect(RPostgres::Postgres(), host = "127.0.0.1", port = {port},
        dbname = "{database}", user = "{user}", password = askpass::askpass())
Python:
    import getpass, psycopg2
    psycopg2.connect("host=127.0.0.1 port={port} dbname={database} user={user}",
        password=getpass.getpass())
Metabase: PostgreSQL, with the values above, SSL off
DBeaver and others by JDBC:
    jdbc:postgresql://127.0.0.1:{port}/{database}?user={user}&currentSchema={schema}"""


def loader_of(raw_schema: str) -> str:
    """The role that loads. Targets that read the same raw schema share it: labmart_loader."""
    return f"{raw_schema.removesuffix('_raw')}_loader"


def builder_of(schema: str) -> str:
    return f"{schema}_builder"


def reader_of(schema: str) -> str:
    return f"{schema}_reader"


def set_up_roles(database: Database) -> None:
    """Create the roles and grant their rights; running it again changes nothing.

    Raises DatabaseFault if the profile's user lacks the right, UsageError where there are no roles,
    and DatabaseUnreachable.
    """
    with _transaction(database) as engine:
        engine.run(_script(database, engine))


def roles_sql(database: Database) -> str:
    """The same as a script for psql, for the profile's user; it can be run again."""
    with _transaction(database) as engine:
        return f"begin;\n{_script(database, engine)}commit;"


@contextmanager
def _transaction(database: Database) -> Iterator[Postgres]:
    profile = database.profile
    if profile.engine != "postgres":
        raise UsageError(f"The target {profile.target} is no PostgreSQL server and has no roles.")
    database.ready()
    with closing(open_connection(profile, "labmart roles")) as connection:
        engine = Postgres(connection, profile.schema, where(profile), writes=True)
        try:
            yield engine
            engine.commit()
        except DatabaseFault as fault:
            error = fault.__cause__
            if not isinstance(error, InsufficientPrivilege):
                raise
            raise DatabaseFault(
                engine.where,
                f"the roles cannot be made: {one_line(error)}",
                "`labmart roles --sql` prints what somebody with the right to do it can run.",
                outcome="Nothing was changed.",
            ) from None


def _script(database: Database, engine: Postgres) -> str:
    """roles.sql for the profile."""
    profile = database.profile
    schema, raw = profile.schema, profile.raw_schema
    loader, builder = loader_of(raw), builder_of(schema)
    if max(len(name.encode()) for name in (raw, loader, builder)) > LONGEST_NAME:
        raise UsageError(
            f"The schema is too long for names of roles: {schema!r} in {profile.path}, or {raw!r} "
            f"({RAW_SCHEMA_VARIABLE})."
        )
    # Besides dbt's schemas, those of builds that are published or in progress:
    # loader/publications.
    builds = [name for name in engine.schemas() if is_place(schema, name)]
    [(user,)] = engine.run("select session_user::text")
    results = [schema, f"{schema}_staging", f"{schema}_seeds", *builds]
    owners = {raw: loader, **dict.fromkeys(results, builder)}
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
    tables = raw_tables(read_inputs(database.project.sources_file)).items()
    script = Path(__file__).with_name("roles.sql").read_text(encoding="utf-8")
    return script.format(
        **{name: quote(text) for name, text in names.items()},
        **{f"{name}_text": literal(text) for name, text in names.items()},
        owners=", ".join(f"({literal(name)}, {literal(owner)})" for name, owner in owners.items()),
        raw_tables=";\n".join(
            create_table(quote(raw), name, columns, has_ranges=True) for name, columns in tables
        ),
    )


def expose(database: Database, port: int | None, *, new_password: bool) -> str:
    """Open a port of this machine for the reader; returns how to connect, as text for a person.

    An open port and its password stay the same unless another is requested. Raises UsageError,
    DatabaseUnreachable or DatabaseFault.
    """
    before = exposure_of(database.own_server())
    if port is not None and not (before and port == before.port) and not _is_free(port):
        raise UsageError(f"The port {port} is in use. Name another with --port, or leave it out.")
    port = port or (before.port if before else next(filter(_is_free, _PORTS), None))
    if port is None:
        raise UsageError(f"No port of {_PORTS[0]} to {_PORTS[-1]} is free. Name one with --port.")
    set_up_roles(database)
    schema, password = database.profile.schema, None
    user = reader_of(schema)
    after = Exposure(port, tuple(sorted({*(before.roles if before else ()), user})))
    with _restarted(database, after) as engine:
        unset = engine.run("select rolpassword is null from pg_authid where rolname = %s", (user,))
        if unset == [(True,)] or new_password:
            password = secrets.token_urlsafe(18)
            engine.run(
                f"alter role {quote(user)} login connection limit 20 password %s;"
                f"alter role {quote(user)} set search_path = {quote(schema)};"
                f"alter role {quote(user)} set default_transaction_read_only = on",
                (password,),
            )
    return _LINES.format(
        port=port,
        database=database.profile.database,
        schema=schema,
        user=user,
        password=f"{password} (not shown again; --new-password makes another)"
        if password
        else "as it was told (--new-password makes another)",
    )


def unexpose(database: Database) -> bool:
    """Close the port and disable the reader's login; returns whether it was open.

    Raises UsageError or DatabaseUnreachable.
    """
    exposure = exposure_of(database.own_server())
    if exposure is not None:
        with _restarted(database, None) as engine:
            sql = "select rolname::text from pg_roles where rolname = any(%s)"
            for (role,) in engine.run(sql, (list(exposure.roles),)):
                engine.run(f"alter role {quote(role)} nologin password null")
    return exposure is not None


@contextmanager
def _restarted(database: Database, after: Exposure | None) -> Iterator[Postgres]:
    """Change roles, then the port, which requires a restart of the server.

    Raises UsageError if that would interrupt others.
    """
    paths = database.own_server()
    before = exposure_of(paths)
    with _transaction(database) as engine:
        others = engine.run(
            "select 1 from pg_stat_activity where backend_type = 'client backend' "
            "and state <> 'idle' and pid <> pg_backend_pid()"
        )
        if after != before and others:
            raise UsageError(
                "The server has to be started anew for this, and a load, a build or a query is at "
                "work. Call again when it has ended."
            )
        yield engine
    if after != before:
        stop(paths)
        try:
            keep_exposure(paths, after)
            start(paths)
        except BaseException:
            keep_exposure(paths, before)
            raise


def _is_free(port: int) -> bool:
    with socket.socket() as unused, suppress(OSError):
        # As PostgreSQL does. A port may be taken even if nothing answers there.
        unused.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        unused.bind(("127.0.0.1", port))
        return True
    return False
