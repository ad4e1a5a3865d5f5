"""The command `labmart` in this process: its start-up is most of the time of a small load."""

from __future__ import annotations

import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT, Database

from loader.cli import main


@dataclass(frozen=True)
class Done:
    """What a call left behind."""

    code: int
    out: str
    err: str


def labmart(project: Path, *arguments: str, stdin: bytes = b"") -> Done:
    """Call the command as a shell does, with its exit code; a traceback fails the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["labmart", "--project-dir", str(project), *arguments])
        with CliRunner().isolation(input=stdin) as (out, err, _):
            try:
                main()
            except SystemExit as end:
                code = end.code
            sys.stderr.flush()
        assert isinstance(code, int)
    return Done(code, out.getvalue().decode(), err.getvalue().decode())


def loading_project(root: Path) -> Path:
    """As much of the project as a load needs."""
    (root / "models" / "staging").mkdir(parents=True)
    shutil.copy(ROOT / "dbt_project.yml", root)
    shutil.copy(ROOT / "profiles.yml.example", root / "profiles.yml")
    shutil.copy(ROOT / "models" / "staging" / "_sources.yml", root / "models" / "staging")
    return root


@contextmanager
def fresh_database(server: Database) -> Iterator[Database]:
    """A database for a whole module, whose tests take a schema each."""
    name = f"loads_{uuid.uuid4().hex[:12]}"
    with closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"create database {name}")
        try:
            yield Database(server.host, server.port, server.user, name, server.password)
        finally:
            cursor.execute(f"drop database {name} with (force)")
