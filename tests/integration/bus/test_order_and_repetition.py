"""The end state of a case is the same for any order and any number of deliveries, for each service."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.services import SERVICES
from shared.bus.housekeeping import keep_tables
from shared.bus.wire import to_message
from shared.events.fact import Event
from tests.integration.bus.history import (
    History,
    Stage,
    Stored,
    events,
    kind,
    make_stage,
    open_line,
)
from tests.support.installation import Delivery, Installation, settle
from tests.support.messages import batch_message, delivery_of

EXAMPLES = 50
"""For each service and way in: 400 in all."""
FEWER_EXAMPLES = 25


def decided_late(stage: Stage, facts: Sequence[Stored]) -> tuple[list[Stored], list[Stored]]:
    """What may arrive before the officer decides, and what cannot: no certificate precedes its decision."""
    if stage.service != "approval":
        return list(facts), []
    late = [fact for fact in facts if kind(fact) == "certificate-issued"]
    return [fact for fact in facts if fact not in late], late


def tell_in_order(stage: Stage) -> list[str]:
    """What comes of a case whose facts arrive in order, one by one, once."""
    number, facts = stage.new_case()
    inbox = stage.installation.inbox(stage.service)
    early, late = decided_late(stage, facts)
    for event in events(early):
        inbox.receive([event])
    if late:
        stage.installation.decide(number)
    for event in events(late):
        inbox.receive([event])
    assert stage.installation.unfinished(stage.service) == 0
    return stage.outcome(number)


@pytest.mark.parametrize("service", SERVICES)
def test_the_same_facts_five_times_and_again_much_later(
    installation: Installation, history: History, service: str, delivery: Delivery
) -> None:
    stage = make_stage(installation, service, history)
    expected = tell_in_order(stage)
    number, facts = stage.new_case()
    inbox = installation.inbox(service)
    early, late = decided_late(stage, facts)

    with open_line(installation, service, inbox) as line:
        line.send([fact for fact in early for _ in range(5)])
        line.take()
        settle(installation, service, inbox)
        if late:
            installation.decide(number)
            line.send([fact for fact in late for _ in range(5)])
            line.take()
        assert stage.outcome(number) == expected
        assert installation.states(service) == {}, "the happy path leaves nothing in the inbox"

        ago = "- interval '400 days'"
        installation.change(f"UPDATE {service}.inbox SET received_at = received_at {ago}")
        installation.change(
            f"UPDATE {service}.outbox SET emitted_at = emitted_at {ago}, sent_at = emitted_at"
        )
        keep_tables(installation.context(service))
        line.send(facts)
        line.take()
        settle(installation, service, inbox)

    assert stage.outcome(number) == expected
    assert installation.unfinished(service) == 0


@st.composite
def arrivals(draw: st.DrawFn, count: int) -> tuple[list[int], list[int], set[int]]:
    """An order of the facts by their places, some of them more than once, where transactions end, and before
    which places, besides, a message does."""
    again = draw(st.lists(st.integers(0, count - 1), max_size=4))
    order = draw(st.permutations([*range(count), *again]))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=5)))
    return order, cuts, draw(st.sets(st.integers(1, len(order)), max_size=8))


def over_the_wire(facts: Sequence[Stored], ends: set[int]) -> list[Event]:
    """Facts that go in messages of as many as stand together: each is of one speaker."""
    found: list[Event] = []
    message: list[Stored] = []
    for place, fact in enumerate(facts):
        if message and (place in ends or fact["source"] != message[0]["source"]):
            found += read(message)
            message = []
        message.append(fact)
    return found + read(message)


def read(facts: Sequence[Stored]) -> list[Event]:
    """One message: a fact alone is one without a batch, or a batch of one."""
    alone = len(facts) == 1 and int(facts[0]["sequence"]) % 2
    told = delivery_of(to_message(facts[0]) if alone else batch_message(facts)).facts()
    assert all(isinstance(one, Event) for one in told)
    return [one for one in told if isinstance(one, Event)]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("way", ["received", "claimed"])
def test_a_cases_facts_in_any_order(
    db_installation: Installation, history: History, service: str, way: str
) -> None:
    _any_order(make_stage(db_installation, service, history), way, EXAMPLES)


@pytest.mark.parametrize("service", SERVICES)
def test_a_consent_that_is_taken_back_and_given_again_in_any_order(
    db_installation: Installation, history_of_a_withdrawal: History, service: str
) -> None:
    _any_order(make_stage(db_installation, service, history_of_a_withdrawal), "received", FEWER_EXAMPLES)


def _any_order(stage: Stage, way: str, examples: int) -> None:
    expected = tell_in_order(stage)
    count = len(decided_late(stage, stage.new_case()[1])[0])
    installation, service = stage.installation, stage.service
    inbox = installation.inbox(service)

    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(arrivals(count))
    def any_order_ends_the_same(arrival: tuple[list[int], list[int], set[int]]) -> None:
        order, cuts, ends = arrival
        number, facts = stage.new_case()
        early, late = decided_late(stage, facts)
        told = [early[place] for place in order]
        for start, end in zip([0, *cuts], [*cuts, len(told)], strict=True):
            give(told[start:end], ends)
        settle(installation, service, inbox)
        if late:
            installation.decide(number)
            give(late + early, ends)
            settle(installation, service, inbox)
        assert installation.unfinished(service) == 0
        assert stage.outcome(number) == expected

    def give(batch: list[Stored], ends: set[int]) -> None:
        if not batch:
            return
        if way == "received":
            inbox.receive(over_the_wire(batch, ends))
        else:
            line.send(batch)
            line.take()

    with open_line(installation, service, inbox) as line:
        any_order_ends_the_same()
