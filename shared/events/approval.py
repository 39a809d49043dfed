"""What approval says: the states of a case, its clock and its decision."""

from datetime import datetime
from enum import StrEnum

from shared.events.fact import Code, Fact
from shared.events.view import As, CaseState, Seen, ViewChange, Words


class Decision(StrEnum):
    """The decision on a case."""

    APPROVED = "approved"
    DENIED = "denied"


class CorrectionRequired(Fact):
    """Everything that is missing, told once (一次性告知)."""

    seen = Seen(
        Words("一次性告知补正", "Materials requested from you"),
        shown={"materials": As.MATERIALS},
        lines=(Words("{materials}", "{materials}"),),
    )

    materials: list[Code]
    required_at: datetime

    def changes(self) -> ViewChange:
        return {"state": CaseState.CORRECTION_REQUIRED, "asked": self.materials}


class MaterialsAskedAgain(Fact):
    """What had been there is missing, because a holder took their consent back; it can be brought, or agreed
    to again. No second notice of correction (补正): nothing was overlooked, and the clock goes on."""

    seen = Seen(
        Words("因撤回同意，需要补交材料", "Materials requested: a consent was taken back"),
        shown={"materials": As.MATERIALS},
        lines=(Words("{materials}", "{materials}"),),
    )

    materials: list[Code]
    """All that is missing now."""
    asked_at: datetime

    def changes(self) -> ViewChange:
        return {"asked": self.materials}


class MaterialsCompleted(Fact):
    """While the case is examined, all is there again."""

    seen = Seen(Words("材料已补齐", "Nothing is missing any more"))

    completed_at: datetime

    def changes(self) -> ViewChange:
        return {"asked": []}


class CaseAccepted(Fact):
    """The application is accepted (受理); the legal clock runs from here."""

    seen = Seen(
        Words("正式受理", "Application accepted"),
        shown={"promised_due_at": As.DAY},
        lines=(Words("承诺办结日期：{promised_due_at}", "Promised date: {promised_due_at}"),),
    )

    accepted_at: datetime
    legal_due_at: datetime
    promised_due_at: datetime
    provisional: bool
    """The working-day calendar of the due dates is not yet the published one."""

    def changes(self) -> ViewChange:
        return {
            "state": CaseState.ACCEPTED,
            "asked": [],
            "accepted_at": self.accepted_at,
            "legal_due_at": self.legal_due_at,
            "promised_due_at": self.promised_due_at,
            "provisional": self.provisional,
        }


class CaseRouted(Fact):
    """A task for one step lies in the queue of one department."""

    seen = Seen(
        Words("转办理部门", "Sent to a department"),
        shown={"step": As.STEP, "department": As.DEPARTMENT},
        lines=(Words("{step} · {department}", "{step} · {department}"),),
    )

    step: Code
    department: Code
    step_due_at: datetime | None = None

    def changes(self) -> ViewChange:
        return {"state": CaseState.UNDER_REVIEW, "stage": self.step, "department": self.department}


class TaskClaimed(Fact):
    """An officer took the task of a step; who it is stays in approval."""

    seen = Seen(Words("工作人员开始办理", "An officer started work on it"), quiet=True)
    harmless = True

    step: Code


class TaskReleased(Fact):
    """The officer put the task back into the queue."""

    seen = Seen(Words("退回待办", "Returned to the queue"), quiet=True)
    harmless = True

    step: Code


class StepPassed(Fact):
    """A step that does not decide was finished."""

    seen = Seen(
        Words("环节办理完成", "Step finished"),
        shown={"step": As.STEP},
        lines=(Words("{step}", "{step}"),),
    )

    step: Code


class CaseDecided(Fact):
    """The decision, without its reasons: those are free text and stay with approval."""

    seen = Seen(
        Words("作出决定", "Decision"),
        shown={"outcome": As.OUTCOME},
        lines=(Words("{outcome}", "{outcome}"),),
    )

    outcome: Decision
    decided_at: datetime
    materials_round: int | None = None
    """The look at the materials that it rests on; of no other one matters any more."""

    def changes(self) -> ViewChange:
        return {
            "state": CaseState(self.outcome),
            "asked": [],
            "outcome": self.outcome,
            "decided_at": self.decided_at,
            "stage": None,
            "department": None,
        }


class CaseClosed(Fact):
    """Nothing is left to do in this case (办结)."""

    seen = Seen(Words("办结", "Case closed"))

    closed_at: datetime

    def changes(self) -> ViewChange:
        return {"closed_at": self.closed_at}
