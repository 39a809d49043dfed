"""W3C trace context, and one log line per answered request.

The line names the route's template, never the raw path or query: those can carry numbers of people and cases.
"""

import re
import secrets
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import structlog

from shared.metrics import HTTP_SECONDS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_QUIET = frozenset(("/healthz", "/readyz", "/metrics"))
_log = structlog.get_logger()
_current: ContextVar[str | None] = ContextVar("onestop_traceparent", default=None)


def current_traceparent() -> str | None:
    """The traceparent of what is being handled here, or None outside of a trace."""
    return _current.get()


def trace_id_of(traceparent: str | None) -> str:
    """The 32 hex digits that people may quote to us; "" when there is no trace."""
    return traceparent.split("-")[1] if traceparent else ""


def continue_trace(received: str | None) -> str:
    """A traceparent of our own in the caller's trace, or in a new one when there is none that can be read."""
    found = _TRACEPARENT.fullmatch(received or "")
    # Version 00 has exactly four fields; a later version may bring more.
    if found is None or (found[0].startswith("00") and found[3]):
        return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    return f"00-{found[1]}-{secrets.token_hex(8)}-{found[2]}"


@contextmanager
def tracing(traceparent: str | None) -> Iterator[None]:
    """Handle something as part of a trace: logs, outgoing calls and facts name it."""
    token = _current.set(traceparent)
    try:
        with structlog.contextvars.bound_contextvars(trace_id=trace_id_of(traceparent)):
            yield
    finally:
        _current.reset(token)


class TraceMiddleware:
    """Pure ASGI: opens the trace, answers with its id, measures and logs the request."""

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        traceparent = continue_trace(_header(scope, b"traceparent"))
        status = 500
        began = time.perf_counter()

        async def send_traced(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-trace-id", trace_id_of(traceparent).encode()),
                ]
            await send(message)

        with tracing(traceparent):
            try:
                await self._app(scope, receive, send_traced)
            finally:
                _report(scope, status, time.perf_counter() - began)


def _report(scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
    route = route_template(scope)
    if route in _QUIET:
        return
    method = scope["method"] if scope["method"] in _METHODS else "OTHER"
    HTTP_SECONDS.labels(method, route, f"{status // 100}xx").observe(seconds)
    _log.info("request_answered", method=method, route=route, status=status, ms=round(seconds * 1000, 1))


def route_template(scope: MutableMapping[str, Any]) -> str:
    """The path as it was declared ("/api/v1/cases/{number}"); "unmatched" where no route took the request."""
    return getattr(scope.get("route"), "path", None) or "unmatched"


def _header(scope: MutableMapping[str, Any], name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return None
