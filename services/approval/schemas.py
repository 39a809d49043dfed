"""What the doors of approval answer."""

from typing import Annotated, Any, Literal

from pydantic import Field

from shared.http.answers import Answer, CaseNumber, Id, Moment, Next

Light = Literal["green", "yellow", "red"]


class Task(Answer):
    """A step of a case that somebody is to do; nothing personal stands in it."""

    id: Id
    case: CaseNumber
    matter: str
    step: str
    department: str
    decides: bool
    """Whether it ends the case: `approved` or `denied` instead of `passed`."""
    state: Literal["open", "claimed", "done"]
    version: int
    """What its ETag says."""
    due_at: Moment | None
    created_at: Moment
    officer: str | None
    """Who has claimed it."""
    claimed_at: Moment | None
    outcome: Literal["passed", "approved", "denied"] | None


class QueuedTask(Task):
    """A task in a queue."""

    light: Light | None
    """How it stands against its due date."""
    asked: list[str]
    """What is missing since a holder took their consent back, and was asked for: nothing is approved
    meanwhile."""
    matter_version: int


class TaskList(Answer):
    """A page of the queues of an officer's departments, the earliest due first."""

    tasks: list[QueuedTask]
    next: Next


class NameAsWritten(Answer):
    """A name of the form that is another one than its person was verified by; the form's was meant."""

    pointer: Annotated[str, Field(examples=["/applicant/name"])]
    verified: str
    """What the person is called by whoever verified them."""


class Application(Answer):
    """The filled form of a case."""

    form: dict[str, Any]
    """By the JSON Schema of its matter."""
    names_as_written: list[NameAsWritten]
    channel: str
    received_at: Moment


class TaskMaterial(Answer):
    """How a required material stands, and what met it."""

    material: str
    outcome: Literal[
        "matched",
        "self_provided",
        "needs_consent",
        "self_provide",
        "expired",
        "revoked",
        "holder_mismatch",
        "not_found",
    ]
    source: str | None
    certificate: Id | None
    upload: Id | None


class TaskFile(QueuedTask):
    """A task with the application and its materials."""

    case_state: str
    application: Application
    materials: list[TaskMaterial]
