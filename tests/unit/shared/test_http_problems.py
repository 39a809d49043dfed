"""Whatever goes wrong, the client gets a problem document with a code, and nothing about our insides."""

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any

import psycopg2
import pytest
import structlog
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field, Strict
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.responses import HTMLResponse
from structlog.testing import capture_logs

from shared.db.outages import DatabaseAway, Outage
from shared.errors import AppError, Conflict, FieldError, Invalid, TooManyRequests, Unavailable, error_classes
from shared.http.body import Body
from shared.http.edge import install_edge
from shared.http.problems import Problem
from shared.sections import WebSettings
from tests.support.log_ins import authenticator_of

KEY = bytes(32)


class Kind(StrEnum):
    NEW = "new"
    RENEWAL = "renewal"


class Holder(Body):
    name: str = Field(min_length=1, max_length=5)
    born_on: date | None = None


class Form(Body):
    holder: Holder
    kind: Annotated[Kind, Strict(False)] = Kind.NEW
    days: int = Field(5, ge=1, le=60)
    tags: list[str] = Field(default=[], max_length=2)


class Reply(BaseModel):
    name: str


ERRORS: dict[str, Exception] = {
    "operational": OperationalError("SELECT secret", {}, psycopg2.OperationalError("host db-7 is away")),
    "interface": InterfaceError("SELECT secret", {}, psycopg2.InterfaceError("closed")),
    "pool": PoolTimeoutError("QueuePool limit"),
    "told": DatabaseAway(Outage.READ_ONLY, psycopg2.InternalError("host db-7 is read-only")),
    "integrity": IntegrityError("INSERT secret", {}, ValueError("DETAIL:  Key (name)=(张三)")),
    "unforeseen": ZeroDivisionError("secret 330102199003078515"),
    "conflict": Conflict("李四已受理", "Li Si has claimed it", members={"by": "李四", "status": 7}),
    "fields": Invalid(fields=[FieldError("/a~1b", "field.wrong", "不对", "wrong")]),
    "later": TooManyRequests(retry_after_s=30),
    "away": Unavailable(),
    "internal": AppError("机密", "secret"),
}


def build(**options: Any) -> FastAPI:
    app = FastAPI()

    def now() -> datetime:
        return datetime(2026, 11, 23, 9, tzinfo=UTC)

    install_edge(
        app,
        WebSettings(hosts=("testserver",)),
        authenticator_of(KEY, now),
        **options,
    )

    @app.post("/form")
    async def form(form: Form) -> Reply:
        return Reply(name=form.holder.name)

    @app.get("/list")
    async def listing(limit: int = 10) -> int:
        return limit

    @app.get("/raise/{name}")
    def raising(name: str) -> None:
        raise ERRORS[name]

    return app


@pytest.fixture
def client() -> TestClient:
    return TestClient(build())


@pytest.fixture(autouse=True)
def _plain_structlog() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    logging.getLogger("uvicorn.access").disabled = False


def pointers(answer: Any) -> dict[str, str]:
    return {error["pointer"]: error["code"] for error in answer.json()["errors"]}


def test_a_problem_document_has_its_members(client: TestClient) -> None:
    answer = client.get("/raise/conflict", headers={"Accept-Language": "en"})
    document = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert document.pop("trace_id") == answer.headers["x-trace-id"]
    assert document == {
        "type": "/problems/resource.conflict",
        "title": "The present state does not allow this",
        "status": 409,
        "detail": "Li Si has claimed it",
        "code": "resource.conflict",
        "by": "李四",
    }


@pytest.mark.parametrize(
    ("headers", "query", "language"),
    [
        ({}, "", "zh-CN"),
        ({"Accept-Language": "en-GB,zh;q=0.5"}, "", "en"),
        ({"Accept-Language": "fr, zh;q=0.3, en;q=0.2"}, "", "zh-CN"),
        ({"Accept-Language": "en;q=0, de"}, "", "zh-CN"),
        ({"Accept-Language": ";;q=x,,en;q=abc"}, "", "zh-CN"),
        ({"Accept-Language": "zh", "Cookie": "onestop_lang=en"}, "", "en"),
        ({"Accept-Language": "en"}, "?lang=zh", "zh-CN"),
        ({"Accept-Language": "en"}, "?lang=xx", "en"),
    ],
)
def test_the_language_is_the_clients(
    client: TestClient, headers: dict[str, str], query: str, language: str
) -> None:
    answer = client.get(f"/raise/conflict{query}", headers=headers)
    assert answer.headers["content-language"] == language
    assert ("李四" in answer.json()["detail"]) == (language == "zh-CN")


