"""A question has the same answer from the next room and from the next process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from shared.ask import Asker, PeerUnavailable
from shared.auth.deps import Authenticator
from shared.auth.tokens import Tokens
from shared.errors import FieldError, Invalid, NotFound, Unavailable
from shared.http.edge import install_edge
from shared.http.internal import internal_router
from shared.privacy.secret_files import SERVICE_TOKEN, init_secrets, load_secret
from shared.settings import DbSettings, Settings, WebSettings
from shared.tracing import current_traceparent, trace_id_of, tracing

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


ANSWERS = {"contact": contact}


def settings_in(directory: Path, **values: Any) -> Settings:
    init_secrets(directory)
    return Settings(db=DbSettings(host="/x"), secrets_dir=directory, **values)


def owner_app(service_token: bytes) -> FastAPI:
    app = FastAPI()

    def now() -> datetime:
        return datetime(2026, 11, 23, 9, tzinfo=UTC)

    authenticator = Authenticator(Tokens(KEY, now), session_key=KEY, service_token=service_token)
    install_edge(app, WebSettings(), authenticator)
    app.include_router(internal_router(ANSWERS))
    app.include_router(internal_router({"other": lambda params: params}))
    return app


@contextmanager
def remote(settings: Settings, service_token: bytes) -> Iterator[Asker]:
    """An Asker whose peer is a real app."""
    client = TestClient(owner_app(service_token), raise_server_exceptions=False)

    def hand_over(asked: httpx.Request) -> httpx.Response:
        answer = client.request(
            asked.method, str(asked.url), content=asked.content, headers=dict(asked.headers)
        )
        return httpx.Response(answer.status_code, content=answer.content, headers=dict(answer.headers))

    asker = Asker(settings, {}, transport=httpx.MockTransport(hand_over))
    yield asker
    asker.close()


@pytest.fixture(params=["here", "elsewhere"])
def asker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Asker]:
    if request.param == "here":
        asker = Asker(settings_in(tmp_path), {"intake": {**ANSWERS, "other": lambda params: params}})
        yield asker
        asker.close()
        return
    settings = settings_in(tmp_path, peers={"intake": "http://testserver/"})
    with remote(settings, load_secret(settings, SERVICE_TOKEN)) as asker:
        yield asker


def test_an_answer_comes_back_in_the_same_trace(asker: Asker) -> None:
    with tracing(PARENT):
        answer = asker.ask("intake", "contact", {"of": "zhang"})
    assert answer == {"phone": "13800138000", "trace": trace_id_of(PARENT)}


def test_two_services_of_one_app_answer_their_own_questions(asker: Asker) -> None:
    assert asker.ask("intake", "other", {"a": [1, None, "张"]}) == {"a": [1, None, "张"]}


def test_what_is_no_json_is_refused_at_once(asker: Asker) -> None:
    with pytest.raises(TypeError):
        asker.ask("intake", "other", {"a": uuid4()})


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
    with pytest.raises(PeerUnavailable) as caught:
        asker.ask("intake", "nothing", {})
    assert "intake" in caught.value.detail_en
    assert caught.value.status == 503


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
    asker = Asker(settings, {}, transport=httpx.MockTransport(peer))
    with pytest.raises(PeerUnavailable) as caught:
        asker.ask("intake", "contact", {"of": "zhang"})
    assert caught.value.code == "peer.unavailable"
    assert caught.value.members == {"owner": "intake"}


def test_a_failure_inside_the_owner_is_not_handed_on(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, peers={"intake": "http://testserver"})
    with (
        capture_logs() as lines,
        remote(settings, load_secret(settings, SERVICE_TOKEN)) as asker,
        pytest.raises(PeerUnavailable) as caught,
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
    answer = client.post("/internal/v1/contact", json={"of": "zhang"})
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.required")
