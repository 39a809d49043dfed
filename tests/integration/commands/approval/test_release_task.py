"""An officer puts a task back into the queue, as it was but for its version."""

from uuid import UUID

import pytest

from services.approval.commands import claim_task, release_task
from services.approval.errors import TaskClaimedByOther, TaskNotClaimed
from shared.auth.principal import Principal
from shared.events.approval import TaskReleased
from tests.support.commands import said
from tests.support.installation import Installation
from tests.support.principals import officer
from tests.support.tasks import act, task_of, under_review


def release(made: Installation, task_id: UUID, who: Principal) -> None:
    act(made, task_id, lambda unit, task, case: release_task(unit, task, case, who))


def test_it_lies_in_the_queue_again(made: Installation) -> None:
    number = under_review(made)
    before = task_of(made, number)
    act(made, before.id, lambda unit, task, case: claim_task(unit, task, case, officer()))
    release(made, before.id, officer())
    after = task_of(made, number)
    assert (after.state, after.officer, after.claimed_at, after.version) == ("open", None, None, 3)
    assert (after.due_at, after.step) == (before.due_at, before.step)
    assert said(made, "approval", number)[-1] == TaskReleased(step=before.step)


def test_only_whoever_has_it_puts_it_back(made: Installation) -> None:
    number = under_review(made)
    task_id = task_of(made, number).id
    with pytest.raises(TaskNotClaimed):
        release(made, task_id, officer())
    act(made, task_id, lambda unit, task, case: claim_task(unit, task, case, officer()))
    with pytest.raises(TaskClaimedByOther):
        release(made, task_id, officer("officer-2"))
    assert task_of(made, number).officer == "officer-1"
