"""The command `labmart` in this process, since starting is most of a small load; and programs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
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


@contextmanager
def environment(values: Mapping[str, str], *, alone: bool = False) -> Iterator[pytest.MonkeyPatch]:
    """Have these variables; with `alone` no others of labmart, dbt or PostgreSQL."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if alone and re.match("LABMART_|DBT_|PG", name)]:
            patch.delenv(name)
        for name, value in values.items():
            patch.setenv(name, value)
        yield patch


def program(*call: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> Done:
    """Run a program to its end; `env` is all of its environment, by default that of the test."""
    done = subprocess.run(call, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def fault(command: click.Command, arguments: Sequence[str]) -> str | None:
    """Why a call would not parse; None if it does."""
    context: click.Context | None = None
    rest = [*arguments]
    try:
        while True:
            context = command.make_context(command.name, rest, parent=context)
            if not isinstance(command, click.Group):
                return None
            # What a group has not taken: the name of the command and what is the command's.
            _, following, rest = command.resolve_command(
                context, [*context._protected_args, *context.args]
            )
            assert following is not None
            command = following
    except click.exceptions.Exit:
        return None
    except click.UsageError as error:
        return error.format_message()


def labmart(
    project: Path, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> Done:
    """Call the command for a project; see `command`."""
    return command("--project-dir", str(project), *arguments, stdin=stdin, env=env)


def command(*arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Done:
    """Call the command as a shell does, with its exit code; a traceback fails the test.

    `env` is set beside what is in the environment.
    """
    with environment(env or {}) as patch:
        patch.setattr("sys.argv", ["labmart", *arguments])
        with CliRunner().isolation(input=stdin) as (out, err, _):
            try:
                main()
            except SystemExit as end:
                code = end.code
            sys.stderr.flush()
        assert isinstance(code, int)
    return Done(code, out.getvalue().decode(), err.getvalue().decode())
