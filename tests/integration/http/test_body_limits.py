"""Bodies that are too large, too deep, or of no shape that anybody means."""

import asyncio
import json
import time
import tracemalloc
from typing import Any
from uuid import UUID

import pytest

from tests.support.hall import NOWHERE, Hall, Headers, app_of, application, keyed, problem, untouched
from tests.support.installation import (
    Citizen,
)


@pytest.mark.parametrize("door", ["/api/v1/uploads", "/api/v1/cases"])
@pytest.mark.parametrize("declared", [True, False])
def test_thirty_one_megabytes_are_refused_and_not_kept(
    hall: Hall, anybody: tuple[Citizen, Headers], door: str, declared: bool
) -> None:
    _, headers = anybody
    chunk = b"x" * (1 << 20)
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
    if declared:
        sent["Content-Length"] = str(31 << 20)
    chunks = iter([first, *[chunk] * 31])
    answer: dict[str, Any] = {"body": b""}

    async def receive() -> dict[str, Any]:
        body = next(chunks, None)
        return {"type": "http.request", "body": body or b"", "more_body": body is not None}

    async def send(message: Any) -> None:
        answer["body"] += message.get("body", b"")
        answer["status"] = message.get("status", answer.get("status"))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": door,
        "raw_path": door.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        "client": ("192.0.2.1", 1),
        "server": ("hall.test", 443),
    }
    limit = hall.installation.settings.web.max_upload_bytes
    tracemalloc.start()
    try:
        asyncio.run(app_of(hall)(scope, receive, send))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer["status"] == 413
    assert json.loads(answer["body"])["code"] == "request.too-large"
    # What a door may take is kept once while it comes; nothing beyond it, and what is declared is not read.
    assert peak < (3 << 20 if declared or multipart else limit + (4 << 20))


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
    "nested 100,000 deep": f'"x": {"[" * 100_000}{"]" * 100_000}',
    "a long list": f'"x": [{",".join(["1"] * 200_000)}]',
    "many names": f'"delivery": {{{",".join(f"{chr(34)}n{n}{chr(34)}: 1" for n in range(20_000))}}}',
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
    began = time.perf_counter()
    with untouched(hall):
        answer = hall.client.post("/api/v1/cases", headers=sent, content=bomb(who, BOMBS[kind]))
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
