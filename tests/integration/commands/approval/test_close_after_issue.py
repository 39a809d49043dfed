"""The certificate is there: the case is closed."""

from functools import partial
from uuid import uuid4

import pytest

from services.approval.commands import (
    Amiss,
    StepResult,
    claim_task,
    close_after_issue,
    decide_task,
    load_files,
)
from services.approval.models import Case, Task
from services.approval.rules.transitions import WrongState
from shared.bus.inbox import NotYet
from shared.bus.unit import Unit
from shared.events.approval import CaseClosed
from shared.events.materials import CertificateIssued
from tests.support.commands import RECEIVED, event_of, handle, new_number, said
from tests.support.installation import Installation
from tests.support.principals import officer
from tests.support.tasks import act, case_of, task_of, under_review

FACT = CertificateIssued(certificate=uuid4(), certificate_type="residence_permit", issued_at=RECEIVED)


def end(unit: Unit, task: Task, case: Case, outcome: StepResult) -> None:
    claim_task(unit, task, case, officer())
    decide_task(unit, task, case, officer(), outcome, "", Amiss())


def close(made: Installation, number: str) -> None:
    handle(made, "approval", load_files, close_after_issue, event_of(FACT, number))


def test_a_case_whose_certificate_exists_is_closed(made: Installation) -> None:
    number = under_review(made)
    for outcome in (StepResult.PASSED, StepResult.APPROVED):
        act(made, task_of(made, number).id, partial(end, outcome=outcome))
    assert case_of(made, number).state == "issuing"
    close(made, number)
    fact = said(made, "approval", number)[-1]
    assert isinstance(fact, CaseClosed)
    case = case_of(made, number)
    assert (case.state, case.closed_at) == ("closed", fact.closed_at)


def test_nothing_else_is_closed_by_a_certificate(made: Installation) -> None:
    number = under_review(made)
    with pytest.raises(WrongState):
        close(made, number)
    assert case_of(made, number).closed_at is None


def test_a_case_that_is_not_there_is_waited_for(made: Installation) -> None:
    with pytest.raises(NotYet):
        close(made, new_number())
