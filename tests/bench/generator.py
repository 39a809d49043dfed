"""Sends prepared HTTP requests: python -m tests.bench.generator PLAN OUT.

A process of its own, cheap enough to share two cores with what it measures. In an open loop a request leaves
when it is due, whether or not those before it were answered, and its time counts from when it was due; in a
closed loop each client sends its next request when it has its answer.
"""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

import httptools

KEY = "{key}"
"""What stands in a prepared request where each one sent takes an Idempotency-Key of its own."""
_LONGEST_S = 60.0
_NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, ready but for its key; `kind` is what the report calls it."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send where. Either `rate` a second (open loop) or by so many `clients` at once (closed loop);
    the requests are taken in turn, over and over. Connections are spread evenly over the ports."""

    ports: list[int]
    requests: list[Request]
    seconds: float
    rate: float | None = None
    clients: int | None = None
    most: int | None = None
    """As many requests as clients send at most, when they are not stopped by time."""

    def write(self, path: Path) -> None:
        """For the process that carries it out."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """What `write` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**found, "requests": [Request(**request) for request in found["requests"]]})


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: when it was due (seconds since the epoch), how long its answer took from then on, the
    status (0: none came), and the case number in the answer."""

    kind: str
    due: float
    ms: float
    status: int
    number: str | None

    @property
    def is_good(self) -> bool:
        """It was answered by a 2xx."""
        return 200 <= self.status < 300


def read_sent(path: Path) -> list[Sent]:
    """What a generator wrote."""
    return [Sent(*json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def prepared(kind: str, method: str, path: str, headers: dict[str, str], body: object = None) -> Request:
    """A request of HTTP/1.1, `body` as JSON."""
    content = "" if body is None else json.dumps(body)
    length = {"Content-Type": "application/json", "Content-Length": str(len(content))} if content else {}
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in {**headers, **length}.items()]
    return Request(kind, "\r\n".join(lines) + "\r\n\r\n" + content)


class _Connection(asyncio.Protocol):
    """One connection, on which one request at a time is under way; `answer` is (status, body), None where it
    broke."""

    def __init__(self) -> None:
        self.is_open = False
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((_NO_ANSWER, b""))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), self._body))
        if not self._parser.should_keep_alive():
            self.close()

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send and wait."""
        assert self._transport is not None
        self._begin()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await asyncio.wait_for(self._answer, _LONGEST_S)
        except TimeoutError:
            self.close()
            return _NO_ANSWER, b""

    def close(self) -> None:
        """It is used no more."""
        self.is_open = False
        if self._transport is not None:
            self._transport.close()


@dataclass(slots=True)
class Generator:
    """Carries out one plan."""

    plan: Plan
    sent: list[Sent] = field(default_factory=list)
    _idle: deque[_Connection] = field(default_factory=deque)
    _ports: Iterator[int] = field(default_factory=lambda: iter(()))
    _requests: Iterator[Request] = field(default_factory=lambda: iter(()))

    async def run(self) -> list[Sent]:
        """All of it, until the last answer is there."""
        self._ports, self._requests = itertools.cycle(self.plan.ports), itertools.cycle(self.plan.requests)
        if self.plan.rate is not None:
            await self._open_loop(self.plan.rate)
        else:
            end = time.monotonic() + self.plan.seconds
            most, sent = self.plan.most, itertools.count()
            await asyncio.gather(
                *(
                    self._client(lambda: time.monotonic() < end and (most is None or next(sent) < most))
                    for _ in self._clients()
                )
            )
        for connection in self._idle:
            connection.close()
        # What is closed is gone at the loop's next turn.
        await asyncio.sleep(0)
        return self.sent

    def _clients(self) -> range:
        assert self.plan.clients is not None, "a plan says a rate or a number of clients"
        return range(self.plan.clients)

    async def _open_loop(self, rate: float) -> None:
        began, wall = time.monotonic(), time.time()
        async with asyncio.TaskGroup() as running:
            for n in range(round(rate * self.plan.seconds)):
                due = n / rate
                wait = began + due - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                running.create_task(self._one(next(self._requests), wall + due))

    async def _client(self, goes_on: Callable[[], bool]) -> None:
        while goes_on():
            await self._one(next(self._requests), time.time())

    async def _one(self, request: Request, due: float) -> None:
        status, body = await self._ask(request.text.replace(KEY, str(uuid4())).encode())
        number = json.loads(body).get("number") if status == 201 else None
        ms = 1000 * (time.time() - due)
        self.sent.append(Sent(request.kind, due, ms, status, number))

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        connection = self._idle.popleft() if self._idle else _Connection()
        if not connection.is_open:
            loop = asyncio.get_running_loop()
            try:
                _, connection = await loop.create_connection(_Connection, "127.0.0.1", next(self._ports))
            except OSError:
                return _NO_ANSWER, b""
        answer = await connection.ask(request)
        if connection.is_open:
            self._idle.append(connection)
        return answer


def run(plan: Plan, stem: Path) -> list[Sent]:
    """Let a process of its own carry it out; `stem` names its two files."""
    asked, out = stem.with_suffix(".plan"), stem.with_suffix(".sent")
    plan.write(asked)
    subprocess.run([sys.executable, "-m", __name__, str(asked), str(out)], check=True)
    return read_sent(out)


def main(plan: Path, out: Path) -> None:
    """Carry it out and write what was sent, a line each."""
    sent = asyncio.run(Generator(Plan.read(plan)).run())
    with out.open("w", encoding="utf-8") as file:
        for one in sent:
            file.write(json.dumps([one.kind, one.due, one.ms, one.status, one.number]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
