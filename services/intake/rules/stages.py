"""Where a case stands, for its citizen: a handful of stages, of which one is now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.catalogue.matter import Matter
from shared.catalogue.terms import Scalar, holds


class Progress(StrEnum):
    """How a stage stands."""

    DONE = "done"
    NOW = "now"
    NEXT = "next"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a case here."""

    stage: str | None
    """The step that works on it."""
    outcome: str | None
    received_at: datetime
    accepted_at: datetime | None
    decided_at: datetime | None
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: `received`, `materials`, `accepted`, `step` (named in it), `certificate` or `closed`."""

    code: str
    progress: Progress
    at: datetime | None = None
    step: str | None = None


def stages_of(matter: Matter, facts: Mapping[str, Scalar], case: Standing) -> list[Stage]:
    """All stages of a case in their order; exactly one of them is now, unless it is closed."""
    steps = [step.code for step in matter.steps if holds(step.condition, facts)]
    order: list[tuple[str, str | None, datetime | None]] = [
        ("received", None, case.received_at),
        ("materials", None, case.accepted_at),
        ("accepted", None, case.accepted_at),
        *(("step", code, None) for code in steps),
    ]
    if matter.result is not None and case.outcome != "denied":
        order.append(("certificate", None, case.closed_at))
    order.append(("closed", None, case.closed_at))
    now = len(order) if case.closed_at is not None else _now(steps, case)
    return [
        Stage(
            code,
            Progress.DONE if place < now else Progress.NOW if place == now else Progress.NEXT,
            _moment(code, step, at, steps, case) if place < now else None,
            step,
        )
        for place, (code, step, at) in enumerate(order)
    ]


def _now(steps: Sequence[str], case: Standing) -> int:
    first_step = 3
    if case.decided_at is not None:
        return first_step + len(steps)
    if case.accepted_at is None:
        return 1
    return first_step + (steps.index(case.stage) if case.stage in steps else 0)


def _moment(
    code: str, step: str | None, at: datetime | None, steps: Sequence[str], case: Standing
) -> datetime | None:
    return case.decided_at if code == "step" and step == steps[-1] else at
