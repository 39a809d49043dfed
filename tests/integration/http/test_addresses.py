"""Addresses, methods and fields that no client of ours would send, and the language of the answer."""

import re
from typing import Any
from uuid import UUID

import pytest

from tests.support.hall import FORM, NOWHERE, Hall, Headers, app_of, doors, keyed, problem, untouched
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


def test_whoever_asks_by_a_wrong_method_is_told_every_right_one(
    hall: Hall, anybody: tuple[Citizen, Headers]
) -> None:
    methods: dict[str, set[str]] = {}
    for method, path in doors(app_of(hall)):
        methods.setdefault(path, set()).add(method)
    for path, allowed in methods.items():
        where = path.replace("{number}", NOWHERE).replace("{code}", "x")
        where = re.sub(r"\{\w+\}", str(UUID(int=1)), where)
        for wrong in {"GET", "POST", "PUT", "DELETE"} - allowed:
            answer = hall.client.request(wrong, where, headers=anybody[1], follow_redirects=False)
            if problem(answer)[0] == 405:
                assert set(answer.headers["allow"].split(", ")) >= allowed, (wrong, path)
    answer = hall.client.delete("/api/v1/cases", headers=anybody[1])
    assert answer.headers["allow"] == "GET, POST"


@pytest.mark.parametrize("host", [None, "evil.example"])
def test_no_address_leads_elsewhere(hall: Hall, anybody: tuple[Citizen, Headers], host: str | None) -> None:
    """With a slash too many, or by a name that is not ours, nobody is sent anywhere."""
    _, citizen = anybody
    for method, path in doors(app_of(hall)):
        where = path.replace("{number}", NOWHERE).rstrip("/") + "/"
        headers = citizen | ({"Host": host} if host else {})
        answer = hall.client.request(method, where, headers=headers, follow_redirects=False)
        location = answer.headers.get("location", "/")
        assert location.startswith("/"), where
        assert not location.startswith("//"), where
        if host:
            assert problem(answer) == (421, "request.foreign-host"), where


ENCODINGS = {
    "utf-16": ("utf-16", "application/json", 400),
    "utf-16 without a mark": ("utf-16-le", "application/json", 400),
    "utf-32": ("utf-32", "application/json", 400),
    "utf-8 with a mark": ("utf-8-sig", "application/json", 400),
    "latin-1": ("latin-1", "application/json", 400),
    "utf-16 that says utf-8": ("utf-16", "application/json; charset=utf-8", 400),
    "utf-8 that says utf-16": ("utf-8", "application/json; charset=utf-16", 415),
    "utf-16 that says so": ("utf-16", 'application/json; charset="UTF-16"', 415),
    "utf-8 that says latin-1": ("utf-8", "application/json; charset=iso-8859-1", 415),
}


@pytest.mark.parametrize("kind", ENCODINGS)
def test_a_text_has_one_alphabet(hall: Hall, kind: str) -> None:
    encoding, media_type, status = ENCODINGS[kind]
    body = '{"number": "éè", "query_code": "x"}'.encode(encoding)
    with untouched(hall):
        answer = hall.client.post("/api/v1/cases/lookup", content=body, headers={"Content-Type": media_type})
    assert problem(answer)[0] == status


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "utf8"])
def test_it_may_be_named(hall: Hall, anybody: tuple[Citizen, Headers], charset: str) -> None:
    headers = {**keyed(anybody[1]), "Content-Type": f"application/json; charset={charset}"}
    answer = hall.client.post("/api/v1/cases", content=b"{}", headers=headers)
    assert problem(answer) == (422, "request.invalid")


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
