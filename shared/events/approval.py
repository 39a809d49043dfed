"""What approval says: the states of a case, its clock and its decision."""

from datetime import datetime
from enum import StrEnum

from shared.events.fact import Fact


class Decision(StrEnum):
    """The decision on a case."""

    APPROVED = "approved"
    DENIED = "denied"


class CorrectionRequired(Fact):
    """Everything that is missing, told once (一次性告知)."""

    materials: list[str]
    required_at: datetime


class CaseAccepted(Fact):
    """The application is accepted (受理); the legal clock runs from here."""

    accepted_at: datetime
    legal_due_at: datetime
    promised_due_at: datetime
    provisional: bool
    """The working-day calendar of the due dates is not yet the published one."""


class CaseRouted(Fact):
    """A task for one step lies in the queue of one department."""

    step: str
    department: str
    step_due_at: datetime | None = None


class TaskClaimed(Fact):
    """An officer took the task of a step; who it is stays in approval."""

    step: str


class TaskReleased(Fact):
    """The officer put the task back into the queue."""

    step: str


class StepPassed(Fact):
    """A step that does not decide was finished."""

    step: str


class CaseDecided(Fact):
    """The decision, without its reasons: those are free text and stay with approval."""

    outcome: Decision
    decided_at: datetime


class CaseClosed(Fact):
    """Nothing is left to do in this case (办结)."""

    closed_at: datetime
