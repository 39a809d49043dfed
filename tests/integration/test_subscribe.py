"""A service begins to hear another one that has spoken for long: on both transports, under traffic."""

import threading
from dataclasses import dataclass, field
from typing import Any

import pika
import pytest
from sqlalchemy import text

from deploy import migrations, subscribing
from deploy.migrate import admin_engine
from deploy.migrations import TablesInUse
from deploy.subscribing import subscribe
from services.approval.worker import Worker
from services.intake import queries
from shared import faults
from shared.bus.handlers import handlers_of
from shared.bus.inbox import Handler
from shared.bus.topology import EXCHANGE, queue_name, routing_pattern
from shared.bus.unit import Unit, unit_of
from shared.events.fact import Event
from shared.events.intake import MaterialsSupplied
from shared.faults import InjectedFault
from tests.integration.bus.history import open_line
from tests.support.installation import (
    GAP,
    Installation,
    delivery,
    installation,
    secrets_dir,
    settle,
    template_settings,
)

__all__ = ["delivery", "installation", "secrets_dir", "template_settings"]

SPEAKER, SUBSCRIBER = "intake", "approval"


@dataclass
class Listening:
    """What a handler was told about each fact: its case, its sequence, and how many were said before."""

    told: list[tuple[str, int, int]] = field(default_factory=list)

    def handlers(self) -> dict[str, Handler]:
        """The commands of approval, those for intake's facts replaced."""

        def command(unit: Unit, event: Event, loaded: Any) -> None:
            assert unit.cause is not None
            self.told.append((event.case, event.sequence, unit.cause.unheard))

        found = handlers_of(Worker)
        return {
            type_: Handler(lambda unit, events: None, command) if type_.split(".")[1] == SPEAKER else handler
            for type_, handler in found.items()
        } | {"onestop.intake.materials-supplied.v1": Handler(lambda unit, events: None, command)}


@pytest.fixture
def unheard(installation: Installation) -> Installation:
    """Approval does not hear intake yet, and intake has spoken."""
    installation.change(
        f"DELETE FROM onestop.subscriptions WHERE speaker = '{SPEAKER}' AND subscriber = '{SUBSCRIBER}'"
    )
    url = installation.broker_url
    if url is not None:
        connection = pika.BlockingConnection(pika.URLParameters(url))
        connection.channel().queue_unbind(queue_name(SUBSCRIBER), EXCHANGE, routing_pattern(SPEAKER))
        connection.close()
    return installation


def say_more(made: Installation, number: str) -> None:
    """Let intake say a second fact about a case."""
    with unit_of(made.context(SPEAKER), "test.say") as unit:
        [case] = queries.lock_cases(unit.session, {number}).values()
        unit.emit(case, MaterialsSupplied(uploads={}, supplied_at=unit.legal))


def hand_on(made: Installation) -> None:
    relay = made.relay(SPEAKER)
    while relay.run_once() > 0:
        continue


def hear(made: Installation, listening: Listening) -> None:
    """Handle what has come to approval."""
    inbox = made.inbox(SUBSCRIBER, listening.handlers())
    url = made.broker_url
    with open_line(made, SUBSCRIBER, inbox) as line:
        if url is not None:
            connection = pika.BlockingConnection(pika.URLParameters(url))
            waiting = connection.channel().queue_declare(queue_name(SUBSCRIBER), passive=True)
            line.sent = waiting.method.message_count + line.consumer.acknowledged  # type: ignore[attr-defined]
            connection.close()
        line.take()
    settle(made, SUBSCRIBER, inbox)


def begin(made: Installation) -> None:
    subscribe(admin_engine(made.settings), made.broker_url)


def test_cases_that_exist_start_where_they_are_and_new_ones_at_their_beginning(unheard: Installation) -> None:
    sent = unheard.submit(unheard.citizen(GAP)).number
    hand_on(unheard)
    unsent = unheard.submit(unheard.citizen(GAP)).number
    listening = Listening()

    begin(unheard)
    new = unheard.submit(unheard.citizen(GAP)).number
    for number in (sent, unsent, new):
        say_more(unheard, number)
    hand_on(unheard)
    hear(unheard, listening)

    assert sorted(listening.told) == sorted(
        [(sent, 2, 1), (unsent, 1, 0), (unsent, 2, 0), (new, 1, 0), (new, 2, 0)]
    )
    assert unheard.unfinished(SUBSCRIBER) == 0


def test_facts_of_cases_whose_turn_has_not_come_wait_and_then_run(
    unheard: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribing, "BITE", 1)
    numbers = [unheard.submit(unheard.citizen(GAP)).number for _ in range(3)]
    hand_on(unheard)
    listening = Listening()
    faults.plan_faults("subscribe.seed.commit.before:2:raise")
    with pytest.raises(InjectedFault):
        begin(unheard)
    for number in numbers:
        say_more(unheard, number)
    hand_on(unheard)
    hear(unheard, listening)
    assert [place[0] for place in listening.told] == [min(numbers)]
    assert unheard.unfinished(SUBSCRIBER) == 2, "they wait, and are not parked"

    begin(unheard)
    settle(unheard, SUBSCRIBER, unheard.inbox(SUBSCRIBER, listening.handlers()))

    assert sorted(listening.told) == sorted((number, 2, 1) for number in numbers)
    assert unheard.unfinished(SUBSCRIBER) == 0


def test_under_traffic_no_fact_is_missed_or_waited_for(unheard: Installation) -> None:
    stop, numbers = threading.Event(), list[str]()

    def speak() -> None:
        while not stop.is_set():
            number = unheard.submit(unheard.citizen(GAP)).number
            hand_on(unheard)
            say_more(unheard, number)
            hand_on(unheard)
            numbers.append(number)

    speaking = threading.Thread(target=speak)
    speaking.start()
    listening = Listening()
    try:
        for count in (5, 10):
            while len(numbers) < count:
                stop.wait(0.01)
            if count == 5:
                begin(unheard)
    finally:
        stop.set()
        speaking.join(30)
    hear(unheard, listening)

    assert unheard.unfinished(SUBSCRIBER) == 0
    heard = {number: [place[1] for place in listening.told if place[0] == number] for number in numbers}
    assert set(map(tuple, heard.values())) <= {(), (2,), (1, 2)}
    assert heard[numbers[0]] == []
    assert heard[numbers[-1]] == [1, 2]


def test_a_second_time_changes_nothing(unheard: Installation) -> None:
    begin(unheard)
    before = unheard.rows("SELECT * FROM onestop.subscriptions ORDER BY speaker, subscriber")
    begin(unheard)
    assert unheard.rows("SELECT * FROM onestop.subscriptions ORDER BY speaker, subscriber") == before
    assert {row.seeded_to for row in before} == {None}


def test_a_relay_that_hangs_is_waited_for_for_a_while_only(
    unheard: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(migrations, "PAUSES_S", (0.01,))
    subscribed = (
        f"SELECT count(*) FROM onestop.subscriptions WHERE speaker = '{SPEAKER}' "
        f"AND subscriber = '{SUBSCRIBER}'"
    )
    with unheard.admin.begin() as hanging:
        hanging.execute(text(f"SELECT 1 FROM {SPEAKER}.locks WHERE name = 'relay' FOR UPDATE"))
        with pytest.raises(TablesInUse):
            begin(unheard)
        assert unheard.value(subscribed) == 0
    begin(unheard)
    assert unheard.value(subscribed) == 1
