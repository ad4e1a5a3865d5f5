"""The command `labmart`: parses a call and hands it on.

Data goes to stdout, talk to stderr. Imports that take time stand in the functions that need
them, so that `labmart --help` answers at once.

call      what the subcommands share, and what signals do
loading   init, demo; run, load, build, watch; loads, undo, redo, prune
results   show, export, issues, why; status, diff, rollback
database  db, spark, roles
service   serve, worker, token; mcp
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from loader import __version__
from loader.cli import database, loading, results, service
from loader.cli.call import Call, EndedBySignal, Folder, ending_on_signals, option, say
from loader.errors import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_USAGE, LabmartError, ReaderGone


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
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
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


for _command in (
    *(loading.demo, loading.init, loading.run, loading.load, loading.build, loading.watch),
    *(results.show, results.export, results.issues, results.why),
    *(results.status, results.diff, results.rollback),
    *(loading.loads, loading.undo, loading.redo, loading.prune),
    *(database.roles, database.db, database.spark),
    *(service.serve, service.worker, service.token, service.mcp),
):
    labmart.add_command(_command)


def main() -> None:
    """Run the command and exit; the one place where faults become exit codes."""
    # A caller that has closed them (`>&-`) would give its files' numbers to ours.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 -- until the end
    try:
        with ending_on_signals():
            labmart(standalone_mode=False)
            sys.stdout.flush()
        code = 0
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        code = EXIT_INTERRUPTED
    except EndedBySignal as ended:
        say("interrupted")
        code = ended.exit_code
    except (BrokenPipeError, ReaderGone):
        # Python would complain once more when it flushes stdout at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ReaderGone.exit_code
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
