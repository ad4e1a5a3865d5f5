"""The subcommands of the data: begin a project, load, build, read, and change what was loaded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loader.cli import (
    Call,
    Folder,
    Given,
    filled,
    format_option,
    labmart,
    names,
    on_database,
    option,
    options,
    say,
    target_option,
)
from loader.errors import EXIT_FILE, BuildFailed, LabmartError
from loader.sources import DURATIONS

if TYPE_CHECKING:
    from loader.database import Database
    from loader.load import LoadOptions, Table

_SIGNS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|"}


def _sign(_: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """One character, which may be said by its name."""
    if value is None or (option.name == "quote" and value in ("", "none")):
        return value and ""
    sign = _SIGNS.get(value.lower(), value)
    if len(sign) != 1 or sign in "\r\n\0":
        raise click.BadParameter(f"{value!r} is not one character.", param_hint=option.opts[0])
    return sign


def _max_rejected(_: click.Context, option: click.Parameter, value: str | None) -> Any:
    from loader.load import MaxRejected

    try:
        return None if value is None else MaxRejected.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option.opts[0]) from None


given_options = options(
    option("--replace", is_flag=True, help="Replace what was loaded into the same inputs before."),
    option("--allow-empty", is_flag=True, help="Allow --replace by files without records."),
    option(
        "--max-rejected",
        callback=_max_rejected,
        metavar="N or N%",
        help="How many lines of a file may be rejected before nothing is loaded; default: 10%. "
        "`labmart load --check` also counts the rows that the models would reject.",
    ),
    option("--exclude", multiple=True, metavar="PATTERN", help="Leave out files with such names."),
    option("--input", help="Load the files into this input, whatever else they could be."),
    option("--encoding", help="Encoding of text files, such as utf-8 or windows-1252."),
    option(
        "--delimiter",
        callback=_sign,
        help="Separator of cells in text files: one character, or tab, space.",
    ),
    option("--quote", callback=_sign, help="Quotation mark around cells in text files, or none."),
    option(
        "--columns",
        callback=names,
        # LABMART_COLUMNS is that of `labmart show`.
        envvar="LABMART_FILE_COLUMNS",
        metavar="NAME,NAME…",
        help="Columns of text files and sheets without a header; an empty name skips a column.",
    ),
    option(
        "--map",
        "names",
        multiple=True,
        metavar="NAME=COLUMN",
        help="Which column a name in the header means: --map duration_min=experiment_run_time.",
    ),
    option("--sheet", help="Sheet of a workbook; default: every sheet with a header."),
    option(
        "--decimal",
        type=click.Choice(["comma", "point"]),
        help="Decimal mark of numbers; the other mark may group thousands.",
    ),
    option(
        "--dates",
        type=click.Choice(["DMY", "MDY", "YMD"], case_sensitive=False),
        help="Order of day, month and year in dates; dates like 2024-01-31 need none.",
    ),
    option(
        "--list-separator", callback=_sign, help="Separator of the ids in a list: one character."
    ),
    option(
        "--id-prefix",
        metavar="PREFIX,PREFIX…",
        help="What ids may begin with before their digits, such as EXP- in EXP-0012.",
    ),
    option(
        "--durations",
        type=click.Choice(DURATIONS),
        metavar="UNIT",
        help="Unit to read durations in (0:34:59, 35 min, 1h5m, PT35M): s, min or h. For 26:15 "
        "also say which it is: min,h:mm or min,m:ss.",
    ),
)
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
    target_option,
    _vars_option,
)


@labmart.command()
@click.argument("folder", metavar="[DIR]", type=Folder(), default="labmart-demo")
@target_option
@click.pass_context
def demo(context: click.Context, folder: Path, target: str | None) -> None:
    """Build the sample laboratory in a folder of its own.

    The folder is created if needed; default: labmart-demo.
    """
    from loader.project import PROJECT_FILE, write_project

    if not (folder / PROJECT_FILE).is_file():
        write_project(folder)
    context.obj = Call(project_dir=folder)
    context.invoke(run, target=target)
    on = f" --target {target}" if target else ""
    end = "" if target else "; labmart db stop stops its PostgreSQL"
    say(
        f"This is the sample laboratory. In {folder}, calling labmart as you just did, try: "
        f"labmart show compound_usage{on}, labmart issues{on}, labmart run YOUR_FILES{on}{end}."
    )


@labmart.command()
@click.argument("folder", metavar="DIR", type=Folder())
def init(folder: Path) -> None:
    """Create a project of your own in the folder DIR.

    It has all models, macros and tests. Its seeds are the sample laboratory, which is used until
    you load something.
    """
    from loader.project import write_project

    write_project(folder)
    say(f"{folder} is a project now. Go into it and load your files: labmart run PATH…")


@labmart.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@given_options
@_build_options
@click.pass_obj
def run(call: Call, /, paths: tuple[str, ...], **given: Any) -> None:
    """Load the PATHs, if any, build, and print user_features."""
    from loader.build import check_seeds
    from loader.contract import DEFAULT_MART

    database = call.database(given["target"])
    # A load that is followed by no build would be half of what was asked for.
    check_seeds(database.project.seeds)
    tables = _load(database, paths, parsed(given, check=False)) if paths else []
    load_ids = [table.entry.load_id for table in tables if table.entry.load_id]
    _build(database, given, load_ids, shows=DEFAULT_MART)


@on_database(labmart)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@option("--check", is_flag=True, help="Report what is wrong and what would change; write nothing.")
@given_options
def load(database: Database, /, paths: tuple[str, ...], check: bool, **given: Any) -> None:
    """Load files and folders: all of them, or none.

    A PATH is a file, a folder, a pattern such as 'plate*.csv', an address (https:, s3:, gs:, az:,
    sftp:) or - for standard input. Each file is recognised by its header. If several files have the
    same key, the later one wins: PATHs as given, files in folders and archives by the numbers and
    dates in their names.
    """
    tables = _load(database, paths, parsed(given, check=check))
    if any(table.state == "loaded" for table in tables):
        say("Run `labmart build` to bring the tables up to date.")


@labmart.command()
@_build_options
@click.argument("extra", metavar="[-- DBT_ARGUMENTS]", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def build(call: Call, /, **given: Any) -> None:
    """Build and test beside what readers see, then publish.

    If a test fails or the build is killed, readers see what they saw before. If nothing has changed
    since the last build, there is nothing to do. Unit tests and tests tagged `development` are left
    to plain `dbt build`. Arguments after -- go to dbt, which then builds what they select straight
    into the tables that readers see; `-- --help` lists them. One mart and everything it depends on:
    labmart build -- --select +user_features
    """
    if {"-h", "--help"} & {*given["extra"]}:
        from dbt.cli.main import cli

        cli(["build", "--help"], prog_name="dbt")
    _build(call.database(given["target"]), given)


@labmart.command()
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
@given_options
@target_option
@_vars_option
@click.pass_obj
def watch(call: Call, /, place: str, **given: Any) -> None:
    """Load what lands in a folder or an object store, then build.

    A loaded file moves to loaded/ in the folder, a refused one to rejected/ with a report beside
    it. It can be stopped at any time, and carries on when it is started again.
    """
    from loader.watch import WatchOptions
    from loader.watch import watch as watch_place

    options = filled(WatchOptions, given, load=parsed(given, check=False))
    if watch_place(call.database(given["target"]), place, options):
        raise SystemExit(EXIT_FILE)


_show_options = options(
    format_option,
    option(
        "--limit",
        type=click.IntRange(min=0, max=2**63 - 1),
        help="Print at most this many rows; 0 means all. Default: 100 for a table, else all.",
    ),
    option("--columns", callback=names, help="Only these columns, separated by commas."),
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
    """Build, and print a mart; the last lines say what became of the records, if red as well."""
    from loader.build import run_and_report
    from loader.dbt import BuildOptions
    from loader.show import closing_lines
    from loader.show import show as show_mart

    def close(built: Database) -> None:
        with suppress(LabmartError):
            for line in closing_lines(built, load_ids):
                say(line)

    if not run_and_report(database, filled(BuildOptions, given), red=close):
        raise BuildFailed
    if shows:
        show_mart(database, shows)
    close(database)


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


def parsed(given: Given, *, check: bool) -> LoadOptions:
    """What the options of a load mean. Raises click.UsageError."""
    from loader.load import LoadOptions
    from loader.sources import ReadOptions

    try:
        read = filled(ReadOptions, given)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    # The `names` of --map are for reading; those of a load are others.
    return filled(LoadOptions, given, check=check, read=read, names={})
