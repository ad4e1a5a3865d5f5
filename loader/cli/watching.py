"""The subcommand that waits for files: watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from loader.cli.call import Call, option, target_option, vars_option
from loader.cli.loading import given_options, parsed
from loader.errors import EXIT_FILE, BuildFailed

if TYPE_CHECKING:
    from loader.cli.loading import Given


@click.command()
@click.argument("place", metavar="PLACE")
@option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Seconds between two looks; a file is complete when it did not change for so long.",
)
@option("--once", is_flag=True, help="Deal with what lies there, and end.")
@option(
    "--move/--keep",
    "moves",
    default=None,
    help="Move files to loaded/ and rejected/, or leave them and remember them. Default: move in "
    "folders of this machine, keep elsewhere.",
)
@option("--build/--no-build", default=True, show_default=True, help="Build after loading.")
@given_options
@target_option
@vars_option
@click.pass_obj
def watch(
    call: Call,
    place: str,
    interval: float,
    once: bool,
    moves: bool | None,
    build: bool,
    target: str | None,
    variables: str | None,
    **given: Unpack[Given],
) -> None:
    """Load what lands in a folder or a prefix of an object store, then build.

    A loaded file goes to loaded/ in the folder, a refused one to rejected/ with a report beside it.
    SIGTERM ends it between two files.
    """
    from loader.watch import WatchOptions
    from loader.watch import watch as watch_place

    database = call.database(target)
    options = WatchOptions(
        interval=interval,
        once=once,
        moves=moves,
        build=build,
        target=target,
        variables=variables,
        load=parsed(given, check=False),
    )
    summary = watch_place(database, place, options)
    if summary.build_failed:
        raise BuildFailed
    if summary.refused:
        raise SystemExit(EXIT_FILE)
