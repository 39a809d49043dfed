"""Addresses, methods and fields that no client of ours would send, and the language of the answer."""

from typing import Any
from uuid import UUID

import pytest

from tests.support.hall import FORM, NOWHERE, Hall, Headers, keyed, problem, untouched
from tests.support.installation import Citizen


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/api/v1/cases/%00", {}),
        ("GET", f"/api/v1/cases/{'9' * 3000}", {}),
        ("GET", "/api/v1/cases/%ED%A0%80", {}),
        ("GET", "/api/v1/matters/%00", {}),
        ("GET", "/problems/%00", {}),
        ("GET", "/api/v1/uploads/%00", {}),
        ("POST", "/api/v1/cases/%00/supplements", {"json": {"uploads": {"photo": str(UUID(int=1))}}}),
        ("GET", "/cases/%00", {}),
        ("GET", "/?lang=%00", {}),
        ("GET", "/cases", {"headers": {"Cookie": "onestop_lang=%00; onestop_mode=\x7f"}}),
        ("POST", "/lookup", {"data": {"number": "\x00", "query_code": "x"}}),
        ("POST", "/lookup", {"data": {"number": "x", "query_code": "\x00"}}),
        ("POST", "/preferences", {"data": {"back": "/\x00", "lang": "en"}}),
        ("POST", "/preferences", {"data": {"back": "//elsewhere.example", "lang": "en"}}),
        ("POST", "/preferences", {"data": {"back": "/\r\nSet-Cookie: a=b", "lang": "en"}}),
    ],
)
@pytest.mark.usefixtures("fresh_lookups")
def test_strange_addresses_and_fields_are_no_failure_of_ours(
    hall: Hall, anybody: tuple[Citizen, Headers], method: str, path: str, options: dict[str, Any]
) -> None:
    _, headers = anybody
    sent = {**keyed(headers), **options.get("headers", {})}
    answer = hall.client.request(method, path, **{**options, "headers": sent}, follow_redirects=False)
    assert answer.status_code < 500
    assert answer.headers.get("location", "/").startswith("/")
    assert not answer.headers.get("location", "/").startswith("//")
    assert "a=b" not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("GET", "/api/v1/nothing", {}, 404, "resource.not-found"),
        ("GET", "/.env", {}, 404, "resource.not-found"),
        ("GET", "/static/../pyproject.toml", {}, 404, "resource.not-found"),
        ("GET", "/static/%2e%2e/%2e%2e/pyproject.toml", {}, 404, "resource.not-found"),
        ("GET", "/openapi.json", {}, 404, "resource.not-found"),
        ("DELETE", "/api/v1/cases", {}, 405, "request.method-not-allowed"),
        ("PUT", f"/api/v1/cases/{NOWHERE}", {}, 405, "request.method-not-allowed"),
        ("TRACE", "/api/v1/cases", {}, 405, "request.method-not-allowed"),
        ("POST", "/static/onestop.css", {}, 405, "request.method-not-allowed"),
        (
            "POST",
            "/api/v1/cases",
            {"content": b"matter=x", "type": FORM},
            415,
            "request.unsupported-media-type",
        ),
        (
            "POST",
            "/api/v1/cases",
            {"content": b"{}", "type": "text/plain"},
            415,
            "request.unsupported-media-type",
        ),
        (
            "POST",
            "/api/v1/cases",
            {"content": b"<a/>", "type": "text/xml"},
            415,
            "request.unsupported-media-type",
        ),
        ("POST", "/api/v1/cases", {"content": b"{}"}, 415, "request.unsupported-media-type"),
        (
            "POST",
            "/api/v1/uploads",
            {"content": b"{}", "type": "application/json"},
            415,
            "request.unsupported-media-type",
        ),
        (
            "POST",
            "/lookup",
            {"content": b"{}", "type": "application/json"},
            415,
            "request.unsupported-media-type",
        ),
    ],
)
@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_what_is_not_here_is_told_in_ones_own_language(
    hall: Hall,
    anybody: tuple[Citizen, Headers],
    method: str,
    path: str,
    options: dict[str, Any],
    status: int,
    code: str,
    language: str,
) -> None:
    _, headers = anybody
    sent = {**keyed(headers), "Accept-Language": language}
    if "type" in options:
        sent["Content-Type"] = options["type"]
    with untouched(hall):
        answer = hall.client.request(method, path, headers=sent, content=options.get("content"))
    assert problem(answer) == (status, code)
    assert answer.headers["content-language"] == language
    assert answer.json()["title"].isascii() is (language == "en")
    assert ("allow" in answer.headers) is (status == 405)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "zh-CN"),
        ("fr, de;q=0.5", "zh-CN"),
        ("*", "zh-CN"),
        ("en-GB,zh;q=0.9", "en"),
        ("zh-TW, en;q=0.9", "zh-CN"),
        ("en;q=0, zh;q=0.1", "zh-CN"),
        ("zh;q=0.1, en;q=0.2", "en"),
        ("en;q=nan, zh;q=inf, ;;;=,q", "zh-CN"),
        ("x" * 8000 + ",en", "en"),
    ],
)
def test_the_language_is_the_best_that_was_asked_for(hall: Hall, accepted: str, language: str) -> None:
    answer = hall.client.get("/api/v1/nothing", headers={"Accept-Language": accepted})
    assert answer.headers["content-language"] == language
    assert "accept-language" in answer.headers["vary"].lower()
