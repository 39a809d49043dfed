"""The gate: per case, which fact of each speaker comes next. Pure; the store locks and writes.

next = run; higher = wait for the gap to close; lower and known = a repetition; lower under an id never seen,
or following another fact than the one handled before = parked, not ignored.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType
from typing import Any
from uuid import UUID

from shared.events.fact import Event

CONFLICT = "sequence-conflict: this sequence of the speaker was handled under another id"
FORK = "fork: the speaker says that another fact came before it than the one handled here"

_TAIL = 16
"""Hex digits of the low eight bytes of an id: what a gate keeps of each fact."""


def tail_of(fact_id: UUID) -> str:
    """The low eight bytes of an id, in hex."""
    return fact_id.hex[-_TAIL:]


class Place(Enum):
    """Where a fact stands before a gate."""

    NEXT = auto()
    LATER = auto()
    KNOWN = auto()
    CONFLICT = auto()
    FORK = auto()


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard of one speaker about one case. Immutable.

    `start`: the last sequence that was said before we began to hear; `tails`: one for each fact since.
    """

    start: int = 0
    tails: str = ""

    @property
    def last(self) -> int:
        """The last sequence handled or given up."""
        return self.start + len(self.tails) // _TAIL

    def place(self, event: Event) -> Place:
        """Where an event of this speaker stands."""
        if event.sequence > self.last + 1:
            return Place.LATER
        if event.sequence == self.last + 1:
            return Place.NEXT if self._follows(event) else Place.FORK
        return Place.KNOWN if self.knows(event.sequence, event.id) else Place.CONFLICT

    def knows(self, sequence: int, fact_id: UUID) -> bool:
        """Nothing is to be done about this fact any more: it was handled, or said before we began to hear."""
        return sequence <= self.start or self.handled(sequence, fact_id)

    def handled(self, sequence: int, fact_id: UUID) -> bool:
        """This fact was handled or given up here."""
        at = (sequence - self.start - 1) * _TAIL
        return at >= 0 and self.tails[at : at + _TAIL] == tail_of(fact_id)

    def after(self, fact_id: UUID) -> "Heard":
        """With one fact more."""
        return Heard(self.start, self.tails + tail_of(fact_id))

    def _follows(self, event: Event) -> bool:
        if self.tails:
            return event.follows is not None and tail_of(event.follows) == self.tails[-_TAIL:]
        # What was said before we began to hear is not known here.
        return self.start > 0 or event.follows is None


Gate = dict[str, Heard]
"""speaker -> what was heard of it, for one case"""

NOTHING_HEARD = Heard()


def gate_json(gate: Gate) -> dict[str, list[Any]]:
    """As the table holds it: speaker -> [start, tails]."""
    return {speaker: [heard.start, heard.tails] for speaker, heard in gate.items()}


def gate_of(stored: Mapping[str, Sequence[Any]]) -> Gate:
    """What the table holds."""
    return {speaker: Heard(int(start), str(tails)) for speaker, (start, tails) in stored.items()}


@dataclass(frozen=True, slots=True)
class Dropped:
    """A fact that people gave up before its turn came; the gate steps over it."""

    speaker: str
    sequence: int
    id: UUID


@dataclass(slots=True)
class Plan:
    """What one batch does with each of its events. `known` are repetitions; `passed` are the given-up facts
    that the gate stepped over."""

    run: list[Event] = field(default_factory=list)
    released: list[Event] = field(default_factory=list)
    wait: list[Event] = field(default_factory=list)
    known: list[Event] = field(default_factory=list)
    conflict: list[Event] = field(default_factory=list)
    fork: list[Event] = field(default_factory=list)
    excluded: list[Event] = field(default_factory=list)
    passed: list[UUID] = field(default_factory=list)
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
    dropped: Mapping[str, Sequence[Dropped]] = MappingProxyType({}),
) -> Plan:
    """Decide what runs, in which order, and what waits.

    `fresh` was taken by this batch, `held` lay waiting in the inbox for the same cases; `gates` are locked.
    `excluded` failed in an earlier pass and must not run now: they hold back what follows in their case.
    `dropped` names, per case, what people gave up out of turn.
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
    dropped: Sequence[Dropped],
) -> None:
    gate = plan._gates[case]
    _step_over(plan, case, dropped)
    # By when they were said, for facts of different speakers; within a speaker the sequence rules.
    pending = sorted(events, key=lambda e: (e.time, e.id))
    progress = True
    while progress:
        progress = False
        for event in pending:
            heard = gate.get(event.speaker, NOTHING_HEARD)
            if event.id in excluded:
                plan.excluded.append(event)
            elif heard.place(event) is Place.NEXT:
                gate[event.speaker] = heard.after(event.id)
                plan.run.append(event)
                plan._moved.add(case)
                _step_over(plan, case, dropped)
                if event.id in held_ids:
                    plan.released.append(event)
            else:
                continue
            pending.remove(event)
            progress = True
            break
    _tell_apart(plan, gate, pending, held_ids)


def _tell_apart(plan: Plan, gate: Gate, pending: Sequence[Event], held_ids: Collection[UUID]) -> None:
    """What does not run: why."""
    for event in pending:
        match gate.get(event.speaker, NOTHING_HEARD).place(event):
            case Place.KNOWN:
                plan.known.append(event)
            case Place.CONFLICT:
                plan.conflict.append(event)
            case Place.FORK:
                plan.fork.append(event)
            case _:
                if event.id not in held_ids:
                    plan.wait.append(event)


def _step_over(plan: Plan, case: str, dropped: Sequence[Dropped]) -> None:
    """Move the gate past what was given up."""
    gate = plan._gates[case]
    for gone in sorted(dropped, key=lambda d: (d.speaker, d.sequence)):
        heard = gate.get(gone.speaker, NOTHING_HEARD)
        if gone.sequence == heard.last + 1:
            gate[gone.speaker] = heard.after(gone.id)
            plan.passed.append(gone.id)
            plan._moved.add(case)
