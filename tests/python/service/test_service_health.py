"""The service answers, and says what is wrong in the shape of problem details."""

from __future__ import annotations

import pytest
from support.load_processes import wait_for
from support.serving import Server

pytestmark = pytest.mark.slow


def test_it_is_alive_and_ready(service: Server) -> None:
    with service.client() as client:
        assert client.get("/health/live").json() == {"status": "alive"}
        assert client.get("/health/ready").json()["status"] == "ready"

        def worker_is_up() -> bool:
            return bool(client.get("/health/ready").json()["worker"] == "up")

        wait_for(worker_is_up)


def test_an_unknown_address_is_a_problem(service: Server) -> None:
    with service.client() as client:
        answer = client.get("/v1/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "Not Found"
    assert answer.json()["instance"] == "/v1/nothing"


def test_a_page_of_another_place_cannot_speak_to_it(service: Server) -> None:
    with service.client() as client:
        rebound = client.get("/health/live", headers={"Host": "evil.example"})
        foreign = client.post("/v1/builds", headers={"Origin": "http://evil.example"})
    assert (rebound.status_code, foreign.status_code) == (403, 403)
    assert rebound.json()["type"] == "urn:labmart:problem:foreign-host"


def test_every_answer_has_the_headers_that_protect_a_browser(service: Server) -> None:
    with service.client() as client:
        headers = client.get("/health/live").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
