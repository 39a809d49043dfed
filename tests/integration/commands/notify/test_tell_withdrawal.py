"""A holder is told that a counter noted a withdrawal in their name, and not what they did themselves."""

from uuid import UUID, uuid4

import pytest

from services.notify.commands import load_addressees, remember_case, tell_withdrawal
from shared.bus.inbox import NotYet
from shared.events.intake import ConsentWithdrawn, WithdrawnBy
from tests.support.commands import RECEIVED, event_of, handle, new_number, rows, submitted
from tests.support.installation import Installation


def withdrawn(holder: UUID, by: WithdrawnBy) -> ConsentWithdrawn:
    return ConsentWithdrawn(holder=holder, roles=["applicant"], by=by, withdrawn_at=RECEIVED)


@pytest.mark.parametrize(("by", "messages"), [(WithdrawnBy.COUNTER, 1), (WithdrawnBy.HOLDER, 0)])
def test_only_what_a_counter_noted_is_told(made: Installation, by: WithdrawnBy, messages: int) -> None:
    holder, number = uuid4(), new_number()
    handle(made, "notify", load_addressees, remember_case, event_of(submitted(holder), number))
    handle(made, "notify", load_addressees, tell_withdrawal, event_of(withdrawn(holder, by), number, 2))
    told = rows(made, "notify.deliveries", case_no=number, template="withdrawal-recorded", channel="inbox")
    assert [one.recipient for one in told] == [holder] * messages


def test_before_the_case_is_known_it_waits(made: Installation) -> None:
    event = event_of(withdrawn(uuid4(), WithdrawnBy.COUNTER), new_number())
    with pytest.raises(NotYet):
        handle(made, "notify", load_addressees, tell_withdrawal, event)
