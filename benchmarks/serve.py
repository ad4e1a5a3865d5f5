"""What the HTTP service takes: uploads, the time until they are published, rows of a mart."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.bench import BenchmarkError, Scratch, ratio_lines, report, say, scratch, server

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
_PAUSE = 10.0


def measure(megabytes: int, mart: str, repeat: int) -> None:
    """Time it and print the report."""
    with scratch() as made, server(made):
        seconds = _uploads(made, megabytes, repeat)
        published = _publish(made, repeat)
        with _service(made) as url:
            rates = asyncio.run(_ask(url, mart))
    report(
        [f"an upload of {megabytes:,} MB by curl; the best of {repeat}"],
        ratio_lines(seconds, "sink"),
        ["seconds from the last byte of an upload until it is published"],
        [f"{what}: {taken}" for what, taken in published.items()],
        [f"answers a second of {mart}, {_CLIENTS} clients at once"],
        [f"{rate:8,.0f}  {what}" for what, rate in rates.items()],
    )


def _uploads(made: Scratch, megabytes: int, repeat: int) -> dict[str, float]:
    path = made.files / "upload.bin"
    best: dict[str, float] = {}
    with _started(sys.executable, "-c", _SINK) as sink, _service(made) as url:
        for _ in range(repeat):
            # Other bytes each time: the same again would be the same job.
            with path.open("wb") as file:
                for _ in range(megabytes):
                    file.write(os.urandom(1_000_000))
            for what, address in (("sink", f"{sink}/x"), ("service", f"{url}/v1/files/x.bin")):
                seconds = _curl(path, address)
                best[what] = min(seconds, best.get(what, seconds))
                say(f"{what}: {seconds:.2f} s")
    return best


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


def _publish(made: Scratch, repeat: int) -> dict[str, str]:
    """The seconds of each upload, and of the whole build of the first."""
    with _service(made, worker=True) as url, httpx.Client(base_url=url, timeout=30) as client:

        def upload(*files: tuple[str, bytes]) -> float:
            """Seconds from the answer until the jobs have ended."""
            jobs = [
                client.put(f"/v1/files/{name}", content=content).json() for name, content in files
            ]
            begun = time.monotonic()
            for job in jobs:
                while (state := client.get(f"/v1/jobs/{job['id']}").json())["state"] != "done":
                    if state["state"] == "failed":
                        raise BenchmarkError(str(state["error"]))
                    time.sleep(0.02)
            return time.monotonic() - begun

        sample = sorted((made.project / "seeds").glob("raw_*.csv"))
        whole = upload(*((path.name, path.read_bytes()) for path in sample))
        header = "experiment_id,user_id,experiment_compound_ids,experiment_run_time"
        seconds = []
        for number in range(repeat + 1):
            # As people do, not at the very moment when the last one has ended.
            time.sleep(_PAUSE)
            line = f"{header}\n{1000 + number},1,1;2,{number}\n"
            seconds.append(upload((f"{number}.csv", line.encode())))
            say(f"published after {seconds[-1]:.2f} s")
    return {
        "sample laboratory": f"{whole:.2f}",
        "first line more": f"{seconds[0]:.2f}",
        "each after it": ", ".join(f"{each:.2f}" for each in seconds[1:]),
    }


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
def _service(made: Scratch, *, worker: bool = False) -> Iterator[str]:
    options = ("--port", "0", *(() if worker else ("--no-worker",)))
    with _started(*made.labmart("postgres", "serve", *options)) as url:
        yield url


@contextmanager
def _started(*command: str) -> Iterator[str]:
    """A program that tells its address on stderr; ended afterwards."""
    process = subprocess.Popen(
        command,
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
