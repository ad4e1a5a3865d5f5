"""The command `labmart`: parses a call and hands it on.

Data goes to stdout, talk to stderr. Imports that take time stand in the functions that need
them, so that `labmart --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loader import __version__
from loader.errors import (
    EXIT_DATABASE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    BuildFailed,
    LabmartError,
    ReaderGone,
    UsageError,
)

if TYPE_CHECKING:
    from loader.database import Database
    from loader.show import ShowOptions

_F = TypeVar("_F", bound=Callable[..., object])
FORMATS = click.Choice(["table", "csv", "json"])


@dataclass(frozen=True)
class _Call:
    """What holds for every subcommand."""

    project_dir: Path | None

    def database(self, target: str | None) -> Database:
        from loader.database import find_database
        from loader.project import open_project

        return find_database(open_project(self.project_dir), target)


def _option(name: str, *parameter: str, **attributes: object) -> Callable[[_F], _F]:
    """An option with its environment variable LABMART_<OPTION>."""
    variable = "LABMART_" + name.removeprefix("--").replace("-", "_").upper()
    settings: dict[str, Any] = {"envvar": variable, "show_envvar": True, **attributes}
    return click.option(name, *parameter, **settings)


_target = _option("--target", help="Target of profiles.yml; default: the profile's own.")
_vars = _option("--vars", "variables", help="Variables for dbt, as YAML: '{input: seeds}'.")
_format = _option(
    "--format", "format_", type=FORMATS, default="table", show_default=True, help="How to print."
)
_limit = _option(
    "--limit",
    type=click.IntRange(min=0, max=2**63 - 1),
    help="Print at most this many rows; 0 means all. Default: 100 for a table, else all.",
)


class _Group(click.Group):
    """Keeps click from turning a reader that has gone into exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderGone from None


@click.group(
    cls=_Group,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)
@_option(
    "--project-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The dbt project; default: the one around the working directory.",
)
@click.version_option(__version__, prog_name="labmart")
@click.pass_context
def labmart(context: click.Context, project_dir: Path | None) -> None:
    """Turn a laboratory's CSV exports into tested, documented tables."""
    context.obj = _Call(project_dir=project_dir)


@labmart.command()
@_target
@_vars
@click.pass_obj
def run(call: _Call, target: str | None, variables: str | None) -> None:
    """Build everything and print the user features."""
    from loader.issues import RECONCILIATION, reconciliation
    from loader.marts import DEFAULT_MART, find_mart
    from loader.show import ShowOptions, show

    database = call.database(target)
    _build(database, target, variables, ())
    marts_file = database.project.marts_file
    with database.open() as source:
        show(find_mart(marts_file, DEFAULT_MART), source, ShowOptions())
        _say(reconciliation(find_mart(marts_file, RECONCILIATION), source))


@labmart.command()
@_target
@_vars
@click.argument("dbt_arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def build(
    call: _Call, target: str | None, variables: str | None, dbt_arguments: tuple[str, ...]
) -> None:
    """Run dbt build, with progress.

    Arguments after -- go to dbt: labmart build -- --select users
    """
    _build(call.database(target), target, variables, dbt_arguments)


@labmart.command()
@click.argument("mart", default="user_features")
@_target
@_format
@_limit
@_option("--columns", help="Only these columns, separated by commas.")
@click.pass_obj
def show(
    call: _Call, mart: str, target: str | None, format_: str, limit: int | None, columns: str | None
) -> None:
    """Print a mart; default: user_features."""
    from loader.marts import find_mart
    from loader.show import show as show_mart

    database = call.database(target)
    found = find_mart(database.project.marts_file, mart)
    with database.open() as source:
        show_mart(found, source, _show_options(format_, limit, columns))


@labmart.command()
@click.argument("mart")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_target
@click.pass_obj
def export(call: _Call, mart: str, file: Path, target: str | None) -> None:
    """Write a mart to a file: csv, json, parquet or xlsx by its ending."""
    from loader.export import export as export_mart
    from loader.export import writer_for
    from loader.marts import find_mart

    writer_for(file)
    database = call.database(target)
    found = find_mart(database.project.marts_file, mart)
    with database.open() as source:
        rows = export_mart(found, source, file)
    _say(f"{file}: {rows:,} rows of {found.name}")


