"""Session tokens: JWTs that intake signs and every service checks by itself, without asking anybody."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.auth.principal import Assurance, Principal, PrincipalKind
from shared.auth.signatures import NotSigned, PublicKeys, SigningKey
from shared.errors import Unauthenticated

LONGEST_SESSION = timedelta(hours=12)
"""No token lasts longer, whatever it says of itself: after that, nothing need be remembered of it."""

_PURPOSE = "session+jwt"
_FORMER = "former-session+jwt"
# Clocks of several web hosts differ by this much at most.
_LEEWAY_S = 5
# A token of a session is under 1 KB; longer ones are not worth a verification.
_LONGEST_TOKEN = 4096
_KNOWN_TOKENS = 2048


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


Code = Annotated[str, Field(max_length=100)]


class _Claims(BaseModel):
    """What a token says, flat and strictly typed: nothing is converted, and nothing else may stand in it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    iss: Literal["onestop"]
    aud: Literal["onestop"]
    sid: UUID
    sub: Annotated[str, Field(min_length=1, max_length=100)]
    kind: PrincipalKind
    idp: Code
    assurance: Assurance
    person_ref: UUID | None
    acting_for: UUID | None
    organisation: Code | None
    departments: list[Code]
    supervises: list[Code]
    channels: list[Code]
    rights: Annotated[int, Field(ge=0)]
    name: Annotated[str, Field(max_length=200)]
    iat: int
    exp: int


class _FormerClaims(BaseModel):
    """What a browser keeps of a session that it had before; see FormerSession."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    iss: Literal["onestop"]
    aud: Literal["onestop"]
    sid: UUID
    sub: Annotated[str, Field(min_length=1, max_length=100)]
    kind: PrincipalKind
    person_ref: UUID | None
    acting_for: UUID | None
    organisation: Code | None
    pages: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    exp: int


@dataclass(frozen=True, slots=True)
class FormerSession:
    """A session that a browser had before. `pages` is a digest of what the forms of its pages carry."""

    principal: Principal
    pages: str


class TokenReader:
    """Checks session tokens by the public keys. `clock` gives the present moment, aware."""

    def __init__(self, keys: PublicKeys, clock: Callable[[], datetime]) -> None:
        self._keys = keys
        self._clock = clock
        # Whoever is here sends the same token again and again: what is signed stays so.
        self._opened = lru_cache(_KNOWN_TOKENS)(self._open)

    def verify(self, token: str) -> Principal:
        """Who the token speaks for, by the token alone. Raises TokenExpired or TokenInvalid."""
        principal, expires = self._read(token)
        if expires <= self._now() - _LEEWAY_S:
            raise TokenExpired
        return principal

    def ended(self, token: str) -> Principal:
        """Whom a token spoke for, which may be over; nothing may be done in their name because of it.

        Raises TokenInvalid, also for one that is over for longer than the longest session lasts.
        """
        principal, expires = self._read(token)
        if expires <= self._now() - LONGEST_SESSION.total_seconds():
            raise TokenInvalid
        return principal

    def former(self, token: str) -> FormerSession:
        """What a browser remembers of a session it had. Raises TokenExpired or TokenInvalid."""
        if len(token) > _LONGEST_TOKEN:
            raise TokenInvalid
        try:
            claims = _FormerClaims.model_validate_json(self._keys.open(token, _FORMER))
            principal = Principal(
                claims.kind,
                claims.sub,
                person_ref=claims.person_ref,
                organisation=claims.organisation,
                acting_for=claims.acting_for,
                session=claims.sid,
            )
        except (NotSigned, ValueError):
            raise TokenInvalid from None
        if claims.exp <= self._now():
            raise TokenExpired
        return FormerSession(principal, claims.pages)

    def _read(self, token: str) -> tuple[Principal, int]:
        if len(token) > _LONGEST_TOKEN:
            raise TokenInvalid
        principal, issued, expires = self._opened(token)
        if issued > self._now() + _LEEWAY_S:
            raise TokenInvalid
        return principal, expires

    def _open(self, token: str) -> tuple[Principal, int, int]:
        """What a token says, whatever the time: who, issued when, until when. Raises TokenInvalid."""
        try:
            claims = _Claims.model_validate_json(self._keys.open(token, _PURPOSE))
            principal = _principal(claims)
        except (NotSigned, ValidationError, ValueError):
            raise TokenInvalid from None
        if not 0 < claims.exp - claims.iat <= LONGEST_SESSION.total_seconds():
            raise TokenInvalid
        return principal, claims.iat, claims.exp

    def _now(self) -> int:
        return int(self._clock().timestamp())


class Tokens(TokenReader):
    """Issues session tokens too."""

    def __init__(self, key: SigningKey, keys: PublicKeys, clock: Callable[[], datetime]) -> None:
        super().__init__(keys, clock)
        self._key = key

    def issue(self, principal: Principal, ttl_s: int) -> str:
        """A token for a principal with a session, good for `ttl_s` seconds.

        Raises ValueError for one without, and for more than LONGEST_SESSION.
        """
        if principal.session is None:
            raise ValueError(f"no session of this {principal.kind}")
        if ttl_s > LONGEST_SESSION.total_seconds():
            raise ValueError("no session lasts so long")
        now = self._now()
        claims = _Claims(
            iss="onestop",
            aud="onestop",
            sid=principal.session,
            sub=principal.subject,
            kind=principal.kind,
            idp=principal.provider,
            assurance=principal.assurance,
            person_ref=principal.person_ref,
            acting_for=principal.acting_for,
            organisation=principal.organisation,
            departments=list(principal.departments),
            supervises=list(principal.supervises),
            channels=list(principal.channels),
            rights=principal.rights_version,
            name=principal.name,
            iat=now,
            exp=now + ttl_s,
        )
        return self._key.sign(claims.model_dump_json().encode(), _PURPOSE)

    def issue_former(self, former: FormerSession, ttl_s: int) -> str:
        """What a browser keeps of a session that it leaves: without name and rights, and good to let nobody
        in."""
        principal = former.principal
        if principal.session is None:
            raise ValueError(f"no session of this {principal.kind}")
        claims = _FormerClaims(
            iss="onestop",
            aud="onestop",
            sid=principal.session,
            sub=principal.subject,
            kind=principal.kind,
            person_ref=principal.person_ref,
            acting_for=principal.acting_for,
            organisation=principal.organisation,
            pages=former.pages,
            exp=self._now() + ttl_s,
        )
        return self._key.sign(claims.model_dump_json().encode(), _FORMER)


def _principal(claims: _Claims) -> Principal:
    if claims.kind in (PrincipalKind.SERVICE, PrincipalKind.ANONYMOUS):
        raise ValueError("nobody who logs in")
    return Principal(
        kind=claims.kind,
        subject=claims.sub,
        person_ref=claims.person_ref,
        departments=tuple(claims.departments),
        name=claims.name,
        supervises=tuple(claims.supervises),
        channels=tuple(claims.channels),
        organisation=claims.organisation,
        acting_for=claims.acting_for,
        rights_version=claims.rights,
        provider=claims.idp,
        assurance=claims.assurance,
        session=claims.sid,
    )
