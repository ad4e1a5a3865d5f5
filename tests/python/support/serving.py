"""The service, asked over HTTP: `labmart serve` in a process, or a server in a thread."""

from __future__ import annotations

import logging
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from logging.handlers import QueueHandler
from pathlib import Path
from typing import Any

import httpx
from support.databases import Database
from support.in_process import Done, environment, labmart
from support.load_processes import table_text, wait_for
from support.project import copy_of_project

from loader.database import find_database
from loader.project import Project
from loader.service.app import listening
from loader.service.jobs import Settings

NO_BUILD = {"build": "false"}
_PATIENCE = 60.0
_FINAL = ("done", "failed", "cancelled")


@dataclass
class Server:
    """A running server. `url` ends without a slash; `said` is what its process wrote to stderr."""

    url: str
    database: Database
    project: Path
    spool: Path
    said: list[str] = field(default_factory=list)
    pid: int = 0

    def client(self, token: str = "") -> httpx.Client:
        """A client whose addresses begin at the server."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, timeout=_PATIENCE, headers=headers)

    def ended(self, job_id: str, patience: float = _PATIENCE) -> dict[str, Any]:
        """Wait until a job has ended; the job."""
        deadline = time.monotonic() + patience
        with self.client() as client:
            while True:
                job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
                if job["state"] in _FINAL:
                    return job
                assert time.monotonic() < deadline, job
                time.sleep(0.1)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        return self.database.rows(sql)

    def labmart(self, *arguments: str) -> Done:
        """Call the command in this process, on the server's project and database."""
        return labmart(self.project, *arguments, env=self.database.environment)


def project_to_serve(folder: Path) -> Path:
    """A copy of the project without its unit tests, which no build of the service runs."""
    copy = copy_of_project(folder)
    for file in copy.glob("models/*/_unit_tests.yml"):
        file.unlink()
    return copy


@contextmanager
def serving_here(project: Path, database: Database, **fields: Any) -> Iterator[Server]:
    """A server in a thread of this process, which starts at once; without a worker, if not asked.

    `fields` are those of Settings.
    """
    told: queue.SimpleQueue[object] = queue.SimpleQueue()
    errors = QueueHandler(told)
    errors.setLevel(logging.ERROR)
    logging.getLogger("uvicorn.error").addHandler(errors)
    with environment(database.environment):
        opened = find_database(Project(project, project), None)
        settings = Settings(opened, port=0, **{"worker": False, **fields})
        with listening(settings) as (server, listener):
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                wait_for(lambda: server.started)
                url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                yield Server(url, database, project, settings.spool_folder)
            finally:
                server.should_exit = True
                thread.join()
                logging.getLogger("uvicorn.error").removeHandler(errors)
    assert told.empty(), told.get()


@contextmanager
def serving(
    project: Path, database: Database, *options: str, command: str = "serve"
) -> Iterator[Server]:
    """Start `labmart serve`, or `worker`, as a person does; end it afterwards."""
    arguments = ("--port", "0", *options) if command == "serve" else options
    process = subprocess.Popen(
        [sys.executable, "-m", "loader", "--project-dir", str(project), command, *arguments],
        env={**os.environ, **database.environment},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    begun = threading.Event()

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if "http://" in line or "worker" in line:
                begun.set()
        begun.set()

    threading.Thread(target=listen, daemon=True).start()
    try:
        assert begun.wait(_PATIENCE), said
        url = re.search(r"http://\S+", "".join(said))
        assert url or command != "serve", said
        spool = project / ".labmart" / "uploads"
        yield Server(url[0] if url else "", database, project, spool, said, process.pid)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"it does not end: {said}") from None
        assert "Traceback" not in "".join(said), "".join(said)


def spooled(server: Server) -> list[str]:
    """What is in the spool."""
    folder = server.spool
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def raw_request(server: Server, head: str, *, body: bytes = b"") -> socket.socket:
    """A connection on which a request was begun, byte by byte as it stands."""
    url = httpx.URL(server.url)
    connection = socket.create_connection((url.host, url.port or 80), timeout=30)
    text = head.replace("\n", "\r\n").replace("HOST", f"{url.host}:{url.port}")
    connection.sendall(text.encode() + body)
    return connection


def answer_of(connection: socket.socket) -> str:
    """All that the server says until it closes."""
    said = b""
    while portion := connection.recv(65536):
        said += portion
    connection.close()
    return said.decode()


def users(first: int, count: int = 3) -> bytes:
    """A file of so many users from an id on."""
    return table_text("users", range(first, first + count)).encode()


def put(server: Server, name: str, content: bytes, **headers: str) -> httpx.Response:
    """Upload a file that is loaded without a build."""
    with server.client() as client:
        url = f"/v1/files/{name}"
        return client.put(url, params=NO_BUILD, content=content, headers=headers)