@pytest.mark.parametrize(
    "body", [b"{", b"", b'{"a":}', b"\xff\xfe", b"[" * 50_000, b'{"days": ' + b"9" * 5000 + b"}"]
)
def test_a_body_that_is_no_json_is_400(client: TestClient, body: bytes) -> None:
    answer = client.post("/form", content=body, headers={"Content-Type": "application/json"})
    if body:
        assert (answer.status_code, answer.json()["code"]) == (400, "request.malformed")
    else:
        assert (answer.status_code, pointers(answer)) == (422, {"": "field.missing"})


@pytest.mark.parametrize("body", [[], "text", 5, None])
def test_json_that_is_no_object_is_422(client: TestClient, body: object) -> None:
    answer = client.post("/form", json=body)
    assert answer.status_code == 422
    assert set(pointers(answer)) == {""}


def test_an_unknown_field_has_its_own_code_and_a_pointer(client: TestClient) -> None:
    answer = client.post("/form", json={"holder": {"name": "张三", "na/me~": 1}, "status": "approved"})
    assert (answer.status_code, answer.json()["code"]) == (422, "request.unknown-field")
    assert pointers(answer) == {
        "/holder/na~1me~0": "request.unknown-field",
        "/status": "request.unknown-field",
    }


@pytest.mark.parametrize(
    ("change", "pointer", "code", "words"),
    [
        ({"holder": {}}, "/holder/name", "field.missing", "this field is required"),
        ({"holder": {"name": "张三李四王五"}}, "/holder/name", "field.too-long", "at most 5 characters"),
        ({"holder": {"name": ""}}, "/holder/name", "field.too-short", "at least 1 characters"),
        ({"holder": {"name": 5}}, "/holder/name", "field.wrong-type", "must be a text"),
        (
            {"holder": {"name": "x", "born_on": "1.1.90"}},
            "/holder/born_on",
            "field.wrong-type",
            "must be a date",
        ),
        ({"holder": None}, "/holder", "field.wrong-type", "must be a JSON object"),
        ({"kind": "other"}, "/kind", "field.not-a-choice", "'new' or 'renewal'"),
        ({"days": 0}, "/days", "field.too-small", "at least 1"),
        ({"days": 61}, "/days", "field.too-large", "at most 60"),
        ({"days": "soon"}, "/days", "field.wrong-type", "must be a whole number"),
        ({"tags": ["a", "b", "c"]}, "/tags", "field.too-many", "at most 2 items"),
        ({"tags": ["a", 5]}, "/tags/1", "field.wrong-type", "must be a text"),
        ({"holder": {"name": "a\x00b"}}, "/holder", "field.control-character", "control characters"),
    ],
)
def test_a_wrong_field_is_pointed_at_in_both_languages(
    client: TestClient, change: dict[str, Any], pointer: str, code: str, words: str
) -> None:
    body = {"holder": {"name": "张三"}, **change}
    english = client.post("/form", json=body, headers={"Accept-Language": "en"})
    chinese = client.post("/form", json=body)
    assert (english.status_code, english.json()["code"]) == (422, "request.invalid")
    if code == "field.control-character":
        assert code in pointers(english).values()
    else:
        assert pointers(english) == {pointer: code}
    assert words in english.json()["errors"][0]["message"]
    assert not chinese.json()["errors"][0]["message"].isascii()


def test_a_refused_value_is_never_repeated(client: TestClient) -> None:
    answer = client.post("/form", json={"holder": {"name": "330102199003078515"}, "kind": "13800138000"})
    assert "330102199003078515" not in answer.text
    assert "13800138000" not in answer.text


