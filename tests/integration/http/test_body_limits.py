"""Bodies that are too large, too deep, or of no shape that anybody means."""

import asyncio
import json
import time
import tracemalloc
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from shared.http.body_limit import SMALL
from shared.http.doors import Door
from tests.support.hall import FORM, NOWHERE, Hall, Headers, app_of, application, keyed, problem, untouched
from tests.support.installation import (
    Citizen,
)

MEGABYTE = b"x" * (1 << 20)
TAKES_FILES = {("POST", "/api/v1/uploads"), ("POST", "/cases/{number}/supply")}
"""Whatever else there is takes 64 kB. Whoever adds a door for files says so here."""
TAKE_REASONS = {f"/desk/tasks/{{task_id}}/{act}" for act in ("assignment", "decision")}
"""Officers are told what they wrote too long, and keep it."""


@dataclass
class Answered:
    """What came back, and how much had come in when it began to."""

    status: int = 0
    body: bytes = b""
    read_before: int = 0


def ask(app: FastAPI, door: str, headers: Headers, body: Iterable[bytes], method: str = "POST") -> Answered:
    """Send a body of which nobody need read more than they want."""
    chunks, answer, read = iter(body), Answered(), 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        chunk = next(chunks, None)
        read += len(chunk or b"")
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def send(message: Any) -> None:
        if "status" in message:
            answer.status, answer.read_before = message["status"], read
        answer.body += message.get("body", b"")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": door,
        "raw_path": door.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (name.lower().encode(), value.encode())
            for name, value in {"Host": "hall.test", **headers}.items()
        ],
        "client": ("192.0.2.1", 1),
        "server": ("hall.test", 443),
    }
    asyncio.run(app(scope, receive, send))
    return answer


def all_doors(hall: Hall) -> list[tuple[FastAPI, str, Door]]:
    """Every door that a body may be sent to, of both apps."""
    internal = hall.internal.app
    assert isinstance(internal, FastAPI)
    found = []
    for app in (app_of(hall), internal):
        for context in iter_route_contexts(app.routes):
            if not {"GET", "HEAD"} & set(context.methods or ("GET",)):
                assert isinstance(context.original_route, Door), context.path
                found.append((app, str(context.path), context.original_route))
    return found


def test_every_door_takes_little_or_says_that_it_takes_files(hall: Hall) -> None:
    most = hall.installation.settings.web.max_upload_bytes
    found = all_doors(hall)
    assert len(found) > 25
    for app, path, door in found:
        if app is hall.internal.app:
            # Only services get so far, and they are known before the body is read.
            assert door.takes.admission is not None, path
            assert door.takes.size <= most + (1 << 20), path
        elif ("POST", path) in TAKES_FILES:
            assert (door.takes.size, door.takes.files > 0) == (most, True), path
        elif path in TAKE_REASONS:
            assert (door.takes.size, door.takes.files) == (8 * SMALL, 0), path
        else:
            assert (door.takes.size, door.takes.files) == (SMALL, 0), path


@pytest.mark.parametrize("media_type", ["application/json", FORM, "multipart/form-data; boundary=b"])
def test_ten_megabytes_without_a_log_in_are_not_read_at_any_door(hall: Hall, media_type: str) -> None:
    for app, path, door in all_doors(hall):
        [method] = door.methods or ("POST",)
        headers = {"Content-Type": media_type, "Content-Length": str(10 << 20)}
        with untouched(hall) if (method, path) in TAKES_FILES else nullcontext():
            answer = ask(app, path.replace("{number}", NOWHERE), headers, [MEGABYTE] * 10, method)
        assert answer.status in (401, 413, 415, 422), path
        # Refused by what stands before the body, at doors that are open by its size.
        assert answer.read_before == 0, path
        chunked = {"Content-Type": media_type, "Transfer-Encoding": "chunked"}
        answer = ask(app, path.replace("{number}", NOWHERE), chunked, [MEGABYTE] * 10, method)
        assert answer.read_before <= min(len(MEGABYTE), door.takes.size + len(MEGABYTE)), path
        if door.takes.size > SMALL:
            assert (answer.status, answer.read_before) == (401, 0), path


def test_nobody_sends_files_for_nothing(hall: Hall, anybody: tuple[Citizen, Headers]) -> None:
    """For somebody else's case, for one that asks nothing, or without a key: told before a byte is read."""
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    _, others = anybody
    media_type = {"Content-Type": "multipart/form-data; boundary=b", "Transfer-Encoding": "chunked"}
    for path, sender, refused in (
        (f"/cases/{NOWHERE}/supply", headers, (404, "case.not-found")),
        (f"/cases/{number}/supply", others, (404, "case.not-found")),
        (f"/cases/{number}/supply", headers, (409, "case.nothing-asked")),
        ("/api/v1/uploads", headers, (400, "idempotency.key-missing")),
    ):
        answer = ask(app_of(hall), path, sender | media_type, [MEGABYTE] * 10)
        assert (answer.status, json.loads(answer.body)["code"]) == refused, path
        assert answer.read_before == 0, path


