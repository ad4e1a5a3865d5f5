"""From an upload to the marts, and what is said when a build fails."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from pathlib import Path

import anyio
import httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import TextContent
from support.load_processes import wait_for
from support.project import ROOT
from support.serving import Server, events_of, put, users

from loader.engines.postgres import connect
from loader.errors import QueryFailed
from loader.profile import load_profile
from loader.project import open_project

pytestmark = pytest.mark.slow

SEEDS = ROOT / "seeds"


def _result(job: dict[str, object]) -> dict[str, object]:
    result = job["result"]
    assert isinstance(result, dict)
    return result


@pytest.fixture(scope="module")
def ended(service: Server) -> list[dict[str, object]]:
    """The sample laboratory and three faults, uploaded by a press and built."""
    token = service.labmart("token", "create", "--role", "load", "--name", "press").out.strip()
    with service.client() as client:
        client.headers["Authorization"] = f"Bearer {token}"
        jobs = []
        for name in ("users", "user_experiments", "compounds"):
            content = (SEEDS / f"raw_{name}.csv").read_bytes()
            if name == "user_experiments":
                content += b"x1,1,1,2\n901,1,1,soon\n902,1,1,later\n"
            answer = client.put(f"/v1/files/{name}.csv", content=content)
            jobs.append(answer.json()["id"])
    return [service.ended(job, 300) for job in jobs]


def test_from_uploads_to_a_mart_with_one_build(
    service: Server, ended: list[dict[str, object]]
) -> None:
    assert [job["state"] for job in ended] == ["done"] * 3, ended
    with service.client() as client:
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
        text = client.get(f"/v1/jobs/{ended[0]['id']}/events").text
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


@pytest.mark.usefixtures("ended")
def test_an_assistant_reads_what_the_service_gives(service: Server) -> None:
    """By the client of the official library, over standard input and output."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "loader", "--project-dir", str(service.project), "mcp"],
        env={**os.environ, **service.database.environment},
    )
    calls: list[tuple[str, dict[str, object], str]] = [
        ("marts", {}, ""),
        (
            "query",
            {
                "mart": "user_features",
                "filters": ["total_exp_per_user=gte.2", "total_exp_per_user=lt.5"],
                "columns": ["user_id", "avg_exp_time_per_user"],
                "order": ["-avg_exp_time_per_user"],
                "limit": 3,
            },
            "",
        ),
        ("query", {"mart": "users", "search": "grace_*"}, ""),
        ("issues", {"key": "901"}, ""),
        ("why", {"mart": "user_features", "key": "1", "column": "total_exp_per_user"}, ""),
        ("loads", {"limit": 1}, ""),
        ("status", {}, ""),
        ("query", {"mart": "user_feature"}, "Did you mean 'user_features'?"),
        ("query", {"mart": "mart_status"}, "There is no mart 'mart_status'"),
        ("query", {"mart": "users", "filters": ["user_id"]}, "Write column=operator.value"),
        ("query", {"mart": "users", "filters": ["user_id=eq.1; drop"]}, "is no whole number"),
        ("query", {"mart": "users", "limit": 0}, "greater than or equal to 1"),
        ("issues", {"rule": "nonsense"}, "There is no rule 'nonsense'"),
        ("why", {"mart": "user_features", "key": "1", "column": "user"}, "no column 'user'"),
    ]

    async def answers() -> tuple[set[str], list[tuple[bool, str]]]:
        async with Client(stdio_client(server)) as client:
            tools = (await client.list_tools()).tools
            assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
            given = []
            for name, arguments, _ in calls:
                result = await client.call_tool(name, arguments)
                [content] = result.content
                assert isinstance(content, TextContent)
                given.append((result.is_error, content.text))
            return {tool.name for tool in tools}, given

    names, given = anyio.run(answers)
    assert names == {name for name, *_ in calls}
    for (name, arguments, wrong), (is_error, text) in zip(calls, given, strict=True):
        assert (is_error, wrong in text) == (bool(wrong), True), (name, arguments, text)
    marts, features, nobody, issues, why, loads, status = (
        json.loads(text) for _, text in given[:7]
    )
    with service.client() as client:
        described = client.get("/v1/marts").json()
        assert marts == [{k: v for k, v in m.items() if k != "rows_url"} for m in described]
        query = (
            "total_exp_per_user=gte.2&total_exp_per_user=lt.5&order=-avg_exp_time_per_user"
            "&select=user_id,avg_exp_time_per_user&limit=3&total=true"
        )
        page = client.get(f"/v1/marts/user_features?{query}").json()
        newest = client.get("/v1/loads?limit=1&total=true").json()
    assert features == {"items": page["items"], "total": page["total"]}
    assert features["total"] > 3
    assert nobody == {"items": [], "total": 0}, "_ is itself"
    [issue] = issues["items"]
    assert (issue["rule"], issue["file"], issue["value"]) == (
        "invalid_run_time",
        "user_experiments.csv",
        "soon",
    )
    assert "is 6, made of 6 rows of experiments" in why["meaning"]
    assert {row["file"] for row in why["items"]} == {"user_experiments.csv"}
    assert loads["total"] == newest["total"] >= 3
    assert loads["items"][0]["load_id"] == newest["items"][0]["load_id"]
    assert loads["items"][0]["loaded_by"].startswith("press (job ")
    assert {row["mart"] for row in status["items"]} == {mart["name"] for mart in marts}
    assert re.fullmatch(
        r"current: build \d+ of \d+ loads, .* UTC by press; .*", status["builds"][-1]
    )


def test_who_reads_marts_cannot_write(service: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in service.database.environment.items():
        monkeypatch.setenv(name, value)
    profile = load_profile(open_project(service.project), None)
    with connect(profile) as source, pytest.raises(QueryFailed, match="read-only transaction"):
        source.all("create schema mine")


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
