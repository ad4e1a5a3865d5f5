"""The subcommands for data: begin a project, load, build, read, and change what was loaded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loader.cli.command import FolderPath, format_option, labmart, on_database, say, target_option
from loader.errors import EXIT_FILE, BuildFailed, LabmartError
from loader.options import (
    Given,
    comma_separated,
    filled,
    load_options,
    loading_options,
    option,
    options,
)

if TYPE_CHECKING:
    from loader.database import Database
    from loader.load import LoadOptions, Table

_vars_option = option("--vars", help="Variables for dbt, as YAML: '{input: seeds}'.")
_build_options = options(
    option(
        "--full",
        is_flag=True,
        help="Build everything, even if nothing, or only the loads, have changed.",
    ),
    option(
        "--keep",
        type=click.IntRange(min=0, max=999),
        help="How many earlier builds to keep for `labmart rollback`; default: 1.",
    ),
    _vars_option,
)


@labmart.command()
@click.argument("folder", metavar="[DIR]", type=FolderPath(), default="labmart-demo")
@target_option
@click.pass_context
def demo(context: click.Context, folder: Path, target: str | None) -> None:
    """Build the sample laboratory in a folder of its own.

    The folder is created if needed; default: labmart-demo.
    """
    from loader.project import PROJECT_FILE, write_project

    if not (folder / PROJECT_FILE).is_file():
        write_project(folder)
    context.obj = folder
    context.invoke(run, target=target)
    on = f" --target {target}" if target else ""
    end = "" if target else "; labmart db stop stops its PostgreSQL"
    say(
        f"This is the sample laboratory. In {folder}, calling labmart as you just did, try: "
        f"labmart show compound_usage{on}, labmart issues{on}, labmart run YOUR_FILES{on}{end}."
    )


@labmart.command()
@click.argument("folder", metavar="DIR", type=FolderPath())
def init(folder: Path) -> None:
    """Create a project of your own in the folder DIR.

    It has all models, macros and tests. Its seeds are the sample laboratory, which is used until
    you load something.
    """
    from loader.project import write_project

    write_project(folder)
    say(f"{folder} is now a labmart project. In that folder, load your files: labmart run PATH…")


@on_database(labmart)
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@loading_options
@_build_options
def run(database: Database, /, paths: tuple[str, ...], **given: Any) -> None:
    """Load the PATHs, if any, build, and print user_features."""
    from loader.build import check_seeds
    from loader.contract import DEFAULT_MART

    # Fail early: a load without a build would be only half of the request.
    check_seeds(database.project.seeds)
    tables = _load(database, paths, load_options(given)) if paths else []
    load_ids = [table.entry.load_id for table in tables if table.entry.load_id]
    _build(database, given, load_ids, shows=DEFAULT_MART)


@on_database(labmart)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@option("--check", is_flag=True, help="Report what is wrong and what would change; write nothing.")
@loading_options
def load(database: Database, /, paths: tuple[str, ...], check: bool, **given: Any) -> None:
    """Load files and folders: all of them, or none.

    A PATH is a file, a folder, a pattern such as 'plate*.csv', an address (https:, s3:, gs:, az:,
    sftp:) or - for standard input. Each file is recognised by its header. If several files have the
    same key, the later one wins: PATHs as given, files in folders and archives by the numbers and
    dates in their names.
    """
    tables = _load(database, paths, load_options(given, check=check))
    if any(table.state == "loaded" for table in tables):
        say("Run `labmart build` to bring the tables up to date.")


def _for_dbt(_: click.Context, __: click.Parameter, extra: tuple[str, ...]) -> tuple[str, ...]:
    if {"-h", "--help"} & {*extra}:
        from dbt.cli.main import cli

        cli(["build", "--help"], prog_name="dbt")
    return extra


@on_database(labmart)
@_build_options
@click.argument(
    "extra", metavar="[-- DBT_ARGUMENTS]", nargs=-1, type=click.UNPROCESSED, callback=_for_dbt
)
def build(database: Database, /, **given: Any) -> None:
    """Build and test beside what readers see, then publish.

    If a test fails or the build is killed, readers see what they saw before. If nothing has changed
    since the last build, there is nothing to do. Unit tests and tests tagged `development` are left
    to plain `dbt build`. Arguments after -- go to dbt, which then builds what they select straight
    into the tables that readers see; `-- --help` lists them. One mart and everything it depends on:
    labmart build -- --select +user_features
    """
    _build(database, given)


@on_database(labmart)
@click.argument("place", metavar="PLACE")
@option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Seconds between scans; a file unchanged for that long is taken as complete.",
)
@option("--once", is_flag=True, help="Process what is there, then exit.")
@option(
    "--move/--keep",
    "moves",
    default=None,
    help="Move files to loaded/ and rejected/, or leave them where they are. Default: move in "
    "folders of this machine, keep elsewhere.",
)
@option("--build/--no-build", default=True, show_default=True, help="Build after loading.")
@loading_options
@_vars_option
def watch(database: Database, /, place: str, **given: Any) -> None:
    """Load what lands in a folder or an object store, then build.

    A loaded file moves to loaded/ in the folder, a refused one to rejected/ with a report beside
    it. It can be stopped at any time, and carries on when it is started again.
    """
    from loader.watch import WatchOptions
    from loader.watch import watch as watch_place

    options = filled(WatchOptions, given, load=load_options(given))
    if watch_place(database, place, options):
        raise SystemExit(EXIT_FILE)


_show_options = options(
    format_option,
    option(
        "--limit",
        type=click.IntRange(min=0, max=2**63 - 1),
        help="Print at most this many rows; 0 means all. Default: 100 for a table, else all.",
    ),
    option("--columns", callback=comma_separated, help="Only these columns, separated by commas."),
)


@on_database(labmart, calls="loader.show.show")
@click.argument("mart", default="user_features")
@_show_options
def show() -> None:
    """Print a mart; default: user_features. `labmart status` lists them all."""


@on_database(labmart, calls="loader.export.export")
@click.argument("mart")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export() -> None:
    """Write a mart to a csv, json, parquet or xlsx file."""


@on_database(labmart, calls="loader.show.show_issues")
@_show_options
@option("--rule", help="Only issues of this rule, such as duplicate_id.")
@option("--severity", type=click.Choice(["error", "warning"]), help="Only issues of this severity.")
@option("--all", "resolved", is_flag=True, help="Also errors that a newer load has resolved.")
def issues() -> None:
    """Print what was rejected or questioned, with file and line."""


@on_database(labmart, calls="loader.show.show_why")
@click.argument("mart")
@click.argument("key")
@click.argument("column")
@format_option
def why() -> None:
    """Print the rows behind a figure, with file and line.

    The figure is in COLUMN of the row of MART whose id is KEY. For one user's experiments: labmart
    why user_features 7 total_exp_per_user
    """


@on_database(labmart, calls="loader.diff.show_status")
@format_option
def status() -> None:
    """Print which build is published, and from which loads.

    For each mart: its build, its rows and how many tests passed; then which builds are kept.
    Programs can read the same from the view mart_status beside the marts.
    """


def _two(_: click.Context, __: click.Parameter, builds: tuple[int, ...]) -> tuple[int, ...]:
    if len(builds) > 2:
        raise click.UsageError("At most two builds can be compared.")
    return builds


@on_database(labmart, calls="loader.diff.show_changes")
@click.argument("builds", metavar="[BUILD [BUILD]]", nargs=-1, type=int, callback=_two)
@option("--mart", help="Only this mart.")
@format_option
@option(
    "--limit",
    type=click.IntRange(min=0),
    help="Print at most this many rows per mart; 0 means all.",
)
def diff() -> None:
    """Print what changed from one build to another.

    By mart and key. Default: from the previous build to the published one; with one BUILD, from
    that one.
    """


@on_database(labmart, calls="loader.diff.roll_back")
@click.argument("build", metavar="[BUILD]", required=False, type=int)
def rollback() -> None:
    """Publish an earlier build again, in one step.

    Default: the previous one; with BUILD, the kept one of that number.
    """


_load_ids = click.argument("load_ids", metavar="LOAD_ID...", nargs=-1, required=True, type=int)


@on_database(labmart, calls="loader.history.show_loads")
@format_option
@option("--limit", type=click.IntRange(min=0), help="Print only the newest N; default: all.")
def loads() -> None:
    """Print which files were loaded when, and which are current."""


@on_database(labmart, calls="loader.history.change_loads", undo=True)
@_load_ids
def undo() -> None:
    """Undo loads; what they replaced is current again."""


@on_database(labmart, calls="loader.history.change_loads", undo=False)
@_load_ids
def redo() -> None:
    """Take back an undo; the loads are current again."""


@on_database(labmart, calls="loader.history.prune_loads")
@option("--check", is_flag=True, help="Only report what would be deleted.")
def prune() -> None:
    """Delete loads that are not current, with all their rows, for good."""


def _build(
    database: Database, given: Given, load_ids: Sequence[int] = (), *, shows: str = ""
) -> None:
    """Build, and print a mart; the last lines account for the records, even if it failed."""
    from loader.build import BuildOptions, run_and_report
    from loader.show import closing_lines
    from loader.show import show as show_mart

    is_green, built = run_and_report(database, filled(BuildOptions, given))
    if is_green and shows:
        show_mart(database, shows)
    with suppress(LabmartError):
        for line in closing_lines(built, load_ids):
            say(line)
    if not is_green:
        raise BuildFailed


def _load(database: Database, paths: tuple[str, ...], options: LoadOptions) -> list[Table]:
    from loader.load import LoadReport, summary
    from loader.load import load as load_files

    report = LoadReport()
    if options.check:
        from loader.check import check

        tables = check(paths, database, options, report)
    else:
        tables = load_files(paths, database, options, report)
    say(summary(tables, check=options.check))
    return tables
