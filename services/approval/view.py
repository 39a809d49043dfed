"""What an officer sees: queues, and a task with the application and its materials."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.approval import queries
from services.approval.commands import StepResult
from services.approval.errors import TaskNotFound
from services.approval.models import Task
from services.approval.rules.calendar import WorkCalendar
from services.approval.rules.limits import light
from shared.auth.principal import Principal
from shared.bus.unit import Unit, unit_of
from shared.errors import BadRequest
from shared.http.context import WebContext

PURPOSE = "deciding the case"
_EPOCH = datetime.fromtimestamp(0, UTC)


class CursorInvalid(BadRequest):
    code = "request.cursor-invalid"
    title_zh = "分页游标无效"
    title_en = "The page cursor cannot be read"


def queue(unit: Unit, officer: Principal, *, cursor: str | None, limit: int, mine: bool) -> dict[str, Any]:
    """One page of the officer's queues and the cursor of the next."""
    found = queries.queue(
        unit.session,
        officer.departments,
        after=_read_cursor(cursor) if cursor else None,
        limit=limit,
        mine=officer.subject if mine else None,
    )
    calendars = queries.calendars(unit.session, {region for _, region in found})
    lines = [
        {**task_line(task), "light": _light(task, unit.legal, calendars[region])} for task, region in found
    ]
    return {"tasks": lines, "next": _cursor(found[-1][0]) if len(found) == limit else None}


def task_line(task: Task) -> dict[str, Any]:
    """A task without anything personal."""
    return {
        "id": str(task.id),
        "case": task.case_no,
        "matter": task.matter,
        "step": task.step,
        "department": task.department,
        "decides": task.decides,
        "state": task.state,
        "version": task.version,
        "due_at": _iso(task.due_at),
        "created_at": _iso(task.created_at),
        "officer": task.officer,
        "claimed_at": _iso(task.claimed_at),
        "outcome": task.outcome,
    }


def task_file(context: WebContext, task_id: UUID, officer: Principal) -> dict[str, Any]:
    """A task with the application and its materials. The owners note who read what and why.

    Raises TaskNotFound for other departments' tasks, and PeerUnavailable.
    """
    with unit_of(context.service, "task.read") as unit:
        found = queries.task(unit.session, task_id)
        if found is None or not officer.works_for(found[0].department):
            raise TaskNotFound
        task, case = found
        calendar = queries.calendars(unit.session, {case.region})[case.region]
        line = {
            **task_line(task),
            "light": _light(task, unit.legal, calendar),
            "case_state": case.state,
            "matter_version": case.matter_version,
        }
        number = case.number
    reading = {"case": number, "reader": officer.subject, "purpose": PURPOSE}
    matter = context.service.matters.get(line["matter"], line["matter_version"])
    order = [requirement.code for requirement in matter.requirements()]
    outcomes = context.service.asker.ask("materials", "checklist", {"case": number})["outcomes"]
    return {
        **line,
        "application": context.service.asker.ask("intake", "application", reading),
        "materials": sorted(outcomes, key=lambda outcome: order.index(outcome["material"])),
    }


def lost_certificates(
    context: WebContext, task_id: UUID, officer: Principal, outcome: StepResult
) -> list[str]:
    """What an approval would rest on and is not valid any more; asked on the day of the decision."""
    if outcome is not StepResult.APPROVED:
        return []
    with unit_of(context.service, "task.look") as unit:
        found = queries.task(unit.session, task_id)
        if found is None or not officer.works_for(found[0].department):
            raise TaskNotFound
        number = found[1].number
    reading = {"case": number, "reader": officer.subject, "purpose": PURPOSE}
    lost: list[str] = context.service.asker.ask("materials", "still_valid", reading)["lost"]
    return lost


def reasons(unit: Unit, number: str) -> list[dict[str, Any]]:
    """What officers wrote for the citizen: the reasons of the deciding step."""
    return [
        {
            "step": task.step,
            "outcome": task.outcome,
            "at": _iso(task.finished_at),
            "reason": unit.context.vault.open(
                task.sealed_reason, table="tasks", row=task.id, column="sealed_reason"
            ),
        }
        for task in queries.reasons_of(unit.session, number)
        if task.decides and task.sealed_reason is not None
    ]


def _light(task: Task, at: datetime, calendar: WorkCalendar) -> str | None:
    """How a task stands against its due date; what is finished keeps the light that it ended with."""
    return None if task.due_at is None else light(task.due_at, task.finished_at or at, calendar)


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _cursor(task: Task) -> str:
    return urlsafe_b64encode(f"{(task.due_at or _EPOCH).isoformat()}|{task.id}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        written, task_id = urlsafe_b64decode(cursor.encode()).decode().split("|")
        due_at = datetime.fromisoformat(written)
        if due_at.tzinfo is None:
            raise CursorInvalid
        return due_at.astimezone(UTC), UUID(task_id)
    except (ValueError, OverflowError):
        raise CursorInvalid from None
