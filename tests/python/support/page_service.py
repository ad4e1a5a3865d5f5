"""A service for the page to talk to: it follows the HTTP contract and holds everything in memory.

The page's own tests need states that a real service is in for a moment or never: a job that waits,
a service that is away, hostile names, 100,000 users. What loading and dbt make of files is not
their matter.
"""

from __future__ import annotations

import csv
import io
import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from support.page_marts import Cell, Mart, Row, described, fits, in_order, page_of
from support.project import ROOT

PAGE = ROOT / "loader/service/page"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
STAMP = "2026-05-04T09:30:00+00:00"
FINAL = ("done", "failed", "cancelled")


@dataclass
class Job:
    """A job, the files it was given and the events it has told."""

    kind: str
    files: list[tuple[str, int]] = field(default_factory=list)
    options: dict[str, Cell] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "queued"
    progress: dict[str, Cell] = field(default_factory=dict)
    result: dict[str, object] | None = None
    error: dict[str, object] | None = None
    events: list[tuple[str, object]] = field(default_factory=list)

    def json(self) -> dict[str, object]:
        """The job as the contract has it."""
        files = [{"name": name, "bytes": size, "sha256": "0" * 64} for name, size in self.files]
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "created_at": STAMP,
            "started_at": STAMP,
            "finished_at": STAMP if self.state in FINAL else None,
            "created_by": "local",
            "options": self.options,
            "files": files,
            "progress": self.progress,
            "result": self.result,
            "error": self.error,
            "links": {"self": f"/v1/jobs/{self.id}"},
        }

    def tell(self, name: str, data: object) -> None:
        """One more event."""
        if name == "progress" and isinstance(data, dict):
            self.progress = data
        self.events.append((name, data))

    def turn(self, state: str) -> None:
        """Enter a state and tell it."""
        self.state = state
        self.tell("state", self.json())


class PageService:
    """The service on a free port of this machine; what it holds can be changed at any time."""

    def __init__(self) -> None:
        self.marts: dict[str, Mart] = {}
        self.loads: list[Row] = []
        self.jobs: list[Job] = []
        self.token: str | None = None
        # What the next upload is answered, if it is not accepted.
        self.refuse: tuple[int, str] | None = None
        # Whether uploads get no answer at all.
        self.breaks_off = False
        self.asked: list[str] = []
        self.uploads: list[dict[str, bytes]] = []
        self._changed = threading.Condition()
        self._server: ThreadingHTTPServer | None = None
        self._alive = threading.Event()
        self.port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Listen; after `stop` on the same port again."""
        service = self

        class Handler(_Handler):
            held = service

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        self._alive = threading.Event()
        self._alive.set()
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Answer nobody any more, and break the streams that are open."""
        if self._server is None:
            return
        self._alive.clear()
        with self._changed:
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._server = None

    def tell(self, job: Job, name: str, data: object) -> None:
        """An event of a job, seen at once by those who follow it."""
        with self._changed:
            job.tell(name, data)
            self._changed.notify_all()

    def turn(self, job: Job, state: str) -> None:
        """A job enters a state."""
        with self._changed:
            job.turn(state)
            self._changed.notify_all()

    def add(self, job: Job) -> Job:
        """A new job, waiting."""
        with self._changed:
            self.jobs.append(job)
            job.turn("queued")
        return job

    def follow(self, job: Job, after: int) -> Iterator[tuple[int, str, object]]:
        """The job's events behind number `after`, until the last or until the service stops."""
        alive = self._alive
        while alive.is_set():
            with self._changed:
                while len(job.events) <= after and alive.is_set():
                    self._changed.wait(1)
                new = job.events[after:]
            for name, data in new:
                after += 1
                yield after, name, data
            if new and job.state in FINAL and after >= len(job.events):
                return


