"""One running service for all tests that only use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.databases import Database, fresh_database
from support.project import copy_of_project
from support.serving import Server, serving


@pytest.fixture(scope="session")
def served_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project for servers; their spool and target/ are in it."""
    copy = copy_of_project(tmp_path_factory.mktemp("served"))
    (copy / "landing").mkdir()
    return copy


@pytest.fixture(scope="session")
def service(served_project: Path, server: Database) -> Iterator[Server]:
    """The real service with its worker, on a database of its own."""
    with (
        fresh_database(server) as database,
        serving(served_project, database, "--landing", str(served_project / "landing")) as running,
    ):
        yield running
