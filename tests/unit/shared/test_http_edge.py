"""Headers, trace, ETag, idempotency: the small rules of every door."""

import re
from datetime import UTC, datetime

import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from shared import metrics
from shared.bus.idempotency import KeyReused, StillRunning
from shared.errors import BadRequest, PreconditionFailed, PreconditionRequired
from shared.http.edge import install_edge
from shared.http.etag import check_if_match, etag_of
from shared.http.idempotency import KeyMissing, fingerprint, require_key
from shared.sections import WebSettings
from shared.tracing import continue_trace, current_traceparent, trace_id_of, tracing
from tests.support.log_ins import authenticator_of

KEY = bytes(32)
HOSTS = ("testserver", "hall.example.org", "[2001:db8::1]")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def build(*, cookie_secure: bool) -> TestClient:
    app = FastAPI()

    def now() -> datetime:
        return datetime(2026, 11, 23, 9, tzinfo=UTC)

    authenticator = authenticator_of(KEY, now)
    install_edge(app, WebSettings(cookie_secure=cookie_secure, hosts=HOSTS), authenticator)
    router = APIRouter(prefix="/api/v1")

    @router.get("/cases/{number}")
    def case(number: str) -> str | None:
        return current_traceparent()

    @router.put("/tasks/{number}")
    async def decide(number: str, request: Request) -> None:
        check_if_match(request.headers.get("if-match"), 7)

    @app.get("/static/site.css")
    async def style() -> Response:
        return Response("x", media_type="text/css")

    @app.get("/own")
    async def own() -> Response:
        return Response(
            "x", headers={"Cache-Control": "private", "Content-Security-Policy": "default-src 'none'"}
        )

    app.include_router(router)
    return TestClient(app)


@pytest.fixture
def client() -> TestClient:
    return build(cookie_secure=True)


def test_every_answer_is_guarded(client: TestClient) -> None:
    headers = client.get("/api/v1/cases/1").headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "strict-transport-security" in headers


@pytest.mark.parametrize("path", ["/", "/own", "/api/v1/cases/1", "/static/site.css", "/own/", "/nowhere"])
@pytest.mark.parametrize(
    "host", ["evil.example", "testserver.evil.example", "evil.example:testserver", "", "127.0.0.1"]
)
def test_a_foreign_name_gets_no_page(client: TestClient, path: str, host: str) -> None:
    answer = client.get(path, headers={"Host": host}, follow_redirects=False)
    assert (answer.status_code, answer.json()["code"]) == (421, "request.foreign-host")
    assert "evil" not in str(answer.headers) + answer.text
    assert "x-frame-options" in answer.headers


@pytest.mark.parametrize("host", ["TESTSERVER", "hall.example.org:8443", "[2001:db8::1]:80", "[2001:db8::1]"])
def test_our_names_are_ours_on_any_port(client: TestClient, host: str) -> None:
    assert client.get("/own", headers={"Host": host}).status_code == 200


def test_two_names_are_not_one(client: TestClient) -> None:
    hosts = [("Host", "testserver"), ("Host", "evil.example")]
    assert client.get("/own", headers=hosts).status_code == 421


def test_what_a_response_sets_itself_stays(client: TestClient) -> None:
    headers = client.get("/own").headers
    assert headers["cache-control"] == "private"
    assert headers["content-security-policy"] == "default-src 'none'"
    assert "max-age" in client.get("/static/site.css").headers["cache-control"]


def test_without_tls_nobody_is_told_to_insist_on_it() -> None:
    assert "strict-transport-security" not in build(cookie_secure=False).get("/own").headers


def test_a_trace_is_continued_with_a_span_of_our_own(client: TestClient) -> None:
    answer = client.get("/api/v1/cases/1", headers={"traceparent": PARENT})
    assert trace_id_of(answer.json()) == trace_id_of(PARENT) == answer.headers["x-trace-id"]
    assert answer.json() != PARENT
    assert current_traceparent() is None