class _Handler(BaseHTTPRequestHandler):
    held: PageService
    protocol_version = "HTTP/1.0"

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        service = self.held
        address = urlsplit(self.path)
        parameters = dict(parse_qsl(address.query, keep_blank_values=True))
        service.asked.append(f"{method} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = address.path.strip("/").split("/")
        if method == "POST" and service.breaks_off:
            return
        if parts == ["health", "live"]:
            self._json(200, {"status": "alive"})
        elif parts[0] in ("", "assets"):
            self._page(parts[-1] or "index.html")
        elif service.token and self.headers.get("Authorization") != f"Bearer {service.token}":
            self._problem(401, "A token is needed, or this one is not known.")
        elif method == "POST":
            self._post(parts[1:], parameters, body)
        else:
            self._get(parts[1:], parameters)

    def _page(self, name: str) -> None:
        file = PAGE / name
        if not file.is_file():
            self._problem(404, "There is no such file.")
            return
        self._send(200, file.read_bytes(), TYPES[file.suffix])

    def _post(self, parts: list[str], parameters: dict[str, str], body: bytes) -> None:
        service = self.held
        if service.refuse is not None:
            self._problem(*service.refuse)
        elif parts == ["files"]:
            files = _files(self.headers["Content-Type"], body)
            service.uploads.append(files)
            sizes = [(name, len(content)) for name, content in files.items()]
            replace: dict[str, Cell] = {"replace": parameters.get("replace") == "true"}
            self._json(202, service.add(Job("load", sizes, replace)).json())
        elif parts == ["builds"]:
            self._json(202, service.add(Job("build")).json())
        elif parts[0] == "jobs":
            job = next(job for job in service.jobs if job.id == parts[1])
            service.turn(job, "cancelled")
            self._json(202, job.json())
        else:
            load_id = int(parts[1])
            for load in service.loads:
                if load["load_id"] == load_id:
                    load["status"] = "reverted" if parts[2] == "undo" else "current"
            self._json(202, service.add(Job(parts[2], options={"load_id": load_id})).json())

    def _get(self, parts: list[str], parameters: dict[str, str]) -> None:
        service = self.held
        if parts == ["jobs"]:
            self._json(200, {"items": [job.json() for job in reversed(service.jobs)], "next": None})
        elif parts[0] == "jobs":
            job = next((job for job in service.jobs if job.id == parts[1]), None)
            if job is None:
                self._problem(404, "There is no such job.")
            elif parts[2:] == ["events"]:
                self._stream(job)
            else:
                self._json(200, job.json())
        elif parts == ["loads"]:
            self._json(200, page_of(list(reversed(service.loads)), parameters))
        elif parts == ["marts"]:
            self._json(200, [described(mart) for mart in service.marts.values()])
        elif parts[1] not in service.marts:
            self._problem(404, f"{parts[1]} has not been built yet.")
        else:
            self._rows(service.marts[parts[1]], parameters)

    def _rows(self, mart: Mart, parameters: dict[str, str]) -> None:
        rows = [row for row in mart.rows if fits(row, mart, parameters)]
        for key in reversed([key for key in parameters.get("order", "").split(",") if key]):
            name = key.removeprefix("-")
            rows = in_order(rows, name, falling=key.startswith("-"))
        names = parameters["select"].split(",") if "select" in parameters else [*mart.columns]
        rows = [{name: row[name] for name in names} for row in rows]
        if parameters.get("format") == "csv":
            text = io.StringIO()
            writer = csv.DictWriter(text, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            self._send(200, text.getvalue().encode(), "text/csv")
        else:
            self._json(200, page_of(rows, parameters))

    def _stream(self, job: Job) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        after = int(self.headers.get("Last-Event-ID") or 0)
        try:
            for number, name, data in self.held.follow(job, after):
                event = f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n: alive\n\n"
                self.wfile.write(event.encode())
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            return

    def _problem(self, status: int, detail: str) -> None:
        problem = {"type": "about:blank", "title": "Refused", "status": status, "detail": detail}
        self._send(status, json.dumps(problem).encode(), "application/problem+json")

    def _json(self, status: int, content: object) -> None:
        self._send(status, json.dumps(content).encode(), "application/json")

    def _send(self, status: int, content: bytes, type_: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{type_}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", CSP)
        self.end_headers()
        self.wfile.write(content)


def _files(content_type: str, body: bytes) -> dict[str, bytes]:
    message = BytesParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\n\n" + body)
    return {
        str(part.get_filename()): bytes(part.get_payload(decode=True) or b"")
        for part in message.get_payload()
        if not isinstance(part, str)
    }