@pytest.mark.parametrize("door", ["/api/v1/uploads", "/api/v1/cases"])
@pytest.mark.parametrize("declared", [True, False])
def test_thirty_one_megabytes_are_refused_and_not_kept(
    hall: Hall, anybody: tuple[Citizen, Headers], door: str, declared: bool
) -> None:
    _, headers = anybody
    multipart = door.endswith("uploads")
    first = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        if multipart
        else b'{"a":"'
    )
    sent = {
        **keyed(headers),
        "Content-Type": f"{'multipart/form-data; boundary=b' if multipart else 'application/json'}",
    }
    sent |= {"Content-Length": str(31 << 20)} if declared else {"Transfer-Encoding": "chunked"}
    tracemalloc.start()
    try:
        answer = ask(app_of(hall), door, sent, [first, *[MEGABYTE] * 31])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status == 413
    assert json.loads(answer.body)["code"] == "request.too-large"
    # Of a file a piece is in memory at a time; of what is declared, nothing is read.
    assert peak < 3 << 20


def bomb(who: Citizen, written: str) -> bytes:
    """A complete application with something written into its form."""
    text = json.dumps(application(who), ensure_ascii=False)
    return text.replace('"ground": "employment"', f'"ground": "employment", {written}').encode(
        "utf-8", "surrogatepass"
    )


BOMBS = {
    "the same name twice": '"ground": "housing"',
    "the same name twice, deeper": '"delivery": {"method": "post", "method": "pickup"}',
    "not a number": '"x": NaN',
    "endless": '"x": -Infinity',
    "too large a number": '"x": 1e999',
    "a number of 5,000 digits": f'"x": {"9" * 5000}',
    "a number of 4,000 digits": f'"x": {"9" * 4000}',
    "nested 30 deep": f'"x": {"[" * 30}{"]" * 30}',
    "nested 300 deep": f'"x": {"[" * 300}{"]" * 300}',
    "nested 900 deep": f'"x": {"[" * 900}{"]" * 900}',
    "objects nested 900 deep": f'"x": {"".join(["{" + chr(34) + "a" + chr(34) + ":"] * 900)}1{"}" * 900}',
    "nested 30,000 deep": f'"x": {"[" * 30_000}{"]" * 30_000}',
    "a long list": f'"x": [{",".join(["1"] * 30_000)}]',
    "many names": f'"delivery": {{{",".join(f"{chr(34)}n{n}{chr(34)}: 1" for n in range(5_000))}}}',
    "a long name": f'"{"n" * 50_000}": 1',
    "a NUL": '"language": "zh\\u0000"',
    "a NUL in a name": '"a\\u0000": 1',
    "half a character": '"language": "\\ud800"',
    "half a character in a name": '"\\udfff": 1',
    "half a character, raw": '"language": "\ud800"',
}


@pytest.mark.parametrize("kind", BOMBS)
def test_json_that_nobody_means_is_refused(hall: Hall, anybody: tuple[Citizen, Headers], kind: str) -> None:
    who, headers = anybody
    sent = {**keyed(headers), "Content-Type": "application/json"}
    body = bomb(who, BOMBS[kind])
    assert len(body) <= SMALL, "else only its size is refused"
    began = time.perf_counter()
    with untouched(hall):
        answer = hall.client.post("/api/v1/cases", headers=sent, content=body)
    assert problem(answer)[0] in (400, 422)
    # Neither seconds of work nor an answer that repeats what was sent.
    assert time.perf_counter() - began < 3
    assert len(answer.content) < 20_000


@pytest.mark.parametrize(
    ("door", "body"),
    [
        ("/api/v1/cases", b"[]"),
        ("/api/v1/cases", b"null"),
        ("/api/v1/cases", b'"text"'),
        ("/api/v1/cases", b""),
        ("/api/v1/cases", b"\xff\xfe\x00"),
        (
            "/api/v1/cases",
            b'{"matter": "residence_permit.apply", "version": 99999999999999999999, "form": {}}',
        ),
        ("/api/v1/cases", b'{"matter": "a\\u0000b", "form": {}}'),
        ("/api/v1/cases", b'{"matter": 1, "form": []}'),
        ("/api/v1/cases", b'{"matter": "residence_permit.apply", "form": {}, "uploads": {"photo": "no"}}'),
        (
            "/api/v1/cases",
            b'{"matter": "residence_permit.apply", "form": {}, "client": "' + b"x" * 101 + b'"}',
        ),
        ("/api/v1/cases/lookup", b'{"number": "\\u0000", "query_code": "x"}'),
        ("/api/v1/cases/lookup", b'{"number": "\\ud800", "query_code": "x"}'),
        ("/api/v1/cases/lookup", b'{"number": ["x"], "query_code": {}}'),
        (f"/api/v1/cases/{NOWHERE}/supplements", b'{"uploads": {}}'),
        (
            f"/api/v1/cases/{NOWHERE}/supplements",
            json.dumps({"uploads": {f"m{n}": str(UUID(int=n)) for n in range(51)}}).encode(),
        ),
    ],
)
def test_a_body_of_another_shape_is_refused(
    hall: Hall, anybody: tuple[Citizen, Headers], door: str, body: bytes
) -> None:
    _, headers = anybody
    with untouched(hall):
        answer = hall.client.post(
            door, headers={**keyed(headers), "Content-Type": "application/json"}, content=body
        )
    assert problem(answer)[0] in (400, 404, 422)
