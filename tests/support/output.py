"""Where the programs among the tests write."""

import sys

import structlog


def log_to_stderr() -> None:
    """Keep standard output for the result: what our own code logs in this process goes beside it."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
