"""A session token that is not ours lets nobody in."""

import time
from base64 import urlsafe_b64decode
from collections.abc import Callable

import pytest

from shared.auth.signatures import SigningKey
from shared.privacy.secret_files import SESSION_KEY, SESSION_PUBLIC_KEY, load_secret
from tests.support.hall import Hall, bearer, problem
from tests.support.tokens import forged, segment


def _public_key(hall: Hall) -> bytes:
    return load_secret(hall.installation.settings, "notify", SESSION_PUBLIC_KEY)


def _changed_payload(hall: Hall) -> str:
    head, _, signature = forged(hall, kind="citizen").split(".")
    return f"{head}.{forged(hall).split('.')[1]}.{signature}"


def _for_something_else(hall: Hall) -> str:
    key = SigningKey(load_secret(hall.installation.settings, "intake", SESSION_KEY))
    payload = forged(hall).split(".")[1]
    return key.sign(urlsafe_b64decode(payload + "=="), "revocations+json")


NESTED: list[object] = []
for _ in range(400):
    NESTED = [NESTED]

FORGERIES: dict[str, tuple[Callable[[Hall], str], str]] = {
    "expired": (
        lambda h: forged(h, iat=int(time.time()) - 600, exp=int(time.time()) - 60),
        "auth.token-expired",
    ),
    "another key": (lambda h: forged(h, key=b"\0" * 32), "auth.token-invalid"),
    "an empty key": (lambda h: forged(h, mac=b""), "auth.token-invalid"),
    "the public key as a secret": (lambda h: forged(h, mac=_public_key(h)), "auth.token-invalid"),
    "no algorithm": (lambda h: forged(h, header={"alg": "none"}), "auth.token-invalid"),
    "no signature": (
        lambda h: forged(h, header={"alg": "none"}).rpartition(".")[0] + ".",
        "auth.token-invalid",
    ),
    "another algorithm": (lambda h: forged(h, header={"alg": "RS256"}), "auth.token-invalid"),
    "a key of its own": (
        lambda h: forged(
            h, mac=b"x" * 32, header={"alg": "HS256", "jwk": {"kty": "oct", "k": segment(b"x" * 32)}}
        ),
        "auth.token-invalid",
    ),
    "a changed payload": (_changed_payload, "auth.token-invalid"),
    "a service's": (lambda h: forged(h, kind="service"), "auth.token-invalid"),
    "somebody else's audience": (lambda h: forged(h, aud="elsewhere"), "auth.token-invalid"),
    "good for longer than any log-in": (
        lambda h: forged(h, exp=int(time.time()) + 12 * 3600 + 60),
        "auth.token-invalid",
    ),
    "good until the year 5138": (lambda h: forged(h, exp=99_999_999_999), "auth.token-invalid"),
    "a signed payload nested without end": (
        lambda h: forged(h, name=NESTED),
        "auth.token-invalid",
    ),
    "a citizen without a person": (
        lambda h: forged(h, kind="citizen", person_ref=None, departments=[]),
        "auth.token-invalid",
    ),
    "a key that we do not have": (
        lambda h: forged(h, header={"alg": "Ed25519", "kid": "another", "typ": "session+jwt"}),
        "auth.token-invalid",
    ),
    "signed for something else": (_for_something_else, "auth.token-invalid"),
    "no end": (lambda h: forged(h, exp=None), "auth.token-invalid"),
    "nested without end": (lambda h: f"{segment(b'[' * 2500)}.e30.e30", "auth.token-invalid"),
    "nested without end, and signed": (
        lambda h: forged(h, more=f', "x": {"[" * 1200}{"]" * 1200}'),
        "auth.token-invalid",
    ),
    "a header that is a list": (lambda h: forged(h, header=["Ed25519"]), "auth.token-invalid"),
    "a header that is a number": (lambda h: forged(h, header=7), "auth.token-invalid"),
    "not a token": (lambda h: "not-a-token", "auth.token-invalid"),
    "too many parts": (lambda h: forged(h) + ".e30.e30", "auth.token-invalid"),
    "too long": (lambda h: "a" * 5000, "auth.token-invalid"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_log_in_is_none(hall: Hall, name: str) -> None:
    make, code = FORGERIES[name]
    token = make(hall)
    for headers in (bearer(token), {"Cookie": f"onestop_session={token}"}):
        answer = hall.client.get("/api/v1/tasks", headers=headers)
        assert problem(answer) == (401, code)
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header", ["Basic b2ZmaWNlcjox", "Bearer", "Bearer ", "bearer \u00ff\u00fe", "Token abc", "é"]
)
def test_what_is_no_bearer_token_is_401(hall: Hall, header: str) -> None:
    raw = [(b"authorization", header.encode("latin-1"))]
    answer = hall.client.get("/api/v1/tasks", headers=raw)
    assert problem(answer) == (401, "auth.token-invalid")


def test_the_forgeries_fail_for_what_is_forged_only(hall: Hall) -> None:
    assert hall.client.get("/api/v1/tasks", headers=bearer(forged(hall))).status_code == 200
