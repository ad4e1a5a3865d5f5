"""The subcommands of the database: the embedded PostgreSQL, and who may do what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from loader.cli.call import Call, option, say, target_option
from loader.errors import EXIT_DATABASE, UsageError

if TYPE_CHECKING:
    from loader.embedded import Status


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

    database = call.database(target)
    if database.profile.engine == "duckdb":
        file = database.file()
        click.echo(f"file     {file}")
        click.echo(
            f"size     {_megabytes(file.stat().st_size) if file.exists() else 'not made yet'}"
        )
        return
    server = status(place_of(database.project.profiles_dir))
    if database.embedded is None:
        say(f"Not in use: {database.profile.path} names another server.")
        return
    for line in _lines(server):
        click.echo(line)
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


def _lines(server: Status) -> Iterator[str]:
    yield f"status   {'running' if server.running else 'stopped'}"
    if server.pid is not None:
        yield f"pid      {server.pid}"
    if server.version is not None:
        yield f"version  PostgreSQL {server.version}"
    if server.uptime is not None:
        yield f"uptime   {_uptime(server.uptime)}"
    yield f"data     {server.place.data}"
    if server.size is not None:
        yield f"size     {_megabytes(server.size)}"
    yield f"socket   {server.place.run}"
    yield f"log      {server.place.log}"


def _megabytes(size: int) -> str:
    return f"{size / 1024**2:,.0f} MB"


def _uptime(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{amount} {unit}" for amount, unit in parts if amount) or "0 s"
