"""Facts that come together in one message are handled as they are one by one."""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

import pika
import pytest

from shared.bus import undecodable
from shared.bus.changes import MAX_ATTEMPTS
from shared.bus.inbox import Inbox
from shared.bus.topology import EXCHANGE, PARK_QUEUE, read_queues, user_name
from shared.bus.wire import BATCH_FACTS, Message, Unreadable, lane_of
from shared.events.fact import Event
from tests.integration.bus.failing import FailingCommands
from tests.integration.bus.history import (
    BrokerLine,
    Listening,
    Stage,
    Stored,
    events,
    ident,
    kind,
    listening,
    open_line,
)
from tests.support.installation import Installation, settle, wait_for
from tests.support.messages import batch_message
from tests.support.trouble import trouble_of

pytestmark = pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)

CASES = 40


def packed(facts: Sequence[Stored]) -> Iterator[Message]:
    """Messages as a relay would make them: by speaker and lane, full ones first."""

    def place(fact: Stored) -> tuple[str, int]:
        return str(fact["source"]), lane_of(fact["subject"])

    for _, together in groupby(sorted(facts, key=place), place):
        found = list(together)
        for n in range(0, len(found), BATCH_FACTS):
            yield batch_message(found[n : n + BATCH_FACTS])


def send(line: BrokerLine, messages: Sequence[Message]) -> None:
    """By the exchange: the bindings that there are take batches too."""
    connection = pika.BlockingConnection(pika.URLParameters(line.url))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        for message in messages:
            properties = pika.BasicProperties(
                message.content_type,
                headers=dict(message.headers),
                delivery_mode=2,
                user_id=user_name(message.routing_key.split(".")[1]),
            )
            channel.basic_publish(EXCHANGE, message.routing_key, message.body, properties, mandatory=True)
    finally:
        connection.close()
    line.sent += len(messages)


def in_park_queue(installation: Installation) -> int:
    assert installation.broker_url
    [queue] = read_queues(installation.broker_url, [])
    assert queue.name == PARK_QUEUE
    return queue.messages


class Idle(Inbox):
    """Its process dies before it has done anything."""

    def receive(self, events: Sequence[Event], unreadable: Sequence[Unreadable] = ()) -> None:
        return


@pytest.fixture
def inbox(installation: Installation) -> Listening:
    return listening(installation, "notify")


def first_facts(stage: Stage, count: int) -> list[Stored]:
    """As many cases that were submitted, all of one lane."""
    found: list[Stored] = []
    while len(found) < count:
        fact = stage.new_case()[1][0]
        if not found or lane_of(fact["subject"]) == lane_of(found[0]["subject"]):
            found.append(fact)
    return found


def test_a_batch_comes_to_what_its_facts_come_to_one_by_one(stage: Stage, inbox: Listening) -> None:
    number, facts = stage.new_case()
    stage.installation.inbox("notify").receive(events(facts))
    expected = stage.outcome(number)
    cases = dict(stage.new_case() for _ in range(CASES))

    with open_line(stage.installation, "notify", inbox) as line:
        assert isinstance(line, BrokerLine)
        send(line, list(packed([fact for facts in cases.values() for fact in facts])))
        line.take()
        settle(stage.installation, "notify", inbox)

    assert [number for number in cases if stage.outcome(number) != expected] == []
    assert stage.installation.unfinished("notify") == 0


def test_a_transaction_takes_messages_until_it_holds_a_hundred_facts(stage: Stage, inbox: Listening) -> None:
    facts = first_facts(stage, 190)
    cuts = [0, 1, 31, 91, 100, 190]
    messages = [batch_message(facts[begin:end]) for begin, end in pairwise(cuts)]
    inbox.may_go.clear()
    with open_line(stage.installation, "notify", inbox) as line:
        assert isinstance(line, BrokerLine)
        send(line, messages[:1])
        wait_for(lambda: len(inbox.batches) == 1, "the first is being handled")
        send(line, messages[1:])
        wait_for(lambda: len(line.consumer._at_hand) == len(messages), "all others are at hand")
        inbox.may_go.set()
        line.take()
    assert [len(batch) for batch in inbox.batches] == [1, 99, 90]


