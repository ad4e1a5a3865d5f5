"""The subcommands of the embedded PostgreSQL."""

from __future__ import annotations

import click

from loader.cli.call import Call, say, target_option
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
    from loader.db_status import describe, describe_file
    from loader.embedded import place_of, status

    database = call.database(target)
    if database.profile.engine == "duckdb":
        for line in describe_file(database.file()):
            click.echo(line)
        return
    found = status(place_of(database.project.profiles_dir))
    if database.embedded is None:
        say(f"Not in use: {database.profile.path} names another server.")
        return
    for line in describe(found):
        click.echo(line)
    if not found.running:
        raise SystemExit(EXIT_DATABASE)


@db.command("url")
@target_option
@click.pass_obj
def db_url(call: Call, target: str | None) -> None:
    """Print the address of the database for psql and other programs, or its file."""
    click.echo(call.database(target).url())
