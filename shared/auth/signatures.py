"""What intake signs and everybody checks: Ed25519 (RFC 8037) in a compact JWS, nothing else accepted.

One service holds the key. The others hold public keys only: who breaks into one of them can log nobody in.
Several may be good at once, told apart by the key id, so that a key can be changed while people work.
"""

from collections.abc import Sequence
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, OKPKey

from shared.auth.key_pair import public_key_of

_ALGORITHM = "Ed25519"


class NotSigned(ValueError):
    """Not of ours: another key, another algorithm, another purpose, changed, or no JWS at all."""


@lru_cache(maxsize=64)
def key_id(public_key: bytes) -> str:
    """The name of a key in what it signs: the thumbprint of RFC 7638."""
    return _public(public_key).thumbprint()


class SigningKey:
    """Signs. `purpose` is the `typ` of the header: what is signed for one is worth nothing for another."""

    def __init__(self, key: bytes) -> None:
        self._key = OKPKey.import_key(Ed25519PrivateKey.from_private_bytes(key))
        self._id = key_id(public_key_of(key))

    def sign(self, payload: bytes, purpose: str) -> str:
        """A compact JWS."""
        header = {"alg": _ALGORITHM, "kid": self._id, "typ": purpose}
        return jws.serialize_compact(header, payload, self._key, algorithms=[_ALGORITHM])


class PublicKeys:
    """Checks what any of these keys signed."""

    def __init__(self, public_keys: Sequence[bytes]) -> None:
        if not public_keys:
            raise ValueError("no public key to check with")
        self._keys = {key_id(key): _public(key) for key in public_keys}

    def open(self, signed: str, purpose: str) -> bytes:
        """The payload of what was signed for this purpose. Raises NotSigned."""
        try:
            # The list of algorithms shuts out "none" and every key confusion.
            found = jws.deserialize_compact(signed, self._key_of, algorithms=[_ALGORITHM])
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            # ValueError and its kin: bytes that are no base64 and no JSON; recursion: nested without end.
            raise NotSigned from None
        if found.headers().get("typ") != purpose:
            raise NotSigned
        return found.payload

    def _key_of(self, found: GuestProtocol) -> OKPKey:
        # Never a key that the header itself brings or points to.
        return self._keys[str(found.headers()["kid"])]


def _public(key: bytes) -> OKPKey:
    return OKPKey.import_key(Ed25519PublicKey.from_public_bytes(key))
