"""One running service for all tests that only use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.databases import Database, fresh_database
from support.project import ROOT
from support.serving import Server, project_to_serve, put, serving, users


@pytest.fixture(scope="session")
def served_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project for servers; their spool and target/ are in it."""
    return project_to_serve(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def service(served_project: Path, server: Database) -> Iterator[Server]:
    """The real service with its worker, on a database of its own that has raw tables."""
    with fresh_database(server) as database, serving(served_project, database) as running:
        running.ended(put(running, "first.csv", users(590)).json()["id"])
        yield running


@pytest.fixture(scope="session")
def sample(service: Server) -> list[dict[str, Any]]:
    """The jobs of the sample laboratory and three faults, uploaded by a press and built."""
    token = service.labmart("token", "create", "--role", "load", "--name", "press").out.strip()
    jobs = []
    # No load begins before all are there, so that one build serves them.
    hold = "select pg_advisory_lock(hashtextextended('labmart raw tables labmart_raw', 0))"
    with closing(service.database.connect()) as connection, service.client(token) as client:
        with connection.cursor() as cursor:
            cursor.execute(hold)
        for name in ("users", "user_experiments", "compounds"):
            content = (ROOT / "seeds" / f"raw_{name}.csv").read_bytes()
            if name == "user_experiments":
                content += b"x1,1,1,2\n901,1,1,soon\n902,1,1,later\n"
            jobs.append(client.put(f"/v1/files/{name}.csv", content=content).json()["id"])
    return [service.ended(job, 300) for job in jobs]
