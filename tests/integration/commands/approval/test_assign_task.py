"""A supervisor takes a task from whoever has it, for a colleague or for the queue, and says why."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from services.approval.commands import Amiss, Colleague, StepResult, assign_task, claim_task, decide_task
from services.approval.errors import (
    AssignmentReasonMissing,
    ColleagueWrong,
    NotSupervisor,
    OfficerNotLinked,
    OwnCase,
    TaskFinished,
    TaskNotClaimed,
)
from shared.auth.principal import Principal
from shared.events.approval import TaskClaimed, TaskReleased
from tests.support.commands import row, rows, said
from tests.support.installation import Installation
from tests.support.principals import officer, supervisor
from tests.support.tasks import act, task_of, under_review

REASON = "原办理人已调离。"
DEPARTMENT = "xihu-community"


def colleague(subject: str = "officer-2", *departments: str, person: UUID | None = None) -> Colleague:
    return Colleague(subject, departments or (DEPARTMENT,), person or uuid4())


def assign(
    made: Installation,
    task_id: UUID,
    to: Colleague | None,
    *,
    by: Principal | None = None,
    reason: str = REASON,
) -> None:
    who = by or supervisor()
    act(made, task_id, lambda unit, task, case: assign_task(unit, task, case, who, to, reason))


@pytest.fixture
def person() -> UUID:
    """Whose case it is."""
    return uuid4()


@pytest.fixture
def number(made: Installation, person: UUID) -> str:
    """A case whose task officer-1 has claimed, who is not there any more."""
    found = under_review(made, person)
    act(made, task_of(made, found).id, lambda unit, task, case: claim_task(unit, task, case, officer()))
    return found


def test_a_colleague_has_it_and_the_act_is_kept(made: Installation, number: str) -> None:
    before = task_of(made, number)
    assign(made, before.id, colleague())
    after = task_of(made, number)
    assert (after.state, after.officer, after.version) == ("claimed", "officer-2", before.version + 1)
    assert (after.due_at, after.step) == (before.due_at, before.step)
    assert said(made, "approval", number)[-2:] == [
        TaskReleased(step=before.step),
        TaskClaimed(step=before.step),
    ]
    kept = row(made, "approval.task_acts", case_no=number)
    assert (kept.task, kept.supervisor) == (before.id, "supervisor-1")
    assert (kept.taken_from, kept.given_to) == ("officer-1", "officer-2")
    assert REASON.encode() not in bytes(kept.sealed_reason)
    vault = made.context("approval").vault
    assert vault.open(kept.sealed_reason, table="task_acts", row=kept.id, column="sealed_reason") == REASON


def test_or_the_queue_has_it(made: Installation, number: str) -> None:
    assign(made, task_of(made, number).id, None)
    after = task_of(made, number)
    assert (after.state, after.officer, after.claimed_at) == ("open", None, None)
    assert isinstance(said(made, "approval", number)[-1], TaskReleased)
    assert row(made, "approval.task_acts", case_no=number).given_to is None


def test_what_nobody_has_can_be_given_and_not_taken(made: Installation) -> None:
    number = under_review(made)
    task_id = task_of(made, number).id
    with pytest.raises(TaskNotClaimed):
        assign(made, task_id, None)
    assign(made, task_id, colleague())
    assert task_of(made, number).officer == "officer-2"
    assert row(made, "approval.task_acts", case_no=number).taken_from is None


def test_the_new_one_works_on_and_the_old_one_does_not(made: Installation, number: str) -> None:
    task_id = task_of(made, number).id
    assign(made, task_id, colleague())
    act(
        made,
        task_id,
        lambda unit, task, case: decide_task(
            unit, task, case, officer("officer-2"), StepResult.PASSED, "", Amiss()
        ),
    )
    with pytest.raises(TaskFinished):
        assign(made, task_id, colleague("officer-3"))


REFUSED: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "no supervisor": ({"by": officer("officer-9")}, NotSupervisor),
    "a supervisor of another department": (
        {"by": Principal(officer().kind, "s", uuid4(), supervises=("xihu-police",))},
        NotSupervisor,
    ),
    "no reason": ({"reason": " \n"}, AssignmentReasonMissing),
    "a supervisor of whom nobody knows who they are": (
        {"by": Principal(officer().kind, "s", supervises=(DEPARTMENT,))},
        OfficerNotLinked,
    ),
    "a colleague of another department": ({"to": colleague("x", "xihu-police")}, ColleagueWrong),
    "nobody we know": ({"to": Colleague("x", (), None)}, ColleagueWrong),
    "a colleague of whom nobody knows who they are": (
        {"to": Colleague("x", (DEPARTMENT,), None)},
        ColleagueWrong,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_who_may_not_changes_nothing(made: Installation, number: str, name: str) -> None:
    changed, error = REFUSED[name]
    check_refused(made, number, {"to": colleague(), **changed}, error)


def test_nobody_hands_out_or_is_given_a_case_of_their_own(
    made: Installation, number: str, person: UUID
) -> None:
    check_refused(made, number, {"to": colleague(), "by": supervisor(person=person)}, OwnCase)
    check_refused(made, number, {"to": colleague(person=person)}, ColleagueWrong)


def check_refused(made: Installation, number: str, asked: dict[str, Any], error: type[Exception]) -> None:
    before, told = task_of(made, number), said(made, "approval", number)
    with pytest.raises(error):
        assign(made, before.id, **asked)
    assert (task_of(made, number), said(made, "approval", number)) == (before, told)
    assert rows(made, "approval.task_acts", case_no=number) == []
