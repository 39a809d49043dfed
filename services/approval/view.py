"""What an officer sees: queues, and a task with the application and its materials."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from services.approval import queries
from services.approval.commands import Amiss, StepResult, check_holder, check_own
from services.approval.errors import TaskNotFound
from services.approval.models import Case, Task
from services.approval.rules.calendar import DayRange, WorkCalendar
from services.approval.rules.limits import days_of_light, light
from shared.auth.principal import Principal
from shared.bus.unit import Unit, unit_of
from shared.events.approval import Decision
from shared.http.context import WebContext
from shared.paging import moment, page_of, read_cursor

PURPOSE = "deciding the case"


def queue(unit: Unit, officer: Principal, *, cursor: str | None, limit: int, mine: bool) -> dict[str, Any]:
    """One page of the queues that an officer works on or supervises, and the cursor of the next. Cases of
    their own they see as citizens, so that such a page has fewer lines.

    Raises CursorInvalid.
    """
    rows = queries.queue(
        unit.session,
        {*officer.departments, *officer.supervises},
        after=read_cursor(cursor, moment, UUID) if cursor else None,
        limit=limit,
        mine=officer.subject if mine else None,
    )
    page = page_of(rows, limit, lambda row: (row.task.due_at or queries.NO_DUE_DATE, row.task.id))
    calendars = _calendars(unit, [(row.task, row.region) for row in page.lines])
    lines = [
        {
            **task_line(row.task),
            "light": _light(row.task, unit.legal, calendars[row.region]),
            "asked": row.asked,
            "matter_version": row.matter_version,
        }
        for row in page.lines
        if str(officer.person_ref) not in row.parties
    ]
    return {"tasks": lines, "next": page.next}


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

    Raises as `file_of` does, and PeerUnavailable.
    """
    with unit_of(context.service, "task.read") as unit:
        task, case = file_of(unit, task_id, officer)
        calendar = _calendars(unit, [(task, case.region)])[case.region]
        line = {
            **task_line(task),
            "light": _light(task, unit.legal, calendar),
            "case_state": case.state,
            "asked": case.asked,
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


def file_of(unit: Unit, task_id: UUID, officer: Principal) -> tuple[Task, Case]:
    """A task and its case, for reading at the desk.

    Raises TaskNotFound for other departments' tasks, OwnCase for whoever is spoken of in the case (they read
    it as the citizen they are), and OfficerNotLinked.
    """
    found = queries.task(unit.session, task_id)
    if found is None or not officer.sees(found[0].department):
        raise TaskNotFound
    check_own(unit, found[1], officer.person_ref)
    return found


def look_before_approval(
    context: WebContext, task_id: UUID, officer: Principal, outcome: StepResult
) -> Amiss:
    """What an approval would rest on and is not so any more; asked on the day of the decision."""
    if outcome is not StepResult.APPROVED:
        return Amiss()
    with unit_of(context.service, "task.look") as unit:
        task, case = file_of(unit, task_id, officer)
        # Nothing is looked at in the name of somebody who cannot decide.
        check_holder(task, officer)
        number = case.number
    reading = {"case": number, "reader": officer.subject, "purpose": PURPOSE}
    found = context.service.asker.ask("materials", "still_valid", reading)
    return Amiss(found["lost"], found["missing"])


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


def standings(unit: Unit, numbers: Collection[str]) -> dict[str, dict[str, Any]]:
    """How each of these cases stands, for who acts on a decision: its matter, the outcome, its
    moment (both None before it), and the type of certificate that was granted. Unknown cases are left out."""
    found = {}
    for case, outcome, decided_at in queries.decisions_of(unit.session, numbers):
        matter = unit.context.matters.get(case.matter, case.matter_version)
        granted = matter.result if outcome == Decision.APPROVED else None
        found[case.number] = {
            "matter": case.matter,
            "matter_version": case.matter_version,
            "outcome": outcome,
            "decided_at": _iso(decided_at),
            "result": granted.certificate_type if granted is not None else None,
        }
    return found


def _calendars(unit: Unit, lines: Sequence[tuple[Task, str]]) -> dict[str, WorkCalendar]:
    """By region, with the days that the lights of these tasks may look at."""
    ranges = [
        days_of_light(task.due_at, task.finished_at or unit.legal)
        for task, _ in lines
        if task.due_at is not None
    ]
    return queries.calendars(unit.session, {region for _, region in lines}, DayRange.around(ranges))


def _light(task: Task, at: datetime, calendar: WorkCalendar) -> str | None:
    """How a task stands against its due date; what is finished keeps the light that it ended with."""
    return None if task.due_at is None else light(task.due_at, task.finished_at or at, calendar)


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
