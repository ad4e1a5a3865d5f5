"""What the service answers without a worker: marts, loads, tokens, limits, and its document."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.databases import Database
from support.load_processes import wait_for
from support.project import ROOT
from support.serving import (
    Server,
    answer_of,
    put,
    raw_request,
    serving_here,
    spooled,
    users,
)

from loader.contract import mart_contracts
from loader.project import Project
from loader.publications import COLUMNS

pytestmark = pytest.mark.slow

ROLES = ("read", "load", "admin")
# What stands for the parts of an address.
PARTS = {"job_id": UUID(int=0), "load_id": 1, "change": "undo", "mart": "users", "name": "x.csv"}
STARTS_DBT = "/dbt/"
SECRET = secrets.token_hex(32)


@pytest.fixture
def client(filled: Server) -> Iterator[httpx.Client]:
    with filled.client() as opened:
        yield opened


@pytest.fixture(scope="module")
def closed(filled: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that others can reach; a file brings the first token."""
    folder = tmp_path_factory.mktemp("closed")
    (folder / "token").write_text(f"{SECRET}\n")
    options = {"host": "0.0.0.0", "token_file": folder / "token", "spool": folder / "spool"}
    with serving_here(filled.project, filled.database, **options) as server:
        yield server


@pytest.fixture(scope="module")
def tokens(closed: Server) -> dict[str, str]:
    """A token of each role."""
    create = ("token", "create", "--role")
    return {role: closed.labmart(*create, role, "--name", role).out.strip() for role in ROLES}


# Marts and loads.


def test_the_marts_are_those_of_the_yaml_with_their_meaning(client: httpx.Client) -> None:
    marts = {mart["name"]: mart for mart in client.get("/v1/marts").json()}
    declared = list(mart_contracts(Project(ROOT, ROOT)))
    assert list(marts) == [*declared, "things", "others", "notes"]
    features = marts["user_features"]
    assert features["grain_columns"] == ["user_id"]
    assert features["rows_url"] == "/v1/marts/user_features"
    assert features["columns"][2]["type"] == "numeric(18,6)"
    assert all(column["description"] for name in declared for column in marts[name]["columns"])
    assert marts["input_issues"]["grain_columns"] == []


def test_what_is_published_is_told(filled: Server, client: httpx.Client) -> None:
    assert client.get("/v1/publications").json() == {"items": [], "next": None}
    columns = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
    filled.rows(f"create table labmart.publications ({columns})")
    filled.rows(
        "insert into labmart.publications (build, status, published_by, loads) "
        "values (1, 'kept', 'ada', '[1]'), (2, 'current', 'bo', '[1, 2]')"
    )
    everything = client.get("/v1/publications").json()["items"]
    assert [row["build"] for row in everything] == [2, 1]
    assert "place" not in everything[0]
    [current] = client.get("/v1/publications?status=eq.current").json()["items"]
    assert (current["published_by"], current["loads"]) == ("bo", "[1, 2]")


def test_loads_come_with_the_newest_first_and_their_rejected_lines(client: httpx.Client) -> None:
    page = client.get("/v1/loads?limit=1").json()
    assert [load["load_id"] for load in page["items"]] == [2]
    page = client.get(f"/v1/loads?after={page['next']}").json()
    assert [(load["load_id"], load["records_rejected"]) for load in page["items"]] == [(1, 1)]
    assert client.get("/v1/loads?status=eq.reverted").json()["items"] == []
    [line] = client.get("/v1/rejected?load_id=eq.1").json()["items"]
    assert (line["line"], line["content"]) == (3, "2,=1+1")
    assert client.get("/v1/rejected?load_id=eq.2").json()["items"] == []


def test_queries_run_as_the_reading_role(filled: Server, client: httpx.Client) -> None:
    """What that role may not read, the service cannot tell."""
    assert client.get("/v1/marts/compounds").status_code == 200
    filled.rows("revoke select on labmart.compounds from labmart_reader")
    answer = client.get("/v1/marts/compounds")
    assert (answer.status_code, answer.json()["type"][-12:]) == (500, "query-failed")
    assert "permission denied" in answer.json()["detail"]


