"""A new case is known to approval: its parties, its facts, and nothing decided."""

from uuid import uuid4

from tests.support.commands import RECEIVED, rows, said
from tests.support.installation import Installation
from tests.support.tasks import case_of, opened


def test_it_is_kept_as_submitted_and_nobody_need_hear_of_that(made: Installation) -> None:
    applicant, agent = uuid4(), uuid4()
    number = opened(made, applicant, holders={"applicant": applicant, "agent": agent})
    case = case_of(made, number)
    assert (case.state, case.sequence, case.region) == ("submitted", 0, "330106")
    assert case.parties == sorted([str(applicant), str(agent)])
    assert case.facts == {"ground": "employment", "residence_kind": "rented", "has_agent": False}
    assert (case.received_at, case.accepted_at, case.closed_at) == (RECEIVED, None, None)
    assert rows(made, "approval.tasks", case_no=number) == []
    assert said(made, "approval", number) == []
