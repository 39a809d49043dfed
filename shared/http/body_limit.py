"""No door takes more bytes than its limit, whatever the headers say, and nothing beyond it is kept.

An answer never waits for the rest of a body. It is sent at once, and the connection closed: but first what
still comes is thrown away for a while, as a client that is still sending cannot read our answer if we hang up
on it.
"""

import asyncio
import contextlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import TooLarge
from shared.sections import MIB

SMALL = 64 * 1024
"""What a door takes that says nothing else: any form or JSON of ours without files is far smaller."""
_SCOPE_KEY = "onestop.body"
_DISCARD_BYTES = 32 * 1024 * 1024
_DISCARD_S = 5.0


class Incoming:
    """The body of one request: what it may hold, and how much of it has come."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        self._receive = receive
        self._declared = int(length) if length.isdigit() else 0
        self._came = 0
        self.limit = limit
        self.has_rest = self._declared > 0 or "transfer-encoding" in headers
        """Whether more of it may come."""

    def take_up_to(self, limit: int) -> None:
        """Raises TooLarge for a body that says that it has more, before any of it is read."""
        self.limit = limit
        self._check(self._declared)

    async def receive(self) -> Message:
        """As ASGI's `receive`. Raises TooLarge."""
        self._check(self._declared)
        message = await self._next()
        self._check(self._came)
        return message

    async def discard(self) -> None:
        """Throw away what still comes, within bounds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_S):
                most = self._came + _DISCARD_BYTES
                while self.has_rest and self._came < most:
                    await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        self._came += len(message.get("body", b""))
        self.has_rest = message["type"] == "http.request" and bool(message.get("more_body", False))
        return message

    def _check(self, size: int) -> None:
        if size > self.limit:
            most = f"{self.limit / MIB:g} MB" if self.limit >= MIB else f"{self.limit / 1024:g} kB"
            raise TooLarge(
                f"提交的内容不得超过 {most}", f"send at most {most}", members={"limit_bytes": self.limit}
            )


def incoming_of(scope: Scope) -> Incoming:
    """The body of this request; the app stands behind the middleware."""
    found: Incoming = scope[_SCOPE_KEY]
    return found


class BodyLimitMiddleware:
    """Pure ASGI: counts what comes, and answers without waiting for it. A door says what it takes by
    `incoming_of(scope).take_up_to`; until then it is `limit`."""

    def __init__(self, app: ASGIApp, *, limit: int = SMALL) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        incoming = scope[_SCOPE_KEY] = Incoming(scope, receive, self._limit)

        async def send_and_let_go(message: Message) -> None:
            if not incoming.has_rest:
                await send(message)
            elif message["type"] == "http.response.start":
                MutableHeaders(scope=message)["connection"] = "close"
                await send(message)
            elif message.get("more_body", False):
                await send(message)
            else:
                # With its length told it is whole for the client, though not yet for the server.
                await send({**message, "more_body": True})
                await incoming.discard()
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, incoming.receive, send_and_let_go)
