"""What is missing since a holder withdrew is told to those who are told what is missing at first."""

from uuid import uuid4

import pytest

from services.notify.commands import load_addressees, remember_case, tell_asked_again
from shared.bus.inbox import NotYet
from shared.events.approval import MaterialsAskedAgain
from tests.support.commands import RECEIVED, event_of, handle, new_number, rows, submitted
from tests.support.installation import Installation

ASKED = MaterialsAskedAgain(materials=["id_card"], asked_at=RECEIVED)


def test_applicant_and_agent_are_told(made: Installation) -> None:
    applicant, agent, number = uuid4(), uuid4(), new_number()
    fact = submitted(applicant, holders={"applicant": applicant, "agent": agent})
    handle(made, "notify", load_addressees, remember_case, event_of(fact, number))
    handle(made, "notify", load_addressees, tell_asked_again, event_of(ASKED, number))
    told = rows(made, "notify.deliveries", case_no=number, template="materials-asked-again", channel="inbox")
    assert {one.recipient for one in told} == {applicant, agent}


def test_before_the_case_is_known_it_waits(made: Installation) -> None:
    with pytest.raises(NotYet):
        handle(made, "notify", load_addressees, tell_asked_again, event_of(ASKED, new_number()))
