"""W3C trace context: which trace is being handled here, and what goes along to others and into facts."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)
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
