"""`python -m benchmarks COMMAND …`: the benchmarks, and the generator of their data.

Each works in a scratch copy of the project with databases of its own; with PGHOST in the schemas
labmart_bench* of that server, which are dropped at the end. The report goes to stdout, progress to
stderr. Exit codes are those of labmart.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks.generate import ORDERS, Laboratory, write

Command = Callable[..., None]
_LABORATORY = (
    click.option("--experiments", type=click.IntRange(min=0), default=10_000_000),
    click.option("--users", type=click.IntRange(min=1), help="Default: one for 100 experiments."),
    click.option("--compounds", type=click.IntRange(min=1), default=2_000),
    click.option(
        "--dirty",
        type=click.FloatRange(0, 1),
        default=0.0,
        help="Share of bad or odd experiments.",
    ),
    click.option("--order", type=click.Choice(ORDERS), default=ORDERS[0], help="Of the ids."),
    click.option("--seed", default=1, help="Another seed, another laboratory."),
)


def laboratory_options(command: Command) -> Command:
    """Give a command the options that say what laboratory to make."""
    for option in reversed(_LABORATORY):
        command = option(command)
    return command


repeat_option = click.option(
    "--repeat", type=click.IntRange(min=1), default=3, help="Turns; the best of each counts."
)


@click.group(context_settings={"show_default": True}, help=__doc__)
def benchmarks() -> None: ...


@benchmarks.command()
@click.argument("folder", type=click.Path(path_type=Path))
@laboratory_options
def generate(folder: Path, **laboratory: Any) -> None:
    """Write a laboratory's three files."""
    for path in write(Laboratory(**laboratory), folder):
        click.echo(f"{path}  {path.stat().st_size:,} bytes", err=True)


@benchmarks.command()
@click.argument("target", type=click.Choice(["postgres", "duckdb"]), default="postgres")
@click.option("--others", metavar="PYTHON", help="Also by this interpreter's pandas and dlt.")
@click.option("--other-rows", default=100_000, help="Rows of their file.")
@repeat_option
@laboratory_options
def load(target: str, others: str | None, other_rows: int, repeat: int, **laboratory: Any) -> None:
    r"""`labmart load` of a large file, against \copy or DuckDB's own read_csv."""
    from benchmarks import load

    load.measure(Laboratory(**laboratory), target, repeat, others, other_rows)


@benchmarks.command()
@repeat_option
@laboratory_options
def transform(repeat: int, **laboratory: Any) -> None:
    """All marts on PostgreSQL, against SQL written by hand."""
    from benchmarks import transform

    transform.measure(Laboratory(**laboratory), repeat)


@benchmarks.command()
@click.argument("target", type=click.Choice(["postgres", "duckdb"]), default="postgres")
@laboratory_options
def increment(target: str, **laboratory: Any) -> None:
    """A build after a small load, against a whole build."""
    from benchmarks import increment

    increment.measure(Laboratory(**laboratory), target)


@benchmarks.command()
@click.argument("names", metavar="ENGINE...", nargs=-1, required=True)
@laboratory_options
def engines(names: tuple[str, ...], **laboratory: Any) -> None:
    """The way from the files to all marts, one engine beside another.

    ENGINE is postgres, duckdb, sail or spark.
    """
    from benchmarks import engines

    engines.measure(Laboratory(**laboratory), names)


@benchmarks.command()
@laboratory_options
def workers(**laboratory: Any) -> None:
    """Two workers of Apache Spark and two loaders, against one."""
    from benchmarks import workers

    workers.measure(Laboratory(**laboratory))


@benchmarks.command()
@click.option("--megabytes", default=500, help="The size of the upload.")
@click.option("--mart", default="user_features", help="The mart to ask for rows of.")
@repeat_option
def serve(megabytes: int, mart: str, repeat: int) -> None:
    """Uploads and answers of the service."""
    from benchmarks import serve

    serve.measure(megabytes, mart, repeat)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code."""
    from loader.errors import LabmartError

    try:
        benchmarks(arguments, prog_name="python -m benchmarks", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except LabmartError as error:
        click.echo(f"benchmark: {error}", err=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
