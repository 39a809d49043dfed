"""Who may come through which door, by header and by cookie."""

from datetime import UTC, datetime
from typing import Annotated

import pytest
from fastapi import FastAPI, Form, Request, Response
from fastapi.testclient import TestClient

from shared.auth.csrf import check_same_origin
from shared.auth.deps import (
    COOKIE,
    Asking,
    Authenticator,
    Citizen,
    Officer,
    authenticator,
    csrf_token,
)
from shared.auth.identity import DevIdentity, DevPerson, NoSuchLogIn
from shared.auth.principal import Principal, PrincipalKind
from shared.auth.tokens import TokenReader, Tokens, public_key_of
from shared.http.edge import install_edge
from shared.settings import DbSettings, Settings, WebSettings

KEY = bytes(range(32))
CITIZEN = Principal(PrincipalKind.CITIZEN, "dev:zhang")
OFFICER = Principal(PrincipalKind.OFFICER, "dev:li", departments=("330102-ga",))


def now() -> datetime:
    return datetime(2026, 11, 23, 9, tzinfo=UTC)


TOKENS = Tokens(KEY, now)


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    web = WebSettings(cookie_secure=False, hosts=("testserver",))
    install_edge(app, web, Authenticator(TOKENS, cookie_secure=False))

    @app.get("/who")
    async def who(asking: Asking) -> str:
        return asking.kind

    @app.get("/citizen")
    async def citizen(person: Citizen) -> str:
        return person.subject

    @app.get("/officer")
    async def officer(person: Officer) -> str:
        return person.subject

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
        authenticator(request).log_in(response, CITIZEN, 60)
        return "ok"

    @app.post("/log-out")
    async def log_out(request: Request, response: Response) -> str:
        authenticator(request).log_out(response)
        return "ok"


def bearer(principal: Principal) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS.issue(principal, 60)}"}


def test_each_door_takes_its_kind_only(client: TestClient) -> None:
    keys = {"citizen": bearer(CITIZEN), "officer": bearer(OFFICER), "nobody": {}}
    got = {
        (who, door): client.get(f"/{door}", headers=keys[who]).status_code
        for who in keys
        for door in ("citizen", "officer")
    }
    expected = {(who, door): 200 if who == door else 401 if who == "nobody" else 403 for who, door in got}
    assert got == expected


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
    answer = client.get("/who", headers={"Authorization": f"Bearer {TOKENS.issue(CITIZEN, -60)}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.token-expired")


def test_the_cookie_is_kept_from_scripts_and_other_sites(client: TestClient) -> None:
    header = client.post("/log-in").headers["set-cookie"].lower()
    assert "httponly" in header
    assert "samesite=lax" in header
    assert client.get("/citizen").json() == "dev:zhang"
    client.post("/log-out", headers={"Authorization": bearer(CITIZEN)["Authorization"]})
    assert client.get("/citizen").status_code == 401


def test_a_service_that_only_reads_log_ins_makes_none() -> None:
    reader = Authenticator(TokenReader(public_key_of(KEY), now))
    with pytest.raises(RuntimeError, match="only intake"):
        reader.log_in(Response(), CITIZEN, 60)


def test_the_cookie_is_secure_unless_a_setting_says_otherwise() -> None:
    response = Response()
    Authenticator(TOKENS).log_in(response, CITIZEN, 60)
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


def dev_identity(on: bool) -> DevIdentity:
    settings = Settings(db=DbSettings(host="/x"), secrets_dir="/x", environment="demo", dev_identity=on)
    return DevIdentity(settings, [DevPerson("zhang", CITIZEN, "申请人", "applicant")])


def test_the_development_log_in_knows_its_list() -> None:
    assert dev_identity(on=True).choose("zhang") == CITIZEN
    assert [person.key for person in dev_identity(on=True).people()] == ["zhang"]
    with pytest.raises(NoSuchLogIn):
        dev_identity(on=True).choose("li")


def test_the_development_log_in_is_not_there_when_off() -> None:
    with pytest.raises(NoSuchLogIn):
        dev_identity(on=False).choose("zhang")
    with pytest.raises(NoSuchLogIn):
        dev_identity(on=False).people()
