"""A question has the same answer from the next room and from the next process."""

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from deploy.secret_files import init_secrets
from shared.ask import Asker, FileAnswer, GivesFile, PeerFailed, PeerUnavailable, Question, TakesFile
from shared.errors import FieldError, Forbidden, Invalid, NotFound, Unavailable
from shared.http.edge import install_edge
from shared.http.internal import internal_router
from shared.peers import MayAsk, Peers, peer_token, token_hash
from shared.privacy.sealed_file import PIECE, SealedFile
from shared.privacy.secret_files import SERVICE_TOKEN, load_secret
from shared.sections import DbSettings, WebSettings
from shared.settings import Settings
from shared.tracing import current_traceparent, trace_id_of, tracing
from tests.support.log_ins import authenticator_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
KEY = bytes(32)


class ContactGone(NotFound):
    code = "test.contact-gone"
    title_zh = "联系方式已删除"
    title_en = "The contact is gone"


def contact(params: dict[str, Any]) -> dict[str, Any]:
    """An owner's answers, good and bad."""
    match params["of"]:
        case "gone":
            raise ContactGone("已删除", "deleted", members={"on": "2026-11-23"})
        case "bad":
            raise Invalid(fields=[FieldError("/of", "field.wrong", "不对", "wrong")])
        case "away":
            raise Unavailable
        case "broken":
            raise ZeroDivisionError("secret")
    return {"phone": "13800138000", "trace": trace_id_of(current_traceparent())}


def keep(params: dict[str, Any], file: SealedFile) -> dict[str, Any]:
    """Takes a file, but none that is empty."""
    if not file.size:
        raise Invalid(fields=[FieldError("/file", "field.empty", "空", "empty")])
    return {**params, "size": file.size, "sha256": file.sha256}


def give(params: dict[str, Any]) -> FileAnswer:
    """Gives a file back, piece by piece, and notes when it is let go."""
    if params["of"] == "gone":
        raise ContactGone("已删除", "deleted")

    def pieces() -> Generator[bytes]:
        try:
            yield from (bytes([n]) * PIECE for n in range(4))
        finally:
            LET_GO.append(params["of"])

    return FileAnswer("image/png", 4 * PIECE, pieces(), "photo")


LET_GO: list[str] = []
OWNERS: dict[str, dict[str, Question]] = {
    "intake": {"contact": contact, "secret": lambda params: params},
    "materials": {"other": lambda params: params, "keep": TakesFile(keep), "give": GivesFile(give)},
}
MAY_ASK: MayAsk = {
    "intake": {"contact": ("notify",), "secret": ("approval",)},
    "materials": {"other": ("notify",), "keep": ("notify",), "give": ("notify",)},
}


def settings_in(directory: Path, **values: Any) -> Settings:
    init_secrets(directory)
    return Settings(db=DbSettings(host="/x"), secrets_dir=directory, **values)


def owner_app(service_token: bytes) -> FastAPI:
    """Two owners in one app, who know notify by what it would show them."""
    app = FastAPI()

    def now() -> datetime:
        return datetime(2026, 11, 23, 9, tzinfo=UTC)

    install_edge(app, WebSettings(hosts=("testserver",)), authenticator_of(KEY, now))
    for owner, answers in OWNERS.items():
        peers = Peers({"notify": token_hash(peer_token(service_token, owner))})
        app.include_router(internal_router(owner, answers, MAY_ASK, peers, most_file_bytes=4 * PIECE))
    return app


@contextmanager
def remote(settings: Settings, service_token: bytes) -> Iterator[Asker]:
    """An Asker whose peers are real apps."""
    client = TestClient(owner_app(service_token), raise_server_exceptions=False)

    def hand_over(asked: httpx.Request) -> httpx.Response:
        answer = client.request(
            asked.method, str(asked.url), content=asked.read(), headers=dict(asked.headers)
        )
        return httpx.Response(answer.status_code, content=answer.content, headers=dict(answer.headers))

    asker = Asker(settings, "notify", {}, {}, transport=httpx.MockTransport(hand_over))
    yield asker
    asker.close()


@pytest.fixture(params=["here", "elsewhere"])
def asker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Asker]:
    if request.param == "here":
        asker = Asker(settings_in(tmp_path), "notify", OWNERS, MAY_ASK)
        yield asker
        asker.close()
        return
    settings = settings_in(tmp_path, peers=dict.fromkeys(OWNERS, "http://testserver/"))
    with remote(settings, load_secret(settings, "notify", SERVICE_TOKEN)) as asker:
        yield asker