def test_a_server_without_any_table_has_no_loads_and_says_what_to_do(
    filled: Server, database: Database
) -> None:
    with serving_here(filled.project, database) as server, server.client() as client:
        assert client.get("/health/ready").json() == {"status": "ready", "worker": "down"}
        assert client.get("/v1/loads").json() == {"items": [], "next": None}
        assert client.get("/v1/loads?format=csv").text.count("\n") == 1
        unbuilt = client.get("/v1/marts/user_features")
        assert (unbuilt.status_code, unbuilt.json()["type"][-9:]) == (404, "not-built")
        assert "labmart build" in unbuilt.json()["detail"]
        # A name for others, and nobody has a token yet.
        refused = server.labmart("serve", "--host", "0.0.0.0", "--port", "0")
        assert (refused.code, "labmart token create" in refused.err) == (2, True)


# Who may do what.


def test_each_address_of_the_document_has_its_role(closed: Server, tokens: dict[str, str]) -> None:
    """Whoever may read asks, whoever may load changes something; all others are told nothing."""
    callers = [*tokens.items(), ("admin", SECRET)]
    with closed.client() as client:
        document = client.get("/v1/openapi.json").json()
        for path, operations in document["paths"].items():
            url = path.format_map(PARTS)
            for method in operations:
                nobody = client.request(method, url)
                if path.startswith("/health/"):
                    assert nobody.status_code == 200
                    continue
                assert nobody.status_code == 401, (method, path)
                assert nobody.headers["www-authenticate"].startswith("Bearer ")
                for role, token in callers:
                    allowed = role != "read" or method == "get"
                    if not (allowed and path == STARTS_DBT):
                        headers = {"Authorization": f"Bearer {token}"}
                        status = client.request(method, url, headers=headers).status_code
                        assert (status == 403) != allowed, (method, path, role, status)
                        assert status != 401, (method, path, role)


def test_the_body_is_not_read_before_the_token_is(closed: Server) -> None:
    read, before = 0, spooled(closed)

    def body() -> Iterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b"x" * 1_000_000

    # It may be closed while this is still sent.
    with closed.client() as client, suppress(httpx.WriteError, httpx.ReadError):
        assert client.put("/v1/files/x.csv", content=body()).status_code == 401
    assert read < 100
    assert spooled(closed) == before


def test_wrong_expired_and_revoked_tokens(
    closed: Server, tokens: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "labmart")

    def status(value: str) -> int:
        with closed.client() as client:
            return client.get("/v1/jobs", headers={"Authorization": value}).status_code

    made = ("token", "create", "--role", "read", "--name")
    short = closed.labmart(*made, "short", "--expires", "1h").out.strip()
    gone = closed.labmart(*made, "gone").out.strip()
    assert status(f"Bearer {short}") == status(f"bearer {gone}") == 200
    closed.rows(
        "update labmart_service.tokens set expires_at = now() - interval '1 second' "
        "where name = 'short'"
    )
    assert closed.labmart("token", "revoke", "gone").code == 0
    assert status(f"Bearer {short}") == status(f"Bearer {gone}") == 401
    assert status(f"Basic {tokens['admin']}") == status("Bearer") == 401
    assert status(f"Bearer {secrets.token_urlsafe()}") == 401
    listed = closed.labmart("token", "list").out
    assert "gone\tread\trevoked" in listed
    assert "short\tread\texpired" in listed
    stored = closed.rows("select hash::text from labmart_service.tokens")
    assert "/v1/jobs" in caplog.text
    kept = caplog.text + listed + str(stored)
    assert not any(value in kept for value in (short, gone, *tokens.values()))
    for wrong in (("token", "revoke", "nobody"), (*made, "gone"), (*made, "a b")):
        assert closed.labmart(*wrong).code == 2


def test_a_page_of_another_place_cannot_speak_to_it(client: httpx.Client) -> None:
    rebound = client.get("/health/live", headers={"Host": "evil.example"})
    foreign = client.post("/v1/builds", headers={"Origin": "http://evil.example"})
    assert (rebound.status_code, foreign.status_code) == (403, 403)
    assert rebound.json()["type"] == "urn:labmart:problem:foreign-host"


def test_every_answer_has_the_headers_that_protect_a_browser(client: httpx.Client) -> None:
    headers = client.get("/").headers
    assert headers["content-type"].startswith("text/html")
    assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


# Limits.


def test_limits_hold(filled: Server) -> None:
    before = spooled(filled)
    jobs = filled.rows("select count(*) from labmart_service.jobs")
    with filled.client() as client:
        length = client.put("/v1/files/x.csv", content=b"x" * 100_001)
        chunked = client.put("/v1/files/x.csv", content=(b"x" * 1000 for _ in range(101)))
    assert (length.status_code, chunked.status_code) == (413, 413)
    # One that stops in the middle, and one that goes away.
    head = "PUT /v1/files/slow.csv HTTP/1.1\nHost: HOST\nContent-Length: 90000\n\n"
    slow = raw_request(filled, head, body=b"user_id")
    raw_request(filled, head, body=b"user_id").close()
    assert answer_of(slow).startswith("HTTP/1.1 408 ")
    wait_for(lambda: spooled(filled) == before)
    assert filled.rows("select count(*) from labmart_service.jobs") == jobs


