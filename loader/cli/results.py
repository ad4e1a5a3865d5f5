"""The subcommands that read results, and tell which build they are: show to rollback."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loader.cli.call import format_option, names, on_database, option, options, say

if TYPE_CHECKING:
    from loader.database import Database

_show_options = options(
    format_option,
    option(
        "--limit",
        type=click.IntRange(min=0, max=2**63 - 1),
        help="Print at most this many rows; 0 means all. Default: 100 for a table, else all.",
    ),
    option("--columns", callback=names, help="Only these columns, separated by commas."),
)


@click.command()
@on_database
@click.argument("mart", default="user_features")
@_show_options
def show(
    database: Database, mart: str, format_: str, limit: int | None, columns: tuple[str, ...]
) -> None:
    """Print a mart; default: user_features. `labmart status` names them all."""
    from loader.contract import mart_contract
    from loader.show import ShowOptions
    from loader.show import show as show_mart

    contract = mart_contract(database.project, mart)
    with database.open() as source:
        show_mart(contract, source, ShowOptions(format_, limit, columns))


@click.command()
@on_database
@click.argument("mart")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(database: Database, mart: str, file: Path) -> None:
    """Write a mart to a csv, json, parquet or xlsx file."""
    from loader.contract import mart_contract
    from loader.export import export as export_mart
    from loader.export import writer_for

    writer_for(file)
    contract = mart_contract(database.project, mart)
    with database.open() as source:
        rows = export_mart(contract, source, file)
    say(f"{file}: {rows:,} rows of {contract.name}")


@click.command()
@on_database
@click.argument("mart")
@click.argument("key")
@click.argument("column")
@format_option
def why(database: Database, mart: str, key: str, column: str, format_: str) -> None:
    """Print the rows behind a figure, with file and line.

    The figure is in COLUMN of the row of MART whose id is KEY. For one user's experiments: labmart
    why user_features 7 total_exp_per_user
    """
    from loader.why import show_why

    with database.open() as source:
        show_why(database.project, source, mart, key, column, format_)


@click.command()
@on_database
@_show_options
@option("--rule", help="Only issues of this rule, such as duplicate_id.")
@option("--severity", type=click.Choice(["error", "warning"]), help="Only issues of this severity.")
@option("--all", "resolved", is_flag=True, help="Also errors that a newer load has resolved.")
def issues(
    database: Database, format_: str, limit: int | None, columns: tuple[str, ...], **only: Any
) -> None:
    """Print what was rejected or doubted, with file and line."""
    from loader.show import ShowOptions, show_issues

    with database.open() as source:
        show_issues(database.project, source, ShowOptions(format_, limit, columns), **only)


@click.command()
@on_database
@format_option
def status(database: Database, format_: str) -> None:
    """Print which build is published, and of which loads.

    For each mart: its build, its rows and how many tests passed; then which builds are kept.
    Programs read the same in the view mart_status beside the marts.
    """
    from loader.diff import show_status

    show_status(database, format_=format_)


@click.command()
@on_database
@click.argument("builds", metavar="[BUILD [BUILD]]", nargs=-1, type=int)
@option("--mart", help="Only this mart.")
@format_option
@option("--limit", type=click.IntRange(min=0), help="Rows of each mart; 0 means all.")
def diff(
    database: Database, builds: tuple[int, ...], mart: str | None, format_: str, limit: int | None
) -> None:
    """Print what changed from one build to another.

    By mart and key. Default: from the previous build to the published one; with one BUILD, from
    that one.
    """
    from loader.diff import show_changes

    if len(builds) > 2:
        raise click.UsageError("Two builds can be compared, no more.")
    show_changes(database, builds, mart, format_=format_, limit=limit)


@click.command()
@on_database
@click.argument("build", metavar="[BUILD]", required=False, type=int)
def rollback(database: Database, build: int | None) -> None:
    """Publish an earlier build again, in one step.

    Default: the previous one; with BUILD, the kept one of that number.
    """
    from loader.diff import roll_back

    say(roll_back(database, build))
