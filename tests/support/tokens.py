"""Session tokens made by hand."""

import base64
import hmac
import json
import time
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.auth.key_pair import public_key_of
from shared.auth.signatures import key_id
from shared.privacy.secret_files import SESSION_KEY, load_secret
from tests.support.hall import Hall


def segment(value: object) -> str:
    """A part of a JWT."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(
    hall: Hall,
    *,
    key: bytes | None = None,
    mac: bytes | None = None,
    header: object = None,
    more: str = "",
    **changed: object,
) -> str:
    """A token made by hand: good for an officer but for what is changed; `mac` signs with a shared key,
    `more` are further members as text."""
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": "onestop",
        "aud": "onestop",
        "sid": str(uuid4()),
        # Of nobody who has an account: what intake says of an account's rights is believed before a token.
        "sub": "officer-by-hand",
        "kind": "officer",
        "idp": "test",
        "assurance": "verified",
        "person_ref": str(uuid4()),
        "acting_for": None,
        "organisation": None,
        "departments": ["xihu-police"],
        "supervises": [],
        "channels": [],
        "rights": 0,
        "name": "",
        "iat": now,
        "exp": now + 600,
    }
    usual = {
        "alg": "Ed25519" if mac is None else "HS256",
        "kid": key_id(public_key_of(load_secret(hall.installation.settings, "intake", SESSION_KEY))),
        "typ": "session+jwt",
    }
    head = segment(header if header is not None else usual)
    written = json.dumps({**claims, **changed})[:-1] + more + "}"
    signed = f"{head}.{segment(written.encode())}"
    if mac is not None:
        return f"{signed}.{segment(hmac.digest(mac, signed.encode(), 'sha256'))}"
    seed = key if key is not None else load_secret(hall.installation.settings, "intake", SESSION_KEY)
    return f"{signed}.{segment(Ed25519PrivateKey.from_private_bytes(seed).sign(signed.encode()))}"