@pytest.mark.parametrize(
    "received",
    [
        None,
        "",
        "nonsense",
        "ff" + PARENT[2:],
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        PARENT.replace("b7ad6b7169203331", "0" * 16),
        PARENT.upper(),
        PARENT + "-more",
    ],
)
def test_what_is_no_traceparent_begins_a_new_trace(received: str | None) -> None:
    made = continue_trace(received)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", made)
    assert trace_id_of(made) != trace_id_of(PARENT)


def test_a_later_version_may_bring_more_fields() -> None:
    assert trace_id_of(continue_trace("01" + PARENT[2:] + "-more")) == trace_id_of(PARENT)


def test_tracing_ends_with_its_block() -> None:
    with tracing(PARENT):
        assert current_traceparent() == PARENT
    assert current_traceparent() is None


def test_the_line_of_a_request_names_the_template_and_never_the_path(client: TestClient) -> None:
    with capture_logs() as lines:
        client.get("/api/v1/cases/330102199003078515?phone=13800138000")
        client.get("/nowhere/330102199003078515")
    answered = [line for line in lines if line["event"] == "request_answered"]
    assert [line["route"] for line in answered] == ["/api/v1/cases/{number}", "unmatched"]
    assert [line["status"] for line in answered] == [200, 404]
    assert "330102199003078515" not in str(lines)
    assert "13800138000" not in str(lines)
    page = metrics.render().decode()
    assert 'route="/api/v1/cases/{number}"' in page
    assert "330102199003078515" not in page


def test_probes_make_no_lines() -> None:
    client = build(cookie_secure=True)

    @client.app.get("/healthz")  # type: ignore[attr-defined, untyped-decorator]
    async def healthz() -> None: ...

    with capture_logs() as lines:
        assert client.get("/healthz").status_code == 200
    assert lines == []


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ('"7"', 200),
        ("*", 200),
        ('"6", "7"', 200),
        ('"6"', 412),
        ('W/"7"', 412),
        ("7", 412),
        ("", 428),
        (None, 428),
    ],
)
def test_if_match(client: TestClient, sent: str | None, status: int) -> None:
    headers = {} if sent is None else {"If-Match": sent}
    answer = client.put("/api/v1/tasks/1", headers=headers)
    assert answer.status_code == status


def test_if_match_of_a_form() -> None:
    check_if_match(etag_of(3), 3)
    with pytest.raises(PreconditionFailed):
        check_if_match(etag_of(2), 3)
    with pytest.raises(PreconditionRequired):
        check_if_match(None, 3)


@pytest.mark.parametrize("key", ["12345678", "x" * 128, "0189-a/b+c=~!", '"12345678"'])
def test_a_usable_idempotency_key(key: str) -> None:
    assert require_key(key) == key.strip('"')


@pytest.mark.parametrize(
    "key", [None, "", "1234567", "x" * 129, "has a blank", "键键键键键键键键", "tab\ttab\ttab", '"123"', '"']
)
def test_an_unusable_idempotency_key_is_400(key: str | None) -> None:
    with pytest.raises(KeyMissing) as caught:
        require_key(key)
    assert (caught.value.status, caught.value.code) == (400, "idempotency.key-missing")
    assert isinstance(caught.value, BadRequest)


def test_a_fingerprint_tells_requests_apart() -> None:
    prints = [
        fingerprint("POST", "/cases", b"{}"),
        fingerprint("POST", "/cases", b"{ }"),
        fingerprint("PUT", "/cases", b"{}"),
        fingerprint("POST", "/cases{", b"}"),
    ]
    assert len(set(prints)) == 4
    assert fingerprint("post", "/cases", b"{}") == prints[0]
    assert all(re.fullmatch("[0-9a-f]{64}", found) for found in prints)


def test_the_outcomes_of_a_key() -> None:
    assert (KeyReused().status, KeyReused().code) == (422, "idempotency.key-reused")
    assert (StillRunning().status, StillRunning().code) == (409, "idempotency.still-running")
