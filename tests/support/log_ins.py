"""Log-ins without an installation: tokens, and what tells that none of them has ended."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from shared.auth.deps import Authenticator
from shared.auth.key_pair import public_key_of
from shared.auth.revocations import ChangedRights, Changes, EndedSession, Revocations, sign_changes
from shared.auth.signatures import PublicKeys, SigningKey
from shared.auth.tokens import Tokens

Clock = Callable[[], datetime]


def tokens_of(key: bytes, clock: Clock) -> Tokens:
    """Signed and checked with one key."""
    return Tokens(SigningKey(key), PublicKeys([public_key_of(key)]), clock)


def revocations_of(
    key: bytes,
    clock: Clock,
    ended: list[EndedSession] | None = None,
    rights: list[ChangedRights] | None = None,
) -> Revocations:
    """As if intake had just answered with these."""

    def fetch(asked: dict[str, Any]) -> dict[str, Any]:
        changes = Changes(
            signed_at=clock(), read_at=clock(), ended=ended or [], rights=rights or [], next=None
        )
        return sign_changes(SigningKey(key), changes)

    known = Revocations(fetch, PublicKeys([public_key_of(key)]), clock)
    known.renew()
    return known


def authenticator_of(key: bytes, clock: Clock, *, cookie_secure: bool = True) -> Authenticator:
    """Knows people by tokens of this key."""
    return Authenticator(tokens_of(key, clock), revocations_of(key, clock), cookie_secure=cookie_secure)
