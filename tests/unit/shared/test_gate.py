"""The gate: whatever order facts arrive in, and however often, the same ones run, once, in sequence."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.bus.gate import NOTHING_HEARD, Dropped, Gate, Heard, Plan, gate_json, gate_of, plan_batch
from shared.events.approval import StepPassed
from shared.events.fact import Event

SPEAKERS = ("approval", "intake", "materials")
CASES = ("case-a", "case-b")
_AT = datetime(2026, 11, 23, tzinfo=UTC)


def fact(case: str, speaker: str, sequence: int, number: int, follows: Event | None = None) -> Event:
    """A fact whose id grows with `number`, as UUIDv7 grow with time."""
    return Event(
        id=UUID(int=number),
        speaker=speaker,
        type=StepPassed.type,
        case=case,
        sequence=sequence,
        time=_AT,
        fact=StepPassed(step="verify"),
        follows=follows.id if follows else None,
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """All facts of two cases in the order in which they were said."""
    said = draw(st.lists(st.tuples(st.sampled_from(CASES), st.sampled_from(SPEAKERS)), max_size=14))
    last: dict[tuple[str, str], Event] = {}
    found = []
    for number, place in enumerate(said, start=1):
        before = last.get(place)
        last[place] = fact(*place, before.sequence + 1 if before else 1, number, before)
        found.append(last[place])
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
    known: list[Event] = field(default_factory=list)
    held: dict[UUID, Event] = field(default_factory=dict)
    ran: list[Event] = field(default_factory=list)
    parked: list[Event] = field(default_factory=list)

    def receive(self, batch: Sequence[Event]) -> None:
        lying = {*self.held, *(event.id for event in self.parked)}
        fresh = list({event.id: event for event in batch if event.id not in lying}.values())
        cases = {event.case for event in fresh}
        held = [event for event in self.held.values() if event.case in cases]
        plan = plan_batch(fresh, held, {case: self.gates[case] for case in cases})
        self.gates |= plan.moved_gates()
        self.ran += plan.run
        self.known += plan.known
        self.parked += [*plan.conflict, *plan.fork]
        for event in plan.wait:
            self.held[event.id] = event
        for event in (*plan.released, *plan.conflict, *plan.fork):
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
            assert keeper.gates[case].get(speaker, NOTHING_HEARD).last == len(ran)


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

    after = [
        event
        for event in history
        if (event.case, event.speaker) == (original.case, original.speaker)
        and event.sequence > original.sequence
    ]
    if original in keeper.ran:
        assert (keeper.parked, keeper.held) == ([other], {})
        assert len(keeper.ran) == len(history)
    else:
        # The other one was first. What follows the original does not follow it, and is a fork.
        assert [event.id for event in keeper.parked if event != original] == [e.id for e in after[:1]]
        assert set(keeper.held) == {event.id for event in after[1:]}
        assert len(keeper.ran) == len(history) - len(after)


def lasts(plan: Plan) -> dict[str, dict[str, int]]:
    """Case and speaker -> the last sequence of the gates that were moved."""
    return {
        case: {speaker: heard.last for speaker, heard in gate.items()}
        for case, gate in plan.moved_gates().items()
    }


def test_within_a_batch_facts_of_different_speakers_run_in_the_order_in_which_they_were_said() -> None:
    first = fact("case-a", "materials", 1, 1)
    second = fact("case-a", "approval", 1, 2)
    third = fact("case-a", "materials", 2, 3, first)

    plan = plan_batch([third, second, first], [], {"case-a": {}})

    assert plan.run == [first, second, third]
    assert lasts(plan) == {"case-a": {"materials": 2, "approval": 1}}


def test_what_failed_holds_back_its_own_speaker_and_case_and_nothing_else() -> None:
    failed = fact("case-a", "materials", 1, 1)
    behind = fact("case-a", "materials", 2, 2, failed)
    other_speaker = fact("case-a", "approval", 1, 3)
    other_case = fact("case-b", "materials", 1, 4)

    plan = plan_batch(
        [failed, behind, other_speaker, other_case], [], {"case-a": {}, "case-b": {}}, excluded={failed.id}
    )

    assert plan.excluded == [failed]
    assert plan.wait == [behind]
    assert plan.run == [other_speaker, other_case]
    assert lasts(plan) == {"case-a": {"approval": 1}, "case-b": {"materials": 1}}


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


def test_a_fact_that_follows_another_one_than_was_handled_is_a_fork() -> None:
    first, other = fact("case-a", "materials", 1, 1), fact("case-a", "materials", 1, 7)
    fork = fact("case-a", "materials", 2, 8, other)

    plan = plan_batch([first, fork], [], {"case-a": {}})

    assert (plan.run, plan.fork) == ([first], [fork])


@given(histories(), st.integers(0, 5))
def test_what_was_said_before_we_began_to_hear_is_dropped_and_the_rest_runs(
    history: list[Event], start: int
) -> None:
    begun: Gate = {speaker: Heard(start) for speaker in SPEAKERS}

    plan = plan_batch(history, [], {case: dict(begun) for case in CASES})

    assert [e.sequence for e in plan.known if e.sequence > start] == []
    assert len(plan.run) == len([event for event in history if event.sequence > start])
    assert (plan.wait, plan.conflict, plan.fork) == ([], [], [])


@given(histories())
def test_a_gate_is_the_same_after_the_table(history: list[Event]) -> None:
    gates = plan_batch(history, [], {case: {} for case in CASES}).moved_gates()

    assert {case: gate_of(gate_json(gate)) for case, gate in gates.items()} == gates


def test_what_people_gave_up_is_stepped_over_when_its_turn_comes() -> None:
    first, gone = fact("case-a", "materials", 1, 1), fact("case-a", "materials", 2, 2)
    third = fact("case-a", "materials", 3, 3, gone)
    dropped = {"case-a": [Dropped("materials", 2, gone.id)]}

    plan = plan_batch([third, first], [], {"case-a": {}}, dropped=dropped)

    assert (plan.run, plan.passed) == ([first, third], [gone.id])
    assert plan_batch([gone], [], plan.moved_gates()).known == [gone]
