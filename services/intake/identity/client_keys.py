"""Public keys of client programs: registered by operators, and what they sign is taken once.

There is no shared secret: whoever reads our database can log no program in.
"""

import hashlib
import json
import re
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key
from sqlalchemy.dialects.postgresql import insert

from services.intake import queries
from services.intake.errors import ClientKeyNotFound, ClientKeyWrong, NoAccount
from services.intake.identity import sessions
from services.intake.models import ClientAssertion, ClientKey
from shared.auth.principal import PrincipalKind
from shared.bus.unit import Unit

MOST_KEYS = 5
"""Of one program at a time: the one in use, the next one, and some that were forgotten."""
_LEAST_RSA_BITS, _MOST_RSA_BITS = 2048, 8192
_LONGEST_EXPONENT = 8
"""As a JWK has it: 65537 is `AQAB`."""
_CURVES = ("P-256", "Ed25519")
_PRIVATE = re.compile(rb"PRIVATE KEY|\"d\"\s*:")
_OF_A_KEY = frozenset(("kty", "crv", "x", "y", "n", "e"))
"""What a public key is made of; what else a JWK says of itself is not ours to believe."""

PublicKey = ECKey | OKPKey | RSAKey


def read_public_key(text: bytes) -> PublicKey:
    """A public key as PEM or JWK: P-256, Ed25519, or RSA of 2,048 to 8,192 bits. Raises ClientKeyWrong."""
    if _PRIVATE.search(text):
        raise ClientKeyWrong(
            "这是私钥，请只提供公钥", "this is the private key: keep it, and give the public one"
        )
    try:
        key = _from_jwk(text) if text.lstrip().startswith(b"{") else _from_pem(text)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError, UnsupportedAlgorithm):
        raise ClientKeyWrong("无法读取", "it can be read neither as PEM nor as a JWK") from None
    if isinstance(key, OKPKey | ECKey) and key.as_dict(private=False).get("crv") not in _CURVES:
        raise _weak()
    return key


def add_key(unit: Unit, client: str, key: PublicKey, by: str) -> str:
    """Let a program sign with this key from now on; the key's id (RFC 7638). One that it has stays.

    Raises NoAccount for a program that nobody has made an account for, and ClientKeyWrong for too many.
    """
    account = queries.account(unit.session, PrincipalKind.CLIENT, client, lock=True)
    if account is None or not account.active:
        raise NoAccount
    known = queries.client_keys(unit.session, client, MOST_KEYS)
    kid = key.thumbprint()
    if kid in {one.kid for one in known}:
        return kid
    if len(known) >= MOST_KEYS:
        raise ClientKeyWrong("请先删除一个公钥", f"there are {MOST_KEYS} already: remove one first")
    values: dict[str, Any] = {
        "jwk": key.as_dict(private=False),
        "added_at": unit.wall,
        "added_by": by,
        "removed_at": None,
        "removed_by": None,
    }
    # One that was removed may come back.
    unit.session.execute(
        insert(ClientKey)
        .values(client=client, kid=kid, **values)
        .on_conflict_do_update(index_elements=[ClientKey.client, ClientKey.kid], set_=values)
    )
    return kid


def remove_key(unit: Unit, client: str, kid: str, by: str) -> list[sessions.Ended]:
    """Nothing that this key signs is believed any more, and the program's sessions end. Raises
    ClientKeyNotFound."""
    queries.account(unit.session, PrincipalKind.CLIENT, client, lock=True)
    for key in queries.client_keys(unit.session, client, MOST_KEYS):
        if key.kid == kid:
            key.removed_at, key.removed_by = unit.wall, by
            return sessions.end_sessions_of(unit, PrincipalKind.CLIENT, client, by, sessions.Why.KEY_REMOVED)
    raise ClientKeyNotFound


def keys_of(unit: Unit, client: str) -> list[PublicKey]:
    """Those that a program signs with now."""
    return [_public(import_key(key.jwk)) for key in queries.client_keys(unit.session, client, MOST_KEYS)]


def spend_assertion(unit: Unit, client: str, jti: str) -> bool:
    """Whether a signed statement comes for the first time; from now on it does not."""
    digest = hashlib.sha256(f"{client}\n{jti}".encode()).hexdigest()
    spent = unit.session.execute(
        insert(ClientAssertion)
        .values(digest=digest, spent_at=unit.wall)
        .on_conflict_do_nothing()
        .returning(ClientAssertion.digest)
    )
    return spent.first() is not None


def _from_pem(text: bytes) -> PublicKey:
    key = load_pem_public_key(text)
    if isinstance(key, RSAPublicKey):
        if not _LEAST_RSA_BITS <= key.key_size <= _MOST_RSA_BITS:
            raise _weak()
        return RSAKey.import_key(key)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return ECKey.import_key(key)
    if isinstance(key, Ed25519PublicKey):
        return OKPKey.import_key(key)
    raise ValueError("another kind of key")


def _from_jwk(text: bytes) -> PublicKey:
    found = json.loads(text)
    # Six bits a character, before anything is made of it.
    if found.get("kty") == "RSA" and not (
        _LEAST_RSA_BITS <= len(found["n"]) * 6 <= _MOST_RSA_BITS + 6 and len(found["e"]) <= _LONGEST_EXPONENT
    ):
        raise _weak()
    return _public(import_key({name: value for name, value in found.items() if name in _OF_A_KEY}))


def _public(key: object) -> PublicKey:
    if not isinstance(key, ECKey | OKPKey | RSAKey):
        raise TypeError("no public key")
    return key


def _weak() -> ClientKeyWrong:
    return ClientKeyWrong(
        f"须为 P-256、Ed25519，或 {_LEAST_RSA_BITS} 至 {_MOST_RSA_BITS} 位的 RSA 公钥",
        f"it must be of P-256, of Ed25519, or RSA of {_LEAST_RSA_BITS} to {_MOST_RSA_BITS} bits",
    )
