"""The gate: whatever order facts arrive in, and however often, the same ones run, once, in sequence."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.bus.gate import Gate, plan_batch
from shared.events.approval import StepPassed
from shared.events.fact import Event

SPEAKERS = ("approval", "intake", "materials")
CASES = ("case-a", "case-b")
_AT = datetime(2026, 11, 23, tzinfo=UTC)


def fact(case: str, speaker: str, sequence: int, number: int) -> Event:
    """A fact whose id grows with `number`, as UUIDv7 grow with time."""
    return Event(
        id=UUID(int=number),
        speaker=speaker,
        type=StepPassed.type,
        case=case,
        sequence=sequence,
        time=_AT,
        fact=StepPassed(step="verify"),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """All facts of two cases in the order in which they were said."""
    said = draw(st.lists(st.tuples(st.sampled_from(CASES), st.sampled_from(SPEAKERS)), max_size=14))
    counts: dict[tuple[str, str], int] = {}
    found = []
    for number, place in enumerate(said, start=1):
        counts[place] = counts.get(place, 0) + 1
        found.append(fact(*place, counts[place], number))
    return found


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[Event], list[list[Event]]]:
    """A history, and one way for it to arrive: any order, any repetition, cut into batches anywhere."""
    history = draw(histories())
    repeated = draw(st.lists(st.sampled_from(history), max_size=8)) if history else []
    order = draw(st.permutations([*history, *repeated]))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(order))), max_size=6)))
    batches = [order[start:end] for start, end in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    return history, [batch for batch in batches if batch]


@dataclass
class Keeper:
    """What the store does around the gate, in memory."""

    gates: dict[str, Gate] = field(default_factory=lambda: {case: {} for case in CASES})
    known: set[UUID] = field(default_factory=set)
    held: dict[UUID, Event] = field(default_factory=dict)
    ran: list[Event] = field(default_factory=list)
    parked: list[Event] = field(default_factory=list)

    def receive(self, batch: Sequence[Event]) -> None:
        fresh = list({event.id: event for event in batch if event.id not in self.known}.values())
        self.known |= {event.id for event in fresh}
        cases = {event.case for event in fresh}
        held = [event for event in self.held.values() if event.case in cases]
        plan = plan_batch(fresh, held, {case: self.gates[case] for case in cases})
        self.gates |= plan.moved_gates()
        self.ran += plan.run
        self.parked += plan.conflict
        for event in plan.wait:
            self.held[event.id] = event
        for event in (*plan.released, *plan.conflict):
            self.held.pop(event.id, None)


@given(arrivals())
def test_any_order_and_any_repetition_ends_the_same(arrival: tuple[list[Event], list[list[Event]]]) -> None:
    history, batches = arrival
    keeper = Keeper()
    for batch in batches:
        keeper.receive(batch)

    assert sorted(event.id for event in keeper.ran) == [event.id for event in history]
    assert keeper.held == {}
    assert keeper.parked == []
    for case in CASES:
        for speaker in SPEAKERS:
            ran = [e.sequence for e in keeper.ran if (e.case, e.speaker) == (case, speaker)]
            assert ran == list(range(1, len(ran) + 1))
            assert keeper.gates[case].get(speaker, 0) == len(ran)


@given(arrivals(), st.data())
def test_while_a_fact_is_missing_only_what_follows_it_waits(
    arrival: tuple[list[Event], list[list[Event]]], data: st.DataObject
) -> None:
    history, batches = arrival
    if not history:
        return
    missing = data.draw(st.sampled_from(history))
    keeper = Keeper()
    for batch in batches:
        keeper.receive([event for event in batch if event.id != missing.id])

    behind = {
        event.id
        for event in history
        if (event.case, event.speaker) == (missing.case, missing.speaker)
        and event.sequence > missing.sequence
    }
    assert set(keeper.held) == behind
    assert {event.id for event in keeper.ran} == {event.id for event in history} - behind - {missing.id}

    keeper.receive([missing])
    assert keeper.held == {}
    assert len(keeper.ran) == len(history)


@given(arrivals(), st.data())
def test_a_second_id_under_a_sequence_that_ran_is_a_conflict(
    arrival: tuple[list[Event], list[list[Event]]], data: st.DataObject
) -> None:
    history, batches = arrival
    if not history:
        return
    original = data.draw(st.sampled_from(history))
    # Beyond all others, so that it never wins against the original within one batch.
    other = replace(original, id=UUID(int=10_000))
    at = data.draw(st.integers(0, len(batches)))
    keeper = Keeper()
    for batch in (*batches[:at], [other], *batches[at:]):
        keeper.receive(batch)

    assert len(keeper.ran) == len(history)
    assert [event.sequence for event in keeper.parked] == [original.sequence]
    assert keeper.held == {}


def test_within_a_batch_facts_of_different_speakers_run_in_the_order_in_which_they_were_said() -> None:
    first = fact("case-a", "materials", 1, 1)
    second = fact("case-a", "approval", 1, 2)
    third = fact("case-a", "materials", 2, 3)

    plan = plan_batch([third, second, first], [], {"case-a": {}})

    assert plan.run == [first, second, third]
    assert plan.moved_gates() == {"case-a": {"materials": 2, "approval": 1}}


def test_what_failed_holds_back_its_own_speaker_and_case_and_nothing_else() -> None:
    failed = fact("case-a", "materials", 1, 1)
    behind = fact("case-a", "materials", 2, 2)
    other_speaker = fact("case-a", "approval", 1, 3)
    other_case = fact("case-b", "materials", 1, 4)

    plan = plan_batch(
        [failed, behind, other_speaker, other_case], [], {"case-a": {}, "case-b": {}}, excluded={failed.id}
    )

    assert plan.excluded == [failed]
    assert plan.wait == [behind]
    assert plan.run == [other_speaker, other_case]
    assert plan.moved_gates() == {"case-a": {"approval": 1}, "case-b": {"materials": 1}}


def test_what_was_held_already_and_still_waits_is_not_written_again() -> None:
    held = fact("case-a", "materials", 3, 3)
    fresh = fact("case-a", "materials", 1, 1)

    plan = plan_batch([fresh], [held], {"case-a": {}})

    assert plan.run == [fresh]
    assert plan.wait == []
    assert plan.released == []


def test_the_locked_gates_are_not_changed_by_planning() -> None:
    gates: dict[str, Gate] = {"case-a": {}}

    plan_batch([fact("case-a", "materials", 1, 1)], [], gates)

    assert gates == {"case-a": {}}
