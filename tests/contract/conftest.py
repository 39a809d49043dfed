"""Fixtures of the contract tests."""

import pytest

from tests.support.foreign import provide_tools


@pytest.fixture(scope="session")
def foreign_tools() -> None:
    """The foreign tools are there."""
    provide_tools()
