"""The code with which somebody asks after a case without logging in."""

import secrets
from hashlib import sha256


def new_query_code() -> str:
    """128 random bits, in hex."""
    return secrets.token_hex(16)


def query_digest(number: str, code: str) -> bytes:
    """What is kept of the code of a case. Nobody can guess 128 random bits: no key has to hide them, and none
    has to be kept for as long as a case.

    Number and code are one in it, so that the case is found by it or not at all: a wrong code looks for
    nothing that is there, as a wrong number does, and takes as long.
    """
    return sha256(f"{number}/{code.strip()}".encode()).digest()
