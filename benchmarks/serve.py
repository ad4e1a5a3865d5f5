"""What the HTTP service takes: uploads against a bare sink, and rows of a mart.

    python -m benchmarks serve --megabytes 500 --repeat 3

Starts `labmart serve --no-worker` on the profile's database in the schema labmart_bench, and in
turns sends one large file by curl

* to a bare ASGI app on the same server program, which reads the body and drops it,
* to `PUT /v1/files/…`, which checks, hashes, writes, brings to the disk and queues it.

With `--mart NAME` it also asks the service of the profile's own schema for rows of a built mart, by
so many clients at once, and counts the answers a second: pages of 100 rows, and the same page again
by its ETag. The report goes to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.bench import SCHEMA, Bench, BenchmarkError, say
from benchmarks.report import host_line, ratio_lines
from loader.database import find_database
from loader.project import open_project

_SINK = """
import sys, socket, uvicorn
async def app(scope, receive, send):
    more = scope["type"] == "http"
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
listener = socket.create_server(("127.0.0.1", 0))
print(f"http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
config = uvicorn.Config(app, lifespan="off", log_level="error", access_log=False)
uvicorn.Server(config).run(sockets=[listener])
"""
_CLIENTS = 8
_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks serve", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500, help="The size of the upload.")
    parser.add_argument("--repeat", type=int, default=3, help="How often; the best counts.")
    parser.add_argument("--mart", help="A built mart to ask for rows of.")
    given = parser.parse_args(arguments)
    for lines in _report(given):
        print("\n".join(lines), end="\n\n")
    return 0


def _report(given: argparse.Namespace) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory(prefix="labmart-bench-") as name:
        folder = Path(name)
        path = folder / "upload.bin"
        seconds = _uploads(path, folder, given)
    yield [f"an upload of {given.megabytes:,} MB by curl; the best of {given.repeat}"]
    yield ratio_lines(seconds, "sink")
    if given.mart:
        with tempfile.TemporaryDirectory(prefix="labmart-bench-") as name, _service(name) as url:
            rates = asyncio.run(_ask(url, given.mart))
        yield [f"answers a second of {given.mart}, {_CLIENTS} clients at once"]
        yield [f"{rate:8,.0f}  {what}" for what, rate in rates.items()]
    yield [host_line()]


def _uploads(path: Path, folder: Path, given: argparse.Namespace) -> dict[str, float]:
    best: dict[str, float] = {}
    with _started(sys.executable, "-c", _SINK) as sink, _service(folder, SCHEMA) as url:
        for turn in range(1, given.repeat + 1):
            # Other bytes each time: the same again would be the same job.
            with path.open("wb") as file:
                for _ in range(given.megabytes):
                    file.write(os.urandom(1_000_000))
            for what, address in (("sink", f"{sink}/x"), ("service", f"{url}/v1/files/x.bin")):
                seconds = _curl(path, address)
                best[what] = min(seconds, best.get(what, seconds))
                say(f"turn {turn} of {given.repeat}: {what} {seconds:.2f} s")
    _tidy()
    return best


def _tidy() -> None:
    """Drop what the service has made."""
    project = open_project(None)
    bench = Bench(project, find_database(project, None))
    bench.execute(f"drop schema if exists {SCHEMA}_service cascade")


def _curl(path: Path, address: str) -> float:
    begun = time.monotonic()
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail-with-body", "-T", str(path), address],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"curl failed: {done.stderr} {done.stdout}")
    return time.monotonic() - begun


async def _ask(url: str, mart: str) -> dict[str, float]:
    """How many answers a second, without an ETag and with one."""
    rates = {}
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        first = await client.get(f"/v1/marts/{mart}")
        if first.status_code != 200:
            raise BenchmarkError(f"{mart}: {first.text}")
        for what, headers in (
            ("a page of 100 rows, JSON", {}),
            ("the same, CSV", {"Accept": "text/csv"}),
            ("the same by its ETag (304)", {"If-None-Match": first.headers["etag"]}),
        ):
            rates[what] = await _rate(client, f"/v1/marts/{mart}?limit=100", headers)
            say(f"{what}: {rates[what]:.0f} a second")
    return rates


async def _rate(client: httpx.AsyncClient, address: str, headers: dict[str, str]) -> float:
    answers = 0
    end = time.monotonic() + _SECONDS

    async def one() -> None:
        nonlocal answers
        while time.monotonic() < end:
            answer = await client.get(address, headers=headers)
            if answer.status_code not in (200, 304):
                raise BenchmarkError(answer.text)
            answers += 1

    await asyncio.gather(*(one() for _ in range(_CLIENTS)))
    return answers / _SECONDS


@contextmanager
def _service(spool: Path | str, schema: str | None = None) -> Iterator[str]:
    environment = {}
    if schema:
        environment = {"LABMART_SCHEMA": schema, "LABMART_RAW_SCHEMA": f"{schema}_raw"}
    # The rate is what is measured here, not what one caller may have of it.
    options = ("--no-worker", "--port", "0", "--spool", str(spool), "--max-rate", "1000000")
    with _started(sys.executable, "-m", "loader", "serve", *options, **environment) as url:
        yield url


@contextmanager
def _started(*command: str, **environment: str) -> Iterator[str]:
    """A program that tells its address on stderr; ended afterwards."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if found := re.search(r"http://\S+", line):
                break
        else:
            raise BenchmarkError(f"{command[0]} did not start: {said}")
        # Nobody reads its log: it must not fill the pipe.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield found[0]
    finally:
        process.terminate()
        process.wait()
