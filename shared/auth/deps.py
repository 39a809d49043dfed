"""FastAPI dependencies that say who asks. Every route names one of them; none trusts anything else.

`app.state.authenticator` is an Authenticator, put there by whoever builds the app.
"""

import hmac
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from shared.auth.csrf import SAFE_METHODS, check_csrf, check_same_origin, csrf_token_for
from shared.auth.principal import ANONYMOUS, Principal, PrincipalKind
from shared.auth.revocations import Revocations
from shared.auth.tokens import FormerSession, TokenInvalid, TokenReader, Tokens
from shared.errors import Forbidden, Unauthenticated, Unavailable

COOKIE = "onestop_session"
FORMER_COOKIE = "onestop_former"
"""The sessions that a browser had before the one it has: pages of theirs may still be open."""
KNOWN_AFTER_S = 4 * 3600
"""How long a browser keeps what it knows of a session that is over: by it we know whose form was open."""
_FORMER_SESSIONS = 3
_BETWEEN = "~"
_VERIFIED = "onestop.verified"
"""Where a request keeps the tokens that were found good in it."""


class NobodyServed(Forbidden):
    """An operator files and looks for somebody, and nobody has been said."""

    code = "auth.nobody-served"
    title_zh = "请先登记所服务的办事人"
    title_en = "Say first whom you act for"


class Authenticator:
    """Everything needed to know who sent a request. Only with Tokens, not with a TokenReader, it logs people
    in.

    `revocations` gives the principal of a good token the rights of this moment, or refuses it.
    """

    def __init__(
        self,
        tokens: TokenReader,
        revocations: Revocations,
        *,
        cookie_secure: bool = True,
    ) -> None:
        self.tokens = tokens
        self._revocations = revocations
        self._cookie_secure = cookie_secure

    def verify(self, request: Request, token: str) -> Principal:
        """Who the token that a request brought speaks for now: its signature is checked once a request, its
        session and rights each time.

        Raises TokenInvalid, TokenExpired, SessionEnded, RevocationsOld.
        """
        verified: dict[str, Principal] = request.scope.setdefault(_VERIFIED, {})
        if token not in verified:
            verified[token] = self.tokens.verify(token)
        return self._revocations.current(verified[token])

    async def principal_of(self, request: Request) -> Principal:
        """Who asks; ANONYMOUS without any token.

        Raises as `verify` does, and CsrfFailed for a changing request that came with a cookie only.
        """
        principal = self.sender_of(request)
        session = request.cookies.get(COOKIE)
        if session and "authorization" not in request.headers and request.method not in SAFE_METHODS:
            await check_csrf(request, session)
        return principal

    def sender_of(self, request: Request) -> Principal:
        """Who asks by what stands before the body, so that nobody's body need be read for it; the field that
        proves the page of a form is in the body.

        Raises as `verify` does, and CsrfFailed where the browser says that another site sent this.
        """
        token = _bearer(request)
        if token is not None:
            return self.verify(request, token)
        session = request.cookies.get(COOKIE)
        if not session:
            return ANONYMOUS
        if request.method not in SAFE_METHODS:
            check_same_origin(request)
        return self.verify(request, session)

    def leaving(self, request: Request) -> Principal | None:
        """Whose session a request brought, to end it; None without a good token, or when its time is over."""
        try:
            token = _bearer(request) or request.cookies.get(COOKIE)
            return self.tokens.verify(token) if token else None
        except Unauthenticated:
            return None

    def came_with(self, request: Request, csrf_field: str) -> Principal | None:
        """Whose form this was, by a session of this browser that may be over; None unless a page of that
        session made it, and for one that somebody or something else than its own log-out ended.

        Nothing may be done in their name because of it: whoever has got hold of a cookie makes the field too.
        Raises RevocationsOld.
        """
        proof, has = _proof(csrf_field), self._session_of(request)
        had = [*([has] if has else []), *(former for _, former in self._former_of(request))]
        who = next((one.principal for one in had if hmac.compare_digest(one.pages, proof)), None)
        return who if who is not None and self._revocations.left(who) else None

    def end(self, session: UUID, expires_at: datetime, *, logged_out: bool) -> None:
        """A session ended, and this process knows at once."""
        self._revocations.end(session, expires_at, logged_out=logged_out)

    def issue(self, principal: Principal, ttl_s: int) -> str:
        """A session token for `ttl_s` seconds. Raises RuntimeError where there is no key to sign with."""
        if not isinstance(self.tokens, Tokens):
            raise RuntimeError("only intake issues session tokens")
        return self.tokens.issue(principal, ttl_s)

    def log_in(self, request: Request, response: Response, principal: Principal, ttl_s: int) -> None:
        """Set the session cookie."""
        self._remember(request, response)
        response.set_cookie(
            COOKIE,
            self.issue(principal, ttl_s),
            max_age=ttl_s + KNOWN_AFTER_S,
            httponly=True,
            samesite="lax",
            secure=self._cookie_secure,
        )

    def log_out(self, request: Request, response: Response) -> None:
        """Remove the session cookie."""
        self._remember(request, response)
        response.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=self._cookie_secure)

    def _remember(self, request: Request, response: Response) -> None:
        """The session that a browser leaves is known in it for a while."""
        if COOKIE not in request.cookies or not isinstance(self.tokens, Tokens):
            return
        left = self._session_of(request)
        known = [text for text, _ in self._former_of(request)]
        if left is not None:
            known.insert(0, self.tokens.issue_former(left, KNOWN_AFTER_S))
        response.set_cookie(
            FORMER_COOKIE,
            _BETWEEN.join(known[:_FORMER_SESSIONS]),
            max_age=KNOWN_AFTER_S,
            httponly=True,
            samesite="lax",
            secure=self._cookie_secure,
        )

    def _session_of(self, request: Request) -> FormerSession | None:
        """The one that a browser has, which may be over."""
        session = request.cookies.get(COOKIE)
        if not session:
            return None
        try:
            return FormerSession(self.tokens.ended(session), _proof(csrf_token_for(session)))
        except Unauthenticated:
            return None

    def _former_of(self, request: Request) -> list[tuple[str, FormerSession]]:
        """Those that a browser had before, the newest first, each with what the cookie says of it."""
        found = []
        for text in request.cookies.get(FORMER_COOKIE, "").split(_BETWEEN)[:_FORMER_SESSIONS]:
            with suppress(Unauthenticated):
                found.append((text, self.tokens.former(text)))
        return found


