"""The command `labmart`: what its subcommands share, and how a call ends.

Data goes to stdout, talk to stderr. Imports that take time stand in the functions that need
them, so that `labmart --help` answers at once.

data     init, demo; run, load, build, watch; show to rollback; loads, undo, redo, prune
servers  roles, db, spark; serve, worker, token; mcp
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loader import __version__
from loader.errors import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_USAGE, LabmartError
from loader.printable import printable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from loader.database import Database

    _Options = TypeVar("_Options", bound=DataclassInstance)

__all__ = ["labmart", "main"]

# The options of a call as click gives them, under the names of the fields that they fill.
Given = dict[str, Any]
_F = TypeVar("_F", bound=Callable[..., object])


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
            # Nobody reads on, as in `labmart show | head`; click would make exit code 1 of it.
            raise click.exceptions.Exit(0) from None


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@option(
    "--project-dir",
    type=Folder(exists=True),
    help="The dbt project; default: the one around the working directory, else labmart's own.",
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


def on_database(
    group: click.Group,
    name: str | None = None,
    *,
    calls: str = "",
    target: str | None = None,
    **fixed: object,
) -> Callable[[Callable[..., None]], click.Command]:
    """A subcommand with --target, whose first argument is the database which that means.

    `name` is that of the function if it is not given, and `target` what no --target means. With
    `calls`, `loader.module.function`, that is called with the database, what is fixed and what was
    given, and what it says is told.
    """
    default = target

    def add(command: Callable[..., None]) -> click.Command:
        @target_option
        @click.pass_obj
        @wraps(command)
        def call_with_database(call: Call, /, target: str | None, **given: Any) -> None:
            database = call.database(target or default)
            if not calls:
                command(database, **given)
                return
            module, _, function = calls.rpartition(".")
            said = getattr(import_module(module), function)(database, **fixed, **given)
            if said is not None:
                say(said)

        return group.command(name)(call_with_database)

    return add


def names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Names with commas between."""
    return tuple(name.strip() for name in value.split(",")) if value else ()


def filled(kind: type[_Options], given: Given, **more: object) -> _Options:
    """A record of options, of what was given under the names of its fields, and of more."""
    own = {field.name: given[field.name] for field in fields(kind) if field.name in given}
    return kind(**{**own, **more})


def say(text: str) -> None:
    """Talk, which goes to stderr; names in it may hold anything."""
    click.echo("\n".join(map(printable, text.split("\n"))), err=True)


class EndedBySignal(SystemExit):
    """As KeyboardInterrupt, no `except Exception` keeps it. `code` is what a shell would show."""

    code: int


def _end(number: int, _: FrameType | None) -> None:
    raise EndedBySignal(128 + number)


def main() -> None:
    """Run the command and exit; the one place where faults become exit codes."""
    # A caller that has closed them (`>&-`) would give its files' numbers to ours.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 -- until the end
    # What comes from docker stop, systemd, a closed terminal would end Python on the spot:
    # temporary files and child processes would stay, and the database would notice late.
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup ignores SIGHUP, and it stays so.
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)
    code = 0
    try:
        labmart(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        code = EXIT_INTERRUPTED
    except EndedBySignal as ended:
        say("interrupted")
        code = ended.code
    except BrokenPipeError:
        # Python would complain once more when it flushes stdout at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except LabmartError as error:
        if str(error):
            say(f"labmart: {error}")
        code = error.exit_code
    except OSError as error:
        say(f"labmart: {error.filename or 'the system'}: {error.strerror or error}")
        code = EXIT_USAGE
    except Exception as error:
        if os.environ.get("LABMART_TRACEBACK"):
            raise
        cause = f"{type(error).__name__}: {error}"
        say(f"labmart: internal error: {cause} (LABMART_TRACEBACK=1 shows where)")
        code = EXIT_FAULT
    sys.exit(code)


# They bring the subcommands, and need what is above.
from loader.cli import data, servers  # noqa: E402, F401
