"""The code with which whoever holds a number stops what it is told."""

import secrets
from hashlib import sha256

from shared.typed import clean_code

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""Without vowels no word comes of them, and without digits nothing that looks like somebody's number."""
_GROUPS, _GROUP = 3, 4


def new_stop_code() -> str:
    """Twelve letters, 51 random bits, in groups as people read and type them: BCDF-GHJK-LMNP."""
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(_GROUP)) for _ in range(_GROUPS))
    return "-".join(groups)


def stop_digest(code: str) -> bytes:
    """What a code is found by, as pasted or typed."""
    return sha256(clean_code(code).upper().replace("-", "").encode()).digest()
