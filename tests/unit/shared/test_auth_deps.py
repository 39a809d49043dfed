"""Who may come through which door, by header and by cookie."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import pytest
from fastapi import FastAPI, Form, Request, Response
from fastapi.testclient import TestClient

from shared.auth.csrf import check_same_origin
from shared.auth.deps import (
    COOKIE,
    FORMER_COOKIE,
    Asking,
    Authenticator,
    Citizen,
    Filer,
    Officer,
    Party,
    authenticator,
    csrf_token,
    visitor_of,
)
from shared.auth.key_pair import public_key_of
from shared.auth.principal import LOG_IN_KINDS, Principal, PrincipalKind
from shared.auth.signatures import PublicKeys
from shared.auth.tokens import TokenReader
from shared.http.edge import install_edge
from shared.sections import WebSettings
from tests.support.log_ins import authenticator_of, revocations_of, tokens_of

KEY = bytes(range(32))
CITIZEN = Principal(PrincipalKind.CITIZEN, "dev:zhang", UUID(int=5), session=UUID(int=1))
OFFICER = Principal(PrincipalKind.OFFICER, "dev:li", departments=("330102-ga",), session=UUID(int=2))
CLERK = Principal(
    PrincipalKind.CLERK, "clerk", UUID(int=6), organisation="91330106MA27XXXX0A", session=UUID(int=3)
)
OPERATOR = Principal(
    PrincipalKind.OPERATOR, "desk-1", channels=("window",), acting_for=UUID(int=5), session=UUID(int=4)
)
CLIENT = Principal(PrincipalKind.CLIENT, "kiosk", channels=("kiosk",), session=UUID(int=5))


def now() -> datetime:
    return datetime(2026, 11, 23, 9, tzinfo=UTC)


TOKENS = tokens_of(KEY, now)


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    web = WebSettings(cookie_secure=False, hosts=("testserver",))
    install_edge(app, web, authenticator_of(KEY, now, cookie_secure=False))

    @app.get("/who")
    async def who(asking: Asking) -> str:
        return asking.kind

    @app.get("/citizen")
    async def citizen(person: Citizen) -> str:
        return person.subject

    @app.get("/officer")
    async def officer(person: Officer) -> str:
        return person.subject

    @app.get("/filer")
    async def filer(person: Filer) -> str:
        return person.subject

    @app.get("/party")
    async def party(person: Party) -> str:
        return str(person.party)

    @app.post("/change")
    async def change(person: Citizen, text: Annotated[str, Form()]) -> str:
        return text

    @app.post("/change-json")
    async def change_json(person: Citizen) -> str:
        return person.subject

    @app.post("/open-form")
    async def open_form(request: Request) -> str:
        check_same_origin(request)
        return "ok"

    @app.get("/page")
    async def page(request: Request) -> str:
        return csrf_token(request)

    _add_sessions(app)
    return TestClient(app)


def _add_sessions(app: FastAPI) -> None:
    @app.post("/log-in")
    async def log_in(request: Request, response: Response) -> str:
        authenticator(request).log_in(request, response, CITIZEN, 60)
        return "ok"

    @app.post("/log-out")
    async def log_out(request: Request, response: Response) -> str:
        authenticator(request).log_out(request, response)
        return "ok"


def _request() -> Request:
    return Request({"type": "http", "method": "POST", "path": "/", "headers": []})


def bearer(principal: Principal) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS.issue(principal, 60)}"}


WHO_MAY = {
    "citizen": {PrincipalKind.CITIZEN},
    "officer": {PrincipalKind.OFFICER},
    "filer": {PrincipalKind.CITIZEN, PrincipalKind.OPERATOR, PrincipalKind.CLIENT},
    "party": {PrincipalKind.CITIZEN, PrincipalKind.OPERATOR},
}


def test_each_door_takes_its_kinds_only(client: TestClient) -> None:
    everybody = {who.kind: who for who in (CITIZEN, OFFICER, CLERK, OPERATOR, CLIENT)}
    assert set(everybody) == set(LOG_IN_KINDS)
    got = {
        (kind, door): client.get(f"/{door}", headers=bearer(who)).status_code
        for kind, who in everybody.items()
        for door in WHO_MAY
    }
    assert got == {(kind, door): 200 if kind in WHO_MAY[door] else 403 for kind, door in got}
    assert {client.get(f"/{door}").status_code for door in WHO_MAY} == {401}


def test_an_operator_looks_after_the_affairs_of_whom_they_serve_and_of_nobody_else(
    client: TestClient,
) -> None:
    assert client.get("/party", headers=bearer(OPERATOR)).json() == str(OPERATOR.acting_for)
    nobody = replace(OPERATOR, acting_for=None)
    for door in ("party", "filer"):
        answer = client.get(f"/{door}", headers=bearer(nobody))
        assert (answer.status_code, answer.json()["code"]) == (403, "auth.nobody-served")


def test_nobody_is_anonymous(client: TestClient) -> None:
    assert client.get("/who").json() == "anonymous"


@pytest.mark.parametrize(
    "header", ["Basic eDp5", "Bearer", "Bearer ", "Bearer nonsense", "bearer " + "0" * 64, "Bearer é"]
)
def test_a_bad_header_is_401_and_never_falls_back_to_the_cookie(client: TestClient, header: str) -> None:
    client.cookies.set(COOKIE, TOKENS.issue(CITIZEN, 60))
    answer = client.get("/who", headers={"Authorization": header.encode()})
    assert answer.status_code == 401
    assert answer.json()["code"] == "auth.token-invalid"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_an_expired_log_in_says_so(client: TestClient) -> None:
    token = tokens_of(KEY, lambda: now() - timedelta(minutes=2)).issue(CITIZEN, 60)
    answer = client.get("/who", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.token-expired")


def test_the_cookie_is_kept_from_scripts_and_other_sites(client: TestClient) -> None:
    header = client.post("/log-in").headers["set-cookie"].lower()
    assert "httponly" in header
    assert "samesite=lax" in header
    assert client.get("/citizen").json() == "dev:zhang"
    client.post("/log-out", headers={"Authorization": bearer(CITIZEN)["Authorization"]})
    assert client.get("/citizen").status_code == 401


def test_a_service_that_only_reads_log_ins_makes_none() -> None:
    reader = Authenticator(TokenReader(PublicKeys([public_key_of(KEY)]), now), revocations_of(KEY, now))
    with pytest.raises(RuntimeError, match="only intake"):
        reader.log_in(_request(), Response(), CITIZEN, 60)


class CountingReader(TokenReader):
    """Counts what costs the most of knowing somebody."""

    verified = 0

    def verify(self, token: str) -> Principal:
        self.verified += 1
        return super().verify(token)


def test_a_token_is_verified_once_a_request_however_many_look_at_it() -> None:
    reader = CountingReader(PublicKeys([public_key_of(KEY)]), now)
    app = FastAPI()
    web = WebSettings(cookie_secure=False, hosts=("testserver",))
    install_edge(app, web, Authenticator(reader, revocations_of(KEY, now), cookie_secure=False))

    @app.get("/page")
    async def page(request: Request, person: Party) -> str:
        seen = visitor_of(request)
        assert seen is not None
        return f"{person.subject} {seen.subject}"

    with TestClient(app, cookies={COOKIE: TOKENS.issue(CITIZEN, 60)}) as client:
        for times in (1, 2):
            assert client.get("/page").json() == "dev:zhang dev:zhang"
            assert reader.verified == times
        client.cookies.set(COOKIE, TOKENS.issue(OPERATOR, 60))
        assert client.get("/page").json() == "desk-1 desk-1"


def test_the_cookie_is_secure_unless_a_setting_says_otherwise() -> None:
    response = Response()
    authenticator_of(KEY, now).log_in(_request(), response, CITIZEN, 60)
    assert "secure" in response.headers["set-cookie"].lower()


def test_a_form_with_a_cookie_needs_the_hidden_field(client: TestClient) -> None:
    client.post("/log-in")
    assert client.post("/change", data={"text": "x"}).json()["code"] == "auth.csrf-failed"
    assert client.post("/change", data={"text": "x", "csrf_token": "0" * 64}).status_code == 403
    token = client.get("/page").json()
    answer = client.post("/change", data={"text": "x", "csrf_token": token})
    assert (answer.status_code, answer.json()) == (200, "x")
    parts = {"text": (None, "x"), "csrf_token": (None, token)}
    answer = client.post("/change", files=parts)
    assert answer.status_code == 200


def test_json_with_a_cookie_needs_the_header(client: TestClient) -> None:
    client.post("/log-in")
    token = client.get("/page").json()
    assert client.post("/change-json", json={}).status_code == 403
    assert client.post("/change-json", json={}, headers={"X-CSRF-Token": token}).status_code == 200


def test_another_sessions_field_is_worth_nothing(client: TestClient) -> None:
    client.cookies.set(COOKIE, TOKENS.issue(OFFICER, 60))
    foreign = client.get("/page").json()
    client.cookies.set(COOKIE, TOKENS.issue(CITIZEN, 60))
    assert client.post("/change", data={"text": "x", "csrf_token": foreign}).status_code == 403


def test_what_a_browser_keeps_of_earlier_sessions_lets_nobody_in(client: TestClient) -> None:
    client.post("/log-in")
    token = client.get("/page").json()
    client.post("/log-out", headers={"X-CSRF-Token": token})
    former = client.cookies[FORMER_COOKIE]
    assert TokenReader(PublicKeys([public_key_of(KEY)]), now).former(former).principal == replace(
        CITIZEN, session=CITIZEN.session, name=""
    )
    client.cookies.set(COOKIE, former)
    assert client.get("/citizen").status_code == 401
    assert client.get("/citizen", headers={"Authorization": f"Bearer {former}"}).status_code == 401
    assert client.post("/change", data={"text": "x", "csrf_token": token}).status_code == 401


def test_a_browser_remembers_three_sessions_and_no_forged_ones(client: TestClient) -> None:
    reader = TokenReader(PublicKeys([public_key_of(KEY)]), now)
    client.post("/log-in", headers={"Cookie": f"{FORMER_COOKIE}={TOKENS.issue(OFFICER, 60)}"})
    for _ in range(5):
        client.post("/log-in")
    kept = client.cookies[FORMER_COOKIE].split("~")
    assert [reader.former(one).principal.subject for one in kept] == [CITIZEN.subject] * 3


def test_a_bearer_needs_no_field(client: TestClient) -> None:
    assert client.post("/change", data={"text": "x"}, headers=bearer(CITIZEN)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://testserver"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_form_without_a_session_must_come_from_our_pages(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.post("/open-form", headers=headers).status_code == status
