"""Use cases of approval: open, require correction, accept, route, claim, release, assign, decide, close."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from uuid import UUID

from services.approval import queries
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
)
from services.approval.models import Case, Task, TaskAct
from services.approval.rules.calendar import DayRange, WorkCalendar
from services.approval.rules.limits import days_counted, due_at
from services.approval.rules.reasons import check_reason
from services.approval.rules.recusal import check_recusal
from services.approval.rules.routing import next_step
from services.approval.rules.transitions import DECIDED, Act, State, check_transition
from shared import metrics
from shared.auth.principal import Principal
from shared.bus.inbox import NotYet
from shared.bus.unit import Unit
from shared.catalogue.matter import Matter, Step
from shared.catalogue.terms import Limit
from shared.errors import FieldError
from shared.events.approval import (
    CaseAccepted,
    CaseClosed,
    CaseDecided,
    CaseRouted,
    CorrectionRequired,
    Decision,
    MaterialsAskedAgain,
    MaterialsCompleted,
    StepPassed,
    TaskClaimed,
    TaskReleased,
)
from shared.events.fact import Event
from shared.events.ids import new_id
from shared.events.intake import CaseSubmitted, known_cases
from shared.events.materials import CertificateIssued, MaterialsMatched, MaterialsPartlyMatched


class TaskState(StrEnum):
    """Where a task is."""

    OPEN = "open"
    CLAIMED = "claimed"
    DONE = "done"


class StepResult(StrEnum):
    """How an officer ends a step: a step that does not decide is passed, the deciding one decides."""

    PASSED = "passed"
    APPROVED = "approved"
    DENIED = "denied"


@dataclass(slots=True)
class Files:
    """What a batch needs: the cases, and the calendars of their regions."""

    cases: dict[str, Case]
    calendars: dict[str, WorkCalendar] = field(default_factory=dict)


def load_files(unit: Unit, events: Sequence[Event]) -> Files:
    """Lock the cases of the batch and read the days of the calendars that its due dates need."""
    cases = queries.lock_cases(unit.session, known_cases(events))
    known: dict[str, Case | CaseSubmitted] = {
        event.case: event.fact for event in events if isinstance(event.fact, CaseSubmitted)
    }
    known |= cases
    regions: set[str] = set()
    ranges: list[DayRange] = []
    for event in events:
        if isinstance(event.fact, MaterialsMatched) and not event.fact.gaps and event.case in known:
            case = known[event.case]
            matter = unit.context.matters.get(case.matter, case.matter_version)
            regions.add(case.region)
            ranges += [days_counted(event.fact.last_received_at, limit) for limit in _limits(matter)]
    return Files(cases, queries.calendars(unit.session, regions, DayRange.around(ranges)))


def open_case(unit: Unit, event: Event, loaded: Files) -> None:
    """A case exists; its state is kept here from now on."""
    fact = event.fact
    assert isinstance(fact, CaseSubmitted)
    case = Case(
        number=event.case,
        sequence=0,
        matter=fact.matter,
        matter_version=fact.matter_version,
        region=fact.region,
        parties=sorted({str(fact.applicant), *map(str, fact.holders.values())}),
        facts=fact.facts,
        state=State.SUBMITTED,
        passed=[],
        asked=[],
        received_at=fact.received_at,
        provisional=False,
    )
    unit.session.add(case)
    loaded.cases[case.number] = case
    _count(unit, case)


def judge_materials(unit: Unit, event: Event, loaded: Files) -> None:
    """Complete: accept. Incomplete: ask for everything at once (行政许可法 art. 32).

    What was complete may be so no more, when a holder takes their consent back: then it is asked for again,
    and an accepted case stays accepted. A decided one stays decided.
    """
    fact = event.fact
    assert isinstance(fact, MaterialsMatched)
    case = loaded.cases.get(event.case)
    if case is None:
        raise NotYet(CaseSubmitted)
    state = State(case.state)
    if state in DECIDED:
        return
    case.materials_round = fact.round
    if fact.gaps:
        _ask(unit, case, fact, state)
    elif state is State.UNDER_REVIEW and (case.asked or fact.consent_withdrawn):
        _complete(unit, case)
    else:
        _accept(unit, case, fact.last_received_at, loaded.calendars[case.region])


def note_look(unit: Unit, event: Event, loaded: Files) -> None:
    """A consent met a part of what is missing. What was asked for stays asked for, and nobody is asked again;
    a decision rests on this look."""
    fact = event.fact
    assert isinstance(fact, MaterialsPartlyMatched)
    case = loaded.cases.get(event.case)
    if case is None:
        raise NotYet(CaseSubmitted)
    if State(case.state) not in DECIDED:
        case.materials_round = fact.round


def _ask(unit: Unit, case: Case, fact: MaterialsMatched, state: State) -> None:
    if state is State.SUBMITTED or not fact.consent_withdrawn:
        _act(unit, case, Act.REQUIRE_CORRECTION)
        case.asked = fact.gaps
        unit.emit(case, CorrectionRequired(materials=fact.gaps, required_at=unit.legal))
    elif not set(fact.gaps) <= set(case.asked):
        # What is asked for already is not asked for twice.
        case.asked = fact.gaps
        unit.emit(case, MaterialsAskedAgain(materials=fact.gaps, asked_at=unit.legal))


def _complete(unit: Unit, case: Case) -> None:
    if case.asked:
        case.asked = []
        unit.emit(case, MaterialsCompleted(completed_at=unit.legal))


def close_after_issue(unit: Unit, event: Event, loaded: Files) -> None:
    """The certificate is there, so nothing is left to do."""
    assert isinstance(event.fact, CertificateIssued)
    case = loaded.cases.get(event.case)
    if case is None:
        raise NotYet(CaseSubmitted)
    _close(unit, case)


def claim_task(unit: Unit, task: Task, case: Case, officer: Principal) -> None:
    """Take a task out of the queue. Claiming one's own task again changes nothing.

    Raises TaskClaimedByOther, naming who and when, TaskFinished, and as `check_own` does.
    """
    _not_finished(task)
    check_own(unit, case, officer.person_ref)
    if task.state == TaskState.CLAIMED:
        if task.officer != officer.subject:
            raise _claimed_by_other(task)
        return
    _give(unit, task, case, officer.subject)
    task.version += 1


def check_own(unit: Unit, case: Case, person: UUID | None) -> None:
    """Raises OwnCase and OfficerNotLinked for whoever must keep out of a case; asked again at every act."""
    matter = unit.context.matters.get(case.matter, case.matter_version)
    check_recusal(person, case.parties, asked=matter.recusal)


def release_task(unit: Unit, task: Task, case: Case, officer: Principal) -> None:
    """Put a claimed task back into the queue: also for whoever must keep out of it. Raises as `check_holder`
    does."""
    check_holder(task, officer)
    _put_back(unit, task, case)
    task.version += 1


@dataclass(frozen=True, slots=True)
class Colleague:
    """An officer as intake knows them now."""

    subject: str
    departments: tuple[str, ...]
    person_ref: UUID | None


def assign_task(
    unit: Unit, task: Task, case: Case, supervisor: Principal, to: Colleague | None, reason: str
) -> None:
    """A supervisor takes a task from whoever has it, and gives it to a colleague or back to the queue.

    Who did it, from whom, to whom and why is kept. Raises NotSupervisor, TaskFinished, TaskNotClaimed,
    AssignmentReasonMissing, Invalid for a reason that cannot be kept, ColleagueWrong, and as `check_own` does
    of the supervisor.
    """
    if not supervisor.supervises_in(task.department):
        raise NotSupervisor
    _not_finished(task)
    check_own(unit, case, supervisor.person_ref)
    reason = check_reason(reason, missing=AssignmentReasonMissing)
    if to is not None:
        _check_colleague(unit, task, case, to)
    elif task.state != TaskState.CLAIMED:
        raise TaskNotClaimed
    before = task.officer
    if task.state == TaskState.CLAIMED:
        _put_back(unit, task, case)
    if to is not None:
        _give(unit, task, case, to.subject)
    task.version += 1
    act_id = new_id()
    unit.append(
        TaskAct,
        id=act_id,
        task=task.id,
        case_no=case.number,
        supervisor=supervisor.subject,
        taken_from=before,
        given_to=to.subject if to else None,
        sealed_reason=unit.context.vault.seal(reason, table="task_acts", row=act_id, column="sealed_reason"),
        done_at=unit.legal,
    )


def _check_colleague(unit: Unit, task: Task, case: Case, to: Colleague) -> None:
    wrong = FieldError("/to", "wrong", "该人员不能办理此任务。", "This officer cannot handle the task.")
    if task.department not in to.departments:
        raise ColleagueWrong(fields=[wrong])
    try:
        check_own(unit, case, to.person_ref)
    except (OwnCase, OfficerNotLinked):
        # Why is nobody's business but theirs.
        raise ColleagueWrong(fields=[wrong]) from None


def _put_back(unit: Unit, task: Task, case: Case) -> None:
    task.state, task.officer, task.claimed_at = TaskState.OPEN, None, None
    unit.emit(case, TaskReleased(step=task.step))


def _give(unit: Unit, task: Task, case: Case, officer: str) -> None:
    task.state, task.officer, task.claimed_at = TaskState.CLAIMED, officer, unit.legal
    unit.emit(case, TaskClaimed(step=task.step))


def check_holder(task: Task, officer: Principal) -> None:
    """Raises TaskFinished, TaskNotClaimed or TaskClaimedByOther unless this officer holds the task."""
    _not_finished(task)
    if task.state != TaskState.CLAIMED:
        raise TaskNotClaimed
    if task.officer != officer.subject:
        raise _claimed_by_other(task)


@dataclass(frozen=True, slots=True)
class Amiss:
    """What an approval cannot rest on: materials whose certificates are not valid any more today, and what is
    missing since a consent was withdrawn."""

    lost: Sequence[str] = ()
    missing: Sequence[str] = ()


def decide_task(
    unit: Unit,
    task: Task,
    case: Case,
    officer: Principal,
    outcome: StepResult,
    reason: str,
    amiss: Amiss,
) -> None:
    """End a step: pass it on, or decide the case. A refusal needs its reasons (行政许可法 art. 38).

    Nothing is approved on what is `amiss`. Raises as `check_holder` and `check_own` do, and
    DecisionNotAllowed, ReasonMissing, Invalid for a reason that is too long or shows something else than it
    says, MaterialMissing, CertificateLost.
    """
    check_holder(task, officer)
    check_own(unit, case, officer.person_ref)
    if task.decides == (outcome is StepResult.PASSED):
        raise DecisionNotAllowed
    reason = check_reason(reason, missing=ReasonMissing if outcome is StepResult.DENIED else None)
    if outcome is StepResult.APPROVED:
        _check_nothing_amiss(case, amiss)
    task.state, task.outcome, task.finished_at = TaskState.DONE, outcome, unit.legal
    took = (unit.legal - task.created_at).total_seconds()
    stage = metrics.STAGE_SECONDS.labels(task.matter, task.step)
    unit.after_commit(partial(stage.observe, max(0.0, took)))
    task.version += 1
    if reason:
        task.sealed_reason = unit.context.vault.seal(
            reason, table="tasks", row=task.id, column="sealed_reason"
        )
    if outcome is StepResult.PASSED:
        case.passed = [*case.passed, task.step]
        unit.emit(case, StepPassed(step=task.step))
        matter = unit.context.matters.get(case.matter, case.matter_version)
        days = DayRange.around(days_counted(unit.legal, limit) for limit in _limits(matter))
        calendar = queries.calendars(unit.session, {case.region}, days)[case.region]
        _route(unit, case, matter, unit.legal, calendar)
    else:
        _decide(unit, case, Decision(outcome))


def _check_nothing_amiss(case: Case, amiss: Amiss) -> None:
    # What was asked of materials may be older than what they have said since.
    missing = sorted({*amiss.missing, *case.asked})
    if missing:
        raise MaterialMissing(members={"materials": missing})
    if amiss.lost:
        raise CertificateLost(members={"materials": list(amiss.lost)})


def _act(unit: Unit, case: Case, act: Act) -> None:
    case.state = check_transition(State(case.state), act)
    _count(unit, case)


def _count(unit: Unit, case: Case) -> None:
    unit.after_commit(metrics.CASES.labels(case.matter, case.state).inc)


def _limits(matter: Matter) -> list[Limit]:
    """All that a due date of this matter may count."""
    steps = [step.limit for step in matter.steps if step.limit is not None]
    return [matter.legal_limit, matter.promised_limit, *steps]


def _accept(unit: Unit, case: Case, received_at: datetime, calendar: WorkCalendar) -> None:
    # On a complete correction the acceptance dates from the day the last material arrived.
    matter = unit.context.matters.get(case.matter, case.matter_version)
    _act(unit, case, Act.ACCEPT)
    case.asked = []
    legal = due_at(received_at, matter.legal_limit, calendar)
    promised = due_at(received_at, matter.promised_limit, calendar)
    case.accepted_at = received_at
    case.legal_due_at, case.promised_due_at = legal.at, promised.at
    case.provisional = legal.provisional or promised.provisional
    unit.emit(
        case,
        CaseAccepted(
            accepted_at=received_at,
            legal_due_at=legal.at,
            promised_due_at=promised.at,
            provisional=case.provisional,
        ),
    )
    _act(unit, case, Act.START_REVIEW)
    _route(unit, case, matter, received_at, calendar)


def _route(unit: Unit, case: Case, matter: Matter, begins_at: datetime, calendar: WorkCalendar) -> None:
    step = next_step(matter, case.facts, case.passed)
    if step is None:
        raise DecisionNotAllowed(detail_en=f"matter {matter.code} has no step left and no decision")
    step_due_at = _step_due_at(case, step, begins_at, calendar)
    unit.append(
        Task,
        id=new_id(),
        case_no=case.number,
        matter=case.matter,
        step=step.code,
        department=step.department,
        decides=step.decides,
        state=TaskState.OPEN,
        version=1,
        due_at=step_due_at,
        created_at=unit.legal,
    )
    unit.emit(case, CaseRouted(step=step.code, department=step.department, step_due_at=step_due_at))


def _step_due_at(case: Case, step: Step, begins_at: datetime, calendar: WorkCalendar) -> datetime | None:
    """By the step's own limit, but never after the promise: a step before it may have been late."""
    promised = case.promised_due_at
    if step.limit is None or promised is None:
        return promised
    return min(due_at(begins_at, step.limit, calendar).at, promised)


def _decide(unit: Unit, case: Case, outcome: Decision) -> None:
    approved = outcome is Decision.APPROVED
    _act(unit, case, Act.APPROVE if approved else Act.DENY)
    case.asked = []
    unit.emit(
        case,
        CaseDecided(outcome=outcome, decided_at=unit.legal, materials_round=case.materials_round),
    )
    matter = unit.context.matters.get(case.matter, case.matter_version)
    if approved and matter.result is not None:
        _act(unit, case, Act.START_ISSUING)
    else:
        _close(unit, case)


def _close(unit: Unit, case: Case) -> None:
    _act(unit, case, Act.CLOSE)
    case.closed_at = unit.legal
    unit.emit(case, CaseClosed(closed_at=unit.legal))


def _not_finished(task: Task) -> None:
    if task.state == TaskState.DONE:
        raise TaskFinished(members=_who(task, task.finished_at))


def _claimed_by_other(task: Task) -> TaskClaimedByOther:
    return TaskClaimedByOther(members=_who(task, task.claimed_at))


def _who(task: Task, at: datetime | None) -> dict[str, object]:
    return {"officer": task.officer, "at": at.isoformat() if at else None}
