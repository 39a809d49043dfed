"""A step is passed on, or the case decided: what is left to do then, and what is said of it."""

from uuid import UUID

import pytest

from services.approval.commands import (
    Amiss,
    StepResult,
    claim_task,
    decide_task,
    judge_materials,
    load_files,
    release_task,
)
from services.approval.errors import (
    CertificateLost,
    DecisionNotAllowed,
    MaterialMissing,
    OfficerNotLinked,
    OwnCase,
    ReasonMissing,
    TaskClaimedByOther,
    TaskNotClaimed,
)
from shared.auth.principal import Principal
from shared.events.approval import CaseClosed, CaseDecided, CaseRouted, Decision, StepPassed
from tests.support.commands import event_of, handle, matter_of, row, said
from tests.support.installation import Installation
from tests.support.principals import officer, unlinked
from tests.support.tasks import act, case_of, matched, task_of, under_review

REASON = "居住未满半年。"
NOTHING_AMISS = Amiss()


def decide(
    made: Installation,
    number: str,
    outcome: StepResult,
    reason: str = "",
    *,
    who: str = "officer-1",
    amiss: Amiss = NOTHING_AMISS,
) -> None:
    act(
        made,
        task_of(made, number).id,
        lambda unit, task, case: decide_task(unit, task, case, officer(who), outcome, reason, amiss),
    )


def claim(made: Installation, number: str) -> None:
    act(
        made,
        task_of(made, number).id,
        lambda unit, task, case: claim_task(unit, task, case, officer()),
    )


@pytest.fixture
def number(made: Installation) -> str:
    """A case whose first step somebody has claimed."""
    found = under_review(made)
    claim(made, found)
    return found


@pytest.fixture
def deciding(made: Installation, number: str) -> str:
    """A case whose deciding step somebody has claimed."""
    decide(made, number, StepResult.PASSED)
    claim(made, number)
    return number


def test_a_step_that_is_passed_brings_the_next_one(made: Installation, number: str) -> None:
    first, second = matter_of(made).steps
    done = task_of(made, number).id
    decide(made, number, StepResult.PASSED)
    passed, routed = said(made, "approval", number)[-2:]
    assert passed == StepPassed(step=first.code)
    assert isinstance(routed, CaseRouted)
    assert (routed.step, routed.department) == (second.code, second.department)
    assert case_of(made, number).passed == [first.code]
    assert (row(made, "approval.tasks", id=done).state, row(made, "approval.tasks", id=done).outcome) == (
        "done",
        "passed",
    )
    assert (task_of(made, number).step, task_of(made, number).state) == (second.code, "open")


def test_an_approval_waits_for_its_certificate(made: Installation, deciding: str) -> None:
    decide(made, deciding, StepResult.APPROVED)
    fact = said(made, "approval", deciding)[-1]
    assert isinstance(fact, CaseDecided)
    assert fact.outcome is Decision.APPROVED
    assert (case_of(made, deciding).state, case_of(made, deciding).closed_at) == ("issuing", None)


def test_a_refusal_closes_the_case_and_its_reasons_stay_here_sealed(
    made: Installation, deciding: str
) -> None:
    task_id = task_of(made, deciding).id
    decide(made, deciding, StepResult.DENIED, REASON)
    decided, closed = said(made, "approval", deciding)[-2:]
    assert isinstance(decided, CaseDecided)
    assert isinstance(closed, CaseClosed)
    assert decided.outcome is Decision.DENIED
    assert case_of(made, deciding).state == "closed"
    assert REASON not in str(made.rows("SELECT event FROM approval.outbox WHERE case_no = :n", n=deciding))
    sealed = row(made, "approval.tasks", id=task_id).sealed_reason
    vault = made.context("approval").vault
    assert vault.open(sealed, table="tasks", row=task_id, column="sealed_reason") == REASON


def test_a_refusal_without_reasons_is_none(made: Installation, deciding: str) -> None:
    for reason in ("", "  \n"):
        with pytest.raises(ReasonMissing) as refused:
            decide(made, deciding, StepResult.DENIED, reason)
        assert [field.pointer for field in refused.value.fields] == ["/reason"]
    assert case_of(made, deciding).state == "under_review"


def test_nothing_is_approved_on_what_has_ended_but_it_may_be_refused(
    made: Installation, deciding: str
) -> None:
    with pytest.raises(CertificateLost) as refused:
        decide(made, deciding, StepResult.APPROVED, amiss=Amiss(lost=["id_card"]))
    assert refused.value.members == {"materials": ["id_card"]}
    assert task_of(made, deciding).state == "claimed"
    decide(made, deciding, StepResult.DENIED, REASON, amiss=Amiss(lost=["id_card"]))
    assert case_of(made, deciding).state == "closed"


@pytest.mark.parametrize("knows", ["materials", "approval"])
def test_nothing_is_approved_while_a_withdrawn_consent_leaves_something_open(
    made: Installation, deciding: str, knows: str
) -> None:
    """Whichever of the two has heard of it first."""
    amiss = Amiss(missing=["id_card"])
    if knows == "approval":
        fact = matched("id_card", round_=2, withdrawn=True)
        handle(made, "approval", load_files, judge_materials, event_of(fact, deciding, 2))
        amiss = NOTHING_AMISS
    with pytest.raises(MaterialMissing) as refused:
        decide(made, deciding, StepResult.APPROVED, amiss=amiss)
    assert refused.value.members == {"materials": ["id_card"]}
    decide(made, deciding, StepResult.DENIED, REASON, amiss=amiss)
    decided = next(fact for fact in said(made, "approval", deciding) if isinstance(fact, CaseDecided))
    assert decided.materials_round == (2 if knows == "approval" else 1)
    assert case_of(made, deciding).asked == []


def test_only_the_deciding_step_decides(made: Installation, number: str) -> None:
    for outcome in (StepResult.APPROVED, StepResult.DENIED):
        with pytest.raises(DecisionNotAllowed):
            decide(made, number, outcome, REASON)
    decide(made, number, StepResult.PASSED)
    claim(made, number)
    with pytest.raises(DecisionNotAllowed):
        decide(made, number, StepResult.PASSED)


def test_whose_link_came_or_went_after_the_claim_decides_nothing(made: Installation, number: str) -> None:
    """Somebody claims, and only then it is known whose case it is."""
    task_id = task_of(made, number).id
    party = UUID(case_of(made, number).parties[0])

    def pass_on(who: Principal) -> None:
        act(
            made,
            task_id,
            lambda unit, task, case: decide_task(unit, task, case, who, StepResult.PASSED, "", Amiss()),
        )

    for who, error in ((officer(person=party), OwnCase), (unlinked(), OfficerNotLinked)):
        with pytest.raises(error):
            pass_on(who)
    assert row(made, "approval.tasks", id=task_id).state == "claimed"
    # They may still put it back.
    act(made, task_id, lambda unit, task, case: release_task(unit, task, case, officer(person=party)))


def test_only_whoever_has_the_task_ends_it(made: Installation, number: str) -> None:
    told = said(made, "approval", number)
    with pytest.raises(TaskClaimedByOther):
        decide(made, number, StepResult.PASSED, who="officer-2")
    unclaimed = under_review(made)
    with pytest.raises(TaskNotClaimed):
        decide(made, unclaimed, StepResult.PASSED)
    assert said(made, "approval", number) == told
