"""What the subcommands share: the call's settings, options that several have, and talking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loader.printable import printable

if TYPE_CHECKING:
    from loader.database import Database

_F = TypeVar("_F", bound=Callable[..., object])
FORMATS = click.Choice(["table", "csv", "json"])


@dataclass(frozen=True)
class Call:
    """What holds for every subcommand."""

    project_dir: Path | None

    def database(self, target: str | None) -> Database:
        """The database of a target of the project."""
        from loader.database import find_database
        from loader.project import open_project

        return find_database(open_project(self.project_dir), target)


def option(name: str, *parameter: str, **attributes: object) -> Callable[[_F], _F]:
    """An option with its environment variable LABMART_<OPTION>; of --on/--off the first counts."""
    variable = "LABMART_" + name.partition("/")[0].removeprefix("--").replace("-", "_").upper()
    settings: dict[str, Any] = {"envvar": variable, "show_envvar": True, **attributes}
    return click.option(name, *parameter, **settings)


def say(text: str) -> None:
    """Talk, which goes to stderr; names in it may hold anything."""
    click.echo("\n".join(map(printable, text.split("\n"))), err=True)


target_option = option("--target", help="Target of profiles.yml; default: the profile's own.")
vars_option = option("--vars", "variables", help="Variables for dbt, as YAML: '{input: seeds}'.")
format_option = option(
    "--format", "format_", type=FORMATS, default="table", show_default=True, help="How to print."
)
