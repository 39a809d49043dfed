"""Whatever one client sends, the others are answered meanwhile, and the process stays small."""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TypeVar
from uuid import uuid4

import httpx
import pytest

from deploy.postgres import PostgresServer
from shared.sections import MIB
from shared.settings import Settings
from tests.support.hall import A_PDF, FORM, JSON
from tests.support.installation import make_installation, wait_for
from tests.support.web import Others, Web, others_at, start_web

MOST_MEMORY = 300 * 10**6
PATIENCE_S = 0.1
LIMIT = 10 * MIB


@pytest.fixture(scope="module")
def web(
    postgres: PostgresServer, template_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Web]:
    with make_installation(postgres, template_settings, tmp_path_factory.mktemp("web"), None) as made:
        yield start_web(made, ONESTOP_DEV_IDENTITY="true", ONESTOP_WEB__COOKIE_SECURE="false")


def filled(piece: bytes, before: bytes = b"", after: bytes = b"", between: bytes = b"") -> bytes:
    """As much of the same as a body of 10 MB holds."""
    room = (LIMIT - len(before) - len(after)) // (len(piece) + len(between))
    return before + between.join([piece] * room) + after


def names(count: int) -> bytes:
    return json.dumps({f"n{n}": n for n in range(count)}).encode()


PART = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
MULTIPART = "multipart/form-data; boundary=b"
BODIES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "numbers": (JSON, lambda: filled(b"1", b"[", b"]", b",")),
    "objects": (JSON, lambda: filled(b"{}", b"[", b"]", b",")),
    "many names": (JSON, lambda: names(600_000)),
    "nested": (JSON, lambda: filled(b"[")),
    "fields of a form": (FORM, lambda: filled(b"a=1", between=b"&")),
    "one long field": (FORM, lambda: filled(b"%41", b"number=")),
    "fields in parts": (MULTIPART, lambda: filled(PART % (b"x", b"") + b"1\r\n", after=b"--b--\r\n")),
    "files in parts": (
        MULTIPART,
        lambda: filled(PART % (b"f", b'; filename="f"') + b"1\r\n", after=b"--b--\r\n"),
    ),
    "almost boundaries": (MULTIPART, lambda: filled(b"\r\n--", PART % (b"file", b'; filename="f"'))),
    "a long header of a part": (MULTIPART, lambda: filled(b"x", b"--b\r\nX-Long: ")),
}
DOORS = ("/api/v1/cases", "/api/v1/cases/lookup", "/lookup", "/preferences", "/api/v1/uploads", "/nowhere")


Each = TypeVar("Each")


def until(others: Others, each: Iterable[Each]) -> Iterator[Each]:
    """Each at least once, and again until the others have asked often enough to tell."""
    rounds = list(each)
    yield from rounds
    while not others.were_enough():
        yield from rounds


@pytest.mark.parametrize("kind", BODIES)
def test_ten_megabytes_without_a_log_in_hold_nobody_up(web: Web, kind: str) -> None:
    media_type, body = BODIES[kind][0], BODIES[kind][1]()
    with others_at(f"{web.url}/lookup") as others, httpx.Client(trust_env=False, timeout=30) as client:
        for door in until(others, DOORS):
            answer = client.post(web.url + door, content=body, headers={"Content-Type": media_type})
            assert answer.status_code in (400, 401, 404, 413, 415, 422), (door, answer.text)
    assert others.p95() < PATIENCE_S, sorted(others.waited)[-10:]
    assert web.memory() < MOST_MEMORY


@pytest.mark.parametrize("kind", BODIES)
def test_ten_megabytes_with_a_log_in_hold_nobody_up(web: Web, kind: str) -> None:
    media_type, body = BODIES[kind][0], BODIES[kind][1]()
    who = web.made.citizen()
    headers = web.log_in({"name": who.name, "id_number": who.id_number}) | {"Content-Type": media_type}
    with others_at(f"{web.url}/lookup") as others, httpx.Client(trust_env=False, timeout=30) as client:
        for door in until(others, DOORS):
            sent = headers | {"Idempotency-Key": str(uuid4())}
            answer = client.post(web.url + door, content=body, headers=sent)
            assert answer.status_code in (400, 404, 413, 415, 422), (door, answer.text)
    assert others.p95() < PATIENCE_S, sorted(others.waited)[-10:]
    assert web.memory() < MOST_MEMORY


def test_a_body_in_crumbs_holds_nobody_up(web: Web) -> None:
    """A chunk a byte: six bytes on the wire for each."""
    head = b"POST /lookup HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
    crumbs = b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + b"1\r\na\r\n" * 500_000
    with others_at(f"{web.url}/lookup") as others:
        for _ in until(others, range(3)):
            # It hangs up on us sooner or later.
            with web.connect() as connection, suppress(OSError):
                connection.sendall(head + crumbs)
                connection.recv(65536)
    assert others.p95() < PATIENCE_S, sorted(others.waited)[-10:]


def test_eight_files_at_once_hold_nobody_up_and_leave_nothing_behind(web: Web) -> None:
    content = A_PDF.replace(b"endobj\n", b"endobj\n" + b"%" * (LIMIT - 4096))
    people = [web.made.citizen() for _ in range(8)]
    logged_in = [web.log_in({"name": who.name, "id_number": who.id_number}) for who in people]

    def upload(headers: dict[str, str]) -> httpx.Response:
        sent = headers | {"Idempotency-Key": str(uuid4())}
        files = {"file": ("f", content)}
        return httpx.post(f"{web.url}/api/v1/uploads", headers=sent, files=files, trust_env=False, timeout=60)

    with others_at(f"{web.url}/lookup") as others, ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            answers = list(pool.map(upload, logged_in))
            assert [answer.status_code for answer in answers] == [201] * 8, answers[0].text
    assert others.p95() < PATIENCE_S, sorted(others.waited)[-10:]
    assert web.memory() < MOST_MEMORY
    kept = httpx.get(
        f"{web.url}/api/v1/uploads/{answers[0].json()['id']}",
        headers=logged_in[0],
        trust_env=False,
        timeout=60,
    )
    assert kept.content == content


SLOW = "127.0.0.2"


def test_hundreds_of_slow_clients_of_one_network_hold_nobody_up_and_are_gone_in_15_seconds(web: Web) -> None:
    most = web.made.settings.web.connections_per_network
    head = f"POST /lookup HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {FORM}\r\n".encode()
    beginnings = (b"", head, head + b"Content-Length: 9\r\n\r\na")
    with others_at(f"{web.url}/lookup") as others, ExitStack() as stack:
        for n in range(400):
            connection = stack.enter_context(web.connect(SLOW))
            with suppress(OSError):
                connection.sendall(beginnings[n % len(beginnings)])
        wait_for(lambda: web.connections_of(SLOW) <= most, "the others are refused", 5)
        wait_for(lambda: web.connections_of(SLOW) == 0, "the slow are gone", 15)
    assert others.p95() < PATIENCE_S, sorted(others.waited)[-10:]
