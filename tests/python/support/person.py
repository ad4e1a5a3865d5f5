"""Somebody who calls `labmart` and looks into the database afterwards."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path

import pytest
from support.engines import Engine, Rows
from support.in_process import Done
from support.in_process import labmart as in_process

HEADER = "user_id,name,email,signup_date\n"
USERS = HEADER + "1,Ada,ada@lab.org,2023-01-01\n2,Béla,,\n"


class Person:
    """Somebody with files in a folder of their own and a schema of their own."""

    def __init__(self, project: Path, engine: Engine) -> None:
        self.project = project
        self.engine = engine
        # That of the raw tables.
        self.schema = os.environ["LABMART_RAW_SCHEMA"]

    def labmart(self, *arguments: str, stdin: bytes = b"") -> Done:
        """Call the command. Nothing that a file brings may steer the terminal."""
        done = in_process(self.project, *arguments, stdin=stdin)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\x9b\ud800-\udfff]", done.err)
        return done

    def load(self, *arguments: str, stdin: bytes = b"") -> Done:
        """Load, which works."""
        done = self.labmart("load", *arguments, stdin=stdin)
        assert done.code == 0, done.err
        return done

    def rows(self, sql: str) -> Rows:
        """The rows of a query; `raw.` means the schema."""
        return self.engine.rows(sql.replace("raw.", f"{self.schema}."))

    def everything(self) -> dict[str, Rows]:
        """All of the raw tables, down to the last timestamp."""
        return self.engine.everything(self.schema)

    def names(self) -> list[object]:
        return [name for (name,) in self.rows("select name from raw.users order by load_id, line")]

    def has_tables(self) -> bool:
        return bool(self.engine.schemas(self.schema))


def person_in(
    folder: Path, project: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> Person:
    """Somebody who works in the folder, with a schema that is not there yet."""
    engine.enter(monkeypatch)
    name = f"c{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("LABMART_SCHEMA", name)
    monkeypatch.setenv("LABMART_RAW_SCHEMA", f"{name}_raw")
    monkeypatch.chdir(folder)
    return Person(project, engine)


def write(name: str, content: str | bytes = USERS) -> str:
    """Write a file; its name."""
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name
