"""The subcommands to begin with: a project of one's own, and the sample laboratory."""

from __future__ import annotations

from pathlib import Path

import click

from loader.cli.call import Call, Folder, say, target_option
from loader.cli.loading import run


@click.command()
@click.argument("folder", metavar="DIR", type=Folder())
def init(folder: Path) -> None:
    """Write a project of one's own into the folder DIR.

    It holds all models, macros and tests. Its seeds are the sample laboratory, which counts until
    the first load.
    """
    from loader.project import write_project

    write_project(folder)
    say(f"{folder} is a project now. Go into it and load your files: labmart run PATH…")


@click.command()
@click.argument("folder", metavar="[DIR]", type=Folder(), default="labmart-demo")
@target_option
@click.pass_context
def demo(context: click.Context, folder: Path, target: str | None) -> None:
    """Build the sample laboratory in a folder of its own.

    The folder is made when it is missing; default: labmart-demo.
    """
    from loader.project import PROJECT_FILE, write_project

    if not (folder / PROJECT_FILE).is_file():
        write_project(folder)
    context.obj = Call(project_dir=folder)
    context.invoke(run, target=target)
    say(
        f"This is the sample laboratory. In {folder} try: labmart show compound_usage, labmart "
        "issues, labmart run YOUR_FILES; labmart db stop ends its PostgreSQL."
    )
