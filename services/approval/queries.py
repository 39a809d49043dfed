"""Reads of approval."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, func, select, tuple_
from sqlalchemy.orm import Session

from services.approval.models import Case, Task, WorkDay
from services.approval.rules.calendar import WorkCalendar
from shared.db.locking import lock_rows


def lock_cases(session: Session, numbers: Collection[str]) -> dict[str, Case]:
    """The cases that exist, locked in order."""
    return lock_rows(session, Case, numbers)


_WORK_DAYS = select(WorkDay.region, WorkDay.day, WorkDay.working, WorkDay.provisional).where(
    WorkDay.region.in_(bindparam("regions", expanding=True))
)


def calendars(session: Session, regions: Collection[str]) -> dict[str, WorkCalendar]:
    """The working days of these regions, as imported; what is not imported is seeded, and provisional."""
    if not regions:
        return {}
    rows = session.connection().execute(_WORK_DAYS, {"regions": sorted(regions)}).all()
    return {
        region: WorkCalendar.of(
            {row.day: (row.working, row.provisional) for row in rows if row.region == region}
        )
        for region in regions
    }


def lock_task(session: Session, task_id: UUID) -> tuple[Task, Case] | None:
    """A task with its case, both locked, the case first, as batches lock it."""
    found = session.execute(select(Task.case_no).where(Task.id == task_id)).scalar_one_or_none()
    if found is None:
        return None
    case = lock_cases(session, {found})[found]
    task = session.scalars(select(Task).where(Task.id == task_id).with_for_update()).one()
    return task, case


def task(session: Session, task_id: UUID) -> tuple[Task, Case] | None:
    """A task with its case, for reading."""
    row = session.execute(
        select(Task, Case).join(Case, Case.number == Task.case_no).where(Task.id == task_id)
    ).first()
    return (row[0], row[1]) if row else None


def queue(
    session: Session,
    departments: Collection[str],
    *,
    after: tuple[Any, UUID] | None,
    limit: int,
    mine: str | None,
) -> list[tuple[Task, str]]:
    """Open tasks of these departments and the officer's own, each with the region whose days it counts by;
    the earliest due first, one page."""
    wanted = (
        select(Task, Case.region)
        .join(Case, Case.number == Task.case_no)
        .where(Task.department.in_(sorted(departments)), Task.state != "done")
    )
    if mine is not None:
        wanted = wanted.where(Task.officer == mine)
    due = func.coalesce(Task.due_at, func.to_timestamp(0))
    if after is not None:
        wanted = wanted.where(tuple_(due, Task.id) > after)
    rows = session.execute(wanted.order_by(due, Task.id).limit(limit))
    return [(row[0], row[1]) for row in rows]


def reasons_of(session: Session, number: str) -> list[Task]:
    """The finished tasks of a case that carry reasons."""
    return list(
        session.scalars(
            select(Task)
            .where(Task.case_no == number, Task.sealed_reason.is_not(None))
            .order_by(Task.finished_at)
        )
    )
