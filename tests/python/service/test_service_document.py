"""The OpenAPI document, and the service held against it by requests made from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.databases import Database
from support.serving import Server, serving

pytestmark = pytest.mark.slow

# What starts dbt.
LEFT_OUT = ("/dbt/",)
EXAMPLES = 15
# What a table tells, and no document of the service.
KNOWN = {
    "mart": ["users"],
    "select": ["{}"],
    "order": ["-{}", "{}", ""],
}
CHECKS: list[schemathesis.CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    positive_data_acceptance,
]


@pytest.fixture(scope="module")
def idle(
    served_project: Path, shared_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server whose jobs nobody works on; their uploads lie apart."""
    with serving(
        served_project,
        shared_database,
        "--no-worker",
        *("--landing", str(served_project / "landing")),
        *("--spool", str(tmp_path_factory.mktemp("spool"))),
    ) as server:
        yield server


def test_every_answer_follows_the_document(idle: Server) -> None:
    document = httpx.get(f"{idle.url}/v1/openapi.json").json()
    for path, operations in document["paths"].items():
        column = "build" if path == "/v1/publications" else "load_id"
        for operation in operations.values():
            operation["parameters"] = [
                _as_known(parameter, column)
                for parameter in operation.get("parameters", [])
                if parameter["name"] not in ("filters", "after", "Idempotency-Key")
            ]
    tried = []
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if operation.path not in LEFT_OUT:
            tried.append(operation.label)
            _hold(operation, idle.url)
    assert len(tried) > 15, tried


def _as_known(parameter: dict[str, Any], column: str) -> dict[str, Any]:
    schema = parameter["schema"]
    known = [text.format(column) for text in KNOWN.get(parameter["name"], [])]
    if known and schema["type"] == "array":
        schema["items"]["enum"] = known
    elif known:
        schema["enum"] = known
    return parameter


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


def test_the_document_names_every_error_as_a_problem(idle: Server) -> None:
    document = httpx.get(f"{idle.url}/v1/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            error = operation["responses"]["default"]["content"]
            assert list(error) == ["application/problem+json"], (method, path)
            assert operation.get("description"), (method, path)
            assert "422" not in operation["responses"], (method, path)
            # On this machine alone nobody needs a token.
            assert operation.get("security") in (None, [{"HTTPBearer": []}, {}]), (method, path)
