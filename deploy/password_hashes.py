"""Passwords as PostgreSQL and RabbitMQ keep them: what checks a log-in and cannot make one."""

import base64
import hashlib
import hmac
import os
import re

_ITERATIONS = 4096
_SALT_BYTES = 16
_BROKER_SALT_BYTES = 4
_VERIFIER = re.compile(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


def scram_verifier(password: str) -> str:
    """What `ALTER ROLE … PASSWORD` takes in place of an ASCII password (RFC 5803): no log ever holds it."""
    return _scram(password, os.urandom(_SALT_BYTES), _ITERATIONS)


def is_scram_verifier(text: str) -> bool:
    """Whether it is one, and nothing that SQL could take for more than a password."""
    return _VERIFIER.fullmatch(text) is not None


def scram_matches(verifier: str, password: str) -> bool:
    """Whether the verifier was made of this password."""
    found = _VERIFIER.fullmatch(verifier)
    if found is None:
        return False
    return hmac.compare_digest(_scram(password, base64.b64decode(found[2]), int(found[1])), verifier)


def _scram(password: str, salt: bytes, iterations: int) -> str:
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    parts = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return "SCRAM-SHA-256${}:{}${}:{}".format(iterations, *parts)


def broker_hash(password: str) -> str:
    """What RabbitMQ's definitions take in place of a password, `rabbit_password_hashing_sha256`."""
    return _broker(password, os.urandom(_BROKER_SALT_BYTES))


def broker_hash_matches(password_hash: str, password: str) -> bool:
    """Whether the hash was made of this password."""
    salt = base64.b64decode(password_hash)[:_BROKER_SALT_BYTES]
    return hmac.compare_digest(_broker(password, salt), password_hash)


def _broker(password: str, salt: bytes) -> str:
    # One round is little for what people choose; these are 32 random bytes.
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode("ascii")).digest()).decode()
