"""A fact for which the matter declares a notice makes one delivery a channel; any other makes none."""

from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from services.notify.commands import load_addressees, tell
from shared.bus.inbox import NotYet
from shared.events.approval import CaseAccepted, CaseDecided, CorrectionRequired, Decision
from shared.events.fact import Event, Fact
from shared.events.materials import CertificateIssued
from tests.support.commands import RECEIVED, event_of, handle, new_number, row, rows, said
from tests.support.installation import Installation
from tests.support.notices import deliveries, remembered

TOLD: list[tuple[Fact, str, str]] = [
    (CorrectionRequired(materials=["photo"], required_at=RECEIVED), "correction-required", "2026-11-23"),
    (
        CaseAccepted(
            accepted_at=RECEIVED,
            legal_due_at=RECEIVED.replace(month=12, day=14),
            promised_due_at=RECEIVED.replace(day=30),
            provisional=False,
        ),
        "case-accepted",
        "2026-11-30",
    ),
    (CaseDecided(outcome=Decision.APPROVED, decided_at=RECEIVED), "case-approved", "2026-11-23"),
    (CaseDecided(outcome=Decision.DENIED, decided_at=RECEIVED), "case-denied", "2026-11-23"),
    (
        CertificateIssued(certificate=uuid4(), certificate_type="residence_permit", issued_at=RECEIVED),
        "certificate-issued",
        "2026-11-23",
    ),
]


def hear(made: Installation, *events: Event) -> None:
    handle(made, "notify", load_addressees, tell, *events)


@pytest.mark.parametrize(("fact", "template", "day"), TOLD, ids=[template for _, template, _ in TOLD])
def test_a_notice_goes_by_every_channel_with_number_matter_and_date(
    made: Installation, fact: Fact, template: str, day: str
) -> None:
    number = remembered(made)
    hear(made, event_of(fact, number))
    found = deliveries(made, number, template)
    assert {channel: delivery.state for channel, delivery in found.items()} == {
        "inbox": "sent",
        "sms": "planned",
    }
    params = {"number": number, "matter": "居住证申领", "date": day}
    assert [delivery.params for delivery in found.values()] == [params, params]
    message = row(made, "notify.inbox_messages", id=found["inbox"].id)
    assert message.case_no == number


def test_the_same_fact_never_makes_a_second_delivery(made: Installation) -> None:
    """The id follows from fact, person, channel and template: whoever planned it again would fail."""
    number = remembered(made)
    event = event_of(TOLD[0][0], number)
    hear(made, event)
    before = deliveries(made, number, "correction-required")
    with pytest.raises(IntegrityError):
        hear(made, event)
    assert deliveries(made, number, "correction-required") == before
    hear(made, event_of(TOLD[0][0], number))
    assert len(rows(made, "notify.deliveries", case_no=number, channel="sms")) == 3


def test_a_case_that_is_not_there_is_waited_for(made: Installation) -> None:
    number = new_number()
    with pytest.raises(NotYet):
        hear(made, event_of(TOLD[0][0], number))
    assert rows(made, "notify.deliveries", case_no=number) == []


def test_several_cases_of_a_batch_are_told_of_their_own(made: Installation) -> None:
    numbers = [remembered(made) for _ in range(3)]
    hear(made, *[event_of(TOLD[0][0], number) for number in numbers])
    for number in numbers:
        assert set(deliveries(made, number, "correction-required")) == {"inbox", "sms"}
        assert [fact.template for fact in said(made, "notify", number)] == [  # type: ignore[attr-defined]
            "case-submitted",
            "correction-required",
        ]
