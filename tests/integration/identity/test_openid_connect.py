"""Log-in at a foreign OpenID provider: in by its word only, and out by its word."""

import json
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from deploy.postgres import PostgresServer
from deploy.processes import free_port, spawn
from deploy.services import SERVICES
from deploy.web import build
from services.intake.identity.accounts import Office, set_account
from shared.auth.deps import COOKIE
from shared.auth.principal import PrincipalKind
from shared.bus.unit import unit_of
from shared.settings import Settings, SettingsError
from tests.support.commands import row, rows
from tests.support.hall import problem
from tests.support.installation import ROOT, Installation, Worker, id_number, make_installation, wait_for

HALL = "http://hall.test"
PATH = "/log-in/openid-connect"
FLOW = "onestop_log_in"
"""The cookie of a log-in under way."""
WHO = {"name": "林小满", "id_number": id_number(77)}
SERIALS = count(910_001)


@dataclass
class Foreign:
    """The provider, from outside."""

    issuer: str
    http: httpx.Client
    process: Worker

    def client(self, people: str) -> dict[str, str]:
        """Register the hall; what the provider calls it."""
        redirect = f"{HALL}{PATH}/{people}/return"
        made = self.http.post("/oauth2/clients", json={"redirect_uris": [redirect]})
        assert made.status_code == 201, made.text
        found: dict[str, str] = made.json()
        return found

    def user(self, sub: str, **claims: str | bool) -> None:
        assert self.http.put(f"/users/{sub}", json=claims).status_code == 204

    def new_key(self) -> None:
        assert self.http.post("/test/new-key").status_code == 200

    def logout_token(self, **changed: Any) -> str:
        return self.http.post("/test/logout-token", json=changed).text

    def authorize(self, url: str, sub: str) -> str:
        """Somebody proves who they are there; where the browser is sent back to."""
        answer = self.http.post(url, data={"sub": sub})
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    port = free_port()
    log = tmp_path_factory.mktemp("openid") / "provider.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "tests.support.openid_main", str(port)]
        process = Worker(spawn(command, output=output.fileno(), cwd=ROOT), log)
    issuer = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=issuer, trust_env=False) as client:

        def is_up() -> bool:
            try:
                return client.get("/.well-known/openid-configuration").status_code == 200
            except httpx.HTTPError:
                return False

        wait_for(is_up, f"the provider; see {log}", 30)
        yield Foreign(issuer, client, process)
    process.kill()


@dataclass
class Hall:
    """The hall with that provider for citizens and for officers."""

    installation: Installation
    browser: TestClient
    foreign: Foreign
    clients: dict[str, str]
    secrets: dict[str, str]

    def begin(self, people: str = "citizens") -> str:
        answer = self.browser.get(f"{PATH}/{people}", follow_redirects=False)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    def come_back(self, url: str) -> httpx.Response:
        assert url.startswith(HALL), url
        answer: httpx.Response = self.browser.get(url, follow_redirects=False)
        return answer

    def log_in(self, sub: str, people: str = "citizens") -> httpx.Response:
        return self.come_back(self.foreign.authorize(self.begin(people), sub))

    def tell(self, token: str, people: str = "citizens") -> httpx.Response:
        answer: httpx.Response = self.browser.post(f"{PATH}/{people}/log-out", data={"logout_token": token})
        return answer


