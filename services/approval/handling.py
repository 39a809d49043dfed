"""What an officer does to a task, for API and pages alike: look, lock, command."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.approval import commands, queries, view
from services.approval.commands import Colleague, StepResult
from services.approval.errors import TaskNotFound
from services.approval.models import Case, Task
from shared.ask import FileAnswer
from shared.auth.principal import Principal
from shared.bus.unit import Unit, unit_of
from shared.http.context import WebContext
from shared.http.etag import check_if_match

Line = dict[str, Any]


def claim(context: WebContext, task_id: UUID, officer: Principal) -> Line:
    """Take a task. Raises TaskNotFound for other departments' tasks, and as the command does."""
    with unit_of(context.service, "task.claim") as unit:
        task, case = _lock(unit, task_id, officer)
        commands.claim_task(unit, task, case, officer)
        return view.task_line(task)


def release(context: WebContext, task_id: UUID, officer: Principal) -> Line:
    """Put a task back."""
    with unit_of(context.service, "task.release") as unit:
        task, case = _lock(unit, task_id, officer)
        commands.release_task(unit, task, case, officer)
        return view.task_line(task)


def assign(
    context: WebContext,
    task_id: UUID,
    supervisor: Principal,
    to: str | None,
    reason: str,
    if_match: str | None,
) -> Line:
    """Take a task from whoever has it, for a colleague or for the queue. Raises TaskNotFound for tasks of
    departments that they neither work for nor supervise, and as the command does."""
    colleague = _colleague(context, to) if to is not None else None
    with unit_of(context.service, "task.assign") as unit:
        task, case = _lock(unit, task_id, supervisor, sees=True)
        check_if_match(if_match, task.version)
        commands.assign_task(unit, task, case, supervisor, colleague, reason)
        return view.task_line(task)


def _colleague(context: WebContext, subject: str) -> Colleague:
    """As intake knows them now; nobody it knows works nowhere."""
    found = context.service.asker.ask("intake", "officer", {"subject": subject})["officer"]
    if found is None:
        return Colleague(subject, (), None)
    person = UUID(found["person_ref"]) if found["person_ref"] else None
    return Colleague(subject, tuple(found["departments"]), person)


def decide(
    context: WebContext,
    task_id: UUID,
    officer: Principal,
    outcome: StepResult,
    reason: str,
    if_match: str | None,
) -> Line:
    """End a step; certificates that an approval rests on are looked at again on that day."""
    amiss = view.look_before_approval(context, task_id, officer, outcome)
    with unit_of(context.service, "task.decide") as unit:
        task, case = _lock(unit, task_id, officer)
        # Who has the task is told first: an old version is only the consequence.
        commands.check_holder(task, officer)
        check_if_match(if_match, task.version)
        commands.decide_task(unit, task, case, officer, outcome, reason, amiss)
        return view.task_line(task)


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A file of a case, and what to call it."""

    file: FileAnswer
    name: str
    plain_name: str


def read_upload(context: WebContext, task_id: UUID, upload_id: UUID, officer: Principal) -> CaseFile:
    """A file of the task's case, named after its material. Materials notes who read it and why."""
    with unit_of(context.service, "task.look") as unit:
        case = view.file_of(unit, task_id, officer)[1]
        number, matter = case.number, unit.context.matters.get(case.matter, case.matter_version)
    reading = {"case": number, "reader": officer.subject, "purpose": view.PURPOSE}
    read = context.service.asker.fetch("materials", "read_upload", {"upload": str(upload_id), **reading})
    return CaseFile(
        file=read,
        name=f"{number}-{matter.material(read.name).names.zh}",
        plain_name=f"{number}-{read.name}",
    )


def _lock(unit: Unit, task_id: UUID, officer: Principal, *, sees: bool = False) -> tuple[Task, Case]:
    # Looked at before it is locked: who has no business with a task must not wait for those who have, which
    # would tell them that it is there, and that somebody is at it. The department of a task never changes.
    department = queries.department_of(unit.session, task_id)
    if department is None or not (officer.sees(department) if sees else officer.works_for(department)):
        raise TaskNotFound
    found = queries.lock_task(unit.session, task_id)
    if found is None:
        raise TaskNotFound
    return found
