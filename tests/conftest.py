"""Fixtures for all tests."""

import structlog

from tests.support.servers import postgres, rabbitmq, server_secrets

__all__ = ["postgres", "rabbitmq", "server_secrets"]

# Where nothing was configured structlog draws tracebacks with every local variable: minutes for a deep one.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(default=str),
    ]
)
