"""The officer's pages: queue and task, rendered on the server; they work without JavaScript."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from services.approval import handling, view
from services.approval.commands import StepResult
from shared.auth.deps import Officer
from shared.auth.principal import Principal
from shared.bus.unit import unit_of
from shared.errors import AppError, FieldError, Invalid
from shared.http.context import WebContext
from shared.http.doors import doors, takes
from shared.http.downloads import attachment
from shared.http.held import comes_back, filled_in
from shared.http.paging import Cursor
from shared.http.problems import Problem, problem_of
from shared.http.rendering import page
from shared.legal_time import legal_day

_PAGE = 50
_REASON_BYTES = 512 * 1024
"""What is far too long comes back to its writer as well; a character of a form takes up to nine bytes."""
# What an officer can mend on the page or must know before going on: somebody else was faster.
_SHOWN_ON_THE_PAGE = frozenset((409, 412, 422))


def page_router(context: WebContext) -> APIRouter:
    """The pages of the officer's desk."""
    root = doors(include_in_schema=False)
    router = doors("/desk")

    @router.get("")
    def queue(request: Request, officer: Officer, cursor: Cursor = None, mine: bool = False) -> Response:
        """The queues of the officer's departments."""
        with unit_of(context.service, "tasks.list") as unit:
            found = view.queue(unit, officer, cursor=cursor, limit=_PAGE, mine=mine)
        named = {(task["matter"], task["matter_version"]) for task in found["tasks"]}
        matters = context.service.matters.get_all(named)
        values = {**found, "mine": mine, "matters": matters}
        return page(context.pages, request, "queue.html", values)

    @router.get("/tasks/{task_id}")
    def read(request: Request, task_id: UUID, officer: Officer, held: UUID | None = None) -> Response:
        """One task with its application and materials, and what was filled in before the session ended."""
        return _task_page(context, request, task_id, officer, _held(context, officer, held))

    @router.get("/tasks/{task_id}/uploads/{upload_id}")
    def open_upload(task_id: UUID, upload_id: UUID, officer: Officer) -> Response:
        """A file of the case; the reading is noted by materials."""
        found = handling.read_upload(context, task_id, upload_id, officer)
        return attachment(found.file, name=found.name, plain_name=found.plain_name)

    root.include_router(router)
    root.include_router(_acts(context))
    return root


def _acts(context: WebContext) -> APIRouter:
    """What officers do to a task."""
    router = doors("/desk", include_in_schema=False)
    back = comes_back(
        context.service, "/desk/tasks/{task_id}", secure=context.service.settings.web.cookie_secure
    )

    @router.post("/tasks/{task_id}/claim")
    @back
    def claim(task_id: UUID, officer: Officer) -> Response:
        """Take the task."""
        handling.claim(context, task_id, officer)
        return RedirectResponse(f"/desk/tasks/{task_id}", 303)

    @router.post("/tasks/{task_id}/release")
    @back
    def release(task_id: UUID, officer: Officer) -> Response:
        """Put the task back."""
        handling.release(context, task_id, officer)
        return RedirectResponse("/desk", 303)

    @router.post("/tasks/{task_id}/assignment")
    @back
    @takes(_REASON_BYTES)
    def assign(
        request: Request,
        task_id: UUID,
        officer: Officer,
        if_match: Annotated[str, Form()],
        to: Annotated[str, Form(max_length=100)] = "",
        reason: Annotated[str, Form()] = "",
    ) -> Response:
        """Take the task from whoever has it, or the page again with what is wrong."""
        try:
            handling.assign(context, task_id, officer, to.strip() or None, reason, f'"{if_match}"')
        except AppError as error:
            if error.status not in _SHOWN_ON_THE_PAGE:
                raise
            refused = Refused(problem_of(request, error), "", reason, to, assigning=True)
            return _task_page(context, request, task_id, officer, refused)
        return RedirectResponse(f"/desk/tasks/{task_id}", 303)

    @router.post("/tasks/{task_id}/decision")
    @back
    @takes(_REASON_BYTES)
    def decide(
        request: Request,
        task_id: UUID,
        officer: Officer,
        if_match: Annotated[str, Form()],
        outcome: Annotated[str, Form()] = "",
        reason: Annotated[str, Form()] = "",
    ) -> Response:
        """End the step, or the page again with what is wrong; what was typed comes back with it."""
        try:
            handling.decide(context, task_id, officer, _chosen(outcome), reason, f'"{if_match}"')
        except AppError as error:
            if error.status not in _SHOWN_ON_THE_PAGE:
                raise
            refused = Refused(problem_of(request, error), outcome, reason)
            return _task_page(context, request, task_id, officer, refused)
        return RedirectResponse("/desk", 303)

    return router


@dataclass(frozen=True, slots=True)
class Refused:
    """A decision or an assignment that was not taken, as it was sent; no problem: its session was over."""

    problem: Problem | None
    outcome: str
    reason: str
    to: str = ""
    assigning: bool = False


def _held(context: WebContext, officer: Principal, held: UUID | None) -> Refused | None:
    form = filled_in(context.service, officer, held)
    if form is None:
        return None
    fields, assigning = form.fields, form.path.endswith("/assignment")
    return Refused(
        None, fields.get("outcome", ""), fields.get("reason", ""), fields.get("to", ""), assigning=assigning
    )


def _chosen(outcome: str) -> StepResult:
    try:
        return StepResult(outcome)
    except ValueError:
        raise Invalid(
            fields=[FieldError("/outcome", "required", "请选择决定。", "Choose how you decide.")]
        ) from None


def _task_page(
    context: WebContext,
    request: Request,
    task_id: UUID,
    officer: Principal,
    refused: Refused | None = None,
) -> Response:
    task = view.task_file(context, task_id, officer)
    with unit_of(context.service, "task.day") as unit:
        today = legal_day(unit.legal)
    values: dict[str, Any] = {
        "task": task,
        "matter": context.service.matters.get(task["matter"], task["matter_version"]),
        "today": today,
        "officer": officer.subject,
        "problem": refused.problem if refused else None,
        "outcome": refused.outcome if refused else None,
        "reason": refused.reason if refused and not refused.assigning else "",
        "supervises": officer.supervises_in(task["department"]),
        "works_here": officer.works_for(task["department"]),
        "assignment": refused if refused and refused.assigning else None,
        "held": refused is not None and refused.problem is None,
    }
    status = refused.problem.status if refused and refused.problem else 200
    back = f"/desk/tasks/{task_id}"
    return page(context.pages, request, "task.html", values, status=status, back=back)
