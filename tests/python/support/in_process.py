"""The command `labmart` in this process, since starting is most of a small load; and programs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.project import ROOT

from loader.cli import main


@dataclass(frozen=True)
class Done:
    """What a call left behind."""

    code: int
    out: str
    err: str


def program(*call: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> Done:
    """Run a program to its end; `env` is all of its environment, by default that of the test."""
    done = subprocess.run(call, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


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
