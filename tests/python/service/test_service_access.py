"""Who may do what: tokens, roles, addresses."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from support.databases import Database
from support.in_process import Done
from support.load_processes import table_text
from support.serving import Server, labmart_on, serving

pytestmark = pytest.mark.slow

ROLES = ("read", "load", "admin")
# The least role for each address, with the status that it answers to who has it.
ADDRESSES = [
    ("GET", "/v1/jobs", "read", 200),
    ("GET", "/v1/jobs/00000000-0000-0000-0000-000000000000", "read", 404),
    ("GET", "/v1/jobs/00000000-0000-0000-0000-000000000000/events", "read", 404),
    ("GET", "/v1/marts", "read", 200),
    ("GET", "/v1/loads", "read", 200),
    ("GET", "/metrics", "read", 200),
    ("POST", "/v1/jobs/00000000-0000-0000-0000-000000000000/cancel", "load", 404),
    ("PUT", "/v1/files/%20", "load", 422),
    ("POST", "/v1/files", "load", 422),
    ("POST", "/v1/runs", "load", 404),
]


@pytest.fixture(scope="module")
def tokens(served_project: Path, shared_database: Database) -> dict[str, str]:
    """A token of each role."""
    made = {}
    for role in ROLES:
        done = _token(served_project, shared_database, "create", "--role", role, "--name", role)
        made[role] = done.out.strip()
    return made


@pytest.fixture(scope="module")
def closed(
    served_project: Path, shared_database: Database, tokens: dict[str, str]
) -> Iterator[Server]:
    """A server that asks everybody for a token, without a worker."""
    assert tokens
    with serving(
        served_project, shared_database, "--no-worker", "--require-token", "--host", "0.0.0.0"
    ) as server:
        server.url = server.url.replace("0.0.0.0", "127.0.0.1")
        yield server


def _token(project: Path, database: Database, *arguments: str) -> Done:
    return labmart_on(database, project, "token", *arguments)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(("method", "url", "least", "status"), ADDRESSES)
def test_each_address_has_its_role(
    closed: Server, tokens: dict[str, str], method: str, url: str, least: str, status: int
) -> None:
    with closed.client() as client:
        nobody = client.request(method, url)
        assert nobody.status_code == 401
        assert nobody.headers["www-authenticate"].startswith("Bearer ")
        for role in ROLES:
            answer = client.request(method, url, headers=bearer(tokens[role]))
            allowed = ROLES.index(role) >= ROLES.index(least)
            assert answer.status_code == (status if allowed else 403), (role, answer.text)


def test_every_address_of_the_document_needs_a_token(closed: Server) -> None:
    open_to_all = {"/health/live", "/health/ready"}
    with closed.client() as client:
        document = client.get("/v1/openapi.json").json()
        for path, operations in document["paths"].items():
            url = path.replace("{job_id}", "00000000-0000-0000-0000-000000000000")
            for method in operations:
                answer = client.request(method, url.replace("{load_id}", "1").format_map(_Any()))
                expected = 200 if path in open_to_all else 401
                assert answer.status_code == expected, (method, path)


class _Any(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "x"


def test_the_body_is_not_read_before_the_token_is(closed: Server) -> None:
    read = 0
    uploads = closed.project / ".labmart" / "uploads"
    before = set(uploads.glob("*"))

    def body() -> Iterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b"x" * 1_000_000

    # It may be closed while this is still sent.
    with closed.client() as client, suppress(httpx.WriteError, httpx.ReadError):
        assert client.put("/v1/files/x.csv", content=body()).status_code == 401
    assert read < 100
    assert set(uploads.glob("*")) == before


def test_wrong_expired_and_revoked_tokens(
    served_project: Path, shared_database: Database, tokens: dict[str, str]
) -> None:
    def token(*arguments: str) -> Done:
        return _token(served_project, shared_database, *arguments)

    short = token("create", "--role", "read", "--name", "short", "--expires", "1h").out.strip()
    gone = token("create", "--role", "read", "--name", "gone").out.strip()
    with serving(served_project, shared_database, "--no-worker", "--require-token") as server:
        with server.client() as client:

            def status(value: str) -> int:
                return client.get("/v1/jobs", headers={"Authorization": value}).status_code

            assert status(f"Bearer {short}") == status(f"bearer {gone}") == 200
            server.rows(
                "update labmart_service.tokens set expires_at = now() - interval '1 second' "
                "where name = 'short'"
            )
            assert token("revoke", "gone").code == 0
            assert status(f"Bearer {short}") == status(f"Bearer {gone}") == 401
            assert status(f"Basic {tokens['admin']}") == 401
            assert status("Bearer") == 401
            assert status(f"Bearer {tokens['admin']}x") == 401
            for _ in range(4):
                assert status(f"Bearer {secrets.token_urlsafe()}") == 401
            wrong = [status(f"Bearer {secrets.token_urlsafe()}") for _ in range(4)]
            assert wrong[-1] == 429
            # Now even a right one has to wait, and is not told that it is right.
            late = client.get("/v1/jobs", headers=bearer(tokens["admin"]))
        assert (late.status_code, "retry-after" in late.headers) == (429, True)
        said = "".join(server.said)
    assert not any(value in said for value in (short, gone, *tokens.values()))
    listed = token("list").out
    assert "gone\tread\trevoked" in listed
    assert "short\tread\texpired" in listed
    assert not any(value in listed for value in (short, gone))
    stored = server.rows("select hash::text from labmart_service.tokens")
    assert not any(short in str(value) for (value,) in stored)
    assert token("revoke", "nobody").code == 2
    assert token("create", "--role", "read", "--name", "gone").code == 2
    assert token("create", "--role", "read", "--name", "a b").code == 2


def test_others_are_not_let_in_without_any_token(
    served_project: Path, database: Database, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "loader", "--project-dir", str(served_project)),
            *("serve", "--host", "0.0.0.0", "--port", "0"),
        ],
        env={**os.environ, **database.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "labmart token create" in done.stderr
    # A file may bring the first one.
    secret = tmp_path / "token"
    secret.write_text(secrets.token_hex(32) + "\n")
    options = ("--host", "0.0.0.0", "--no-worker", "--token-file", str(secret))
    with serving(served_project, database, *options) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/v1/jobs").status_code == 401
        answer = httpx.get(f"{url}/v1/jobs", headers=bearer(secret.read_text().strip()))
        assert answer.status_code == 200


def test_requests_are_counted_by_declared_address(closed: Server, tokens: dict[str, str]) -> None:
    with closed.client() as client:
        client.get("/v1/jobs/nonsense", headers=bearer(tokens["read"]))
        client.get("/invented/by/somebody")
        text = client.get("/metrics", headers=bearer(tokens["read"])).text
    assert 'labmart_http_requests_total{method="GET",route="/v1/jobs/{job_id}"' in text
    assert "invented" not in text
    assert "labmart_worker_up 0.0" in text


def test_what_the_landing_folder_leads_out_to_is_not_loaded(
    service: Server, tmp_path: Path
) -> None:
    landing = service.project / "landing"
    content = table_text("users", [900])
    (landing / "sub").mkdir()
    (landing / "sub" / "in.csv").write_text(content)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text(table_text("users", [901]))
    (landing / "link.csv").symlink_to(outside / "secret.csv")
    (landing / "linked").symlink_to(outside)
    with service.client() as client:

        def run(*paths: str) -> dict[str, object]:
            answer = client.post("/v1/runs", json={"paths": list(paths), "build": False})
            return service.ended(answer.json()["id"]) if answer.status_code == 202 else {}

        for path in ("/etc/passwd", "../x.csv", "sub/../../x", "~/x", "s3://b/x", "a\nb", ""):
            assert run(path) == {}, path
        for path in ("link.csv", "linked", "linked/secret.csv", "link*"):
            refused = run(path)
            assert refused["state"] == "failed", path
            assert isinstance(refused["error"], dict)
            assert "leads out of the folder" in refused["error"]["detail"]
        loaded = run("sub")
        assert client.post("/v1/runs", content=b"{").status_code == 422
        assert client.post("/v1/runs", json={"path": ["sub"]}).status_code == 422
    assert loaded["state"] == "done"
    assert isinstance(loaded["result"], dict)
    assert loaded["result"]["files"][0]["file"] == "sub/in.csv"
    assert service.rows("select 1 from labmart_raw.users where user_id = '901'") == []
