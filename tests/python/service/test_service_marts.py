"""Marts, issues and loads over HTTP, from the real service."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import nanoarrow
import openpyxl
import pytest
from support.databases import Database
from support.project import ROOT
from support.serving import Server, serving

from loader.contract import mart_contracts
from loader.project import Project
from loader.publications import COLUMNS

pytestmark = pytest.mark.slow

HOSTILE = "=cmd|' /C calc'!A1"
USERS = 250


@pytest.fixture(scope="module")
def filled(served_project: Path, shared_database: Database) -> Iterator[Server]:
    """A service with marts as dbt declares them, and two loads, of which one has bad lines."""
    with serving(served_project, shared_database, "--no-worker") as running:
        yield fill(running)


def fill(service: Server) -> Server:
    folder = service.project / "landing"
    header = "user_id,name,email,signup_date\n"
    (folder / "users.csv").write_text(header + "1,Ada,a@x.org,2023-01-01\n2,=1+1\n3,B,,\n")
    (folder / "more.csv").write_text(header + "4,Cy,,\n")
    for name in ("users.csv", "more.csv"):
        assert service.labmart("load", str(folder / name), "--max-rejected", "5").code == 0
    assert service.labmart("roles").code == 0
    project = Project(service.project, service.project)
    for mart in mart_contracts(project).values():
        columns = ", ".join(f'"{column.name}" {column.type}' for column in mart.columns)
        service.rows(
            f"create schema if not exists labmart; create table labmart.{mart.name} ({columns})"
        )
    service.rows(
        "insert into labmart.user_features (user_id, total_exp_per_user, avg_experiment_count, "
        "user_name, signup_date) select n, n % 7, 2.5, case when n % 5 > 0 then 'U' || n end, "
        f"date '2023-01-01' + n from generate_series(1, {USERS}) as n"
    )
    service.rows(
        "insert into labmart.input_issues (rule, severity, input, file, line, value, message) "
        f"select 'duplicate_id', 'error', 'users', 'users.csv', n / 2, $${HOSTILE}$$, 'twice' "
        "from generate_series(1, 20) as n"
    )
    return service


@pytest.fixture
def client(filled: Server) -> Iterator[httpx.Client]:
    with filled.client() as found:
        yield found


def test_the_marts_are_those_of_the_yaml_with_their_meaning(client: httpx.Client) -> None:
    marts = client.get("/v1/marts").json()
    assert [mart["name"] for mart in marts] == list(mart_contracts(Project(ROOT, ROOT)))
    features = next(mart for mart in marts if mart["name"] == "user_features")
    assert features["grain_columns"] == ["user_id"]
    assert features["rows_url"] == "/v1/marts/user_features"
    assert features["columns"][2]["type"] == "numeric(18,6)"
    assert all(column["description"] for mart in marts for column in mart["columns"])
    issues = next(mart for mart in marts if mart["name"] == "input_issues")
    assert issues["grain_columns"] == []


def test_the_example_of_the_documentation(client: httpx.Client) -> None:
    answer = client.get(
        "/v1/marts/user_features?total_exp_per_user=gte.5&order=-total_exp_per_user",
        headers={"Accept": "text/csv"},
    )
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="user_features.csv"'
    counts = [row["total_exp_per_user"] for row in csv.DictReader(io.StringIO(answer.text))]
    assert counts == sorted(counts, reverse=True)
    assert set(counts) == {"5", "6"}


@pytest.mark.parametrize("order", ["", "user_name", "-total_exp_per_user,user_name"])
def test_links_lead_through_all_rows_once(client: httpx.Client, order: str) -> None:
    address = f"/v1/marts/user_features?limit=37&order={order}&select=user_id,user_name"
    found = []
    while address:
        answer = client.get(address)
        found += [row["user_id"] for row in answer.json()["items"]]
        address = answer.links.get("next", {}).get("url", "")
    whole = client.get(f"/v1/marts/user_features?limit=0&order={order}").json()["items"]
    assert found == [row["user_id"] for row in whole]
    assert sorted(found) == list(range(1, USERS + 1))


def test_issues_that_are_equal_are_all_there(client: httpx.Client) -> None:
    found, after = 0, ""
    while True:
        page = client.get(f"/v1/issues?limit=3{after}").json()
        found += len(page["items"])
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert found == 20
    text = client.get("/v1/issues?format=csv&limit=1").text
    assert f"'{HOSTILE}" in text
    kept = client.get("/v1/issues?format=csv&limit=1&formulas=keep").text
    assert f",{HOSTILE}" in kept


def test_a_tag_saves_the_way(client: httpx.Client) -> None:
    answer = client.get("/v1/marts/user_features", headers={"Accept": "text/csv"})
    tag = answer.headers["etag"]
    assert answer.headers["cache-control"] == "private, no-cache"
    again = client.get(
        "/v1/marts/user_features", headers={"Accept": "text/csv", "If-None-Match": tag}
    )
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = client.get("/v1/marts/user_features", headers={"If-None-Match": tag})
    assert other.status_code == 200
    head = client.head("/v1/marts/user_features?limit=2")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == client.get("/v1/marts/user_features?limit=2").headers["etag"]
    assert "next" in head.links


def test_arrow_comes_as_a_stream(client: httpx.Client) -> None:
    answer = client.get("/v1/marts/user_features?format=arrow&select=user_id&user_id=lte.3")
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    rows = nanoarrow.ArrayStream.from_readable(answer.content).read_all().to_pylist()
    assert rows == [{"user_id": 1}, {"user_id": 2}, {"user_id": 3}]


def test_excel_comes_as_a_workbook(client: httpx.Client) -> None:
    answer = client.get(
        "/v1/marts/user_features?format=xlsx&select=user_id,user_name&user_id=lte.2"
    )
    assert answer.headers["content-type"].endswith("spreadsheetml.sheet")
    assert 'filename="user_features.xlsx"' in answer.headers["content-disposition"]
    sheet = openpyxl.load_workbook(io.BytesIO(answer.content)).active
    assert list(sheet.values) == [("user_id", "user_name"), (1, "U1"), (2, "U2")]


@pytest.mark.parametrize(
    ("search", "total", "first"),
    [("u24", 9, [24, 241, 242]), ("U*9", 39, [9, 19, 29]), ("%", 0, []), ("'", 0, [])],
)
def test_all_texts_are_searched_and_rows_counted(
    client: httpx.Client, search: str, total: int, first: list[int]
) -> None:
    parameters = {"search": search, "total": "true", "limit": "3"}
    answer = client.get("/v1/marts/user_features", params=parameters).json()
    assert ([row["user_id"] for row in answer["items"]], answer["total"]) == (first, total)
    # Any text of the row will do, not only the first column of texts.
    issues = {"search": "TWICE", "total": "true", "rule": "eq.duplicate_id"}
    assert client.get("/v1/issues", params=issues).json()["total"] == 20


def test_what_is_published_is_told(filled: Server, client: httpx.Client) -> None:
    assert client.get("/v1/publications").json() == {"items": [], "next": None}
    columns = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
    filled.rows(f"create table labmart.publications ({columns})")
    try:
        filled.rows(
            "insert into labmart.publications (build, status, published_by, loads) "
            "values (1, 'kept', 'ada', '[1]'), (2, 'current', 'bo', '[1, 2]')"
        )
        everything = client.get("/v1/publications").json()["items"]
        assert [row["build"] for row in everything] == [2, 1]
        assert "place" not in everything[0]
        [current] = client.get("/v1/publications?status=current").json()["items"]
        assert (current["published_by"], current["loads"]) == ("bo", "[1, 2]")
    finally:
        filled.rows("drop table labmart.publications")


@pytest.mark.parametrize(
    ("address", "status", "kind"),
    [
        ("/v1/marts/nothing", 404, "unknown-mart"),
        ("/v1/marts/user_features%22%3Bdrop", 404, "unknown-mart"),
        ("/v1/marts/pg_roles", 404, "unknown-mart"),
        ("/v1/marts/user_features?user_id=eq.x", 422, "bad-parameter"),
        ("/v1/marts/user_features?ctid=eq.(0,1)", 422, "bad-parameter"),
        ("/v1/marts/user_features?user_id%20or%201=eq.1", 422, "bad-parameter"),
        ("/v1/marts/user_features?select=*", 422, "bad-parameter"),
        ("/v1/marts/user_features?order=user_id;select%20pg_sleep(9)", 422, "bad-parameter"),
        ("/v1/marts/user_features?limit=1&limit=2", 422, "bad-parameter"),
        ("/v1/marts/user_features?user_name=eq.%00", 422, "bad-parameter"),
        ("/v1/marts/user_features?user_name=eq.%ff%fe", 200, ""),
        ("/v1/marts/user_features?user_name=eq.'%20or%20'1'%3D'1", 200, ""),
        ("/v1/marts/user_features?user_name=like.%25%27%3B--", 200, ""),
        ("/v1/marts/experiments?search=x", 422, "bad-parameter"),
        ("/v1/loads/99", 404, "unknown-load"),
        ("/v1/loads/99/rejected", 404, "unknown-load"),
        ("/v1/loads/0", 422, "invalid-request"),
        ("/v1/loads/99999999999999999999", 422, "invalid-request"),
        ("/v1/loads?status=eq", 200, ""),
        ("/v1/loads?file=x", 422, "bad-parameter"),
    ],
)
def test_what_is_asked_wrong_is_told(
    client: httpx.Client, address: str, status: int, kind: str
) -> None:
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    if kind:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == f"urn:labmart:problem:{kind}"
    else:
        assert answer.json()["items"] == []


def test_a_problem_names_the_parameter_and_the_column(client: httpx.Client) -> None:
    problem = client.get("/v1/marts/user_features?signup_date=gte.yesterday").json()
    assert problem["parameter"] == "signup_date"
    assert problem["detail"] == (
        "signup_date: 'yesterday' is no date such as 2023-01-31, which the column signup_date "
        "holds."
    )
    refused = client.get("/v1/marts/users", headers={"Accept": "text/html"})
    assert refused.status_code == 406


def test_loads_come_with_the_newest_first(client: httpx.Client) -> None:
    page = client.get("/v1/loads?limit=1").json()
    assert [load["load_id"] for load in page["items"]] == [2]
    page = client.get(f"/v1/loads?after={page['next']}").json()
    assert [load["load_id"] for load in page["items"]] == [1]
    assert page["items"][0]["records_rejected"] == 1
    assert client.get("/v1/loads?status=reverted").json()["items"] == []
    assert len(client.get("/v1/loads?status=current&input=users").json()["items"]) == 2
    assert client.get("/v1/loads/2").json() == client.get("/v1/loads?limit=1").json()["items"][0]


def test_rejected_lines_can_be_had_as_they_are(client: httpx.Client) -> None:
    [line] = client.get("/v1/loads/1/rejected").json()["items"]
    assert (line["line"], line["content"]) == (3, "2,=1+1")
    assert client.get("/v1/loads/2/rejected").json()["items"] == []
    answer = client.get("/v1/loads/1/rejected?format=csv")
    name = "rejected_lines_of_load_1.csv"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'


def test_the_tag_of_the_ledger_follows_an_undo(filled: Server, client: httpx.Client) -> None:
    before = client.get("/v1/loads").headers["etag"]
    assert client.get("/v1/loads").headers["etag"] == before
    for verb in ("undo", "redo"):
        assert filled.labmart(verb, "2").code == 0
        after = client.get("/v1/loads").headers["etag"]
        assert (after == before) == (verb == "redo")


def test_queries_run_as_the_reading_role(filled: Server) -> None:
    """A new connection becomes it; what that role may not read, the service cannot tell."""
    with (
        serving(filled.project, filled.database, "--no-worker") as server,
        server.client() as client,
    ):
        assert client.get("/v1/marts/compounds").status_code == 200
        filled.rows("revoke select on labmart.compounds from labmart_reader")
        answer = client.get("/v1/marts/compounds")
        assert (answer.status_code, answer.json()["type"][-12:]) == (500, "query-failed")
        assert "permission denied" in answer.json()["detail"]


def test_reading_needs_a_token_where_tokens_are_needed(filled: Server, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("0123456789abcdef" * 4)
    with (
        serving(
            *(filled.project, filled.database, "--no-worker"),
            *("--require-token", "--token-file", str(secret)),
        ) as server,
        server.client() as client,
    ):
        for path in ("/v1/marts", "/v1/marts/users", "/v1/issues", "/v1/loads", "/v1/loads/1"):
            assert client.get(path).status_code == 401
            assert client.head(path).status_code in (401, 405)
        bearer = {"Authorization": f"Bearer {secret.read_text()}"}
        assert client.get("/v1/marts/users", headers=bearer).status_code == 200


def test_a_server_without_any_table_has_no_loads_and_says_what_to_do(
    served_project: Path, database: Database
) -> None:
    with serving(served_project, database, "--no-worker") as server, server.client() as client:
        assert client.get("/v1/loads").json() == {"items": [], "next": None}
        assert client.get("/v1/loads?format=csv").text.count("\n") == 1
        unbuilt = client.get("/v1/marts/user_features")
        assert (unbuilt.status_code, unbuilt.json()["type"][-9:]) == (404, "not-built")
        assert "labmart build" in unbuilt.json()["detail"]


def test_the_description_has_every_route_of_reading(client: httpx.Client) -> None:
    document = json.loads(client.get("/v1/openapi.json").text)
    for path in ("/v1/marts/{mart}", "/v1/issues", "/v1/loads", "/v1/loads/{load_id}/rejected"):
        route = document["paths"][path]["get"]
        assert "text/csv" in route["responses"]["200"]["content"]
        assert {one["name"] for one in route["parameters"]} >= {"select", "order", "after"}
