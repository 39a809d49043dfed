"""No body beyond the limit gets in, declared or not, and the client can read why."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import anyio
import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response, UploadFile
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from shared.auth.deps import Citizen
from shared.errors import TooLarge
from shared.http.body_limit import SMALL, BodyLimitMiddleware
from shared.http.doors import takes
from shared.http.edge import install_edge
from shared.http.request_body import sealed_file_of
from shared.sections import WebSettings
from tests.support.log_ins import authenticator_of

KEY = bytes(32)
LIMIT = 1000


def build(limit: int) -> FastAPI:
    app = FastAPI()

    def now() -> datetime:
        return datetime(2026, 11, 23, 9, tzinfo=UTC)

    authenticator = authenticator_of(KEY, now)
    install_edge(app, WebSettings(hosts=("testserver", "127.0.0.1", "localhost")), authenticator)

    @app.post("/json")
    @takes(limit)
    async def take_json(body: dict[str, str]) -> int:
        return len(body)

    @app.post("/raw")
    @takes(limit)
    async def take_raw(request: Request) -> int:
        return len(await request.body())

    @app.post("/file")
    @takes(limit, files=1)
    async def take_file(file: UploadFile) -> int:
        return sealed_file_of(file).size

    @app.post("/stream")
    @takes(limit)
    async def take_stream(request: Request) -> int:
        return sum([len(chunk) async for chunk in request.stream()])

    @app.post("/blind")
    @takes(limit)
    async def blind() -> str:
        return "never read it"

    @app.post("/citizens")
    @takes(limit)
    async def of_citizens(citizen: Citizen, body: dict[str, str]) -> int:
        return len(body)

    @app.post("/silent")
    async def says_nothing(request: Request) -> int:
        return len(await request.body())

    return app


@pytest.fixture
def client() -> TestClient:
    return TestClient(build(LIMIT))


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app behind a real socket, where a reset would swallow our answer."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def chunks(total: int) -> Iterator[bytes]:
    for _ in range(total // 100):
        yield b"x" * 100


@pytest.mark.parametrize("door", ["/raw", "/stream"])
def test_a_body_up_to_the_limit_gets_in(client: TestClient, door: str) -> None:
    assert client.post(door, content=b"x" * LIMIT).json() == LIMIT
    assert client.post(door, content=chunks(LIMIT)).json() == LIMIT


@pytest.mark.parametrize("door", ["/raw", "/stream", "/json", "/blind"])
def test_a_declared_body_beyond_it_is_413(client: TestClient, door: str) -> None:
    answer = client.post(door, content=b"x" * (LIMIT + 1), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "request.too-large")
    assert answer.json()["limit_bytes"] == LIMIT
    assert answer.headers["content-language"] == "zh-CN"
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("door", ["/raw", "/stream", "/json"])
def test_a_chunked_body_beyond_it_is_413_and_no_failure_of_ours(client: TestClient, door: str) -> None:
    with capture_logs() as lines:
        answer = client.post(door, content=chunks(5 * LIMIT), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "request.too-large")
    assert [line["event"] for line in lines] == ["request_answered"]
    assert lines[0]["status"] == 413


def test_an_upload_beyond_it_is_413(client: TestClient) -> None:
    answer = client.post("/file", files={"file": b"x" * (LIMIT + 1)})
    assert (answer.status_code, answer.json()["code"]) == (413, "request.too-large")
    assert client.post("/file", files={"file": b"x" * (LIMIT // 2)}).json() == LIMIT // 2


def test_an_endless_body_is_given_up_on() -> None:
    """Beyond the limit bytes are read for politeness only, and not for ever; the app never sees them."""
    received, seen, sent = 0, 0, []
    chunk = b"x" * (1 << 20)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal seen
        with suppress(TooLarge):
            while True:
                seen += len((await receive())["body"])
        await Response("no", 413)(scope, receive, send)

    async def receive() -> Message:
        nonlocal received
        received += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: Message) -> None:
        sent.append((received, message))

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"transfer-encoding", b"chunked")],
    }
    anyio.run(BodyLimitMiddleware(app, limit=LIMIT), scope, receive, send)
    assert seen == 0
    # The whole answer goes first; then some of the rest is read, and then it is over.
    before, start = sent[0]
    assert (before, start["status"]) == (len(chunk), 413)
    assert (b"connection", b"close") in start["headers"]
    assert sent[1] == (len(chunk), {"type": "http.response.body", "body": b"no", "more_body": True})
    assert sent[2][1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert received < 40 * len(chunk)


def test_who_may_not_send_is_told_before_the_body_comes() -> None:
    """The head of a request alone is answered, and what it announces is never waited for."""
    with served(build(LIMIT)) as url:
        port = int(url.rpartition(":")[2])
        for door, length, status in (
            ("/citizens", 10, 401),
            ("/json", LIMIT + 1, 413),
            ("/nowhere", 10, 404),
        ):
            head = f"POST {door} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
                connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
                assert connection.recv(4096).startswith(f"HTTP/1.1 {status} ".encode()), door


def test_a_body_that_breaks_off_is_no_failure_of_ours() -> None:
    came: list[Message] = [{"type": "http.request", "body": b"x", "more_body": True}]
    messages = iter([*came, {"type": "http.disconnect"}])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/raw",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-length", b"100")],
    }
    with capture_logs() as lines:
        anyio.run(build(LIMIT), scope, receive, send)
    assert [(line["event"], line["log_level"]) for line in lines] == [("request_answered", "info")]
    assert sent[0]["status"] == 400


def test_a_door_that_says_nothing_takes_little(client: TestClient) -> None:
    assert client.post("/silent", content=b"x" * SMALL).json() == SMALL
    assert client.post("/silent", content=b"x" * (SMALL + 1)).status_code == 413
    assert client.post("/silent", files={"f": ("name", b"x")}).status_code == 200
    assert client.post("/file", files={"file": ("name", b"x"), "other": ("name", b"x")}).status_code == 400


def test_an_answer_to_what_was_read_keeps_the_connection(client: TestClient) -> None:
    assert "connection" not in client.post("/raw", content=b"x").headers
    assert "connection" not in client.post("/blind").headers
    assert client.post("/blind", content=b"x").headers["connection"] == "close"


@pytest.mark.parametrize("door", ["/raw", "/stream", "/blind"])
@pytest.mark.parametrize("declared", [True, False])
def test_thirty_megabytes_over_a_socket_are_answered_and_not_reset(door: str, declared: bool) -> None:
    mib = 1024 * 1024
    body = b"x" * (30 * mib) if declared else (b"x" * mib for _ in range(30))
    with served(build(10 * mib)) as url:
        answer = httpx.post(url + door, content=body, trust_env=False, timeout=20)
    if door == "/blind" and not declared:
        # Nobody reads the body, so nobody counts it and nothing of it is kept.
        assert answer.status_code == 200
    else:
        assert (answer.status_code, answer.json()["code"]) == (413, "request.too-large")
