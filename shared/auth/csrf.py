"""Forms that a browser sends with a cookie prove that one of our pages made them (double submit)."""

import hmac
from urllib.parse import urlsplit

from starlette.requests import Request

from shared.errors import Forbidden

FIELD = "csrf_token"
HEADER = "x-csrf-token"
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class CsrfFailed(Forbidden):
    """A form came with a cookie, but not from a page of this session."""

    code = "auth.csrf-failed"
    title_zh = "页面已失效，请刷新后重新提交"
    title_en = "This page is out of date; reload it and send again"


def csrf_token_for(session: str) -> str:
    """The value of the hidden field `csrf_token` for pages of this session (the cookie's value).

    The session itself is the key: no script and no other site can read it, and every service of the
    installation makes the same field of it without a secret that they would have to share.
    """
    return hmac.digest(session.encode(), b"onestop/csrf", "sha256").hex()


async def check_csrf(request: Request, session: str) -> None:
    """Raises CsrfFailed unless the request carries the session's token as field or header."""
    check_same_origin(request)
    sent = request.headers.get(HEADER)
    if sent is None and request.headers.get("content-type", "").startswith(_FORM_TYPES):
        value = (await request.form()).get(FIELD)
        sent = value if isinstance(value, str) else None
    expected = csrf_token_for(session)
    if sent is None or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise CsrfFailed


def check_same_origin(request: Request) -> None:
    """Raises CsrfFailed when the browser says that another site sent this; good without a session too."""
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise CsrfFailed
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise CsrfFailed
