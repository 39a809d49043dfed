"""No door takes more bytes than its limit, whatever the headers say, and nothing beyond it is kept."""

import asyncio
import contextlib

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import TooLarge
from shared.http.problems import problem_response

# A client that is still sending cannot read our answer if we hang up on it, so we read on for a while and
# throw away what comes: this many times the limit, this long.
_DISCARD_FACTOR = 8
_DISCARD_S = 5.0
_AROUND = 64 * 1024


def limit_between_services(limit: int) -> int:
    """What a page took, its service may hand to the owner: as base64, with a few words around it."""
    return limit * 4 // 3 + _AROUND


class BodyLimitMiddleware:
    """Pure ASGI: 413 problem+json for a body over `limit` bytes, by Content-Length or by counting."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit
        if _declared(scope) > limit:
            await self._refuse(scope, receive, send, limit, rest=True)
            return
        seen = 0
        rest = True
        over = started = False

        async def receive_counted() -> Message:
            nonlocal seen, over, rest
            message = await receive()
            seen += len(message.get("body", b""))
            rest = bool(message.get("more_body", False))
            if seen > limit:
                over = True
                raise TooLarge
            return message

        async def send_unless_over(message: Message) -> None:
            # The framework turns a failed read into an answer of its own; ours takes its place.
            nonlocal started
            if over and not started:
                return
            started = True
            await send(message)

        try:
            await self._app(scope, receive_counted, send_unless_over)
        except TooLarge:
            if started or not over:
                raise
        if over and not started:
            await self._refuse(scope, receive, send, limit, rest=rest)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, limit: int, *, rest: bool) -> None:
        if rest:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_discard(receive, limit * _DISCARD_FACTOR), _DISCARD_S)
        megabytes = f"{limit / (1024 * 1024):g}"
        error = TooLarge(
            f"提交的内容不得超过 {megabytes} MB",
            f"send at most {megabytes} MB",
            members={"limit_bytes": limit},
        )
        response = problem_response(Request(scope), error)
        response.headers["Connection"] = "close"
        await response(scope, receive, send)


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


async def _discard(receive: Receive, most: int) -> None:
    while most > 0:
        message = await receive()
        most -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
