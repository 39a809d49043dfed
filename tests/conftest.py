"""Fixtures for all tests."""

from tests.support.servers import postgres, rabbitmq

__all__ = ["postgres", "rabbitmq"]
