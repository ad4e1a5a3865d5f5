"""The subcommands for long-running parts: database, the lake's server, service and MCP."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from loader.cli.command import EndedBySignal, FolderPath, labmart, on_database, say
from loader.errors import EXIT_DATABASE, DatabaseUnreachable, MissingExtra, UsageError
from loader.options import option

if TYPE_CHECKING:
    from loader.database import Database
    from loader.project import Profile
    from loader.service.access import Role, TokenStore
    from loader.service.jobs import Settings

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


@on_database(labmart)
@option("--sql", is_flag=True, help="Only print the SQL, for an administrator to run.")
def roles(database: Database, sql: bool) -> None:
    """Create database roles for loading, building and reading.

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


@labmart.group()
def db() -> None:
    """Start, stop, look at or expose the embedded PostgreSQL."""


@on_database(db, "start")
def db_start(database: Database) -> None:
    """Start the embedded PostgreSQL."""
    from loader.embedded import start

    paths = database.own_server()
    say(f"{'started' if start(paths) else 'runs already'}: {paths.data}")


@db.command("stop")
@click.pass_obj
def db_stop(project_dir: Path | None) -> None:
    """Stop the embedded PostgreSQL of this project."""
    from loader.embedded import server_paths, stop
    from loader.project import open_project

    paths = server_paths(open_project(project_dir).profiles_dir)
    say(f"{'stopped' if stop(paths) else 'was not running'}: {paths.data}")


@on_database(db, "status")
def db_status(database: Database) -> None:
    """Tell whether the embedded PostgreSQL runs; exit code 4 if it does not."""
    from loader.embedded import status
    from loader.embedded.settings import exposure_of
    from loader.progress import duration, size_of

    profile = database.profile
    if profile.engine == "duckdb":
        file = database.file()
        size = size_of(file.stat().st_size) if file.exists() else "not made yet"
        _print_pairs({"file": file, "size": size})
        return
    if database.embedded is None:
        named = "names another server" if profile.engine == "postgres" else "is of another type"
        say(f"Not in use: the target {profile.target} of {profile.path} {named}.")
        return
    paths = database.embedded
    server, exposure = status(paths), exposure_of(paths)
    _print_pairs(
        {
            "status": server.word,
            "pid": server.pid,
            "version": server.version and f"PostgreSQL {server.version}",
            "uptime": server.uptime and duration(server.uptime),
            "data": paths.data,
            "size": server.size and size_of(server.size),
            "socket": paths.run,
            "port": exposure and f"{exposure.port} of 127.0.0.1 for {', '.join(exposure.roles)}",
            "log": paths.log,
        }
    )
    if not server.running:
        if server.pid:
            say("`labmart db start` waits for it, or starts it anew when nobody can reach it.")
        raise SystemExit(EXIT_DATABASE)


def _print_pairs(pairs: dict[str, object]) -> None:
    for name, value in pairs.items():
        if value is not None:
            click.echo(f"{name:<8} {value}")


@on_database(db, "expose")
@option(
    "--port",
    # LABMART_PORT is the port of `labmart serve`.
    envvar="LABMART_DB_PORT",
    type=click.IntRange(1024, 65535),
    help="Which port; default: the first free one.",
)
@option("--new-password", is_flag=True, help="Replace the password, which is printed only once.")
@option("--off", is_flag=True, help="Close the port and remove the password.")
def db_expose(database: Database, port: int | None, new_password: bool, off: bool) -> None:
    """Open a port of this machine, with a password, for programs that read the marts.

    For Excel, R, Python, Metabase, DBeaver and the like. Without it, the embedded PostgreSQL cannot
    be reached over the network.
    """
    from loader.roles import expose, unexpose

    if off:
        say("closed" if unexpose(database) else "was not open")
        return
    click.echo(expose(database, port, new_password=new_password))


@on_database(db, "url")
def db_url(database: Database) -> None:
    """Print the address of the database for psql and other programs, or its file."""
    click.echo(database.url())


@labmart.group()
def spark() -> None:
    """Start, stop or look at the server that computes the lake.

    It runs on this machine. LABMART_SPARK chooses `sail` (no Java) or `local` (Apache Spark). If
    SPARK_REMOTE names a server, that one is used instead.
    """


def _spark_profile(database: Database) -> Profile:
    profile = database.profile
    if profile.engine != "spark":
        raise UsageError(
            f"The target {profile.target} is of type {profile.engine}, which needs no Spark."
        )
    return profile


@on_database(spark, "start", target="spark")
def spark_start(database: Database) -> None:
    """Start the server, which runs until it is stopped."""
    from loader.spark_server import start

    server, is_new = start(_spark_profile(database))
    say(f"{'started' if is_new else 'runs already'}: {server.kind}, process {server.pid}")


@on_database(spark, "stop", target="spark")
def spark_stop(database: Database) -> None:
    """Stop the server of this project."""
    from loader.spark_server import stop

    say("stopped" if stop(_spark_profile(database)) else "was not running")


@on_database(spark, "status", target="spark")
def spark_status(database: Database) -> None:
    """Tell whether the server runs, and where the lake is; exit code 4 if it does not."""
    from loader.engines.lake import lake_of
    from loader.spark_server import running

    profile = _spark_profile(database)
    server = running(profile)
    _print_pairs(
        {
            "status": "running" if server else "stopped",
            "kind": server and server.kind,
            "pid": server and server.pid,
            "lake": lake_of(profile).location,
        }
    )
    if server is None:
        raise SystemExit(EXIT_DATABASE)


