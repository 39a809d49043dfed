"""The generator: every request leaves when it is due, and every answer is told of, the missing ones too."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from tests.bench.generator import KEY, Generator, Plan, Sent, prepared

Answer = Callable[[bytes], bytes]
SUBMIT = prepared("submit", "POST", "/cases", {"Idempotency-Key": KEY}, {"name": "张三"})


def run(answer: Answer, make_plan: Callable[[int], Plan]) -> tuple[list[Sent], list[bytes]]:
    """What was sent to a server that answers so, and what arrived there."""
    arrived: list[bytes] = []
    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(cast("asyncio.Task[None]", asyncio.current_task()))
        while head := await _head(reader):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            arrived.append(head + await reader.readexactly(length))
            said = answer(arrived[-1])
            if not said:
                break
            writer.write(said)
        writer.close()
        await writer.wait_closed()

    async def both() -> list[Sent]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            found = await Generator(make_plan(server.sockets[0].getsockname()[1])).run()
            await asyncio.gather(*serving)
            return found

    return asyncio.run(both()), arrived


async def _head(reader: asyncio.StreamReader) -> bytes:
    reading: Awaitable[bytes] = reader.readuntil(b"\r\n\r\n")
    try:
        return await reading
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return b""


def taken(_: bytes) -> bytes:
    return b'HTTP/1.1 201 Created\r\nContent-Length: 16\r\n\r\n{"number": "17"}'


def test_an_open_loop_sends_as_many_as_are_due_each_under_a_key_of_its_own() -> None:
    sent, arrived = run(taken, lambda port: Plan([port], [SUBMIT], 0.2, rate=50))
    assert [one.status for one in sent] == [201] * 10
    assert {one.number for one in sent} == {"17"}
    keys = {head.partition(b"Idempotency-Key: ")[2].partition(b"\r\n")[0] for head in arrived}
    assert len(keys) == 10
    assert KEY.encode() not in keys
    assert b'{"name": "\\u5f20\\u4e09"}' in arrived[0]


def test_in_an_open_loop_the_time_counts_from_when_a_request_was_due() -> None:
    sent, _ = run(taken, lambda port: Plan([port], [SUBMIT], 0.2, rate=50))
    due = sorted(one.due for one in sent)
    assert round(due[-1] - due[0], 3) == 0.18


def test_a_closed_loop_sends_the_next_when_it_has_its_answer() -> None:
    sent, arrived = run(taken, lambda port: Plan([port], [SUBMIT], 0.1, clients=3))
    assert len(sent) == len(arrived) >= 3
    assert all(one.is_good for one in sent)


def test_a_connection_that_breaks_is_no_answer() -> None:
    sent, _ = run(lambda _: b"", lambda port: Plan([port], [SUBMIT], 0.1, rate=30))
    assert [(one.status, one.number, one.is_good) for one in sent] == [(0, None, False)] * 3


def test_a_refusal_is_told_by_its_status() -> None:
    refused = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    sent, _ = run(lambda _: refused, lambda port: Plan([port], [SUBMIT], 0.1, rate=30))
    assert [(one.status, one.is_good) for one in sent] == [(503, False)] * 3


def test_a_port_on_which_nobody_listens_is_no_answer() -> None:
    async def nobody() -> list[Sent]:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return await Generator(Plan([port], [SUBMIT], 0.1, rate=30)).run()

    assert [one.status for one in asyncio.run(nobody())] == [0] * 3
