"""The command `labmart` itself: what its subcommands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from loader import __version__
from loader.options import option
from loader.printable import printable


class FolderPath(click.Path):
    """A folder. No shell has expanded the `~` in a unit file or a container's variable."""

    def __init__(self, *, exists: bool = False, resolve_path: bool = False) -> None:
        super().__init__(exists, file_okay=False, resolve_path=resolve_path, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from loader.project import expanded

        return super().convert(expanded(str(value)), param, ctx)


class _Group(click.Group):
    """Lists the subcommands in the order of use; a reader that stops reading is not a fault."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click passes it
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader has stopped, as in `labmart show | head`; click would exit with code 1.
            raise click.exceptions.Exit(0) from None


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@option(
    "--project-dir",
    type=FolderPath(exists=True),
    help="The dbt project; default: the one around the working directory, else labmart's own.",
)
@click.version_option(__version__, prog_name="labmart")
@click.pass_context
def labmart(context: click.Context, project_dir: Path | None) -> None:
    """Turn a laboratory's exports into tested, documented tables."""
    context.obj = project_dir


target_option = option("--target", help="Target of profiles.yml; default: the profile's own.")
format_option = option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print.",
)


def on_database(
    group: click.Group,
    name: str | None = None,
    *,
    calls: str = "",
    target: str | None = None,
    **fixed: object,
) -> Callable[[Callable[..., None]], click.Command]:
    """A subcommand with --target, whose first argument is the target's database.

    `name` defaults to the function's, and `target` applies without --target. With `calls`, that
    function, `loader.module.function`, is called with the database, the fixed and the given
    arguments, and its return value is printed.
    """
    default = target

    def add(command: Callable[..., None]) -> click.Command:
        @target_option
        @click.pass_obj
        @wraps(command)
        def call_with_database(folder: Path | None, /, target: str | None, **given: Any) -> None:
            from loader.database import find_database
            from loader.project import open_project

            database = find_database(open_project(folder), target or default)
            if not calls:
                command(database, **given)
                return
            module, _, function = calls.rpartition(".")
            sentence = getattr(import_module(module), function)(database, **fixed, **given)
            if sentence is not None:
                say(sentence)

        return group.command(name)(call_with_database)

    return add


def say(text: str) -> None:
    """Print a message to stderr; names in it may contain anything."""
    click.echo("\n".join(map(printable, text.split("\n"))), err=True)


class EndedBySignal(SystemExit):
    """Like KeyboardInterrupt, it passes `except Exception`. `code` is what a shell would show."""

    code: int
