"""Identifiers of facts: UUIDv7, so that they are ordered by time and indexes grow at one end."""

import hmac
from uuid import UUID

import uuid_utils.compat as uuid7

_TIME_BITS = 48
_RANDOM_A_BITS = 12
_RANDOM_B_BITS = 62


def new_id() -> UUID:
    """A new identifier (RFC 9562, version 7)."""
    return uuid7.uuid7()


def derived_id(cause: UUID, what: str, number: int, secret: UUID) -> UUID:
    """The identifier of the `number`th fact (or row) called `what` that `cause` brought about.

    Always the same for the same four, so that a service that was restored from an older copy says the same
    again. It keeps the time bits of its cause; the rest is a hash instead of chance (RFC 9562, section 6.8),
    under the speaker's own `secret`: nobody else can say a fact of theirs under this identifier beforehand.
    """
    hashed = hmac.digest(secret.bytes, cause.bytes + f"/{what}/{number}".encode(), "sha256")
    digest = int.from_bytes(hashed[:10], "big")
    random_a = digest >> (80 - _RANDOM_A_BITS)
    random_b = digest & ((1 << _RANDOM_B_BITS) - 1)
    time = cause.int >> (128 - _TIME_BITS)
    return UUID(int=(time << 80) | (7 << 76) | (random_a << 64) | (2 << _RANDOM_B_BITS) | random_b)


def said_at(fact_id: UUID) -> float:
    """Seconds since 1970 on the wall clock at which a fact was said, or the first of those that led to it."""
    return (fact_id.int >> 80) / 1000
