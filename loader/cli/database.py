"""The subcommands of the database: the embedded PostgreSQL, the lake's server, who may do what."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING

import click

from loader.cli.call import Call, on_database, option, say, target_option
from loader.errors import EXIT_DATABASE, UsageError

if TYPE_CHECKING:
    from loader.database import Database
    from loader.profile import Profile


@click.group()
def db() -> None:
    """Start, stop, look at or expose the embedded PostgreSQL."""


@db.command("start")
@on_database
def db_start(database: Database) -> None:
    """Start the embedded PostgreSQL."""
    from loader.embedded import start

    if database.profile.engine != "postgres":
        raise UsageError(
            f"The target {database.profile.target} is of type {database.profile.engine}, not the "
            "embedded PostgreSQL. DuckDB needs no server; Spark's is `labmart spark start`."
        )
    if database.embedded is None:
        raise UsageError(
            f"{database.profile.path} names the server {database.profile.text('host')!r} "
            f"(target {database.profile.target}), so the embedded PostgreSQL is not used. "
            "Unset PGHOST to use it."
        )
    started = start(database.embedded)
    say(f"{'started' if started else 'runs already'}: {database.embedded.data}")


@db.command("stop")
@click.pass_obj
def db_stop(call: Call) -> None:
    """Stop the embedded PostgreSQL of this project."""
    from loader.embedded import place_of, stop
    from loader.project import open_project

    place = place_of(open_project(call.project_dir).profiles_dir)
    say(f"{'stopped' if stop(place) else 'was not running'}: {place.data}")


@db.command("status")
@on_database
def db_status(database: Database) -> None:
    """Tell whether the embedded PostgreSQL runs; exit code 4 if it does not."""
    from loader.embedded import status
    from loader.embedded.settings import exposure_of
    from loader.progress import duration, size_of

    if database.profile.engine == "duckdb":
        file = database.file()
        click.echo(f"file     {file}")
        size = size_of(file.stat().st_size) if file.exists() else "not made yet"
        click.echo(f"size     {size}")
        return
    if database.embedded is None:
        profile = database.profile
        named = "names another server" if profile.engine == "postgres" else "is of another type"
        say(f"Not in use: the target {profile.target} of {profile.path} {named}.")
        return
    server = status(database.embedded)
    exposure = exposure_of(server.place)
    lines = {
        "status": server.word,
        "pid": server.pid,
        "version": server.version and f"PostgreSQL {server.version}",
        "uptime": server.uptime and duration(server.uptime),
        "data": server.place.data,
        "size": server.size and size_of(server.size),
        "socket": server.place.run,
        "port": exposure and f"{exposure.port} of 127.0.0.1 for {', '.join(exposure.roles)}",
        "log": server.place.log,
    }
    for name, value in lines.items():
        if value is not None:
            click.echo(f"{name:<8} {value}")
    if not server.running:
        if server.pid:
            say("`labmart db start` waits for it, or starts it anew when nobody can reach it.")
        raise SystemExit(EXIT_DATABASE)


@db.command("expose")
@on_database
@option(
    "--port",
    # LABMART_PORT is that of `labmart serve`.
    envvar="LABMART_DB_PORT",
    type=click.IntRange(1024, 65535),
    help="Which port; default: the first free one.",
)
@option("--new-password", is_flag=True, help="Replace the password, which is printed only once.")
@option("--off", is_flag=True, help="Close the port again and take the password away.")
def db_expose(database: Database, port: int | None, new_password: bool, off: bool) -> None:
    """Open a port of this machine, with a password, for programs that read the marts.

    For Excel, R, Python, Metabase, DBeaver and the like. Otherwise the embedded PostgreSQL cannot
    be reached over the network.
    """
    from loader.roles import expose, unexpose

    if off:
        say("closed" if unexpose(database) else "was not open")
        return
    click.echo(expose(database, port, new_password=new_password))


@db.command("url")
@on_database
def db_url(database: Database) -> None:
    """Print the address of the database for psql and other programs, or its file."""
    click.echo(database.url())


def _on_lake(command: Callable[[Profile], None]) -> Callable[..., None]:
    """Give a subcommand --target, by default the one called spark, and its profile."""

    @target_option
    @click.pass_obj
    @wraps(command)
    def call_with_profile(call: Call, /, target: str | None) -> None:
        profile = call.database(target or "spark").profile
        if profile.engine != "spark":
            raise UsageError(
                f"The target {profile.target} is of type {profile.engine}, which needs no Spark."
            )
        command(profile)

    return call_with_profile


@click.group()
def spark() -> None:
    """Start, stop or look at the server that computes in the lake.

    It runs on this machine. LABMART_SPARK chooses `sail` (no Java) or `local` (Apache Spark). Where
    SPARK_REMOTE names a server, that one is used and none is started.
    """


@spark.command("start")
@_on_lake
def spark_start(profile: Profile) -> None:
    """Start the server, which stays until it is stopped."""
    from loader.spark_server import start

    server, is_new = start(profile)
    say(f"{'started' if is_new else 'runs already'}: {server.kind}, process {server.pid}")


@spark.command("stop")
@_on_lake
def spark_stop(profile: Profile) -> None:
    """Stop the server of this project."""
    from loader.spark_server import stop

    say("stopped" if stop(profile) else "was not running")


@spark.command("status")
@_on_lake
def spark_status(profile: Profile) -> None:
    """Tell whether the server runs, and where the lake is; exit code 4 if it does not."""
    from loader.engines.lake import lake_of
    from loader.spark_server import running

    server = running(profile)
    click.echo(f"status   {'running' if server else 'stopped'}")
    if server:
        click.echo(f"kind     {server.kind}")
        click.echo(f"pid      {server.pid}")
    click.echo(f"lake     {lake_of(profile).location}")
    if server is None:
        raise SystemExit(EXIT_DATABASE)


@spark.command("url")
@_on_lake
def spark_url(profile: Profile) -> None:
    """Print the SPARK_REMOTE that plain dbt needs; it contains Spark's token."""
    from loader.errors import DatabaseUnreachable
    from loader.spark_server import running

    server = running(profile)
    if server is None:
        raise DatabaseUnreachable("No server runs. Start one with `labmart spark start`.")
    click.echo(server.url)


@click.command()
@on_database
@option("--sql", is_flag=True, help="Only print the SQL, for an administrator to run.")
def roles(database: Database, sql: bool) -> None:
    """Make database roles for loading, building and reading.

    Each has only the rights it needs. On your own server the user of profiles.yml needs CREATEROLE
    and has to own the database; otherwise have an administrator run what --sql prints.
    """
    from loader.roles import builder_of, loader_of, reader_of, roles_sql, set_up_roles

    if sql:
        click.echo(roles_sql(database))
        return
    set_up_roles(database)
    schema, raw = database.profile.schema, database.profile.raw_schema
    say(f"{loader_of(raw)} loads, {builder_of(schema)} builds, {reader_of(schema)} reads.")
    say(f"Make people members of them: grant {reader_of(schema)} to …;")
