"""A public key is registered for a client program; nothing else is taken for one."""

import json
from collections.abc import Callable
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from services.intake.errors import ClientKeyWrong, NoAccount
from services.intake.identity.accounts import Office, close_account, set_account
from services.intake.identity.client_keys import MOST_KEYS, PublicKey, add_key, keys_of, read_public_key
from shared.auth.principal import PrincipalKind
from shared.bus.unit import unit_of
from tests.support.commands import row, rows
from tests.support.installation import Installation

PEM, SPKI = Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
MAKE: list[Callable[[], PublicKey]] = [
    lambda: ECKey.generate_key("P-256"),
    lambda: OKPKey.generate_key("Ed25519"),
    lambda: RSAKey.generate_key(2048),
]


def program(made: Installation) -> str:
    name = f"program-{uuid4()}"
    with unit_of(made.context("intake"), "test.account") as unit:
        set_account(unit, Office(PrincipalKind.CLIENT, name, channels=("app",)), "test")
    return name


def add(made: Installation, name: str, key: PublicKey) -> str:
    with unit_of(made.context("intake"), "test.add") as unit:
        return add_key(unit, name, key, "an administrator")


@pytest.mark.parametrize("make", MAKE, ids=["P-256", "Ed25519", "RSA"])
def test_it_is_kept_by_its_thumbprint_with_who_added_it(
    made: Installation, make: Callable[[], PublicKey]
) -> None:
    key, name = make(), program(made)
    for text in (key.as_pem(private=False), json.dumps(key.as_dict(private=False)).encode()):
        assert add(made, name, read_public_key(text)) == key.thumbprint()
    kept = row(made, "intake.client_keys", client=name)
    assert (kept.kid, kept.added_by, kept.removed_at) == (key.thumbprint(), "an administrator", None)
    assert "d" not in kept.jwk
    with unit_of(made.context("intake"), "test.read") as unit:
        assert [one.thumbprint() for one in keys_of(unit, name)] == [key.thumbprint()]


@pytest.mark.parametrize(
    "text",
    [
        ECKey.generate_key("P-256").as_pem(private=True),
        json.dumps(ECKey.generate_key("P-256").as_dict(private=True)).encode(),
        json.dumps(OctKey.generate_key(256).as_dict()).encode(),
        json.dumps({"kty": "RSA", "n": "x" * 2000, "e": "AQAB"}).encode(),
        json.dumps({"kty": "RSA", "n": "x" * 400, "e": "x" * 400}).encode(),
        ECKey.generate_key("P-521").as_pem(private=False),
        json.dumps(OKPKey.generate_key("X25519").as_dict(private=False)).encode(),
        rsa.generate_private_key(65537, 1024).public_key().public_bytes(PEM, SPKI),
        b"{}",
        b"[]",
        b"{" * 5000,
        b"ssh-rsa AAAA",
        b"",
    ],
    ids=[
        *(
            "private PEM",
            "private JWK",
            "secret",
            "long modulus",
            "long exponent",
            "other curve",
            "no signatures",
            "short",
            "empty JWK",
        ),
        *("list", "nested", "ssh", "nothing"),
    ],
)
def test_what_is_no_public_key_of_ours_is_refused(text: bytes) -> None:
    with pytest.raises(ClientKeyWrong):
        read_public_key(text)


def test_only_a_program_with_an_open_account_has_keys(made: Installation) -> None:
    key, name = ECKey.generate_key("P-256"), program(made)
    with pytest.raises(NoAccount):
        add(made, "nobody-here", key)
    with unit_of(made.context("intake"), "test.close") as unit:
        close_account(unit, PrincipalKind.CLIENT, name, "test")
    with pytest.raises(NoAccount):
        add(made, name, key)


def test_a_program_has_a_few_keys_at_a_time(made: Installation) -> None:
    name = program(made)
    for _ in range(MOST_KEYS):
        add(made, name, ECKey.generate_key("P-256"))
    with pytest.raises(ClientKeyWrong):
        add(made, name, ECKey.generate_key("P-256"))
    assert len(rows(made, "intake.client_keys", client=name)) == MOST_KEYS