@pytest.fixture(scope="module")
def made(
    postgres: PostgresServer, template_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    with make_installation(
        postgres, template_settings, tmp_path_factory.mktemp("openid-hall"), None
    ) as installation:
        yield installation


@pytest.fixture(scope="module")
def one_hall(made: Installation, foreign: Foreign) -> Iterator[Hall]:
    given: dict[str, SecretStr] = {"public_url": SecretStr(HALL)}
    clients: dict[str, str] = {}
    secrets: dict[str, str] = {}
    for people in ("citizens", "officers"):
        client = foreign.client(people)
        clients[people] = client["client_id"]
        secrets[people] = client["client_secret"]
        given |= {
            f"{people}__scope": SecretStr("openid profile email phone"),
            f"{people}__issuer": SecretStr(foreign.issuer),
            f"{people}__client_id": SecretStr(client["client_id"]),
            f"{people}__client_secret": SecretStr(client["client_secret"]),
        }
    web = made.settings.web.model_copy(update={"cookie_secure": False})
    settings = made.settings.model_copy(update={"identity": {"openid_connect": given}, "web": web})
    with TestClient(build(settings, SERVICES).public, HALL, raise_server_exceptions=False) as browser:
        yield Hall(made, browser, foreign, clients, secrets)


@pytest.fixture
def hall(one_hall: Hall) -> Hall:
    """With a browser that nobody has used."""
    one_hall.browser.cookies.clear()
    return one_hall


def test_a_citizen_comes_in_verified_and_known_again(hall: Hall) -> None:
    hall.foreign.user("lin", **WHO)
    people = set()
    for _ in range(2):
        answer = hall.log_in("lin")
        assert (answer.status_code, answer.headers["location"]) == (303, "/cases")
        assert hall.browser.get("/api/v1/cases").status_code == 200
        page = hall.browser.get("/cases")
        assert WHO["name"] in page.text
        people.add(
            hall.installation.value("SELECT person_ref FROM intake.sessions ORDER BY began_at DESC LIMIT 1")
        )
    [person] = people
    session = rows(hall.installation, "intake.sessions", person_ref=person)[0]
    assert (session.provider, session.assurance, session.kind) == (
        "openid_connect.citizens",
        "verified",
        "citizen",
    )
    assert row(hall.installation, "intake.persons", person_ref=person).name_assurance == "verified"


@pytest.mark.parametrize(
    ("claims", "kinds"),
    [
        ({"phone_number": "+86 138 0013 8077", "phone_number_verified": True}, ["phone"]),
        ({"phone_number": "13800138077", "phone_number_verified": False}, []),
        ({"phone_number": "13800138077", "phone_number_verified": "true"}, []),
        ({"phone_number": "13800138077"}, []),
        ({"phone_number": "0571 8765 4321", "phone_number_verified": True}, []),
        ({"email": "lin@mail.example.org", "email_verified": True}, ["email"]),
    ],
)
def test_a_contact_comes_with_the_log_in_where_the_provider_verified_it(
    hall: Hall, claims: dict[str, str | bool], kinds: list[str]
) -> None:
    number = id_number(next(SERIALS))
    hall.foreign.user(number, name="林大满", id_number=number, **claims)
    hall.log_in(number)
    known = hall.installation.rows(
        "SELECT c.kind, c.source, c.assurance FROM intake.contact_points AS c JOIN intake.sessions AS s "
        "ON s.person_ref = c.person_ref AND s.began_at = (SELECT max(began_at) FROM intake.sessions)"
    )
    assert [tuple(point) for point in known] == [(kind, "openid_connect", "verified") for kind in kinds]


def test_an_officer_comes_in_by_their_account_only(hall: Hall) -> None:
    hall.foreign.user("o-1", name="王工")
    assert problem_of_page(hall.log_in("o-1", "officers")) == 403
    assert COOKIE not in hall.browser.cookies
    office = Office(PrincipalKind.OFFICER, "o-1", departments=("xihu-police",))
    with unit_of(hall.installation.context("intake"), "test.account") as unit:
        set_account(unit, office, "an administrator")
    assert hall.log_in("o-1", "officers").headers["location"] == "/desk"
    assert hall.browser.get("/api/v1/tasks").status_code == 200


def test_the_log_in_page_leads_to_both(hall: Hall) -> None:
    page = hall.browser.get("/login").text
    for people in ("citizens", "officers"):
        assert f'href="{PATH}/{people}"' in page


@pytest.mark.parametrize("claims", [{}, {"name": "林小满"}, {"name": "林小满", "id_number": "123"}])
def test_without_a_verified_name_and_number_nobody_becomes_known(hall: Hall, claims: dict[str, str]) -> None:
    hall.foreign.user("nobody", **claims)
    before = hall.installation.value("SELECT count(*) FROM intake.persons")
    assert problem_of_page(hall.log_in("nobody")) == 403
    assert hall.installation.value("SELECT count(*) FROM intake.persons") == before


def test_pkce_state_and_nonce_are_sent_and_new_each_time(hall: Hall) -> None:
    first, second = (parse_qs(urlsplit(hall.begin()).query) for _ in range(2))
    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name]
        assert len(first[name][0]) >= 43
    assert first["code_challenge_method"] == ["S256"]
    assert first["redirect_uri"] == [f"{HALL}{PATH}/citizens/return"]


