"""Notify with SMS set up, which nobody answers: what is left to do is seen and not done."""

from collections.abc import Iterator

import pytest

from tests.support.installation import Installation


@pytest.fixture(autouse=True)
def sms(made: Installation) -> Iterator[None]:
    """By the in-app inbox and by SMS."""
    made.set_up_channels("sms")
    yield
    made.set_up_channels()
