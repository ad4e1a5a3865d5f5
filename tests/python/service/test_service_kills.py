"""Whatever is killed, and when: an accepted upload is loaded once, a cancelled one never."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from support.databases import Database
from support.load_processes import children_of, held_in_copy, rows, table_text, wait_for
from support.serving import Server, serving

pytestmark = pytest.mark.slow

NO_BUILD = {"build": "false"}
_FILES = 12
_KILLS = 4


def _upload(url: str, number: int) -> str | None:
    """Upload a file, as often as it takes; the job, or None while nobody answers."""
    content = table_text("users", [5000 + number], padding=200_000).encode()
    # Without a key it would be another arrival of the same, and loaded once more.
    key = {"Idempotency-Key": f"k{number}"}
    with suppress(httpx.HTTPError):
        answer = httpx.put(
            f"{url}/v1/files/k{number}.csv",
            params=NO_BUILD,
            content=content,
            headers=key,
            timeout=20,
        )
        if answer.status_code in (200, 202):
            return str(answer.json()["id"])
    return None


def _below(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    found = children_of(pid)
    return found + [inner for child in found for inner in _below(child)]


@pytest.fixture(autouse=True)
def raw_tables(request: pytest.FixtureRequest) -> None:
    """A load can only be held in tables that are there."""
    if "service" in request.fixturenames:
        service: Server = request.getfixturevalue("service")
        with service.client() as client:
            job = client.put("/v1/files/f.csv", params=NO_BUILD, content=_users(590)).json()
        assert service.ended(job["id"])["state"] == "done"


@pytest.mark.prove("kills at random moments; below the chosen moments are tried always")
def test_kills_at_any_moment_lose_nothing_and_double_nothing(
    project_copy: Path, shared_database: Database
) -> None:
    random.seed(5)
    jobs: dict[int, str] = {}
    for _ in range(_KILLS):
        with serving(project_copy, shared_database) as server:
            for _ in range(_FILES // _KILLS + 1):
                number = next((n for n in range(_FILES) if n not in jobs), None)
                if number is None:
                    break
                job = _upload(server.url, number)
                if job is not None:
                    jobs[number] = job
            time.sleep(random.uniform(0, 1.5))
            below = _below(server.process.pid)
            # The server, its worker, or the process that loads, in turn.
            victim = random.choice([server.process.pid, *below])
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            if victim == server.process.pid:
                server.process.wait()
    with serving(project_copy, shared_database) as server:
        for number in range(_FILES):
            jobs.setdefault(number, _upload(server.url, number) or "")
        for job in jobs.values():
            assert server.ended(job, 90)["state"] == "done"
    found = rows(
        shared_database,
        "select count(*), count(distinct user_id) from labmart_raw.users where user_id ~ '^50..$'",
    )
    assert found == [(_FILES, _FILES)]
    counted = rows(
        shared_database,
        "select count(*) from labmart_raw.loads where file ~ '^k' and status = 'current'",
    )
    assert counted == [(_FILES,)]
    assert list((project_copy / ".labmart" / "uploads").iterdir()) == []


def test_a_job_whose_process_is_killed_in_the_middle_is_done_all_the_same(service: Server) -> None:
    with service.client() as client:
        with held_in_copy(service.database, "users") as wait_until_held:
            job = client.put("/v1/files/k.csv", params=NO_BUILD, content=_users(600)).json()
            wait_until_held()
            runner = _runner(service)
            # Until it is known to be gone, the truth is that it runs.
            assert client.get(job["links"]["self"]).json()["state"] == "running"
            os.kill(runner, signal.SIGKILL)
        done = service.ended(job["id"])
    assert done["state"] == "done"
    assert service.rows("select count(*) from labmart_raw.users where user_id = '600'") == [(1,)]


def test_what_was_committed_before_a_kill_is_not_loaded_again(service: Server) -> None:
    """The load is there, and nobody has noted it: as after a kill between the two."""
    with service.client() as client:
        job = client.put("/v1/files/committed.csv", params=NO_BUILD, content=_users(700)).json()
        done = service.ended(job["id"])
        result = done["result"]
        assert isinstance(result, dict)
        load_id = result["files"][0]["load_id"]
        # Somebody has undone it meanwhile: it stays undone.
        undo = client.post(f"/v1/loads/{load_id}/undo", params=NO_BUILD).json()
        service.ended(undo["id"])
    service.rows(
        f"update labmart_service.jobs set state = 'running', finished_at = null, result = null "
        f"where id = '{job['id']}'"
    )
    again = service.ended(job["id"])
    assert again["state"] == "done"
    assert isinstance(again["result"], dict)
    assert again["result"]["files"][0]["load_id"] == load_id
    assert service.rows("select status from labmart_raw.loads where file = 'committed.csv'") == [
        ("reverted",)
    ]


def test_what_is_cancelled_while_it_waits_is_never_loaded(service: Server) -> None:
    with service.client() as client, held_in_copy(service.database, "users") as wait_until_held:
        first = client.put("/v1/files/a.csv", params=NO_BUILD, content=_users(800)).json()
        wait_until_held()
        second = client.put("/v1/files/b.csv", params=NO_BUILD, content=_users(810)).json()
        assert client.post(second["links"]["cancel"]).json()["state"] == "cancelled"
        assert client.post(second["links"]["cancel"]).status_code == 409
    assert service.ended(first["id"])["state"] == "done"
    assert service.rows("select 1 from labmart_raw.users where user_id = '810'") == []


def test_what_is_cancelled_while_it_loads_leaves_nothing(service: Server) -> None:
    with service.client() as client:
        with held_in_copy(service.database, "users") as wait_until_held:
            job = client.put("/v1/files/c.csv", params=NO_BUILD, content=_users(820)).json()
            wait_until_held()
            assert client.post(job["links"]["cancel"]).status_code == 202
            runner = _runner(service)
            # COPY in the server is what it waits for; it ends with the block.
            time.sleep(0.5)
        ended = service.ended(job["id"])
        wait_for(lambda: runner not in _below(service.process.pid))
        # The next one is done by another process.
        after = client.put("/v1/files/d.csv", params=NO_BUILD, content=_users(830)).json()
        assert service.ended(after["id"])["state"] == "done"
    assert ended["state"] == "cancelled"
    assert service.rows("select 1 from labmart_raw.users where user_id = '820'") == []


def test_a_worker_that_loses_its_lock_begins_anew(service: Server) -> None:
    workers = _workers_started(service)
    with service.client() as client, held_in_copy(service.database, "users") as wait_until_held:
        job = client.put("/v1/files/m.csv", params=NO_BUILD, content=_users(850)).json()
        wait_until_held()
        # Not the connection that loads: nothing but the lock is lost.
        ended = service.rows(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' "
            "and granted and (classid::bigint << 32 | objid::bigint) = "
            "hashtextextended('labmart work labmart_service', 0)"
        )
        assert ended == [(True,)]
    assert service.ended(job["id"])["state"] == "done"
    assert service.rows("select count(*) from labmart_raw.users where user_id = '850'") == [(1,)]
    wait_for(lambda: _workers_started(service) > workers)


def test_a_second_worker_waits_for_the_first_to_end(service: Server) -> None:
    with service.client() as client:
        wait_for(lambda: client.get("/health/ready").json()["worker"] == "up")
    with serving(service.project, service.database, command="worker") as second:
        wait_for(lambda: "another worker is at work" in "".join(second.said))
        os.kill(_runner(service), signal.SIGKILL)
        # The lock is free at once; the service starts its own worker anew a little later.
        wait_for(lambda: "labmart worker started" in "".join(second.said))
        with service.client() as client:
            job = client.put("/v1/files/n.csv", params=NO_BUILD, content=_users(860)).json()
        assert service.ended(job["id"])["state"] == "done"


def _workers_started(server: Server) -> int:
    return "".join(server.said).count("labmart worker started")


def _users(first: int) -> bytes:
    return table_text("users", range(first, first + 3)).encode()


def _runner(server: Server) -> int:
    """The process that does the work."""
    [found] = [
        pid
        for pid in _below(server.process.pid)
        if b"--with-parent" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return found