@labmart.command()
@_target
@_format
@_limit
@_option("--rule", help="Only issues of this rule, such as duplicate_id.")
@_option(
    "--severity", type=click.Choice(["error", "warning"]), help="Only issues of this severity."
)
@click.pass_obj
def issues(
    call: _Call,
    target: str | None,
    format_: str,
    limit: int | None,
    rule: str | None,
    severity: str | None,
) -> None:
    """Print what was rejected or noticed, with file and line."""
    from loader.issues import ISSUES, show_issues
    from loader.marts import find_mart

    database = call.database(target)
    found = find_mart(database.project.marts_file, ISSUES)
    with database.open() as source:
        show_issues(
            found, source, _show_options(format_, limit, None), rule=rule, severity=severity
        )


@labmart.group()
def db() -> None:
    """Start, stop and look at the embedded PostgreSQL."""


@db.command("start")
@_target
@click.pass_obj
def db_start(call: _Call, target: str | None) -> None:
    """Start the embedded PostgreSQL."""
    from loader.embedded import start

    database = call.database(target)
    if database.embedded is None:
        raise UsageError(
            f"{database.profile.path} names the server {database.profile.text('host')!r} "
            f"(target {database.profile.target}), so the embedded PostgreSQL is not used. "
            "Unset PGHOST to use it."
        )
    started = start(database.embedded)
    _say(f"{'started' if started else 'runs already'}: {database.embedded.data}")


@db.command("stop")
@click.pass_obj
def db_stop(call: _Call) -> None:
    """Stop the embedded PostgreSQL of this project."""
    from loader.embedded import place_of, stop
    from loader.project import open_project

    place = place_of(open_project(call.project_dir).profiles_dir)
    _say(f"{'stopped' if stop(place) else 'was not running'}: {place.data}")


@db.command("status")
@click.pass_obj
def db_status(call: _Call) -> None:
    """Tell whether the embedded PostgreSQL runs; exit code 4 if it does not."""
    from loader.db_status import describe
    from loader.embedded import place_of, status

    database = call.database(None)
    found = status(place_of(database.project.profiles_dir))
    if database.embedded is None:
        _say(f"Not in use: {database.profile.path} names another server.")
        return
    for line in describe(found):
        click.echo(line)
    if not found.running:
        raise SystemExit(EXIT_DATABASE)


@db.command("url")
@_target
@click.pass_obj
def db_url(call: _Call, target: str | None) -> None:
    """Print the address of the database for psql and other programs."""
    click.echo(call.database(target).url())


def _build(
    database: Database, target: str | None, variables: str | None, extra: tuple[str, ...]
) -> None:
    from loader.dbt import BuildOptions
    from loader.dbt_report import run_and_report
    from loader.seeds import check_seeds

    check_seeds(database.project.seeds)
    if not run_and_report(database, BuildOptions(target=target, vars=variables, extra=extra)):
        raise BuildFailed


def _show_options(format_: str, limit: int | None, columns: str | None) -> ShowOptions:
    from loader.show import ShowOptions

    names = tuple(name.strip() for name in columns.split(",")) if columns else ()
    return ShowOptions(format=format_, limit=limit, columns=names)


def _say(text: str) -> None:
    click.echo(text, err=True)


def main() -> None:
    """Run the command and exit; the one place where faults become exit codes."""
    try:
        labmart(standalone_mode=False)
        sys.stdout.flush()
        code = 0
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        code = EXIT_INTERRUPTED
    except (BrokenPipeError, ReaderGone):
        # Python would complain once more when it flushes stdout at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ReaderGone.exit_code
    except LabmartError as error:
        if str(error):
            _say(f"labmart: {error}")
        code = error.exit_code
    except OSError as error:
        _say(f"labmart: {error.filename or 'the system'}: {error.strerror or error}")
        code = EXIT_USAGE
    sys.exit(code)
