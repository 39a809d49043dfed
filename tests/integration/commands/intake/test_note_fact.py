"""The citizen's view follows what the others say: each fact is one line, and changes what it is about."""

from typing import Any
from uuid import uuid4

import pytest

from services.intake.hearing import load_views, note_fact
from shared.bus.inbox import NotYet
from shared.events import approval, materials, notify
from shared.events.fact import Fact
from tests.support.commands import RECEIVED, event_of, handle, new_number, row, rows, said
from tests.support.installation import Installation

OUTCOMES = [{"material": "photo", "outcome": "matched", "source": "certificate"}]
TOLD = {"template": "case-accepted", "channel": "sms", "status": "failed", "to": "applicant"}
FACTS: list[tuple[Fact, dict[str, Any], dict[str, Any]]] = [
    (
        materials.MaterialsMatched.model_validate(
            {
                "round": 1,
                "outcomes": OUTCOMES,
                "gaps": ["photo"],
                "matched_at": RECEIVED,
                "last_received_at": RECEIVED,
            }
        ),
        {"materials": OUTCOMES, "state": "submitted"},
        {"gaps": ["photo"]},
    ),
    (
        approval.CorrectionRequired(materials=["photo"], required_at=RECEIVED),
        {"state": "correction_required", "asked": ["photo"], "supplied": []},
        {"materials": ["photo"]},
    ),
    (
        approval.CaseAccepted(
            accepted_at=RECEIVED, legal_due_at=RECEIVED, promised_due_at=RECEIVED, provisional=True
        ),
        {"state": "accepted", "asked": [], "accepted_at": RECEIVED, "provisional": True},
        {"promised_due_at": "2026-11-23T02:00:00+00:00"},
    ),
    (
        approval.CaseRouted(step="verify", department="xihu-community"),
        {"state": "under_review", "stage": "verify", "department": "xihu-community"},
        {"step": "verify", "department": "xihu-community"},
    ),
    (approval.TaskClaimed(step="verify"), {"state": "submitted"}, {}),
    (approval.TaskReleased(step="verify"), {"state": "submitted"}, {}),
    (approval.StepPassed(step="verify"), {"state": "submitted"}, {"step": "verify"}),
    (
        approval.CaseDecided(outcome=approval.Decision.DENIED, decided_at=RECEIVED),
        {"state": "denied", "outcome": "denied", "decided_at": RECEIVED, "stage": None, "department": None},
        {"outcome": "denied"},
    ),
    (
        materials.CertificateIssued(
            certificate=uuid4(), certificate_type="residence_permit", issued_at=RECEIVED
        ),
        {"state": "submitted"},
        {"certificate_type": "residence_permit"},
    ),
    (approval.CaseClosed(closed_at=RECEIVED), {"closed_at": RECEIVED}, {}),
    (
        notify.NoticeSent(template="case-accepted", channel="sms", status="failed", sent_at=RECEIVED),
        {"state": "submitted"},
        TOLD,
    ),
]


@pytest.mark.parametrize(("fact", "changed", "details"), FACTS, ids=[type(f).__name__ for f, _, _ in FACTS])
def test_a_fact_changes_the_view_and_is_a_line_of_the_timeline(
    made: Installation, fact: Fact, changed: dict[str, Any], details: dict[str, Any]
) -> None:
    number = made.submit(made.citizen()).number
    handle(made, "intake", load_views, note_fact, event_of(fact, number))
    case = row(made, "intake.cases", number=number)
    assert {name: getattr(case, name) for name in changed} == changed
    entry = row(made, "intake.timeline", case_no=number, service=fact.speaker)
    assert (entry.fact, entry.details) == (fact.called, details)
    assert (entry.at, entry.sequence, entry.only_for) == (RECEIVED, 1, fact.only_for())
    # Nobody needs to hear that intake heard.
    assert len(said(made, "intake", number)) == 1


def test_a_case_that_is_not_there_is_waited_for(made: Installation) -> None:
    number = new_number()
    with pytest.raises(NotYet):
        handle(
            made, "intake", load_views, note_fact, event_of(approval.CaseClosed(closed_at=RECEIVED), number)
        )
    assert rows(made, "intake.timeline", case_no=number) == []
