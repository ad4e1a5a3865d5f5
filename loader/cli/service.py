"""The subcommands of the HTTP service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from loader.cli.call import Call, option, say, target_option
from loader.cli.signals import EndedBySignal
from loader.errors import MissingExtra

if TYPE_CHECKING:
    from loader.service.database import Connection
    from loader.service.settings import Settings

_FOLDER = click.Path(file_okay=False, path_type=Path)
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}

landing_option = option(
    "--landing", type=_FOLDER, help="The folder whose files POST /v1/runs may load; default: none."
)
spool_option = option(
    "--spool",
    type=_FOLDER,
    help="Where uploads wait to be loaded; default: .labmart/uploads in the project.",
)


@click.command()
@option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Its port.")
@landing_option
@spool_option
@option("--worker/--no-worker", default=True, show_default=True, help="Work on the jobs as well.")
@option("--require-token", is_flag=True, help="Ask for a token on this machine too.")
@option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with a token that shall be the administrator's.",
)
@option(
    "--max-upload",
    type=click.IntRange(min=1),
    default=10_000_000_000,
    show_default=True,
    metavar="BYTES",
    help="How large an upload may be.",
)
@option(
    "--max-uploads",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="How many there may be at the same time.",
)
@option(
    "--max-jobs",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="How many jobs may wait.",
)
@option(
    "--max-rate",
    type=click.FloatRange(min=0.1),
    default=50.0,
    show_default=True,
    help="Requests a second of one caller, who may save up ten seconds' worth.",
)
@option(
    "--idle-timeout",
    type=click.FloatRange(min=0.1),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="After how long without a byte an upload ends.",
)
@target_option
@click.pass_obj
def serve(
    call: Call,
    host: str,
    port: int,
    landing: Path | None,
    spool: Path | None,
    worker: bool,
    require_token: bool,
    token_file: Path | None,
    max_upload: int,
    max_uploads: int,
    max_jobs: int,
    max_rate: float,
    idle_timeout: float,
    target: str | None,
) -> None:
    """Serve uploads, jobs and marts over HTTP, with a page to look at."""
    _need_extra()
    from loader.service.serve import serve as run
    from loader.service.settings import Limits, Settings

    settings = Settings(
        database=call.database(target),
        target=target,
        host=host,
        port=port,
        landing=_absolute(landing),
        spool=_absolute(spool),
        worker=worker,
        require_token=require_token,
        token_file=token_file,
        limits=Limits(
            upload_bytes=max_upload,
            uploads=max_uploads,
            queued_jobs=max_jobs,
            requests_per_second=max_rate,
            idle=idle_timeout,
        ),
    )
    # To be told to end is how a server ends.
    with suppress(KeyboardInterrupt, EndedBySignal):
        run(settings)


@click.command()
@landing_option
@spool_option
@option("--with-parent", is_flag=True, hidden=True, help="End when standard input does.")
@target_option
@click.pass_obj
def worker(
    call: Call, landing: Path | None, spool: Path | None, with_parent: bool, target: str | None
) -> None:
    """Work on the jobs of `labmart serve --no-worker`; with the same --spool and --landing."""
    _need_extra()
    from loader.service.settings import Settings
    from loader.service.worker import work

    settings = Settings(
        database=call.database(target),
        target=target,
        landing=_absolute(landing),
        spool=_absolute(spool),
    )
    work(settings, with_parent=with_parent)


@click.group()
def token() -> None:
    """Make, list and revoke the tokens of the service."""


@token.command("create")
@click.option("--name", required=True, help="What to call it; it stands beside all it does.")
@click.option(
    "--role",
    type=click.Choice(["read", "load", "admin"]),
    required=True,
    help="What it may do: read marts, load files too, or everything.",
)
@click.option("--expires", metavar="90d", help="After how long (h, d, w) it counts no more.")
@target_option
@click.pass_obj
def token_create(call: Call, name: str, role: str, expires: str | None, target: str | None) -> None:
    """Make a token and print it, this once."""
    settings = _settings(call, target)
    from loader.service import tokens

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name) or name == "local":
        raise click.BadParameter(
            "A name has letters, digits, dots, dashes and underscores, 63 at most; "
            "'local' is taken.",
            param_hint="--name",
        )
    age = _age(expires) if expires else None
    with _connected(settings) as connection:
        made = tokens.create(connection, name, cast("tokens.Role", role), expires=age)
    click.echo(made)
    say("This token is not shown again.")


@token.command("list")
@target_option
@click.pass_obj
def token_list(call: Call, target: str | None) -> None:
    """Print the tokens' names, roles and states."""
    settings = _settings(call, target)
    from loader.service import tokens

    with _connected(settings) as connection:
        for one in tokens.tokens(connection):
            ends = f"{one.expires_at:%Y-%m-%d}" if one.expires_at else "-"
            click.echo(f"{one.name}\t{one.role}\t{one.state}\t{one.created_at:%Y-%m-%d}\t{ends}")


@token.command("revoke")
@click.argument("name")
@target_option
@click.pass_obj
def token_revoke(call: Call, name: str, target: str | None) -> None:
    """Let a token count no more, from this moment on."""
    settings = _settings(call, target)
    from loader.service import tokens

    with _connected(settings) as connection:
        tokens.revoke(connection, name)
    say(f"revoked: {name}")


def _settings(call: Call, target: str | None) -> Settings:
    _need_extra()
    from loader.service.settings import Settings, check

    settings = Settings(database=call.database(target), target=target)
    check(settings)
    return settings


@contextmanager
def _connected(settings: Settings) -> Iterator[Connection]:
    """A connection to the service's schema, which is made when it is missing."""
    from loader.service.database import connected
    from loader.service.schema import prepare

    prepare(settings)
    with connected(settings) as connection:
        yield connection


def _need_extra() -> None:
    # Only whether they are there.
    try:
        import fastapi  # noqa: F401 -- see above
        import procrastinate  # noqa: F401 -- see above
        import psycopg  # noqa: F401 -- see above
        import uvicorn  # noqa: F401 -- see above
    except ImportError:
        raise MissingExtra("labmart serve", "service") from None


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


def _age(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    if found is None or not int(found[1]):
        raise click.BadParameter(
            f"{text!r} is no time such as 12h, 90d or 8w.", param_hint="--expires"
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
