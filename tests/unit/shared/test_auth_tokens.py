"""Only our own tokens, in their time, for us."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import OctKey, OKPKey, RSAKey

from shared.auth.key_pair import public_key_of
from shared.auth.principal import ANONYMOUS, LOG_IN_KINDS, Assurance, Principal, PrincipalKind
from shared.auth.signatures import PublicKeys, SigningKey, key_id
from shared.auth.tokens import LONGEST_SESSION, TokenExpired, TokenInvalid, TokenReader, Tokens
from tests.support.log_ins import tokens_of

KEY = bytes(range(32))
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
ONE, OTHER = UUID(int=5), UUID(int=6)
SESSION = UUID(int=1)
CITIZEN = Principal(PrincipalKind.CITIZEN, "dev:zhang", ONE, (), "张三", session=SESSION)
OFFICER = Principal(
    PrincipalKind.OFFICER,
    "dev:li",
    ONE,
    ("330102-ga",),
    "李四",
    supervises=("330102-ga",),
    rights_version=7,
    provider="openid_connect",
    session=SESSION,
)
CLERK = Principal(
    PrincipalKind.CLERK, "clerk", ONE, (), "王五", organisation="91330106MA27XXXX0A", session=SESSION
)
OPERATOR = Principal(
    PrincipalKind.OPERATOR, "desk-1", ONE, channels=("counter",), acting_for=OTHER, session=SESSION
)
CLIENT = Principal(
    PrincipalKind.CLIENT, "kiosk", channels=("kiosk",), assurance=Assurance.REACHED, session=SESSION
)


class Clock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    return tokens_of(KEY, clock)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(NOW.timestamp())
    good: dict[str, Any] = {
        "iss": "onestop",
        "aud": "onestop",
        "sid": str(SESSION),
        "sub": "x",
        "kind": "citizen",
        "idp": "test",
        "assurance": "verified",
        "person_ref": str(ONE),
        "acting_for": None,
        "organisation": None,
        "departments": [],
        "supervises": [],
        "channels": [],
        "rights": 0,
        "name": "",
        "iat": now,
        "exp": now + 60,
    }
    return {name: value for name, value in {**good, **changes}.items() if value != "absent"}


def ed25519(seed: bytes = KEY) -> OKPKey:
    return OKPKey.import_key(Ed25519PrivateKey.from_private_bytes(seed))


def header(algorithm: str = "Ed25519", **changes: Any) -> dict[str, Any]:
    good = {"alg": algorithm, "kid": key_id(public_key_of(KEY)), "typ": "session+jwt"}
    return {name: value for name, value in {**good, **changes}.items() if value != "absent"}


def signed(algorithm: str = "Ed25519", key: Any = None, **changes: Any) -> str:
    return jwt.encode(header(algorithm), claims(**changes), key or ed25519(), algorithms=[algorithm])


def signed_bytes(payload: bytes, **header_changes: Any) -> str:
    return jws.serialize_compact(header(**header_changes), payload, ed25519(), algorithms=["Ed25519"])


def unsigned(**header: Any) -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims()).encode(), b""]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize("kind", LOG_IN_KINDS)
def test_a_principal_comes_back_whole(tokens: Tokens, kind: PrincipalKind) -> None:
    (principal,) = (who for who in (CITIZEN, OFFICER, CLERK, OPERATOR, CLIENT) if who.kind is kind)
    assert tokens.verify(tokens.issue(principal, 60)) == principal


def test_the_forged_claims_are_good_but_for_what_is_changed(tokens: Tokens) -> None:
    assert tokens.verify(signed()).subject == "x"


def test_a_token_ends_with_its_time(tokens: Tokens, clock: Clock) -> None:
    token = tokens.issue(CITIZEN, 60)
    clock.now += timedelta(seconds=59)
    tokens.verify(token)
    clock.now += timedelta(seconds=7)
    with pytest.raises(TokenExpired) as caught:
        tokens.verify(token)
    assert caught.value.code == "auth.token-expired"


@pytest.mark.parametrize(
    "forged",
    [
        {"aud": "another"},
        {"aud": "absent"},
        {"iss": "another"},
        {"iss": "absent"},
        {"sub": "absent"},
        {"kind": "service"},
        {"kind": "admin"},
        {"kind": "absent"},
        {"exp": "absent"},
        {"exp": "tomorrow"},
        {"nbf": int(NOW.timestamp()) + 60},
        {"iat": int(NOW.timestamp()) + 60},
        {"iat": int(NOW.timestamp()) + 60, "exp": int(NOW.timestamp()) + 120},
        {"exp": int(NOW.timestamp())},
        {"exp": int(NOW.timestamp()) + int(LONGEST_SESSION.total_seconds()) + 1},
        {"exp": 99_999_999_999},
        {"exp": 10**30},
        {"exp": float(NOW.timestamp()) + 60.5},
        {"exp": str(int(NOW.timestamp()) + 60)},
        {"iat": 0},
        {"person_ref": "not-a-uuid"},
        {"person_ref": 5},
        {"sid": "absent"},
        {"sid": None},
        {"departments": None},
        {"departments": "absent"},
        {"departments": [["nested"]]},
        {"name": {"nested": {}}},
        {"rights": "1"},
        {"rights": True},
        {"assurance": "certain"},
        {"extra": 1},
        # What no kind of principal can be.
        {"person_ref": None},
        {"acting_for": str(OTHER)},
        {"organisation": "91330106MA27XXXX0A"},
        {"departments": ["330102-ga"]},
        {"kind": "clerk"},
        {"kind": "anonymous"},
        {"kind": "officer", "acting_for": str(OTHER)},
        {"kind": "client", "supervises": ["330102-ga"]},
    ],
)
def test_other_claims_are_refused(tokens: Tokens, forged: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(signed(**forged))


@pytest.mark.parametrize(
    "payload", [b"[" * 1900 + b"]" * 900, b'{"a":' * 500 + b"1" + b"}" * 500, b"\xff", b"7", b"null", b""]
)
def test_a_signed_payload_of_another_shape_is_refused(tokens: Tokens, payload: bytes) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(signed_bytes(payload))


@pytest.mark.parametrize(
    "changed",
    [
        {"typ": "revocations+json"},
        {"typ": "JWT"},
        {"typ": "absent"},
        {"kid": "absent"},
        {"kid": "another"},
        {"kid": 7},
        {"crit": ["b64"], "b64": False},
    ],
)
def test_what_was_signed_for_something_else_is_refused(tokens: Tokens, changed: dict[str, Any]) -> None:
    good = json.dumps(claims()).encode()
    assert tokens.verify(signed_bytes(good)).subject == "x"
    forged = {**header(), **changed}
    parts = [json.dumps({k: v for k, v in forged.items() if v != "absent"}).encode(), good]
    told = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    signature = Ed25519PrivateKey.from_private_bytes(KEY).sign(told.encode())
    with pytest.raises(TokenInvalid):
        tokens.verify(f"{told}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}")


def test_two_keys_are_good_while_one_takes_the_place_of_the_other(clock: Clock) -> None:
    new, old = bytes([7] * 32), KEY
    both = PublicKeys([public_key_of(new), public_key_of(old)])
    reader = TokenReader(both, clock)
    for key in (old, new):
        assert reader.verify(Tokens(SigningKey(key), both, clock).issue(CITIZEN, 60)) == CITIZEN
    only_new = TokenReader(PublicKeys([public_key_of(new)]), clock)
    with pytest.raises(TokenInvalid):
        only_new.verify(tokens_of(old, clock).issue(CITIZEN, 60))


def test_nothing_is_issued_for_longer_than_is_believed(tokens: Tokens) -> None:
    longest = int(LONGEST_SESSION.total_seconds())
    assert tokens.verify(tokens.issue(CITIZEN, longest)) == CITIZEN
    with pytest.raises(ValueError, match="so long"):
        tokens.issue(CITIZEN, longest + 1)


def test_other_keys_and_algorithms_are_refused(tokens: Tokens) -> None:
    rsa = RSAKey.generate_key(2048, auto_kid=False)
    for forged in (
        signed(key=ed25519(bytes(32))),
        # What everybody may know is no secret to sign with.
        signed("HS256", OctKey.import_key(public_key_of(KEY))),
        signed("HS256", OctKey.import_key(KEY)),
        signed("RS256", rsa),
        unsigned(alg="none"),
        unsigned(alg="Ed25519"),
        unsigned(alg="Ed25519", jku="https://evil.example/keys"),
        unsigned(),
    ):
        with pytest.raises(TokenInvalid):
            tokens.verify(forged)


@settings(deadline=None)
@given(st.data())
def test_a_token_with_any_changed_character_is_refused(data: st.DataObject) -> None:
    tokens = tokens_of(KEY, Clock())
    token = tokens.issue(CITIZEN, 60)
    at = data.draw(st.integers(0, len(token) - 2))
    other = data.draw(st.sampled_from("Ab9-_.é{")).replace(token[at], "x")
    with pytest.raises(TokenInvalid):
        tokens.verify(token[:at] + other + token[at + 1 :])


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "é.é.é", "x" * 5000, "\x00"])
def test_what_is_no_token_is_refused(tokens: Tokens, text: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(text)


def test_whoever_holds_the_public_key_checks_and_cannot_sign(tokens: Tokens, clock: Clock) -> None:
    reader = TokenReader(PublicKeys([public_key_of(KEY)]), clock)
    assert reader.verify(tokens.issue(OFFICER, 60)) == OFFICER
    assert not hasattr(reader, "issue")


def test_only_people_who_logged_in_get_tokens(tokens: Tokens) -> None:
    for who in (ANONYMOUS, replace(CITIZEN, session=None)):
        with pytest.raises(ValueError, match="no session"):
            tokens.issue(who, 60)
