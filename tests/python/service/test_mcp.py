"""Assistants read the marts of a running service by MCP."""

from __future__ import annotations

import json
import os
import re
import sys

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import TextContent
from support.serving import Server

from loader.engines.postgres import connect
from loader.errors import QueryFailed
from loader.project import load_profile, open_project

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("sample")
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
        ("query", {"mart": "users", "filters": ["user_id =eq.1"]}, ""),
        ("query", {"mart": "users", "filters": ["user_id"]}, "'user_id' is none. Write"),
        ("query", {"mart": "users", "filters": ["user_id=eq.1; drop"]}, "is no whole number"),
        ("query", {"mart": "users", "limit": 0}, "greater than or equal to 1"),
        ("issues", {"rule": "nonsense"}, "There is no rule 'nonsense'"),
        ("why", {"mart": "user_features", "key": "1", "column": "user"}, "no column 'user'"),
    ]

    async def answers() -> tuple[set[str], list[tuple[bool, str]]]:
        async with Client(stdio_client(server)) as client:
            tools = (await client.list_tools()).tools
            assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
            told = []
            for name, arguments, _ in calls:
                result = await client.call_tool(name, arguments)
                [content] = result.content
                assert isinstance(content, TextContent)
                told.append((result.is_error, content.text))
            return {tool.name for tool in tools}, told

    names, told = anyio.run(answers)
    assert names == {name for name, *_ in calls}
    for (name, arguments, wrong), (is_error, text) in zip(calls, told, strict=True):
        assert (is_error, wrong in text) == (bool(wrong), True), (name, arguments, text)
    marts, features, nobody, issues, why, loads, status = (json.loads(text) for _, text in told[:7])
    with service.client() as client:
        described = client.get("/v1/marts").json()
        assert marts == [{k: v for k, v in m.items() if k != "rows_url"} for m in described]
        query = (
            "total_exp_per_user=gte.2&total_exp_per_user=lt.5&order=-avg_exp_time_per_user"
            "&select=user_id,avg_exp_time_per_user&limit=3&total=true"
        )
        page = client.get(f"/v1/marts/user_features?{query}").json()
        newest = client.get("/v1/loads?limit=1&total=true").json()
        ours = client.get("/v1/loads?file=eq.user_experiments.csv").json()
    assert features == {"items": page["items"], "total": page["total"]}
    assert features["total"] > 3
    assert nobody == {"items": [], "total": 0}, "_ is itself"
    [issue] = issues["items"]
    assert (issue["rule"], issue["file"], issue["value"]) == (
        "invalid_run_time",
        "user_experiments.csv",
        "soon",
    )
    # Other tests may have loaded more of this user.
    assert re.search(r"is (\d+), made of \1 rows of experiments", why["meaning"])
    assert "user_experiments.csv" in {row["file"] for row in why["items"]}
    assert loads["total"] == newest["total"] >= 3
    assert loads["items"][0]["load_id"] == newest["items"][0]["load_id"]
    assert ours["items"][0]["loaded_by"].startswith("press (job ")
    assert {row["mart"] for row in status["items"]} == {mart["name"] for mart in marts}
    current = r"current: build \d+,? .*of \d+ loads, published .* UTC by \w+; .*"
    assert re.fullmatch(current, status["builds"][-1])


def test_who_reads_marts_cannot_write(service: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in service.database.environment.items():
        monkeypatch.setenv(name, value)
    profile = load_profile(open_project(service.project), None)
    with connect(profile) as source, pytest.raises(QueryFailed, match="read-only transaction"):
        source.run("create schema mine")
