"""From an upload to the marts, and what is said when a build fails."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import httpx
import pytest
from support.load_processes import wait_for
from support.project import ROOT
from support.serving import Server, events_of, put, users

pytestmark = pytest.mark.slow

SEEDS = ROOT / "seeds"


def _result(job: dict[str, object]) -> dict[str, object]:
    result = job["result"]
    assert isinstance(result, dict)
    return result


def test_from_uploads_to_a_mart_with_one_build(service: Server) -> None:
    with service.client() as client:
        jobs = []
        for name in ("users", "user_experiments", "compounds"):
            content = (SEEDS / f"raw_{name}.csv").read_bytes()
            if name == "user_experiments":
                content += b"x1,1,1,2\n901,1,1,soon\n902,1,1,later\n"
            answer = client.put(f"/v1/files/{name}.csv", content=content)
            jobs.append(answer.json()["id"])
        ended = [service.ended(job, 300) for job in jobs]
        assert [job["state"] for job in ended] == ["done"] * 3, ended
        # All three were loaded before the one build that served them.
        builds = [_result(job)["build"] for job in ended]
        assert builds[0] == builds[1] == builds[2]
        assert isinstance(builds[0], dict)
        assert builds[0]["failed"] == 0
        assert builds[0]["passed"] > 100
        files = _result(ended[1])["files"]
        assert isinstance(files, list)
        [file] = files
        assert (file["records_read"] - file["rows_accepted"], file["rows_rejected"]) == (1, 1)
        assert [(one["rule"], one["severity"], one["open_issues"]) for one in file["issues"]] == [
            ("invalid_id", "error", 1),
            ("invalid_run_time", "warning", 2),
        ]
        text = client.get(f"/v1/jobs/{jobs[0]}/events").text
        nodes = [json.loads(event["data"]) for event in events_of(text) if event["event"] == "node"]
        assert {"name": "user_features", "kind": "model", "status": "success"}.items() <= next(
            node for node in nodes if node["name"] == "user_features"
        ).items()
        rows = client.get(
            "/v1/marts/user_features",
            params={"total_exp_per_user": "gte.3", "order": "-total_exp_per_user"},
            headers={"Accept": "text/csv"},
        )
        assert rows.text.startswith("user_id,total_exp_per_user,")
        assert len(rows.text.splitlines()) > 2
        docs = client.get("/dbt/", timeout=300)
    assert docs.status_code == 200, docs.text
    assert "user_features" in docs.text
    assert "connect-src 'self'" in docs.headers["content-security-policy"]


def test_a_failed_test_fails_the_job_by_name(service: Server) -> None:
    broken = service.project / "tests" / "nothing_is_ever_right.sql"
    broken.write_text("select 1 as wrong\n")
    try:
        with service.client() as client:
            job = client.post("/v1/builds").json()
            failed = service.ended(job["id"], 300)
    finally:
        broken.unlink()
    assert failed["state"] == "failed"
    build = _result(failed)["build"]
    assert isinstance(build, dict)
    assert [one["name"] for one in build["failures"]] == ["nothing_is_ever_right"]
    assert "1 offending rows" in build["failures"][0]["message"]
    assert isinstance(failed["error"], dict)
    assert "nothing_is_ever_right" in failed["error"]["detail"]


def test_a_build_can_be_cancelled(service: Server) -> None:
    with service.client() as client:
        job = client.post("/v1/builds").json()

        def runs() -> bool:
            return bool(client.get(job["links"]["self"]).json()["state"] == "running")

        wait_for(runs)
        assert client.post(job["links"]["cancel"]).status_code == 202
        assert service.ended(job["id"])["state"] == "cancelled"
        assert not _dbt_processes(service)
        listed = client.get("/v1/jobs", params={"state": "cancelled", "limit": 1}).json()
    assert listed["items"][0]["id"] == job["id"]


def test_jobs_are_listed_in_pages(service: Server) -> None:
    with service.client() as client:
        everything = client.get("/v1/jobs", params={"limit": 500}).json()
        ids, after = [], None
        while True:
            query = {"limit": 2} | ({"after": after} if after else {})
            page = client.get("/v1/jobs", params=query).json()
            ids += [job["id"] for job in page["items"]]
            after = page["next"]
            if after is None:
                break
    assert everything["next"] is None
    assert ids == [job["id"] for job in everything["items"]]
    assert len(ids) >= 4


def _dbt_processes(server: Server) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if b"dbt.cli.main" in command and str(server.project).encode() in command:
            found.append(int(path.parent.name))
    return found


def test_the_page_is_there(service: Server) -> None:
    answer = httpx.get(service.url)
    assert answer.status_code == 200
    assert "text/html" in answer.headers["content-type"]
    assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_events_can_be_resumed(service: Server) -> None:
    job_id = put(service, "events.csv", users(5000)).json()["id"]
    service.ended(job_id)

    def events(after: str | None) -> list[tuple[str, str]]:
        headers = {} if after is None else {"Last-Event-ID": after}
        with service.client() as client:
            text = client.get(f"/v1/jobs/{job_id}/events", headers=headers).text
        return [(event["id"], event["event"]) for event in events_of(text)]

    everything = events(None)
    assert [kind for _, kind in everything if kind != "progress"] == [
        "state",
        "state",
        "file",
        "state",
    ]
    assert [int(number) for number, _ in everything] == sorted(int(n) for n, _ in everything)
    for at, (number, _) in enumerate(everything):
        assert events(number) == everything[at + 1 :]


def test_events_come_as_they_happen(service: Server) -> None:
    heard: list[str] = []
    job_id = put(service, "live.csv", users(6000)).json()["id"]

    def listen() -> None:
        with service.client() as client, client.stream("GET", f"/v1/jobs/{job_id}/events") as live:
            heard.extend(live.iter_lines())

    thread = threading.Thread(target=listen)
    begun = time.monotonic()
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it ends after the final event"
    assert any('"state": "done"' in line for line in heard)
    assert time.monotonic() - begun < 60
