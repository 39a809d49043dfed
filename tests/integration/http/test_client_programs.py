"""Client programs log in by what they sign, and file through their channels; nobody does it for them."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from authlib.oauth2.rfc7523 import private_key_jwt_sign
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from services.intake.identity import client_credentials
from services.intake.identity.accounts import Office, close_account, set_account
from services.intake.identity.client_keys import add_key, read_public_key, remove_key
from shared.auth.principal import PrincipalKind
from shared.bus.unit import unit_of
from tests.support.hall import Hall, application, as_named, bearer, keyed, problem

AUDIENCE = "https://hall.test/api/v1/token"
GRANT = {
    "grant_type": "client_credentials",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
}
Key = ECKey | OKPKey | RSAKey


@dataclass
class Program:
    """A client program with an account and a key that is registered."""

    hall: Hall
    name: str
    key: Key
    alg: str = "ES256"

    def claims(self, **changed: Any) -> dict[str, Any]:
        """What it says of itself."""
        said = {"iss": self.name, "sub": self.name, "aud": AUDIENCE, "jti": str(uuid4())}
        return {**said, "exp": int(time.time()) + 60, **changed}

    def signed(self, *, key: Any = None, alg: str | None = None, **changed: Any) -> str:
        """Its assertion."""
        alg = alg or self.alg
        header = {"alg": alg, **changed.pop("header", {})}
        return jwt.encode(header, self.claims(**changed), key or self.key, algorithms=[alg])

    def ask(self, assertion: str, **form: str) -> Any:
        """For a token."""
        return self.hall.client.post("/api/v1/token", data={**GRANT, "client_assertion": assertion, **form})

    def log_in(self) -> dict[str, str]:
        """Headers."""
        answer = self.ask(self.signed())
        assert answer.status_code == 200, answer.text
        return bearer(answer.json()["access_token"])


def register(hall: Hall, key: Key, alg: str = "ES256", **office: Any) -> Program:
    name = f"program-{uuid4()}"
    with unit_of(hall.installation.context("intake"), "test.register") as unit:
        set_account(unit, Office(PrincipalKind.CLIENT, name, channels=("app",), **office), "test")
        add_key(unit, name, read_public_key(json.dumps(key.as_dict(private=False)).encode()), "test")
    return Program(hall, name, key, alg)


@pytest.fixture
def program(hall: Hall) -> Program:
    return register(hall, ECKey.generate_key("P-256"))


@pytest.mark.parametrize(
    ("make", "alg"),
    [
        (lambda: ECKey.generate_key("P-256"), "ES256"),
        (lambda: OKPKey.generate_key("Ed25519"), "Ed25519"),
        (lambda: RSAKey.generate_key(2048), "PS256"),
        (lambda: RSAKey.generate_key(2048), "RS256"),
    ],
    ids=["ES256", "Ed25519", "PS256", "RS256"],
)
def test_a_program_logs_in_and_files(hall: Hall, make: Callable[[], Key], alg: str) -> None:
    program = register(hall, make(), alg)
    answer = program.ask(program.signed(), client_id=program.name, scope="app")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    token = answer.json()
    assert (token["token_type"], token["expires_in"], token["scope"]) == ("Bearer", 900, "app")
    who, _ = hall.citizen()
    headers = bearer(token["access_token"])
    assert hall.apply(headers, {**application(who), "channel": "app"}).status_code == 201
    elsewhere = hall.apply(headers, {**application(who), "channel": "counter"})
    assert problem(elsewhere) == (403, "case.not-yours-to-file")
    # It is nobody's party: it reads no case and no contact.
    assert hall.client.get("/api/v1/cases", headers=headers).status_code == 403
    session = hall.installation.rows(
        "SELECT provider, ended_at, extract(epoch FROM expires_at - began_at) AS lasts FROM intake.sessions "
        "WHERE kind = 'client' AND subject = :s",
        s=program.name,
    )
    assert [tuple(row) for row in session] == [("client_credentials", None, 900)]


def test_what_a_foreign_library_signs_is_taken(hall: Hall) -> None:
    program = register(hall, RSAKey.generate_key(2048))
    signed = private_key_jwt_sign(program.key, program.name, AUDIENCE, alg="RS256")
    assert program.ask(signed).status_code == 200


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def by_hand(program: Program, alg: str, sign: Callable[[bytes], bytes]) -> str:
    """What no library of ours would sign so."""
    said = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": alg}, program.claims()))
    return f"{said}.{encoded(sign(said.encode()))}"


def by_public_key(program: Program) -> str:
    """As if the key that everybody may know were a secret that we share."""
    known = program.key.as_pem(private=False)
    return by_hand(program, "HS256", lambda said: hmac.digest(known, said, "sha256"))


WRONG: dict[str, Callable[[Program], str]] = {
    "another key": lambda p: p.signed(key=ECKey.generate_key("P-256")),
    "a key in the header": lambda p: p.signed(
        key=(k := ECKey.generate_key("P-256")), header={"jwk": k.as_dict(private=False)}
    ),
    "the public key as a secret": by_public_key,
    "unsigned": lambda p: by_hand(p, "none", lambda _: b""),
    "another program": lambda p: p.signed(iss="somebody-else", sub="somebody-else"),
    "for another program": lambda p: p.signed(sub="somebody-else"),
    "for another hall": lambda p: p.signed(aud="https://evil.example/api/v1/token"),
    "for nobody": lambda p: p.signed(aud=None),
    "too old": lambda p: p.signed(exp=int(time.time()) - 31),
    "without an end": lambda p: p.signed(exp=None),
    "for a year": lambda p: p.signed(exp=int(time.time()) + 365 * 86400),
    "without a name": lambda p: p.signed(jti=None),
    "a name that is none": lambda p: p.signed(jti=["x"]),
    "a name that nothing can store": lambda p: p.signed(jti="a\x00b"),
    "an issuer that nobody can have": lambda p: p.signed(iss="a\x00b"),
    "not yet": lambda p: p.signed(nbf=int(time.time()) + 120),
    "no token": lambda p: "x.y.z",
    "nested": lambda p: "e30." + base64.urlsafe_b64encode(b"[" * 2500).decode() + ".e30",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_everything_else_is_refused_alike(program: Program, wrong: str) -> None:
    answer = program.ask(WRONG[wrong](program))
    assert problem(answer) == (401, "auth.client-refused")
    assert answer.json()["error"] == "invalid_client"
    assert "detail" not in answer.json() or not answer.json()["detail"]


def test_a_statement_is_taken_once(program: Program) -> None:
    assertion = program.signed()
    assert program.ask(assertion).status_code == 200
    assert problem(program.ask(assertion)) == (401, "auth.client-refused")


def test_another_name_than_the_one_that_signed_is_refused(program: Program) -> None:
    assert problem(program.ask(program.signed(), client_id="other")) == (401, "auth.client-refused")


@pytest.mark.parametrize(
    ("form", "code", "error"),
    [
        ({"grant_type": "password"}, "auth.grant-unsupported", "unsupported_grant_type"),
        ({"client_assertion_type": "x"}, "auth.grant-unsupported", "unsupported_grant_type"),
        ({"scope": "app counter"}, "auth.scope-not-granted", "invalid_scope"),
    ],
)
def test_what_is_not_granted_says_so(program: Program, form: dict[str, str], code: str, error: str) -> None:
    answer = program.ask(program.signed(), **form)
    assert problem(answer) == (400, code)
    assert answer.json()["error"] == error


def renewed(hall: Hall) -> None:
    """What every process does each half minute."""
    app = hall.client.app
    assert isinstance(app, FastAPI)
    app.state.revocations.renew()


def leave(unit: Any, program: Program) -> None:
    close_account(unit, PrincipalKind.CLIENT, program.name, "test")


def lose_its_key(unit: Any, program: Program) -> None:
    remove_key(unit, program.name, program.key.thumbprint(), "test")


@pytest.mark.parametrize("end", [leave, lose_its_key])
def test_a_program_that_leaves_or_loses_its_key_is_out(
    program: Program, end: Callable[[Any, Program], None]
) -> None:
    headers, hall = program.log_in(), program.hall
    who, _ = hall.citizen()
    sent = {**application(who), "channel": "app"}
    with unit_of(hall.installation.context("intake"), "test.end") as unit:
        end(unit, program)
    renewed(hall)
    assert problem(hall.apply(headers, sent)) == (401, "auth.session-ended")
    assert problem(program.ask(program.signed())) == (401, "auth.client-refused")


def test_a_key_that_is_removed_meanwhile_opens_nothing(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = client_credentials._claims

    def then_remove(*given: Any) -> Any:
        found = checked(*given)
        with unit_of(program.hall.installation.context("intake"), "test.remove") as unit:
            lose_its_key(unit, program)
        return found

    monkeypatch.setattr(client_credentials, "_claims", then_remove)
    assert problem(program.ask(program.signed())) == (401, "auth.client-refused")


def test_a_program_has_a_limit_of_its_own(hall: Hall) -> None:
    program = register(hall, ECKey.generate_key("P-256"), filings_a_day=2)
    headers = program.log_in()
    sent = [
        hall.apply(headers, {**application(hall.citizen()[0]), "channel": "app"}).status_code
        for _ in range(3)
    ]
    assert sent == [201, 201, 429]


def test_a_token_of_a_program_reads_nothing_of_anybody(program: Program) -> None:
    headers = program.log_in()
    who, own = program.hall.citizen()
    number = program.hall.apply(own, application(who)).json()["number"]
    for path in (f"/api/v1/cases/{number}", "/api/v1/contacts", "/api/v1/messages", "/api/v1/tasks"):
        assert program.hall.client.get(path, headers=keyed(headers)).status_code == 403, path
    assert as_named(who)["name"]
