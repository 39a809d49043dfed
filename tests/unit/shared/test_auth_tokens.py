"""Only our own tokens, in their time, for us."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey, RSAKey

from shared.auth.principal import ANONYMOUS, Principal, PrincipalKind
from shared.auth.tokens import TokenExpired, TokenInvalid, TokenReader, Tokens, public_key_of

KEY = bytes(range(32))
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
CITIZEN = Principal(PrincipalKind.CITIZEN, "dev:zhang", UUID(int=5), (), "张三")
OFFICER = Principal(PrincipalKind.OFFICER, "dev:li", None, ("330102-ga",), "李四")


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
    return Tokens(KEY, clock)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(NOW.timestamp())
    good: dict[str, Any] = {
        "iss": "onestop",
        "aud": "onestop",
        "sub": "x",
        "kind": "citizen",
        "person_ref": None,
        "departments": [],
        "name": "",
        "iat": now,
        "exp": now + 60,
    }
    return {name: value for name, value in {**good, **changes}.items() if value != "absent"}


def ed25519(seed: bytes = KEY) -> OKPKey:
    return OKPKey.import_key(Ed25519PrivateKey.from_private_bytes(seed))


def signed(algorithm: str = "Ed25519", key: Any = None, **changes: Any) -> str:
    return jwt.encode({"alg": algorithm}, claims(**changes), key or ed25519(), algorithms=[algorithm])


def unsigned(**header: Any) -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims()).encode(), b""]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize("principal", [CITIZEN, OFFICER])
def test_a_principal_comes_back_whole(tokens: Tokens, principal: Principal) -> None:
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
        {"person_ref": "not-a-uuid"},
        {"person_ref": 5},
        {"departments": None},
        {"departments": "absent"},
    ],
)
def test_other_claims_are_refused(tokens: Tokens, forged: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(signed(**forged))


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


@given(st.data())
def test_a_token_with_any_changed_character_is_refused(data: st.DataObject) -> None:
    tokens = Tokens(KEY, Clock())
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
    reader = TokenReader(public_key_of(KEY), clock)
    assert reader.verify(tokens.issue(OFFICER, 60)) == OFFICER
    assert not hasattr(reader, "issue")


def test_only_people_who_log_in_get_tokens(tokens: Tokens) -> None:
    with pytest.raises(ValueError, match="anonymous"):
        tokens.issue(ANONYMOUS, 60)