def test_a_file_goes_along_with_a_question(asker: Asker) -> None:
    content = b"x" * (2 * PIECE + 5)
    with closing(SealedFile()) as file:
        file.write(content)
        answer = asker.hand_over("materials", "keep", {"name": "护照\ud800"[:2]}, file)
    assert answer == {"name": "护照", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    with closing(SealedFile()) as empty, pytest.raises(Invalid) as caught:
        asker.hand_over("materials", "keep", {}, empty)
    assert caught.value.fields[0].code == "field.empty"


def test_a_file_comes_back_piece_by_piece(asker: Asker) -> None:
    LET_GO.clear()
    answer = asker.fetch("materials", "give", {"of": "photo"})
    assert (answer.media_type, answer.size, answer.name) == ("image/png", 4 * PIECE, "photo")
    assert b"".join(answer.pieces) == b"".join(bytes([n]) * PIECE for n in range(4))
    assert LET_GO == ["photo"]
    with pytest.raises(NotFound) as caught:
        asker.fetch("materials", "give", {"of": "gone"})
    assert caught.value.code == "test.contact-gone"


def test_an_answer_comes_back_in_the_same_trace(asker: Asker) -> None:
    with tracing(PARENT):
        answer = asker.ask("intake", "contact", {"of": "zhang"})
    assert answer == {"phone": "13800138000", "trace": trace_id_of(PARENT)}


def test_two_services_of_one_app_answer_their_own_questions(asker: Asker) -> None:
    assert asker.ask("materials", "other", {"a": [1, None, "张"]}) == {"a": [1, None, "张"]}


def test_what_is_no_json_is_refused_at_once(asker: Asker) -> None:
    with pytest.raises(TypeError):
        asker.ask("materials", "other", {"a": uuid4()})


def test_the_owners_refusal_keeps_its_words(asker: Asker) -> None:
    with pytest.raises(NotFound) as caught:
        asker.ask("intake", "contact", {"of": "gone"})
    error = caught.value
    assert (error.code, error.status, error.title_zh) == ("test.contact-gone", 404, "联系方式已删除")
    assert (error.detail_zh, error.detail_en, error.members) == ("已删除", "deleted", {"on": "2026-11-23"})
    assert NotFound.code == "resource.not-found"


def test_the_owners_fields_come_along(asker: Asker) -> None:
    with pytest.raises(Invalid) as caught:
        asker.ask("intake", "contact", {"of": "bad"})
    assert caught.value.fields == (FieldError("/of", "field.wrong", "不对", "wrong"),)


def test_an_owner_that_is_out_of_order_says_so_itself(asker: Asker) -> None:
    with pytest.raises(Unavailable):
        asker.ask("intake", "contact", {"of": "away"})


def test_an_unknown_question_names_the_owner(asker: Asker) -> None:
    with pytest.raises(PeerFailed) as caught:
        asker.ask("intake", "nothing", {})
    assert "intake" in caught.value.detail_en
    assert caught.value.status == 503


def test_what_a_service_has_no_business_with_it_may_not_ask(asker: Asker) -> None:
    with pytest.raises(Forbidden) as caught:
        asker.ask("intake", "secret", {})
    assert caught.value.code == "peer.may-not-ask"
    assert caught.value.members == {"asker": "notify", "owner": "intake", "question": "secret"}


def test_what_an_owner_was_shown_opens_no_other_owner() -> None:
    """Whoever breaks into materials has what notify showed it, and cannot ask intake with it."""
    client = TestClient(owner_app(KEY))
    shown = {"Authorization": f"Bearer {peer_token(KEY, 'materials')}"}
    assert client.post("/internal/v1/materials/other", json={}, headers=shown).status_code == 200
    answer = client.post("/internal/v1/intake/contact", json={"of": "zhang"}, headers=shown)
    assert (answer.status_code, answer.json()["code"]) == (401, "peer.unknown")


def test_an_owner_nobody_knows(asker: Asker) -> None:
    with pytest.raises(PeerUnavailable, match="approval"):
        asker.ask("approval", "contact", {})


def timing_out(_: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("too slow")


@pytest.mark.parametrize(
    "peer",
    [
        timing_out,
        lambda _: httpx.Response(502, text="<html>bad gateway</html>"),
        lambda _: httpx.Response(200, text="<html>log in here</html>"),
        lambda _: httpx.Response(200, json=["a list"]),
        lambda _: httpx.Response(401, json={"code": "auth.token-invalid"}),
        lambda _: httpx.Response(302, headers={"Location": "http://evil.example/"}),
    ],
)
def test_a_peer_that_does_not_answer_as_it_should(
    tmp_path: Path, peer: Callable[[httpx.Request], httpx.Response]
) -> None:
    settings = settings_in(tmp_path, peers={"intake": "http://intake"})
    asker = Asker(settings, "notify", {}, {}, transport=httpx.MockTransport(peer))
    with pytest.raises(PeerUnavailable) as caught:
        asker.ask("intake", "contact", {"of": "zhang"})
    assert caught.value.code == "peer.unavailable"
    assert caught.value.members == {"owner": "intake"}
    assert not isinstance(caught.value, PeerFailed), "asking for less would not help"


def test_a_failure_inside_the_owner_is_not_handed_on(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, peers={"intake": "http://testserver"})
    with (
        capture_logs() as lines,
        remote(settings, load_secret(settings, "notify", SERVICE_TOKEN)) as asker,
        pytest.raises(PeerFailed) as caught,
    ):
        asker.ask("intake", "contact", {"of": "broken"})
    assert "request_failed" in [line["event"] for line in lines]
    assert "secret" not in str(caught.value)


def test_another_installations_token_gets_no_answer(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, peers={"intake": "http://testserver"})
    with remote(settings, KEY) as asker, pytest.raises(PeerUnavailable):
        asker.ask("intake", "contact", {"of": "zhang"})


def test_people_cannot_ask_what_services_ask() -> None:
    client = TestClient(owner_app(KEY))
    answer = client.post("/internal/v1/intake/contact", json={"of": "zhang"})
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.required")
