"""Cases of approval as they stand when an officer comes."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from services.approval import queries
from services.approval.commands import judge_materials, load_files, open_case
from services.approval.models import Case, Task
from shared.bus.unit import Unit, unit_of
from shared.events.materials import MaterialsMatched
from tests.support.commands import RECEIVED, event_of, handle, new_number, row, submitted
from tests.support.installation import Installation


def matched(
    *gaps: str, at: datetime = RECEIVED, round_: int = 1, withdrawn: bool = False
) -> MaterialsMatched:
    """What materials says when these are missing, `withdrawn` because a holder took their consent back."""
    return MaterialsMatched(
        round=round_,
        outcomes=[],
        gaps=list(gaps),
        consent_withdrawn=withdrawn,
        matched_at=RECEIVED,
        last_received_at=at,
    )


def opened(made: Installation, applicant: UUID | None = None, **changed: Any) -> str:
    """A case that approval has just heard of."""
    number = new_number()
    event = event_of(submitted(applicant or uuid4(), **changed), number)
    handle(made, "approval", load_files, open_case, event)
    return number


def under_review(made: Installation, applicant: UUID | None = None) -> str:
    """A case that is accepted, with its first task in the queue."""
    number = opened(made, applicant)
    handle(made, "approval", load_files, judge_materials, event_of(matched(), number))
    return number


def task_of(made: Installation, number: str) -> Any:
    """The one task of a case that is not done."""
    (found,) = [
        task
        for task in made.rows("SELECT * FROM approval.tasks WHERE case_no = :n", n=number)
        if task.state != "done"
    ]
    return found


def act(made: Installation, task_id: UUID, command: Callable[[Unit, Task, Case], None]) -> None:
    """Look, lock, command, as the doors do."""
    with unit_of(made.context("approval"), "test.act") as unit:
        found = queries.lock_task(unit.session, task_id)
        assert found is not None
        command(unit, *found)


def case_of(made: Installation, number: str) -> Any:
    """Approval's row of a case."""
    return row(made, "approval.cases", number=number)