def test_a_batch_is_urgent_when_one_of_its_types_is(stage: Stage, inbox: Listening) -> None:
    """What lingers waits for a minute here, and is handled with what somebody waits for."""
    lingering = first_facts(stage, 3)
    urgent = [fact for fact in stage.new_case()[1] if fact["source"] == "/onestop/approval"]
    assert {kind(fact) for fact in urgent} >= {"case-accepted", "correction-required"}
    with open_line(stage.installation, "notify", inbox, linger_s=60) as line:
        assert isinstance(line, BrokerLine)
        send(line, [batch_message(lingering), batch_message(urgent)])
        line.take()
    assert [len(batch) for batch in inbox.batches] == [len(lingering + urgent)]


def test_all_facts_of_a_batch_that_comes_again_are_suspects(stage: Stage, inbox: Listening) -> None:
    facts = first_facts(stage, 30)
    idle = Idle(inbox._context, {})
    with open_line(stage.installation, "notify", idle, mute=True) as line:
        assert isinstance(line, BrokerLine)
        send(line, [batch_message(facts)])
        line.take()
    with open_line(stage.installation, "notify", inbox) as line:
        wait_for(lambda: bool(inbox.suspects), "it comes again")
        assert isinstance(line, BrokerLine)
    assert inbox.suspects == events(facts)
    assert inbox.batches == []


def test_a_fact_that_fails_in_the_middle_of_a_full_batch_is_blamed_alone(
    stage: Stage, installation: Installation
) -> None:
    facts = first_facts(stage, BATCH_FACTS)
    poison = ident(facts[BATCH_FACTS // 2])
    failing = FailingCommands("notify", {poison: MAX_ATTEMPTS})
    inbox = Listening(installation.context("notify"), failing.handlers())
    with open_line(installation, "notify", inbox) as line:
        assert isinstance(line, BrokerLine)
        send(line, [batch_message(facts)])
        line.take()
        rows = installation.rows("SELECT id, attempts FROM notify.inbox")
        assert [(row.id, row.attempts) for row in rows] == [(poison, 1)]
        settle(installation, "notify", inbox)
    [row] = installation.rows("SELECT id, state, deaths FROM notify.inbox")
    assert (row.id, row.state, row.deaths) == (poison, "parked", 0)
    assert installation.handled("notify") == BATCH_FACTS - 1


def test_one_bad_fact_of_a_batch_is_parked_alone(stage: Stage, inbox: Listening) -> None:
    facts = first_facts(stage, 3)
    bad = facts[1] | {"id": "urn:uuid:" + facts[1]["id"]}
    with open_line(stage.installation, "notify", inbox) as line:
        assert isinstance(line, BrokerLine)
        send(line, [batch_message([facts[0], bad, facts[2]])])
        line.take()
    assert inbox.batches == [events([facts[0], facts[2]])]
    [parked] = trouble_of(stage.installation.context("notify"))
    assert parked.reason == "envelope: id"
    assert in_park_queue(stage.installation) == 0


def test_a_batch_of_which_something_could_not_be_kept_stays_in_the_park_queue(
    stage: Stage, inbox: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undecodable, "MOST_KEPT", 0)
    facts = first_facts(stage, 3)
    bad = facts[1] | {"id": "urn:uuid:" + facts[1]["id"]}
    with open_line(stage.installation, "notify", inbox) as line:
        assert isinstance(line, BrokerLine)
        send(line, [batch_message([facts[0], bad, facts[2]])])
        line.take()
    assert inbox.batches == [events([facts[0], facts[2]])]
    assert trouble_of(stage.installation.context("notify")) == []
    wait_for(lambda: in_park_queue(stage.installation) == 1, "it is in the park queue")
