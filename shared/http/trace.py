"""The trace of a request, and one log line when it is answered.

The line names the route's template, never the raw path or query: those can carry numbers of people and cases.
"""

import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import structlog

from shared.metrics import HTTP_SECONDS
from shared.tracing import continue_trace, trace_id_of, tracing

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_QUIET = frozenset(("/healthz", "/readyz", "/metrics"))
_log = structlog.get_logger()


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
