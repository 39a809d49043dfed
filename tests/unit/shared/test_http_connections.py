"""A client that does not go on costs nothing after a while, in whichever way it stops."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_network

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deploy.processes import wait_until
from shared.http.connections import Crowd, Patience, patient_protocol

QUICK = Patience(tick_s=0.05, head_s=0.3, idle_s=0.3, slowest=10_000, longest_head=8000)
LONG_ANSWER = 64 << 20
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads everything; a GET is answered with more than any socket holds."""
    if scope["type"] != "http":
        return
    request = Request(scope, receive)
    size = len(await request.body())
    answer = Response(b"x" * LONG_ANSWER if scope["method"] == "GET" else f"{size}")
    await answer(scope, receive, send)


@dataclass
class Served:
    """A server in a thread."""

    port: int
    crowd: Crowd
    server: uvicorn.Server

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def post(self, body: bytes = b"x") -> httpx.Response:
        return httpx.post(f"http://127.0.0.1:{self.port}/", content=body, trust_env=False)

    def open_connections(self) -> int:
        return len(self.server.server_state.connections)


@contextmanager
def served(patience: Patience = QUICK, *, most: int = 100, proxies: tuple[str, ...] = ()) -> Iterator[Served]:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    crowd = Crowd(most, port, [ip_network(proxy) for proxy in proxies])
    config = uvicorn.Config(
        app,
        http=patient_protocol(crowd, patience),
        # As web processes run.
        loop="uvloop",
        ws="none",
        log_config=None,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    assert wait_until(lambda: server.started, 10, every_s=0.01)
    try:
        yield Served(port, crowd, server)
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
        assert not thread.is_alive()


def send(*parts: bytes) -> Callable[[socket.socket], None]:
    """Send these and no more."""

    def begin(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return begin


STOPS = {
    "says nothing": send(),
    "half a request line": send(b"GET /"),
    "half a head": send(HEAD),
    "empty lines": send(b"\r\n\r\n"),
    "half a body": send(HEAD + b"Content-Length: 1000\r\n\r\nxx"),
    "half a chunk": send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n100\r\nxx"),
    "a request and half of the next": send(HEAD + b"Content-Length: 1\r\n\r\nx" + HEAD),
    "takes no answer": send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "takes no answer to one and sends the next": send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3),
}


@pytest.mark.parametrize("kind", STOPS)
def test_who_stops_is_given_up(kind: str) -> None:
    with served() as web, web.connect() as connection:
        STOPS[kind](connection)
        assert wait_until(lambda: web.open_connections() == 1, 2, every_s=0.01)
        assert wait_until(lambda: web.open_connections() == 0, 3, every_s=0.02)
        assert web.crowd.counts == {}
        assert web.post().text == "1"


@pytest.mark.parametrize(
    "drop",
    [b"X-A: b\r\n", b"a"],
    ids=["headers", "letters of a header"],
)
def test_a_head_that_trickles_is_given_up(drop: bytes) -> None:
    with served() as web, web.connect() as connection:
        connection.sendall(HEAD)
        assert wait_until(lambda: gone_after(connection, drop), 3, every_s=0.1)


def test_a_body_that_trickles_is_given_up() -> None:
    with served() as web, web.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
        assert wait_until(lambda: gone_after(connection, b"x"), 3, every_s=0.1)


def gone_after(connection: socket.socket, drop: bytes) -> bool:
    """Whether the other side has hung up by now."""
    try:
        connection.sendall(drop)
        connection.settimeout(0.01)
        return connection.recv(100) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_slow_but_steady_client_is_waited_for() -> None:
    """Three times as long as anybody may stop, at more than the least speed."""
    with served() as web, web.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 20000\r\n\r\n")
        sent, began = 0, time.monotonic()

        def sends_on() -> bool:
            nonlocal sent
            connection.sendall(b"x" * 1000)
            sent += 1000
            return sent == 20_000

        assert wait_until(sends_on, 5, every_s=0.05)
        assert time.monotonic() - began > 2 * QUICK.idle_s
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_an_endless_head_is_not_kept() -> None:
    with served() as web, web.connect() as connection:
        connection.sendall(HEAD + b"X-Long: " + b"x" * QUICK.longest_head)
        assert connection.recv(4096).startswith(b"HTTP/1.1 431 ")


def test_a_body_in_crumbs_is_not_read_to_its_end() -> None:
    crumbs = b"1\r\na\r\n" * 100_000
    with served(Patience()) as web, web.connect() as connection:
        with suppress(OSError):
            connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + crumbs)
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_one_network_has_so_many_connections_and_the_next_is_told() -> None:
    with served(Patience(), most=3) as web, ExitStack() as stack:
        held = [stack.enter_context(web.connect()) for _ in range(3)]
        assert wait_until(lambda: web.open_connections() == 3, 2, every_s=0.01)
        answer = web.post()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        held[0].close()
        assert wait_until(lambda: web.crowd.counts["127.0.0.1"] == 2, 2, every_s=0.01)
        assert web.post().status_code == 200


def test_a_trusted_proxy_brings_everybody() -> None:
    with served(Patience(), most=3, proxies=("127.0.0.0/8",)) as web, ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(web.connect())
        assert web.post().status_code == 200
        assert web.crowd.counts == {}
