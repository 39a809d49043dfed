"""What the HTTP tests compare every answer with notices what is not as promised."""

import json
from typing import Any

import httpx
import pytest

from tests.support.contract import NotAsPromised, check_answer, document, operations

RECEIPT = {"number": "330106261123000017", "query_code": "c", "received_at": "2026-11-23T09:00:00+08:00"}
PROBLEM = {"type": "/problems/case.not-found", "title": "t", "status": 404, "code": "x", "trace_id": "t"}
JSON = {"content-type": "application/json"}
PROBLEM_JSON = {"content-type": "application/problem+json"}


def answer(method: str, path: str, status: int, body: Any, headers: dict[str, str]) -> httpx.Response:
    """As a client gets it."""
    request = httpx.Request(method, f"https://hall.test{path}")
    return httpx.Response(status, request=request, content=json.dumps(body), headers=headers)


@pytest.mark.parametrize(
    ("method", "path", "status", "body", "headers"),
    [
        ("POST", "/api/v1/cases", 201, RECEIPT, JSON),
        ("GET", "/api/v1/cases/1", 404, {**PROBLEM, "code": "case.not-found"}, PROBLEM_JSON),
        # Nothing of ours to compare with.
        ("GET", "/cases", 418, {}, JSON),
        ("GET", "/api/v1/cases/1", 404, {}, {"content-type": "text/html; charset=utf-8"}),
    ],
)
def test_what_is_promised_passes(
    method: str, path: str, status: int, body: Any, headers: dict[str, str]
) -> None:
    check_answer(answer(method, path, status, body, headers))


@pytest.mark.parametrize(
    ("method", "path", "status", "body", "headers", "why"),
    [
        ("POST", "/api/v1/cases", 200, RECEIPT, JSON, "status 200"),
        ("POST", "/api/v1/cases", 201, {**RECEIPT, "number": 1}, JSON, "is not of type 'string'"),
        ("POST", "/api/v1/cases", 201, {}, JSON, "'number' is a required property"),
        ("POST", "/api/v1/cases", 201, RECEIPT, {"content-type": "text/plain"}, "media type text/plain"),
        ("POST", "/api/v1/cases/lookup", 404, PROBLEM, PROBLEM_JSON, "x is not in the document"),
        ("POST", "/api/v1/cases/lookup", 429, PROBLEM, PROBLEM_JSON, "Retry-After is missing"),
        ("GET", "/api/v1/messages", 401, PROBLEM, PROBLEM_JSON, "WWW-Authenticate is missing"),
    ],
)
def test_what_is_not_promised_is_noticed(
    method: str, path: str, status: int, body: Any, headers: dict[str, str], why: str
) -> None:
    with pytest.raises(NotAsPromised, match=why):
        check_answer(answer(method, path, status, body, headers))


def test_no_answer_is_a_bare_object() -> None:
    """Every answer and every body is a schema of its own, or a file."""
    for method, path, operation in operations():
        answers = [said for status, said in operation["responses"].items() if int(status) < 300]
        assert answers, (method, path)
        for said in (*answers, *filter(None, [operation.get("requestBody")])):
            for kind, content in said["content"].items():
                named = content["schema"].get("$ref", "").startswith("#/components/schemas/")
                assert named or kind in ("application/pdf", "image/jpeg", "image/png"), (method, path)


def test_no_two_schemas_have_one_name() -> None:
    """FastAPI would tell them apart by the names of our modules."""
    assert [name for name in document()["components"]["schemas"] if "__" in name] == []


LOG_INS = {("POST", "/api/v1/token")}
"""What takes a proof of who somebody is in its body, and no session."""


def test_every_operation_says_who_may_and_how_it_is_refused() -> None:
    for method, path, operation in operations():
        assert "security" in operation, (method, path)
        assert {"421", "500", "503"} <= set(operation["responses"]), (method, path)
        refuses = "401" in operation["responses"]
        assert refuses == bool(operation["security"] or (method, path) in LOG_INS), (method, path)
        for status, said in operation["responses"].items():
            if int(status) >= 400:
                [(kind, content)] = said["content"].items()
                assert kind == "application/problem+json"
                assert content["examples"], (method, path, status)
