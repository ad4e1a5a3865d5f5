"""The command `labmart`, and what its subcommands share: options, talking, and being ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loader import __version__
from loader.errors import ReaderGone
from loader.printable import printable

if TYPE_CHECKING:
    from loader.database import Database

_F = TypeVar("_F", bound=Callable[..., object])
# What comes from docker stop, systemd, a closed terminal.
_ENDING = (signal.SIGTERM, signal.SIGHUP)


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


def options(*added: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Several options that some subcommands have alike, in this order."""

    def add(command: _F) -> _F:
        for one in reversed(added):
            command = one(command)
        return command

    return add


class Folder(click.Path):
    """A folder. No shell has replaced the `~` of a unit file or of a container's variable."""

    def __init__(self, *, exists: bool = False, resolve_path: bool = False) -> None:
        super().__init__(exists, file_okay=False, resolve_path=resolve_path, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from loader.project import expanded

        return super().convert(expanded(str(value)), param, ctx)


class _Group(click.Group):
    """Lists the subcommands in the order of use, and keeps a reader's end from being a fault."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click passes it
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # click would make exit code 1 of a reader that has gone.
            raise ReaderGone from None


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@option(
    "--project-dir",
    type=Folder(exists=True),
    help="The dbt project; default: the one around the working directory.",
)
@click.version_option(__version__, prog_name="labmart")
@click.pass_context
def labmart(context: click.Context, project_dir: Path | None) -> None:
    """Turn a laboratory's exports into tested, documented tables."""
    context.obj = Call(project_dir=project_dir)


target_option = option("--target", help="Target of profiles.yml; default: the profile's own.")
format_option = option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print.",
)


def on_database(command: Callable[..., None]) -> Callable[..., None]:
    """Give a subcommand --target, and as its first argument the database which that means."""

    @target_option
    @click.pass_obj
    @wraps(command)
    def call_with_database(call: Call, /, target: str | None, **given: Any) -> None:
        command(call.database(target), **given)

    return call_with_database


def names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Names with commas between."""
    return tuple(name.strip() for name in value.split(",")) if value else ()


def say(text: str) -> None:
    """Talk, which goes to stderr; names in it may hold anything."""
    click.echo("\n".join(map(printable, text.split("\n"))), err=True)


class EndedBySignal(SystemExit):
    """As KeyboardInterrupt, no `except Exception` keeps it. `code` is what a shell would show."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.exit_code = 128 + number


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Raise EndedBySignal when a signal comes that would end Python on the spot.

    Temporary files and child processes would stay then, and the database would notice late.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # nohup ignores SIGHUP, and it stays so.
    taken = [number for number in _ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _: FrameType | None) -> None:
    raise EndedBySignal(number)
