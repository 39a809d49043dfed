"""A decision that was heard orders a certificate, once, and issues none."""

import pytest

from services.materials.commands import ISSUE_JOB, load_checklists, match_materials, order_certificate
from shared.bus.inbox import NotYet
from shared.events.approval import CaseDecided, Decision
from shared.events.fact import Event
from tests.support.commands import RECEIVED, event_of, handle, new_number, person_of, rows, said, submitted
from tests.support.installation import Installation


def opened(made: Installation) -> str:
    number = new_number()
    fact = submitted(person_of(made))
    handle(made, "materials", load_checklists, match_materials, event_of(fact, number))
    return number


def decided(number: str, outcome: Decision = Decision.APPROVED) -> Event:
    return event_of(CaseDecided(outcome=outcome, decided_at=RECEIVED), number)


def order(made: Installation, *events: Event) -> None:
    handle(made, "materials", load_checklists, order_certificate, *events)


def test_an_approval_leaves_one_job_however_often_it_is_heard(made: Installation) -> None:
    number = opened(made)
    for _ in range(2):
        order(made, decided(number))
    (job,) = rows(made, "materials.jobs", case_no=number)
    assert (job.kind, job.key, job.payload, job.state) == (ISSUE_JOB, number, {}, "due")
    assert rows(made, "materials.certificates", case_no=number) == []
    assert len(said(made, "materials", number)) == 1, "only how the materials were met"


def test_a_refusal_orders_nothing(made: Installation) -> None:
    number = opened(made)
    order(made, decided(number, Decision.DENIED))
    assert rows(made, "materials.jobs", case_no=number) == []


def test_a_case_that_is_not_there_is_waited_for(made: Installation) -> None:
    number = new_number()
    with pytest.raises(NotYet):
        order(made, decided(number))
    assert rows(made, "materials.jobs", case_no=number) == []