def _with(url: str, **changed: str | None) -> str:
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changed
    return f"{HALL}{parts.path}?{urlencode({name: v for name, v in query.items() if v is not None})}"


REFUSED: dict[str, dict[str, str | None]] = {
    "another state": {"state": "x" * 48},
    "no state": {"state": None},
    "no code": {"code": None},
    "another code": {"code": "x"},
    "refused there": {"code": None, "error": "access_denied"},
    "another provider's answer": {"iss": "https://evil.example"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_did_not_come_of_our_own_beginning_is_refused(hall: Hall, name: str) -> None:
    hall.foreign.user("lin", **WHO)
    back = _with(hall.foreign.authorize(hall.begin(), "lin"), **REFUSED[name])
    assert problem_of_page(hall.come_back(back)) == 401
    assert COOKIE not in hall.browser.cookies


def test_somebody_elses_return_is_worth_nothing_in_another_browser(hall: Hall) -> None:
    """Whoever sends a victim their own return link does not log them in as themselves."""
    hall.foreign.user("lin", **WHO)
    back = hall.foreign.authorize(hall.begin(), "lin")
    hall.browser.cookies.clear()
    assert problem_of_page(hall.come_back(back)) == 401
    hall.begin()
    assert problem_of_page(hall.come_back(back)) == 401


def test_a_code_is_good_once_and_only_with_its_verifier(hall: Hall) -> None:
    hall.foreign.user("lin", **WHO)
    back = hall.foreign.authorize(hall.begin(), "lin")
    flow = hall.browser.cookies[FLOW].strip('"')
    assert hall.come_back(back).status_code == 303
    hall.browser.cookies.clear()
    hall.browser.cookies.set(FLOW, flow, path=PATH)
    assert problem_of_page(hall.come_back(back)) == 401
    hall.browser.cookies.clear()
    back = hall.foreign.authorize(hall.begin(), "lin")
    code = parse_qs(urlsplit(back).query)["code"][0]
    # The state of another beginning, with this code: its verifier does not fit.
    state = parse_qs(urlsplit(hall.begin()).query)["state"][0]
    assert problem_of_page(hall.come_back(_with(back, state=state, code=code))) == 401


@pytest.mark.parametrize(
    "changed",
    [{"nonce": "x" * 48}, {"state": "\ud800"}, "nested"],
    ids=["nonce", "half a character", "nested"],
)
def test_a_flow_that_the_browser_changed_leads_nowhere(hall: Hall, changed: Any) -> None:
    hall.foreign.user("lin", **WHO)
    back = hall.foreign.authorize(hall.begin(), "lin")
    flow = json.loads(urlsafe_b64decode(hall.browser.cookies[FLOW].strip('"')))
    written = "[" * 20_000 if changed == "nested" else json.dumps(flow | changed)
    hall.browser.cookies.clear()
    hall.browser.cookies.set(FLOW, urlsafe_b64encode(written.encode()).decode(), path=PATH)
    assert problem_of_page(hall.come_back(back)) == 401


def test_the_foreign_provider_does_insist_on_the_verifier(hall: Hall) -> None:
    """Else the tests before would prove nothing."""
    hall.foreign.user("lin", **WHO)
    back = parse_qs(urlsplit(hall.foreign.authorize(hall.begin(), "lin")).query)
    sent = {
        "grant_type": "authorization_code",
        "code": back["code"][0],
        "redirect_uri": f"{HALL}{PATH}/citizens/return",
    }
    for verifier in ({}, {"code_verifier": "x" * 64}):
        answer = hall.foreign.http.post(
            "/oauth2/token", data=sent | verifier, auth=(hall.clients["citizens"], hall.secrets["citizens"])
        )
        assert answer.status_code == 400, answer.text


def test_the_providers_new_key_is_found(hall: Hall) -> None:
    hall.foreign.user("lin", **WHO)
    assert hall.log_in("lin").status_code == 303
    hall.foreign.new_key()
    assert hall.log_in("lin").status_code == 303


@pytest.mark.parametrize("people", ["citizens", "officers"])
def test_who_is_logged_out_there_is_logged_out_here(hall: Hall, people: str) -> None:
    hall.foreign.user("lin", **WHO)
    assert hall.log_in("lin").status_code == 303
    assert hall.browser.get("/api/v1/cases").status_code == 200
    answer = hall.tell(hall.foreign.logout_token(aud=hall.clients[people], sub="lin"), people)
    assert answer.status_code == 200
    expected = (401, "auth.session-ended") if people == "citizens" else (200, "")
    after = hall.browser.get("/api/v1/cases")
    assert (after.status_code, after.json().get("code", "")) == expected


WRONG: dict[str, dict[str, Any]] = {
    "for another client": {"aud": "somebody-else"},
    "by another issuer": {"iss": "https://evil.example"},
    "about nobody": {"sub": None},
    "with a nonce, so an ID token": {"nonce": "x"},
    "without the event": {"events": {}},
    "without a number": {"jti": None},
    "expired": {"exp": 1_700_000_000},
    "without a time": {"iat": None},
    "about a number": {"sub": 7},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_log_out_of_ours_ends_nothing(hall: Hall, name: str) -> None:
    hall.foreign.user("lin", **WHO)
    assert hall.log_in("lin").status_code == 303
    claims = {"aud": hall.clients["citizens"], "sub": "lin", **WRONG[name]}
    assert problem(hall.tell(hall.foreign.logout_token(**claims))) == (400, "request.malformed")
    assert hall.browser.get("/api/v1/cases").status_code == 200


def test_a_log_out_signed_by_anybody_ends_nothing(hall: Hall) -> None:
    token = hall.foreign.logout_token(aud=hall.clients["citizens"], sub="lin")
    head, payload, _ = token.split(".")
    for forged in ("", "x", f"{head}.{payload}.", f"{head}.{payload}.AAAA", "[" * 5000):
        assert problem(hall.tell(forged))[0] in (400, 422)


def test_while_the_provider_is_away_a_log_in_says_so(hall: Hall) -> None:
    hall.foreign.user("lin", **WHO)
    back = hall.foreign.authorize(hall.begin(), "lin")
    hall.foreign.process.process.send_signal(19)
    try:
        answer = hall.come_back(back)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
    finally:
        hall.foreign.process.process.send_signal(18)


def test_in_production_a_provider_has_tls(made: Installation) -> None:
    given = {
        "public_url": HALL,
        "citizens__issuer": "http://login.example.org",
        "citizens__client_id": "hall",
        "citizens__client_secret": "s",
    }
    settings = made.settings.model_copy(
        update={
            "environment": "production",
            "identity": {"openid_connect": {name: SecretStr(value) for name, value in given.items()}},
        }
    )
    with pytest.raises(SettingsError, match="CITIZENS__ISSUER"):
        build(settings, ["intake"])


def problem_of_page(answer: httpx.Response) -> int:
    """The status of a refusal."""
    assert COOKIE not in answer.headers.get("set-cookie", "")
    return answer.status_code
