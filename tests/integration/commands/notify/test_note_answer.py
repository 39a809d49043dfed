"""What became of a delivery: said when it is settled, and never changed afterwards."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from services.notify import queries
from services.notify.commands import note_answer
from services.notify.rules.delivery import DeliveryState, Next
from shared.bus.unit import unit_of
from shared.events.notify import NoticeSent
from tests.support.commands import said
from tests.support.installation import Installation
from tests.support.notices import deliveries, remembered


def note(
    made: Installation, delivery_id: UUID, then: Next, *, asked: int = 0, provider_ref: str | None = None
) -> None:
    with unit_of(made.context("notify"), "test.note") as unit:
        delivery, case = queries.lock_delivery(unit.session, delivery_id)
        note_answer(unit, delivery, case, then, asked=asked, provider_ref=provider_ref)


def sms_of(made: Installation, number: str) -> Any:
    return deliveries(made, number, "case-submitted")["sms"]


def told(made: Installation, number: str) -> list[tuple[str, str]]:
    """What was said about the SMS."""
    facts = [fact for fact in said(made, "notify", number) if isinstance(fact, NoticeSent)]
    return [(fact.template, fact.status) for fact in facts if fact.channel == "sms"]


@pytest.mark.parametrize(
    ("state", "is_told", "has_time"),
    [
        (DeliveryState.SENT, True, True),
        (DeliveryState.FAILED, True, False),
        (DeliveryState.NO_CONTACT, False, False),
    ],
)
def test_an_end_is_written_said_and_final(
    made: Installation, state: DeliveryState, is_told: bool, has_time: bool
) -> None:
    number = remembered(made)
    note(made, sms_of(made, number).id, Next(state, None, "why"), provider_ref="ref-1")
    found = sms_of(made, number)
    assert (found.state, found.reason, found.provider_ref) == (state, "why", "ref-1")
    assert (found.sent_at is not None) is has_time
    assert told(made, number) == ([("case-submitted", state)] if is_told else [])
    for later in (DeliveryState.SENT, DeliveryState.PLANNED, DeliveryState.FAILED):
        note(made, found.id, Next(later, None, "another"), provider_ref="ref-2")
    assert sms_of(made, number) == found
    assert len(told(made, number)) == is_told


def test_a_doubt_and_another_try_are_written_and_not_said(made: Installation) -> None:
    number = remembered(made)
    delivery_id = sms_of(made, number).id
    note(made, delivery_id, Next(DeliveryState.IN_DOUBT, timedelta(seconds=3), "read-timeout"), asked=2)
    assert (sms_of(made, number).state, sms_of(made, number).asked) == ("in_doubt", 2)
    note(made, delivery_id, Next(DeliveryState.PLANNED, timedelta(seconds=1), "no-receipt"))
    assert (sms_of(made, number).state, sms_of(made, number).reason) == ("planned", "no-receipt")
    assert told(made, number) == []


def test_a_reference_once_known_stays_known(made: Installation) -> None:
    number = remembered(made)
    delivery_id = sms_of(made, number).id
    note(made, delivery_id, Next(DeliveryState.IN_DOUBT, None, "why"), provider_ref="ref-1")
    note(made, delivery_id, Next(DeliveryState.SENT, None))
    assert sms_of(made, number).provider_ref == "ref-1"
