"""Forms that a browser sends with a cookie prove that one of our pages made them (double submit)."""

import hmac
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.requests import Request

from shared.errors import Forbidden
from shared.privacy.ciphers import derive

FIELD = "csrf_token"
HEADER = "x-csrf-token"
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class CsrfFailed(Forbidden):
    """A form came with a cookie, but not from a page of this session."""

    code = "auth.csrf-failed"
    title_zh = "页面已失效，请刷新后重新提交"
    title_en = "This page is out of date; reload it and send again"


class Csrf:
    """Makes and checks the hidden field; it is bound to the session, so another's is worth nothing."""

    def __init__(self, session_key: bytes) -> None:
        self._key = derive(session_key, "onestop/csrf")

    def token_for(self, session: str) -> str:
        """The value of the hidden field `csrf_token` for pages of this session (the cookie's value)."""
        return hmac.new(self._key, session.encode(), sha256).hexdigest()

    async def check(self, request: Request, session: str) -> None:
        """Raises CsrfFailed unless the request carries the session's token as field or header."""
        check_same_origin(request)
        sent = request.headers.get(HEADER)
        if sent is None and request.headers.get("content-type", "").startswith(_FORM_TYPES):
            value = (await request.form()).get(FIELD)
            sent = value if isinstance(value, str) else None
        expected = self.token_for(session)
        if sent is None or not hmac.compare_digest(sent.encode(), expected.encode()):
            raise CsrfFailed


def check_same_origin(request: Request) -> None:
    """Raises CsrfFailed when the browser says that another site sent this; good without a session too."""
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise CsrfFailed
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise CsrfFailed
