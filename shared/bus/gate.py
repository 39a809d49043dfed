"""The gate: per case, which sequence of each speaker comes next. Pure; the store locks and writes.

next = run; higher = wait for the gap to close; lower under an id never seen = parked, not ignored.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from uuid import UUID

from shared.events.fact import Event

CONFLICT = "sequence-conflict: this sequence of the speaker was handled under another id"

Gate = dict[str, int]
"""speaker -> last sequence handled, for one case"""


@dataclass(slots=True)
class Plan:
    """What one batch does with each of its events."""

    run: list[Event] = field(default_factory=list)
    released: list[Event] = field(default_factory=list)
    wait: list[Event] = field(default_factory=list)
    conflict: list[Event] = field(default_factory=list)
    excluded: list[Event] = field(default_factory=list)
    _gates: dict[str, Gate] = field(default_factory=dict)
    _moved: set[str] = field(default_factory=set)

    def moved_gates(self) -> dict[str, Gate]:
        """The gates that this batch moves on: case -> gate."""
        return {case: self._gates[case] for case in sorted(self._moved)}


def plan_batch(
    fresh: Sequence[Event],
    held: Sequence[Event],
    gates: Mapping[str, Gate],
    excluded: Collection[UUID] = frozenset(),
    dropped: Mapping[str, Collection[tuple[str, int]]] = MappingProxyType({}),
) -> Plan:
    """Decide what runs, in which order, and what waits.

    `fresh` was taken by this batch, `held` lay waiting in the inbox for the same cases; `gates` are locked.
    `excluded` failed in an earlier pass and must not run now: they hold back what follows in their case.
    `dropped` names, per case, the (speaker, sequence) that people gave up; the gate steps over them.
    """
    plan = Plan(_gates={case: dict(gate) for case, gate in gates.items()})
    held_ids = {event.id for event in held}
    by_case: dict[str, list[Event]] = defaultdict(list)
    for event in (*fresh, *held):
        by_case[event.case].append(event)
    for case in sorted(by_case):
        _plan_case(plan, case, by_case[case], held_ids, excluded, dropped.get(case, ()))
    return plan


def _plan_case(
    plan: Plan,
    case: str,
    events: list[Event],
    held_ids: set[UUID],
    excluded: Collection[UUID],
    dropped: Collection[tuple[str, int]],
) -> None:
    gate = plan._gates[case]
    if _step_over(gate, dropped):
        plan._moved.add(case)
    # UUIDv7 orders facts of different speakers by when they were said; within a speaker the sequence rules.
    pending = sorted(events, key=lambda e: e.id)
    progress = True
    while progress:
        progress = False
        for event in list(pending):
            last = gate.get(event.speaker, 0)
            if event.id in excluded:
                pending.remove(event)
                plan.excluded.append(event)
            elif event.sequence == last + 1:
                pending.remove(event)
                gate[event.speaker] = event.sequence
                plan.run.append(event)
                plan._moved.add(event.case)
                _step_over(gate, dropped)
                if event.id in held_ids:
                    plan.released.append(event)
                progress = True
                break
    for event in pending:
        if event.sequence <= gate.get(event.speaker, 0):
            plan.conflict.append(event)
        elif event.id not in held_ids:
            plan.wait.append(event)


def _step_over(gate: Gate, dropped: Collection[tuple[str, int]]) -> bool:
    """Move the gate past what was given up; whether it moved."""
    moved = False
    for speaker, sequence in sorted(dropped):
        if sequence == gate.get(speaker, 0) + 1:
            gate[speaker] = sequence
            moved = True
    return moved
