"""A worker says to which kinds of contact it can send one-time codes; the last one that says so counts."""

import pytest

from services.notify.commands import say_channels
from services.notify.queries import code_channels
from shared.bus.unit import unit_of
from tests.support.installation import Installation


@pytest.mark.parametrize(
    "said",
    [{"phone": "sms", "email": "email"}, {"phone": "sms"}, {"email": "other"}, {}],
)
def test_what_is_said_takes_the_place_of_what_was_said(made: Installation, said: dict[str, str]) -> None:
    with unit_of(made.context("notify"), "test.channels") as unit:
        say_channels(unit, said)
    with unit_of(made.context("notify"), "test.read") as unit:
        assert code_channels(unit.session) == said
