"""The service as a person starts it: `labmart serve` in a process of its own, asked over HTTP."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from support.databases import Database
from support.in_process import Done, labmart
from support.load_processes import table_text

NO_BUILD = {"build": "false"}
_PATIENCE = 60.0
_FINAL = ("done", "failed", "cancelled")


@dataclass
class Server:
    """A running server. `url` ends without a slash; `said` is what it wrote to stderr."""

    process: subprocess.Popen[str]
    url: str
    database: Database
    project: Path
    said: list[str] = field(default_factory=list)

    def client(self) -> httpx.Client:
        """A client whose addresses begin at the server."""
        return httpx.Client(base_url=self.url, timeout=_PATIENCE)

    def ended(self, job_id: str, patience: float = _PATIENCE) -> dict[str, object]:
        """Wait until a job has ended; the job."""
        deadline = time.monotonic() + patience
        with self.client() as client:
            while True:
                job: dict[str, object] = client.get(f"/v1/jobs/{job_id}").json()
                if job["state"] in _FINAL:
                    return job
                assert time.monotonic() < deadline, job
                time.sleep(0.05)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with closing(self.database.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor) if cursor.description else []

    def labmart(self, *arguments: str) -> Done:
        """Call the command on the server's project and database."""
        return labmart_on(self.database, self.project, *arguments)

    def kill(self) -> None:
        """End it as a power failure would."""
        self.process.kill()
        self.process.wait()


def labmart_on(database: Database, project: Path, *arguments: str) -> Done:
    """Call the command in this process, on a database."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in database.environment.items():
            patch.setenv(name, value)
        return labmart(project, *arguments)


@contextmanager
def serving(
    project: Path,
    database: Database,
    *options: str,
    environment: Mapping[str, str] | None = None,
    command: str = "serve",
) -> Iterator[Server]:
    """Start `labmart serve` on a free port; end it afterwards."""
    arguments = ("--port", "0", *options) if command == "serve" else options
    process = subprocess.Popen(
        [sys.executable, "-m", "loader", "--project-dir", str(project), command, *arguments],
        env={**os.environ, **database.environment, **(environment or {})},
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
        found = re.search(r"http://\S+", "".join(said))
        assert found or command != "serve", said
        yield Server(process, found[0] if found else "", database, project, said)
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


def events_of(text: str) -> list[dict[str, str]]:
    """The server-sent events of a stream, each by the names of its fields."""
    blocks = [block.splitlines() for block in text.split("\n\n")]
    return [
        dict(line.split(": ", 1) for line in lines)
        for lines in blocks
        if lines and lines != [": ping"]
    ]


def users(first: int, count: int = 3) -> bytes:
    """A file of so many users from an id on."""
    return table_text("users", range(first, first + count)).encode()


def put(server: Server, name: str, content: bytes, **headers: str) -> httpx.Response:
    """Upload a file that is loaded without a build."""
    with server.client() as client:
        url = f"/v1/files/{name}"
        return client.put(url, params=NO_BUILD, content=content, headers=headers)
