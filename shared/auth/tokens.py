"""Session tokens: JWT, Ed25519 (RFC 8037), nothing else accepted.

One service signs them. The others hold the public key only: who breaks into one of them can log nobody in.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import OKPKey

from shared.auth.principal import Principal, PrincipalKind
from shared.errors import Unauthenticated

_ALGORITHM = "Ed25519"
_ISSUER = "onestop"
_AUDIENCE = "onestop"
# Clocks of several web hosts differ by this much at most.
_LEEWAY_S = 5
# A token of a session is under 1 KB; longer ones are not worth a verification.
_LONGEST = 4096
_LOG_IN_KINDS = (PrincipalKind.CITIZEN, PrincipalKind.OFFICER)


class TokenInvalid(Unauthenticated):
    """Not a token of ours. The answer does not say what is wrong with it."""

    code = "auth.token-invalid"
    title_zh = "登录凭证无效，请重新登录"
    title_en = "This log-in is not valid; please log in again"


class TokenExpired(Unauthenticated):
    """A token of ours whose time is over."""

    code = "auth.token-expired"
    title_zh = "登录已过期，请重新登录"
    title_en = "Your log-in has expired; please log in again"


def public_key_of(session_key: bytes) -> bytes:
    """The 32 bytes that check what is signed with these 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(session_key).public_key().public_bytes_raw()


class TokenReader:
    """Checks session tokens. `clock` gives the present moment, aware."""

    def __init__(self, public_key: bytes, clock: Callable[[], datetime]) -> None:
        self._public_key = OKPKey.import_key(Ed25519PublicKey.from_public_bytes(public_key))
        self._clock = clock

    def verify(self, token: str) -> Principal:
        """Who the token speaks for. Raises TokenExpired or TokenInvalid."""
        if len(token) > _LONGEST:
            raise TokenInvalid
        try:
            # The list of algorithms shuts out "none" and every key confusion.
            claims = jwt.decode(token, self._public_key, algorithms=[_ALGORITHM]).claims
            self._claims_registry().validate(claims)
            return _principal(claims)
        except ExpiredTokenError:
            raise TokenExpired from None
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            # Bytes that are no base64, JSON or UUID, and JSON that is nested without end.
            raise TokenInvalid from None

    def _claims_registry(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=self._now(),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": _ISSUER},
            aud={"essential": True, "value": _AUDIENCE},
            sub={"essential": True},
            kind={"essential": True, "values": [kind.value for kind in _LOG_IN_KINDS]},
            iat={"essential": True},
            exp={"essential": True},
        )

    def _now(self) -> int:
        return int(self._clock().timestamp())


class Tokens(TokenReader):
    """Issues session tokens too."""

    def __init__(self, session_key: bytes, clock: Callable[[], datetime]) -> None:
        super().__init__(public_key_of(session_key), clock)
        self._session_key = OKPKey.import_key(Ed25519PrivateKey.from_private_bytes(session_key))

    def issue(self, principal: Principal, ttl_s: int) -> str:
        """A token for a citizen or an officer, good for `ttl_s` seconds."""
        if principal.kind not in _LOG_IN_KINDS:
            raise ValueError(f"no session token for a {principal.kind}")
        now = self._now()
        claims: dict[str, Any] = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": principal.subject,
            "kind": principal.kind.value,
            "person_ref": str(principal.person_ref) if principal.person_ref else None,
            "departments": list(principal.departments),
            "name": principal.name,
            "iat": now,
            "exp": now + ttl_s,
        }
        return jwt.encode({"alg": _ALGORITHM}, claims, self._session_key, algorithms=[_ALGORITHM])


def _principal(claims: dict[str, Any]) -> Principal:
    person_ref = claims["person_ref"]
    return Principal(
        kind=PrincipalKind(claims["kind"]),
        subject=claims["sub"],
        person_ref=UUID(str(person_ref)) if person_ref else None,
        departments=tuple(str(code) for code in claims["departments"]),
        name=str(claims["name"]),
    )
