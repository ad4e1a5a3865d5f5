"""The subcommands of the ledger: loads, undo, redo, prune."""

from __future__ import annotations

import click

from loader.cli.call import Call, format_option, option, say, target_option

load_ids = click.argument("load_ids", metavar="LOAD_ID...", nargs=-1, required=True, type=int)


@click.command()
@target_option
@format_option
@option("--limit", type=click.IntRange(min=0), help="Print only the newest N; default: all.")
@click.pass_obj
def loads(call: Call, target: str | None, format_: str, limit: int | None) -> None:
    """Print which files were loaded, and which of them count."""
    from loader.loads import show_loads

    show_loads(call.database(target), format_=format_, limit=limit)


@click.command()
@load_ids
@target_option
@click.pass_obj
def undo(call: Call, load_ids: tuple[int, ...], target: str | None) -> None:
    """Make loads not count; what they had replaced counts again."""
    from loader.loads import undo_loads

    say(undo_loads(call.database(target), load_ids))


@click.command()
@load_ids
@target_option
@click.pass_obj
def redo(call: Call, load_ids: tuple[int, ...], target: str | None) -> None:
    """Take an undo back."""
    from loader.loads import redo_loads

    say(redo_loads(call.database(target), load_ids))


@click.command()
@target_option
@option("--check", is_flag=True, help="Only tell what would be deleted.")
@click.pass_obj
def prune(call: Call, target: str | None, check: bool) -> None:
    """Delete the loads that do not count, with all their rows, for good."""
    from loader.loads import prune_loads

    say(prune_loads(call.database(target), check=check))
