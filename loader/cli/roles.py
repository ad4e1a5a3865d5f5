"""The subcommand of the database roles."""

from __future__ import annotations

import click

from loader.cli.call import Call, option, say, target_option


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
