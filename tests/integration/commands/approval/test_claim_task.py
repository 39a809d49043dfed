"""An officer takes a task: nobody else has it then, and nobody with an interest of their own."""

from uuid import UUID, uuid4

import pytest

from services.approval.commands import Amiss, StepResult, claim_task, decide_task
from services.approval.errors import OfficerNotLinked, OwnCase, TaskClaimedByOther, TaskFinished
from shared.auth.principal import Principal
from shared.events.approval import TaskClaimed
from tests.support.commands import row, said
from tests.support.installation import Installation
from tests.support.principals import officer, unlinked
from tests.support.tasks import act, task_of, under_review


def claim(made: Installation, task_id: UUID, who: Principal) -> None:
    act(made, task_id, lambda unit, task, case: claim_task(unit, task, case, who))


def test_it_is_the_officers_and_said_without_who(made: Installation) -> None:
    number = under_review(made)
    task_id = task_of(made, number).id
    claim(made, task_id, officer())
    task = task_of(made, number)
    assert (task.state, task.officer, task.version) == ("claimed", "officer-1", 2)
    assert task.claimed_at is not None
    assert said(made, "approval", number)[-1] == TaskClaimed(step=task.step)


def test_claiming_ones_own_again_changes_nothing(made: Installation) -> None:
    number = under_review(made)
    task_id = task_of(made, number).id
    claim(made, task_id, officer())
    before, told = task_of(made, number), said(made, "approval", number)
    claim(made, task_id, officer())
    assert (task_of(made, number), said(made, "approval", number)) == (before, told)


def test_whoever_comes_second_is_told_who_has_it_since_when(made: Installation) -> None:
    number = under_review(made)
    task_id = task_of(made, number).id
    claim(made, task_id, officer())
    with pytest.raises(TaskClaimedByOther) as refused:
        claim(made, task_id, officer("officer-2"))
    task = task_of(made, number)
    assert refused.value.members == {"officer": "officer-1", "at": task.claimed_at.isoformat()}
    assert task.officer == "officer-1"


def test_nobody_handles_a_case_of_their_own(made: Installation) -> None:
    person = uuid4()
    task_id = task_of(made, under_review(made, person)).id
    with pytest.raises(OwnCase):
        claim(made, task_id, officer(person=person))
    assert row(made, "approval.tasks", id=task_id).state == "open"


def test_of_whom_nobody_knows_who_they_are_nobody_can_say_it(made: Installation) -> None:
    task_id = task_of(made, under_review(made)).id
    with pytest.raises(OfficerNotLinked):
        claim(made, task_id, unlinked())
    assert row(made, "approval.tasks", id=task_id).state == "open"


def test_what_is_done_stays_done(made: Installation) -> None:
    task_id = task_of(made, under_review(made)).id
    claim(made, task_id, officer())
    act(
        made,
        task_id,
        lambda unit, task, case: decide_task(unit, task, case, officer(), StepResult.PASSED, "", Amiss()),
    )
    with pytest.raises(TaskFinished):
        claim(made, task_id, officer("officer-2"))