@on_database(spark, "url", target="spark")
def spark_url(database: Database) -> None:
    """Print the SPARK_REMOTE that plain dbt needs; it contains Spark's token."""
    from loader.spark_server import running

    server = running(_spark_profile(database))
    if server is None:
        raise DatabaseUnreachable("No server runs. Start one with `labmart spark start`.")
    click.echo(server.url)


_spool_option = option(
    "--spool",
    type=FolderPath(resolve_path=True),
    help="Where uploads wait to be loaded; default: .labmart/uploads in the project.",
)


@on_database(labmart)
@option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="The port to listen on.",
)
@_spool_option
@option("--worker/--no-worker", default=True, show_default=True, help="Run the jobs too.")
@option("--require-token", is_flag=True, help="Ask for a token on this machine too.")
@option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with a token that is accepted as the administrator's.",
)
@option(
    "--max-upload",
    "upload_bytes",
    type=click.IntRange(min=1),
    default=10**10,
    show_default=True,
    help="The largest upload, in bytes.",
)
def serve(database: Database, /, **given: Any) -> None:
    """Serve uploads, jobs and marts over HTTP, with a web page."""
    settings = _settings(database, **given)
    from loader.service.app import serve as run

    # A signal is the normal end of a server.
    with suppress(KeyboardInterrupt, EndedBySignal):
        run(settings)


@on_database(labmart)
@_spool_option
@option("--with-parent", is_flag=True, hidden=True, help="Be the one process that works.")
def worker(database: Database, /, with_parent: bool, **given: Any) -> None:
    """Run the jobs of `labmart serve --no-worker`.

    Start both with the same --spool.
    """
    settings = _settings(database, **given)
    from loader.service.worker import run_workers, work

    if with_parent:
        work(settings)
        return
    with suppress(KeyboardInterrupt, EndedBySignal):
        run_workers(settings)


@labmart.group()
def token() -> None:
    """Make, list and revoke the tokens of the service."""


@on_database(token, "create")
@click.option(
    "--name", required=True, help="The name of the token, shown with everything done with it."
)
@click.option(
    "--role",
    type=click.Choice(["read", "load", "admin"]),
    required=True,
    help="What it may do: read marts, load files too, or everything.",
)
@click.option(
    "--expires", metavar="90d", help="How long it is valid (h, d, w); default: until it is revoked."
)
def token_create(database: Database, name: str, role: str, expires: str | None) -> None:
    """Make a token and print it; it is not shown again."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name) or name == "local":
        raise click.BadParameter(
            "A name has letters, digits, dots, dashes and underscores, 63 at most; "
            "'local' is taken.",
            param_hint="--name",
        )
    age = None
    if expires is not None:
        span = re.fullmatch(r"([1-9]\d{0,4})([hdw])", expires.strip())
        if span is None:
            raise click.BadParameter(
                f"{expires!r} is no time such as 12h, 90d or 8w.", param_hint="--expires"
            )
        age = timedelta(**{_UNITS[span[2]]: int(span[1])})
    with _tokens(database) as tokens:
        click.echo(tokens.create(name, cast("Role", role), expires=age))
    say("This token is not shown again.")


@on_database(token, "list")
def token_list(database: Database) -> None:
    """Print the tokens' names, roles and states."""
    with _tokens(database) as tokens:
        for row in tokens.all():
            ends = f"{row.expires_at:%Y-%m-%d}" if row.expires_at else "-"
            created = f"{row.created_at:%Y-%m-%d}"
            click.echo(f"{row.name}\t{row.role}\t{row.state}\t{created}\t{ends}")


@on_database(token, "revoke")
@click.argument("name")
def token_revoke(database: Database, name: str) -> None:
    """Make a token invalid at once."""
    with _tokens(database) as tokens:
        tokens.revoke(name)
    say(f"revoked: {name}")


@on_database(labmart)
def mcp(database: Database) -> None:
    """Let an assistant read the marts, by MCP over standard input and output.

    It can only read: which marts there are, their rows, why a row was not accepted, what a figure
    is made of, the loads, and which build is published. The assistant's program starts this:
    labmart --project-dir DIR mcp
    """
    if not find_spec("mcp"):
        raise MissingExtra("labmart mcp", "mcp")
    from loader.mcp_server import serve as run

    # A library thread waits for standard input, and Python would wait for the thread.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(0))
    run(database)


@contextmanager
def _tokens(database: Database) -> Iterator[TokenStore]:
    """The tokens in the service's schema, which is created if missing."""
    settings = _settings(database)
    from loader.service.access import TokenStore
    from loader.service.jobs import prepared

    with prepared(settings) as tables:
        yield TokenStore(tables)


def _settings(database: Database, **given: Any) -> Settings:
    """The settings from a subcommand's options, which are named like its fields."""
    if not all(map(find_spec, ("fastapi", "multipart", "uvicorn"))):
        raise MissingExtra("labmart serve", "service")
    from loader.service.jobs import Settings

    settings = Settings(database, **given)
    if "spool" in given:
        settings.spool_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings
