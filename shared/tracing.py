"""W3C trace context: which trace is being handled here, and what goes along to others and into facts."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_HEADER = "traceparent"
_propagator = TraceContextTextMapPropagator()


def current_traceparent() -> str | None:
    """The traceparent of what is being handled here, or None outside of a trace."""
    return _written(context.get_current())


def trace_id_of(traceparent: str | None) -> str:
    """The 32 hex digits that people may quote to us; "" when there is no trace."""
    return traceparent.split("-")[1] if traceparent else ""


def continue_trace(received: str | None) -> str:
    """A traceparent of our own in the caller's trace, or in a new one when there is none that can be read."""
    caller = trace.get_current_span(_read(received)).get_span_context()
    ours = SpanContext(
        caller.trace_id if caller.is_valid else _new_id(128),
        _new_id(64),
        is_remote=False,
        trace_flags=caller.trace_flags if caller.is_valid else TraceFlags(TraceFlags.SAMPLED),
    )
    written = _written(trace.set_span_in_context(NonRecordingSpan(ours), Context()))
    assert written is not None
    return written


@contextmanager
def tracing(traceparent: str | None) -> Iterator[None]:
    """Handle something as part of a trace: logs, outgoing calls and facts name it."""
    token = context.attach(_read(traceparent))
    try:
        with structlog.contextvars.bound_contextvars(trace_id=trace_id_of(traceparent)):
            yield
    finally:
        context.detach(token)


def _read(traceparent: str | None) -> Context:
    """Without what else a caller may have sent along: nobody here needs it, and it could hold anything."""
    return _propagator.extract({_HEADER: traceparent or ""}, Context())


def _written(of: Context) -> str | None:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, of)
    return carrier.get(_HEADER)


def _new_id(bits: int) -> int:
    return secrets.randbits(bits) or 1
