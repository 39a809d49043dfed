"""Reads of approval."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import and_, bindparam, select, text, tuple_
from sqlalchemy.orm import Session

from services.approval.models import QUEUE_DUE, TASK_OPEN, Case, Task, WorkDay
from services.approval.rules.calendar import DayRange, WorkCalendar
from shared.db.locking import lock_rows
from shared.db.merging import merged

NO_DUE_DATE = datetime.fromtimestamp(0, UTC)
"""Where a task without a due date stands in the queue."""


def lock_cases(session: Session, numbers: Collection[str]) -> dict[str, Case]:
    """The cases that exist, locked in order."""
    return lock_rows(session, Case, numbers)


_WORK_DAYS = select(WorkDay.region, WorkDay.day, WorkDay.working, WorkDay.provisional).where(
    WorkDay.region.in_(bindparam("regions", expanding=True)),
    WorkDay.day.between(bindparam("first"), bindparam("last")),
)


def calendars(session: Session, regions: Collection[str], days: DayRange | None) -> dict[str, WorkCalendar]:
    """The working days of these regions within `days`, as imported; what is not imported is seeded, and
    provisional."""
    if not regions or days is None:
        return {region: WorkCalendar.of({}) for region in regions}
    wanted = {"regions": sorted(regions), "first": days.first, "last": days.last}
    rows = session.connection().execute(_WORK_DAYS, wanted).all()
    return {
        region: WorkCalendar.of(
            {row.day: (row.working, row.provisional) for row in rows if row.region == region}, days
        )
        for region in regions
    }


def department_of(session: Session, task_id: UUID) -> str | None:
    """Whose task this is; None when there is none."""
    return session.execute(select(Task.department).where(Task.id == task_id)).scalar_one_or_none()


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


class Queued(NamedTuple):
    """A task in a queue, the region whose days it counts by, the version of the matter that names it, what
    its citizen is to bring, and everybody whom the application speaks of."""

    task: Task
    region: str
    matter_version: int
    asked: list[str]
    parties: list[str]


def queue(
    session: Session,
    departments: Collection[str],
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
    mine: str | None,
) -> list[Queued]:
    """Open tasks of these departments, with `mine` only those of that officer; the earliest due first, a page
    and one."""
    if not departments:
        return []
    open_ = select(Task.id, QUEUE_DUE.label("due")).where(TASK_OPEN).order_by(QUEUE_DUE, Task.id)
    if after is not None:
        open_ = open_.where(tuple_(QUEUE_DUE, Task.id) > after)
    chosen = sorted(departments)
    wanted = (
        [Task.department == department for department in chosen]
        if mine is None
        else [and_(Task.officer == mine, Task.department.in_(chosen))]
    )
    page = merged([open_.where(one).limit(limit + 1) for one in wanted], "due", "id")
    rows = session.execute(
        select(Task, Case.region, Case.matter_version, Case.asked, Case.parties)
        .join(page, page.c.id == Task.id)
        .join(Case, Case.number == Task.case_no)
        .order_by(page.c.due, page.c.id)
    )
    return [Queued(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class QueueLength:
    """How much waits in one department."""

    department: str
    open: int
    overdue: int


# From department to department along the index, as many tasks of each as are counted.
_LENGTHS = text(
    "WITH RECURSIVE d (department) AS ("
    "(SELECT department FROM approval.tasks WHERE state <> 'done' ORDER BY department LIMIT 1) UNION ALL "
    "SELECT (SELECT t.department FROM approval.tasks AS t WHERE t.state <> 'done' "
    "AND t.department > d.department ORDER BY t.department LIMIT 1) FROM d WHERE d.department IS NOT NULL) "
    "SELECT d.department, (SELECT count(*) FROM (SELECT 1 FROM approval.tasks AS t WHERE t.state <> 'done' "
    "AND t.department = d.department LIMIT :most) AS counted) AS open, "
    "(SELECT count(*) FROM (SELECT 1 FROM approval.tasks AS t WHERE t.state <> 'done' "
    "AND t.department = d.department AND coalesce(t.due_at, to_timestamp(0)) > to_timestamp(0) "
    "AND coalesce(t.due_at, to_timestamp(0)) < :at LIMIT :most) AS counted) AS overdue "
    "FROM d WHERE d.department IS NOT NULL"
)


def queue_lengths(session: Session, at: datetime, most: int) -> list[QueueLength]:
    """Open tasks of each department that has any, and those past their due date; counted up to `most`."""
    return [QueueLength(*row) for row in session.execute(_LENGTHS, {"at": at, "most": most})]


_DECISIONS = (
    select(Case, Task.outcome, Task.finished_at)
    .outerjoin(Task, and_(Task.case_no == Case.number, Task.decides, ~TASK_OPEN))
    .where(Case.number.in_(bindparam("numbers", expanding=True)))
)


def decisions_of(
    session: Session, numbers: Collection[str]
) -> list[tuple[Case, str | None, datetime | None]]:
    """Those of these cases that exist, each with the outcome of its deciding step and when that was, if it is
    done."""
    return [(row[0], row[1], row[2]) for row in session.execute(_DECISIONS, {"numbers": sorted(numbers)})]


def reasons_of(session: Session, number: str) -> list[Task]:
    """The finished tasks of a case that carry reasons."""
    return list(
        session.scalars(
            select(Task)
            .where(Task.case_no == number, Task.sealed_reason.is_not(None))
            .order_by(Task.finished_at)
        )
    )
