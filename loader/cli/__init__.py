"""The command `labmart`: its subcommands, and how a call ends.

Data goes to stdout, messages to stderr. Slow imports are inside the functions that need them, so
that `labmart --help` answers at once.

command  what the subcommands share
data     init, demo; run, load, build, watch; show to rollback; loads, undo, redo, prune
servers  roles, db, spark; serve, worker, token; mcp
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import click

from loader.cli import data, servers  # noqa: F401 -- they bring the subcommands
from loader.cli.command import EndedBySignal, labmart, say
from loader.errors import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_USAGE, LabmartError

__all__ = ["labmart", "main"]


def _end(number: int, _: FrameType | None) -> None:
    raise EndedBySignal(128 + number)


def main() -> None:
    """Run the command and exit; the only place where faults become exit codes."""
    # If the caller has closed them (`>&-`), our files would get their numbers.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 -- until the end
    # Signals from docker stop, systemd or a closed terminal would end Python at once: temporary
    # files and child processes would stay, and the database would notice late.
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup ignores SIGHUP; keep it so.
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
        # Otherwise Python would complain again when it flushes stdout at exit.
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