def authenticator(request: Request) -> Authenticator:
    """The app's Authenticator."""
    found: Authenticator = request.app.state.authenticator
    return found


def csrf_token(request: Request) -> str:
    """What a page puts into the hidden field `csrf_token` of its forms; "" for visitors without a session."""
    session = request.cookies.get(COOKIE)
    return csrf_token_for(session) if session else ""


def visitor_of(request: Request) -> Principal | None:
    """Whose name stands in the header. A page that anybody may see is not refused over an old cookie."""
    session = request.cookies.get(COOKIE)
    if not session:
        return None
    try:
        return authenticator(request).verify(request, session)
    except (Unauthenticated, Unavailable):
        return None


async def current_principal(request: Request) -> Principal:
    """Who asks, anonymous included."""
    return await authenticator(request).principal_of(request)


Asking = Annotated[Principal, Depends(current_principal)]


async def require_citizen(principal: Asking) -> Principal:
    """A citizen who has logged in."""
    return _one_of(principal, PrincipalKind.CITIZEN)


async def require_filer(principal: Asking) -> Principal:
    """Whoever may apply: a citizen, an operator for whom they serve, a program through its own channels."""
    return _one_of(principal, PrincipalKind.CITIZEN, PrincipalKind.OPERATOR, PrincipalKind.CLIENT)


async def require_party(principal: Asking) -> Principal:
    """A citizen in their own affairs, or an operator in the affairs of whom they serve: `party` is set."""
    return _one_of(principal, PrincipalKind.CITIZEN, PrincipalKind.OPERATOR)


async def require_operator(principal: Asking) -> Principal:
    """A hall operator or hotline agent, who has said whom they serve."""
    return _one_of(principal, PrincipalKind.OPERATOR)


async def require_officer(principal: Asking) -> Principal:
    """An officer who has logged in."""
    return _one_of(principal, PrincipalKind.OFFICER)


_CONDITIONS = (require_citizen, require_filer, require_party, require_operator, require_officer)
"""Every dependency that says who may ask. They need nothing of the body."""


Condition = Callable[[Principal], Awaitable[Principal]]


def conditions_among(dependencies: Collection[Callable[..., Any]]) -> list[Condition]:
    """Those of a door's dependencies that say who may ask."""
    return [condition for condition in _CONDITIONS if condition in dependencies]


def serves_operators(condition: Condition) -> bool:
    """Whether operators may ask, once they have said for whom."""
    return condition in (require_filer, require_party, require_operator)


def admission(conditions: Collection[Condition]) -> Callable[[Request], Awaitable[None]]:
    """What a door with these conditions asks before it reads a body."""

    async def admit(request: Request) -> None:
        for condition in conditions:
            await condition(authenticator(request).sender_of(request))

    return admit


Citizen = Annotated[Principal, Depends(require_citizen)]
Filer = Annotated[Principal, Depends(require_filer)]
Party = Annotated[Principal, Depends(require_party)]
Operator = Annotated[Principal, Depends(require_operator)]
Officer = Annotated[Principal, Depends(require_officer)]


def _one_of(principal: Principal, *kinds: PrincipalKind) -> Principal:
    if principal.kind is PrincipalKind.ANONYMOUS:
        raise Unauthenticated
    if principal.kind not in kinds:
        raise Forbidden
    if principal.kind is PrincipalKind.OPERATOR and principal.acting_for is None:
        raise NobodyServed
    return principal


def _proof(csrf_field: str) -> str:
    """What is kept of the field that a session's pages carry: enough to know it again."""
    return sha256(csrf_field.encode()).hexdigest()


def _bearer(request: Request) -> str | None:
    """The token of the Authorization header; None without one. Raises TokenInvalid for any other header."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenInvalid
    return token
