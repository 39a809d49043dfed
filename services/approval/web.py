"""The HTTP doors of approval: the officer's queue and desk, and what the other services may ask."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Response
from pydantic import BeforeValidator, Field, Strict

from services.approval import handling, schemas, view
from services.approval.commands import StepResult
from services.approval.errors import (
    AssignmentReasonMissing,
    CertificateLost,
    ColleagueWrong,
    DecisionNotAllowed,
    MaterialMissing,
    NotSupervisor,
    OfficerNotLinked,
    OwnCase,
    ReasonMissing,
    TaskClaimedByOther,
    TaskFinished,
    TaskNotClaimed,
    TaskNotFound,
)
from services.approval.rules.reasons import LONGEST_REASON
from services.approval.web_pages import page_router
from shared.ask import Params, PeerUnavailable, QuestionHandler
from shared.auth.deps import Officer
from shared.bus.context import ServiceContext
from shared.bus.unit import unit_of
from shared.errors import BadRequest
from shared.http.body import Body, cleaned
from shared.http.context import WebContext
from shared.http.doors import doors, raises
from shared.http.etag import TAGGED, etag_of
from shared.http.paging import Cursor, Limit

MOST_STANDINGS = 100

Reason = Annotated[str, Field(max_length=LONGEST_REASON), BeforeValidator(cleaned)]
"""For the document and for whoever sends far too much; `rules.reasons` judges what is left."""


class Decision(Body):
    """How a step ends. `reason` is required to deny, at most 2,000 characters."""

    outcome: Annotated[StepResult, Strict(False), Field(examples=["approved"])]
    reason: Reason = ""


class Assignment(Body):
    """Whose task it is to be: an officer of the department, or the queue's when `to` is null; and why, in at
    most 2,000 characters."""

    to: Annotated[str, Field(min_length=1, max_length=100, examples=["officer-2"])] | None = None
    reason: Reason


def answers(context: ServiceContext) -> dict[str, QuestionHandler]:
    """What the other services may ask approval."""

    def reasons(params: Params) -> Params:
        """The reasons that officers wrote for a case, for its citizen."""
        with unit_of(context, "approval.reasons") as unit:
            return {"reasons": view.reasons(unit, params["case"])}

    def standings(params: Params) -> Params:
        """How cases stand: matter, decision, and the certificate that was granted. Raises BadRequest for more
        than MOST_STANDINGS."""
        if len(params["cases"]) > MOST_STANDINGS:
            raise BadRequest(detail_en=f"at most {MOST_STANDINGS} cases go into one question")
        with unit_of(context, "approval.standings") as unit:
            return {"standings": view.standings(unit, params["cases"])}

    return {"reasons": reasons, "standings": standings}


def router(context: WebContext) -> APIRouter:
    """All doors of approval."""
    api = doors("/api/v1/tasks")

    @api.get("", response_model=schemas.TaskList)
    def list_tasks(
        officer: Officer,
        cursor: Cursor = None,
        limit: Limit = 50,
        mine: bool = False,
    ) -> dict[str, Any]:
        """The queues of the officer's departments, the earliest due first; `next` is the cursor of the next
        page, null at the end."""
        with unit_of(context.service, "tasks.list") as unit:
            return view.queue(unit, officer, cursor=cursor, limit=limit, mine=mine)

    @api.get("/{task_id}", response_model=schemas.TaskFile, responses=TAGGED)
    @raises(TaskNotFound, OwnCase, OfficerNotLinked, PeerUnavailable)
    def read_task(task_id: UUID, officer: Officer, response: Response) -> dict[str, Any]:
        """One task with the application and its materials; reading them is noted with who and why."""
        found = view.task_file(context, task_id, officer)
        response.headers["ETag"] = etag_of(found["version"])
        return found

    @api.post("/{task_id}/claim", response_model=schemas.Task, responses=TAGGED)
    @raises(TaskNotFound, TaskFinished, TaskClaimedByOther, OwnCase, OfficerNotLinked)
    def claim_task(task_id: UUID, officer: Officer, response: Response) -> dict[str, Any]:
        """Take a task; 409 with who and when if somebody else has it."""
        return _tagged(response, handling.claim(context, task_id, officer))

    @api.post("/{task_id}/release", response_model=schemas.Task, responses=TAGGED)
    @raises(TaskNotFound, TaskFinished, TaskNotClaimed, TaskClaimedByOther)
    def release_task(task_id: UUID, officer: Officer, response: Response) -> dict[str, Any]:
        """Put a task back."""
        return _tagged(response, handling.release(context, task_id, officer))

    @api.post("/{task_id}/assignment", response_model=schemas.Task, responses=TAGGED)
    @raises(
        TaskNotFound,
        NotSupervisor,
        TaskFinished,
        TaskNotClaimed,
        AssignmentReasonMissing,
        ColleagueWrong,
        OwnCase,
        OfficerNotLinked,
        PeerUnavailable,
    )
    def assign_task(
        task_id: UUID,
        body: Assignment,
        officer: Officer,
        response: Response,
        if_match: Annotated[str | None, Header()] = None,
    ) -> dict[str, Any]:
        """A supervisor takes the task from whoever has it, for a colleague or for the queue. If-Match names
        the version that they saw."""
        line = handling.assign(context, task_id, officer, body.to, body.reason, if_match)
        return _tagged(response, line)

    @api.post("/{task_id}/decision", response_model=schemas.Task, responses=TAGGED)
    @raises(
        TaskNotFound,
        TaskFinished,
        TaskNotClaimed,
        TaskClaimedByOther,
        DecisionNotAllowed,
        ReasonMissing,
        CertificateLost,
        MaterialMissing,
        OwnCase,
        OfficerNotLinked,
        PeerUnavailable,
    )
    def decide_task(
        task_id: UUID,
        body: Decision,
        officer: Officer,
        response: Response,
        if_match: Annotated[str | None, Header()] = None,
    ) -> dict[str, Any]:
        """End the step: passed, approved or denied. If-Match names the version that the officer saw."""
        line = handling.decide(context, task_id, officer, body.outcome, body.reason, if_match)
        return _tagged(response, line)

    root = doors()
    root.include_router(api)
    root.include_router(page_router(context))
    return root


def _tagged(response: Response, line: dict[str, Any]) -> dict[str, Any]:
    response.headers["ETag"] = etag_of(line["version"])
    return line
