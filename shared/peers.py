"""How services know one another when they ask: a token per asker and owner, of which the owner has the hash.

A token is derived from the asker's `service.token` for one owner: what an owner was shown is worth nothing
with another one, and its files let it ask in nobody's name.
"""

import hashlib
import hmac
from collections.abc import Collection, Mapping

from shared.errors import Forbidden, Unauthenticated
from shared.privacy.ciphers import derive

MayAsk = Mapping[str, Mapping[str, Collection[str]]]
"""Owner -> question -> the services that may ask it; what does not stand there nobody may."""

SAID = ("said", "said_in", "say_again")
"""What every subscriber asks its speakers: `shared.bus.comparison` asks and answers."""

REVOCATIONS = "revocations"
"""What every web process asks who logs people in: `shared.auth.revocations` asks."""


class PeerUnknown(Unauthenticated):
    """Not the token of anybody who may ask this owner."""

    code = "peer.unknown"
    title_zh = "无法识别询问的服务"
    title_en = "The asking service is not known here"


class MayNotAsk(Forbidden):
    """A service asked what it has no business with; the details name asker, owner and question."""

    code = "peer.may-not-ask"
    title_zh = "该服务无权询问此项"
    title_en = "This service may not ask that"


def peer_token(service_token: bytes, owner: str) -> str:
    """What a service shows when it asks this owner."""
    return derive(service_token, f"onestop/ask/{owner}").hex()


def token_hash(token: str) -> str:
    """What the owner knows of it."""
    return hashlib.sha256(token.encode()).hexdigest()


def check_may_ask(may_ask: MayAsk, asker: str, owner: str, question: str) -> None:
    """Raises MayNotAsk."""
    if asker not in may_ask.get(owner, {}).get(question, ()):
        raise MayNotAsk(
            f"{asker} 无权向 {owner} 询问 {question}",
            f"{asker} may not ask {owner} for {question}",
            members={"asker": asker, "owner": owner, "question": question},
        )


class Peers:
    """Tells one owner's askers from each other; `hashes` are asker -> `token_hash` of what it shows."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = dict(hashes)

    def asker_of(self, authorization: str | None) -> str:
        """Who asks, by the Authorization header. Raises Unauthenticated and PeerUnknown."""
        if authorization is None:
            raise Unauthenticated
        scheme, _, token = authorization.partition(" ")
        shown = token_hash(token)
        for asker, known in self._hashes.items():
            if scheme.lower() == "bearer" and hmac.compare_digest(shown, known):
                return asker
        raise PeerUnknown