def test_an_idempotency_key_stands_for_one_content(filled: Server) -> None:
    key = {"Idempotency-Key": "plate-7"}
    first = put(filled, "key.csv", users(70), **key)
    again = put(filled, "key.csv", users(70), **key)
    other = put(filled, "key.csv", users(71), **key)
    assert again.json()["id"] == first.json()["id"]
    assert (first.status_code, again.status_code, other.status_code) == (202, 200, 422)
    assert other.json()["type"] == "urn:labmart:problem:idempotency-key-reused"


# What is no upload.


@pytest.mark.parametrize(
    "name",
    ["..%2Fx.csv", "..%5Cx.csv", "a%0D%0ASet-Cookie:%20x", "%20", "x" * 256, "%1b[2J"],
)
def test_a_name_that_is_none_is_refused(filled: Server, name: str) -> None:
    before = spooled(filled)
    answer = put(filled, name, users(80))
    assert answer.status_code in (404, 422), answer.text
    assert "set-cookie" not in answer.headers
    assert spooled(filled) == before


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Range": "bytes 0-1/9"}, 415),
        ({"Content-Length": "99999999999999"}, 413),
        ({"Idempotency-Key": "two words"}, 422),
    ],
)
def test_what_cannot_be_taken_is_refused_before_the_body(
    filled: Server, headers: dict[str, str], status: int
) -> None:
    sent = {"Content-Length": "9", **headers}
    lines = "".join(f"{name}: {value}\n" for name, value in sent.items())
    # Not one byte of the body is sent, and the answer comes all the same.
    head = f"PUT /v1/files/x.csv HTTP/1.1\nHost: HOST\nConnection: close\n{lines}\n"
    said = answer_of(raw_request(filled, head))
    assert said.startswith(f"HTTP/1.1 {status} "), said


FILE = b"--b\r\nContent-Disposition: form-data; name=f; filename="


@pytest.mark.parametrize(
    "body",
    [
        b"no multipart at all",
        FILE + b"x.csv\r\n\r\nuser_id",
        FILE + b"../x\r\n\r\na\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="replace"\r\n\r\ntrue\r\n--b--\r\n',
        b"--b\r\nX: y\r\n\r\na\r\n--b--\r\n",
        b"--b\r\n" + b"X: y\r\n" * 100 + b"\r\na\r\n--b--\r\n",
        FILE + b"\xff\r\n\r\na\r\n--b--\r\n",
        b"--b--\r\n",
    ],
)
def test_a_body_that_is_no_upload_leaves_nothing(filled: Server, body: bytes) -> None:
    kind, before = {"Content-Type": "multipart/form-data; boundary=b"}, spooled(filled)
    with filled.client() as client:
        answer = client.post("/v1/files", content=body, headers=kind)
        assert client.post("/v1/files", content=body).status_code == 415
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert spooled(filled) == before


# The document.

EXAMPLES = 10
# What a table tells, and no document of the service.
KNOWN = {"mart": ["users"], "select": ["{}"], "order": ["-{}", "{}", ""]}
CHECKS: list[schemathesis.CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def test_every_answer_follows_the_document(filled: Server, client: httpx.Client) -> None:
    """Last, since it asks for everything."""
    document = client.get("/v1/openapi.json").json()
    for path, operations in document["paths"].items():
        column = "build" if path == "/v1/publications" else "load_id"
        for operation in operations.values():
            operation["parameters"] = [
                parameter
                for parameter in operation.get("parameters", [])
                if parameter["name"] not in ("filters", "after")
            ]
            for parameter in operation["parameters"]:
                if known := KNOWN.get(parameter["name"]):
                    parameter["schema"] = {"enum": [text.format(column) for text in known]}
    tried = []
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        if operation.path != STARTS_DBT:
            tried.append(operation.label)
            _hold(operation, filled.url)
    assert len(tried) > 10, tried


def _hold(operation: schemathesis.APIOperation[Any, Any, Any, Any], url: str) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    )
    def one(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(base_url=url, timeout=30, checks=CHECKS)

    one()
