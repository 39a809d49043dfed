"""Session tokens made by hand."""

import base64
import hashlib
import hmac
import json
import time

from shared.privacy.secret_files import SESSION_KEY, load_secret
from tests.support.hall import Hall


def segment(value: object) -> str:
    """A part of a JWT."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(hall: Hall, *, key: bytes | None = None, header: object = None, **changed: object) -> str:
    """A token made by hand: good for an officer but for what is changed."""
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": "onestop",
        "aud": "onestop",
        "sub": "officer-1",
        "kind": "officer",
        "person_ref": None,
        "departments": ["xihu-police"],
        "name": "",
        "iat": now,
        "exp": now + 600,
    }
    head = segment(header if header is not None else {"alg": "HS256"})
    signed = f"{head}.{segment({**claims, **changed})}"
    secret = key if key is not None else load_secret(hall.installation.settings, SESSION_KEY)
    return f"{signed}.{segment(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"
