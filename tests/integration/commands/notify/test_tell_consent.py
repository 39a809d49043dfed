"""A holder is told that somebody agreed for them, and not what they did themselves."""

from uuid import UUID, uuid4

import pytest

from services.notify.commands import load_addressees, remember_case, tell_consent
from shared.bus.inbox import NotYet
from shared.events.intake import ConsentBasis, ConsentGiven
from tests.support.commands import RECEIVED, event_of, handle, new_number, rows, submitted
from tests.support.installation import Installation


def consent(holder: UUID, basis: ConsentBasis) -> ConsentGiven:
    return ConsentGiven(holder=holder, roles=["applicant"], basis=basis, given_at=RECEIVED)


@pytest.mark.parametrize(("basis", "messages"), [(ConsentBasis.PROXY, 1), (ConsentBasis.OWN, 0)])
def test_only_what_others_agreed_to_is_told(made: Installation, basis: ConsentBasis, messages: int) -> None:
    holder, number = uuid4(), new_number()
    handle(made, "notify", load_addressees, remember_case, event_of(submitted(holder), number))
    handle(made, "notify", load_addressees, tell_consent, event_of(consent(holder, basis), number, 2))
    told = rows(made, "notify.deliveries", case_no=number, template="consent-recorded", channel="inbox")
    assert len(told) == messages


def test_before_the_case_is_known_it_waits(made: Installation) -> None:
    event = event_of(consent(uuid4(), ConsentBasis.PROXY), new_number())
    with pytest.raises(NotYet):
        handle(made, "notify", load_addressees, tell_consent, event)