def test_parameters_outside_of_the_body_are_named(client: TestClient) -> None:
    assert pointers(client.get("/list?limit=x")) == {"query:limit": "field.wrong-type"}


def test_a_path_that_is_not_there_and_a_method_that_is_not_allowed(client: TestClient) -> None:
    missing, wrong = client.get("/nowhere"), client.get("/form")
    assert (missing.status_code, missing.json()["code"]) == (404, "resource.not-found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "request.method-not-allowed")


@pytest.mark.parametrize("name", ["operational", "interface", "pool", "told"])
def test_a_database_that_is_away_is_503_with_retry_after(client: TestClient, name: str) -> None:
    with capture_logs() as lines:
        answer = client.get(f"/raise/{name}")
    assert (answer.status_code, answer.json()["code"]) == (503, "service.unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "db-7" not in answer.text + str(lines)
    assert "secret" not in answer.text + str(lines)


@pytest.mark.parametrize("name", ["unforeseen", "integrity", "internal"])
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_what_nobody_foresaw_is_a_bare_500_with_all_headers(
    client: TestClient, name: str, accept: str
) -> None:
    with capture_logs() as lines:
        answer = client.get(f"/raise/{name}", headers={"Accept": accept})
    assert answer.status_code == 500
    assert "internal.error" in answer.text
    for leaked in ("secret", "机密", "张三", "Traceback", "330102199003078515"):
        assert leaked not in answer.text
    assert answer.headers["x-trace-id"] in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    failed = [line for line in lines if line["event"] == "request_failed"]
    assert len(failed) == 1
    assert failed[0]["route"] == "/raise/{name}"
    assert failed[0]["exc_info"] is ERRORS[name]


def test_errors_that_say_when_to_come_back(client: TestClient) -> None:
    assert client.get("/raise/later").headers["retry-after"] == "30"
    assert client.get("/raise/away").headers["retry-after"] == "5"


def test_fields_of_a_command_stand_in_the_answer(client: TestClient) -> None:
    assert client.get("/raise/fields").json()["errors"] == [
        {"pointer": "/a~1b", "code": "field.wrong", "message": "不对"}
    ]


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def test_a_browser_gets_a_page_in_its_language(client: TestClient) -> None:
    answer = client.get("/raise/conflict", headers={"Accept": BROWSER, "Accept-Language": "en"})
    assert answer.status_code == 409
    assert answer.headers["content-type"].startswith("text/html")
    assert '<html lang="en">' in answer.text
    assert "Li Si has claimed it" in answer.text


@pytest.mark.parametrize(
    "accept", ["", "*/*", "application/json", "application/problem+json, text/html;q=0.5"]
)
def test_a_program_gets_json(client: TestClient, accept: str) -> None:
    answer = client.get("/raise/conflict", headers={"Accept": accept})
    assert answer.headers["content-type"] == "application/problem+json"


def test_pages_can_be_rendered_by_the_app() -> None:
    def render(_: Request, problem: Problem) -> str:
        return f"<h1>{problem.code}</h1>"

    client = TestClient(build(render_problem_html=render))
    assert client.get("/nowhere", headers={"Accept": "text/html"}).text == "<h1>resource.not-found</h1>"


def test_the_built_in_page_escapes() -> None:
    app = build()

    @app.get("/evil")
    async def evil() -> HTMLResponse:
        raise Conflict("<script>", "<script>")

    assert "<script>" not in TestClient(app).get("/evil", headers={"Accept": "text/html"}).text


def test_the_type_of_every_problem_leads_to_its_words(client: TestClient) -> None:
    page = client.get("/problems").text
    for cls in error_classes():
        assert f'id="{cls.code}"' in page
        assert cls.title_zh in page
    operators, people = page.index('id="group-operators"'), page.index('id="group-people"')
    assert people < page.index('id="request.malformed"') < operators < page.index('id="settings.invalid"')
    answer = client.get("/problems/request.malformed", follow_redirects=False)
    assert answer.headers["location"] == "/problems#request.malformed"
    assert client.get("/problems/<script>", follow_redirects=False).headers["location"] == "/problems"
