"""The command `labmart` in this process: its start-up is most of the time of a small load."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from loader.cli import main


@dataclass(frozen=True)
class Done:
    """What a call left behind."""

    code: int
    out: str
    err: str


def labmart(project: Path, *arguments: str, stdin: bytes = b"") -> Done:
    """Call the command for a project; see `command`."""
    return command("--project-dir", str(project), *arguments, stdin=stdin)


def command(*arguments: str, stdin: bytes = b"") -> Done:
    """Call the command as a shell does, with its exit code; a traceback fails the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["labmart", *arguments])
        with CliRunner().isolation(input=stdin) as (out, err, _):
            try:
                main()
            except SystemExit as end:
                code = end.code
            sys.stderr.flush()
        assert isinstance(code, int)
    return Done(code, out.getvalue().decode(), err.getvalue().decode())
