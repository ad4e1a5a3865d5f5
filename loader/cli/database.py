"""The subcommands of the database: the embedded PostgreSQL, and who may do what."""

from __future__ import annotations

import click

from loader.cli.call import Call, option, say, target_option
from loader.errors import EXIT_DATABASE, UsageError


@click.group()
def db() -> None:
    """Start, stop and look at the embedded PostgreSQL."""


@db.command("start")
@target_option
@click.pass_obj
def db_start(call: Call, target: str | None) -> None:
    """Start the embedded PostgreSQL."""
    from loader.embedded import start

    database = call.database(target)
    if database.profile.engine != "postgres":
        raise UsageError(
            f"The target {database.profile.target} is of type {database.profile.engine}, which has "
            "no server to start."
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
@target_option
@click.pass_obj
def db_status(call: Call, target: str | None) -> None:
    """Tell whether the embedded PostgreSQL runs; exit code 4 if it does not."""
    from loader.embedded import place_of, status
    from loader.progress import duration, size_of

    database = call.database(target)
    if database.profile.engine == "duckdb":
        file = database.file()
        click.echo(f"file     {file}")
        size = size_of(file.stat().st_size) if file.exists() else "not made yet"
        click.echo(f"size     {size}")
        return
    server = status(place_of(database.project.profiles_dir))
    if database.embedded is None:
        say(f"Not in use: {database.profile.path} names another server.")
        return
    lines = {
        "status": "running" if server.running else "stopped",
        "pid": server.pid,
        "version": server.version and f"PostgreSQL {server.version}",
        "uptime": server.uptime and duration(server.uptime),
        "data": server.place.data,
        "size": server.size and size_of(server.size),
        "socket": server.place.run,
        "log": server.place.log,
    }
    for name, value in lines.items():
        if value is not None:
            click.echo(f"{name:<8} {value}")
    if not server.running:
        raise SystemExit(EXIT_DATABASE)


@db.command("url")
@target_option
@click.pass_obj
def db_url(call: Call, target: str | None) -> None:
    """Print the address of the database for psql and other programs, or its file."""
    click.echo(call.database(target).url())


@click.command()
@target_option
@option("--sql", is_flag=True, help="Only print the SQL, for an administrator to run.")
@click.pass_obj
def roles(call: Call, target: str | None, sql: bool) -> None:
    """Make the database roles of loading, building and reading, with the least rights.

    On a server of one's own the user of profiles.yml needs CREATEROLE and has to own the database;
    else print the SQL and have it run by somebody who may.
    """
    from loader.roles import builder_of, loader_of, reader_of, roles_sql, set_up_roles

    database = call.database(target)
    if sql:
        click.echo(roles_sql(database))
        return
    set_up_roles(database)
    schema, raw = database.profile.schema, database.profile.raw_schema
    say(f"{loader_of(raw)} loads, {builder_of(schema)} builds, {reader_of(schema)} reads.")
    say(f"Make people members of them: grant {reader_of(schema)} to …;")
