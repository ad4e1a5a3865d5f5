"""The subcommands that serve programs: the HTTP service, and MCP for assistants."""

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

from loader.cli.call import (
    Call,
    EndedBySignal,
    Folder,
    on_database,
    option,
    say,
    target_option,
)
from loader.errors import MissingExtra

if TYPE_CHECKING:
    from loader.database import Database
    from loader.service.access import Role, TokenStore
    from loader.service.database import Settings

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}

spool_option = option(
    "--spool",
    type=Folder(resolve_path=True),
    help="Where uploads wait to be loaded; default: .labmart/uploads in the project.",
)


@click.command()
@option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="The port to listen on.",
)
@spool_option
@option("--worker/--no-worker", default=True, show_default=True, help="Run the jobs, too.")
@option("--require-token", is_flag=True, help="Ask for a token on this machine too.")
@option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with a token to accept as the administrator's.",
)
@option(
    "--max-upload",
    "upload_bytes",
    type=click.IntRange(min=1),
    default=10**10,
    show_default=True,
    help="Bytes of an upload.",
)
@target_option
@click.pass_obj
def serve(call: Call, /, **given: Any) -> None:
    """Serve uploads, jobs and marts over HTTP, with a page to look at."""
    settings = _settings(call, **given)
    from loader.service.app import serve as run

    # To be told to end is how a server ends.
    with suppress(KeyboardInterrupt, EndedBySignal):
        run(settings)


@click.command()
@spool_option
@option("--with-parent", is_flag=True, hidden=True, help="Be the one process that works.")
@target_option
@click.pass_obj
def worker(call: Call, /, with_parent: bool, **given: Any) -> None:
    """Run the jobs of `labmart serve --no-worker`.

    Start both with the same --spool.
    """
    settings = _settings(call, **given)
    from loader.service.worker import run_workers, work

    if with_parent:
        work(settings)
        return
    with suppress(KeyboardInterrupt, EndedBySignal):
        run_workers(settings)


@click.group()
def token() -> None:
    """Make, list and revoke the tokens of the service."""


@token.command("create")
@click.option(
    "--name", required=True, help="What to call it; the name is shown with all that is done by it."
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
@target_option
@click.pass_obj
def token_create(call: Call, name: str, role: str, expires: str | None, target: str | None) -> None:
    """Make a token and print it; it is not shown again."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name) or name == "local":
        raise click.BadParameter(
            "A name has letters, digits, dots, dashes and underscores, 63 at most; "
            "'local' is taken.",
            param_hint="--name",
        )
    age = _age(expires) if expires else None
    with _tokens(call, target) as tokens:
        made = tokens.create(name, cast("Role", role), expires=age)
    click.echo(made)
    say("This token is not shown again.")


@token.command("list")
@target_option
@click.pass_obj
def token_list(call: Call, target: str | None) -> None:
    """Print the tokens' names, roles and states."""
    with _tokens(call, target) as tokens:
        for known in tokens.all():
            ends = f"{known.expires_at:%Y-%m-%d}" if known.expires_at else "-"
            created = f"{known.created_at:%Y-%m-%d}"
            click.echo(f"{known.name}\t{known.role}\t{known.state}\t{created}\t{ends}")


@token.command("revoke")
@click.argument("name")
@target_option
@click.pass_obj
def token_revoke(call: Call, name: str, target: str | None) -> None:
    """Make a token invalid at once."""
    with _tokens(call, target) as tokens:
        tokens.revoke(name)
    say(f"revoked: {name}")


@click.command()
@on_database
def mcp(database: Database) -> None:
    """Let an assistant read the marts, by MCP over standard input and output.

    It can only read: which marts there are, their rows, why a row was not accepted, what a figure
    is made of, the loads, and which build is published. The assistant's program starts this:
    labmart --project-dir DIR mcp
    """
    if not find_spec("mcp"):
        raise MissingExtra("labmart mcp", "mcp")
    from loader.mcp_server import serve as run

    # A thread of the library waits for standard input, and Python would wait for the thread.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(0))
    run(database)


@contextmanager
def _tokens(call: Call, target: str | None) -> Iterator[TokenStore]:
    """The tokens in the service's schema, which is made when it is missing."""
    settings = _settings(call, target)
    from loader.service.access import TokenStore
    from loader.service.database import prepared

    with prepared(settings) as tables:
        yield TokenStore(tables)


def _settings(call: Call, target: str | None, **given: Any) -> Settings:
    """The settings that the options of a subcommand mean, called as their fields are."""
    if not all(map(find_spec, ("fastapi", "multipart", "uvicorn"))):
        raise MissingExtra("labmart serve", "service")
    from loader.service.database import Settings

    settings = Settings(call.database(target), target, **given)
    if "spool" in given:
        settings.spool_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings


def _age(text: str) -> timedelta:
    age = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    if age is None or not int(age[1]):
        raise click.BadParameter(
            f"{text!r} is no time such as 12h, 90d or 8w.", param_hint="--expires"
        )
    return timedelta(**{_UNITS[age[2]]: int(age[1])})
