"""One running service for all tests that only use it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from support.databases import Database, fresh_database
from support.project import ROOT, loading_project
from support.serving import Server, project_to_serve, put, serving, serving_here, users

from loader.contract import mart_contracts
from loader.project import Project


@pytest.fixture(scope="session")
def service(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The real service with its worker, on a database of its own that has raw tables."""
    project = project_to_serve(tmp_path_factory.mktemp("served"))
    with fresh_database(server) as database, serving(project, database) as running:
        running.ended(put(running, "first.csv", users(590)).json()["id"])
        yield running


# Marts beside those of the project.
MARTS = """
  - &things
    name: accepted_things
    config: {alias: things, meta: {order_by: [id]}}
    data_tests:
      - unique_combination_of_columns:
          arguments: {combination_of_columns: [id]}
    columns:
      - {name: id, data_type: bigint}
      - {name: name, data_type: text}
      - {name: amount, data_type: "numeric(18,6)"}
      - {name: day, data_type: date}
      - {name: is_good, data_type: boolean}
  - {<<: *things, name: others, config: {meta: {order_by: [id]}}}
  - name: notes
    config: {meta: {order_by: [name]}}
    columns:
      - {name: name, data_type: text}
      - {name: amount, data_type: "numeric(18,6)"}
"""


@pytest.fixture(scope="session")
def filled(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without a worker, which takes little at once and does not wait long.

    Its marts are there, and empty; of its two loads the first has a bad line.
    """
    folder = tmp_path_factory.mktemp("filled")
    project = loading_project(folder / "project")
    shutil.copytree(ROOT / "models", project / "models", dirs_exist_ok=True)
    with (project / "models" / "marts" / "_marts.yml").open("a") as file:
        file.write(MARTS)
    limits = {"upload_bytes": 100_000, "idle_seconds": 2.0}
    with fresh_database(server) as database, serving_here(project, database, **limits) as running:
        header = "user_id,name,email,signup_date\n"
        (folder / "users.csv").write_text(header + "1,Ada,a@x.org,2023-01-01\n2,=1+1\n3,B,,\n")
        (folder / "more.csv").write_text(header + "4,Cy,,\n")
        for name in ("users.csv", "more.csv"):
            done = running.labmart("load", str(folder / name), "--max-rejected", "5")
            assert done.code == 0, done.err
        assert running.labmart("roles").code == 0
        for mart in mart_contracts(Project(project, project)).values():
            columns = ", ".join(f'"{column.name}" {column.type}' for column in mart.columns)
            running.rows(f"create table labmart.{mart.name} ({columns})")
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
