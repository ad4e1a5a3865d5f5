"""The command `labmart`: parses a call and hands it on.

Data goes to stdout, talk to stderr. Imports that take time stand in the functions that need
them, so that `labmart --help` answers at once.

call     the command itself, what the subcommands share, and what signals do
data     init, demo; run, load, build, watch; show to rollback; loads, undo, redo, prune
servers  roles, db, spark; serve, worker, token; mcp
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from loader.cli import data, servers  # noqa: F401 -- they bring the subcommands
from loader.cli.call import EndedBySignal, ending_on_signals, labmart, say
from loader.errors import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_USAGE, LabmartError, ReaderGone

__all__ = ["labmart", "main"]


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
