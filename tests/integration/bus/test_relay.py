"""The relay: nothing is marked before the other side has it, and no case is reordered."""

import json
import threading
from datetime import timedelta
from typing import Any

import pika
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from shared import faults
from shared.bus import broker
from shared.bus.broker import NotPublished
from shared.bus.outbox import BUSY
from shared.bus.topology import EXCHANGE, queue_name, routing_pattern
from shared.bus.unit import unit_of
from shared.bus.wire import BATCH_FACTS, lane_of
from shared.db.transaction import transaction
from shared.faults import InjectedFault
from tests.support.installation import Installation, settle
from tests.support.messages import facts_in

SUBSCRIBERS = ("materials", "approval", "notify")


def unsent(installation: Installation) -> int:
    return int(installation.value("SELECT count(*) FROM intake.outbox WHERE sent_at IS NULL"))


def channel_of(installation: Installation) -> Any:
    assert installation.broker_url
    return pika.BlockingConnection(pika.URLParameters(installation.broker_url)).channel()


def test_what_is_confirmed_is_marked_and_goes_once(installation: Installation) -> None:
    who = installation.citizen()
    for _ in range(3):
        installation.submit(who)
    relay = installation.relay("intake")

    assert unsent(installation) == 3
    assert relay.run_once() == 3
    assert relay.run_once() == 0
    assert unsent(installation) == 0


@pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)
def test_what_waits_together_travels_together_and_what_waits_alone_alone(installation: Installation) -> None:
    who, relay, channel = installation.citizen(), installation.relay("intake"), channel_of(installation)
    for count in (1, 20):
        numbers = [installation.submit(who).number for _ in range(count)]
        assert relay.run_once() == count
        for service in SUBSCRIBERS:
            lanes = {lane_of(number) for number in numbers}
            messages = [channel.basic_get(queue_name(service), auto_ack=True) for _ in lanes]
            assert channel.basic_get(queue_name(service), auto_ack=True)[0] is None
            keys = {method.routing_key for method, _, _ in messages}
            assert keys == (
                {f"onestop.intake.batch.{lane}" for lane in lanes}
                if count > 1
                else {"onestop.intake.case-submitted.v1"}
            )
            facts = [facts_in(p.headers, p.content_type, body) for _, p, body in messages]
            assert sorted(fact["subject"] for some in facts for fact in some) == sorted(numbers)
    channel.connection.close()


@pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)
def test_an_unbound_queue_leaves_the_rows_unsent(installation: Installation) -> None:
    installation.submit(installation.citizen())
    relay = installation.relay("intake")
    channel = channel_of(installation)
    for service in SUBSCRIBERS:
        channel.queue_unbind(queue_name(service), EXCHANGE, routing_pattern("intake"))

    with pytest.raises(NotPublished, match="returned"):
        relay.run_once()
    assert unsent(installation) == 1

    for service in SUBSCRIBERS:
        channel.queue_bind(queue_name(service), EXCHANGE, routing_pattern("intake"))
    assert relay.run_once() == 1
    assert unsent(installation) == 0
    channel.connection.close()


@pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)
def test_a_refusal_leaves_the_rows_unsent(installation: Installation) -> None:
    who = installation.citizen()
    installation.submit(who)
    channel = channel_of(installation)
    arguments = {"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"}
    channel.queue_declare("test.full", durable=True, arguments=arguments)
    channel.queue_bind("test.full", EXCHANGE, routing_pattern("intake"))
    relay = installation.relay("intake")
    try:
        assert relay.run_once() == 1
        installation.submit(who)
        with pytest.raises(NotPublished, match="nack"):
            relay.run_once()
        assert unsent(installation) == 1
    finally:
        channel.queue_delete("test.full")
        channel.connection.close()
    assert relay.run_once() == 1


@pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)
def test_a_confirm_that_does_not_come_leaves_the_rows_unsent(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.submit(installation.citizen())
    relay = installation.relay("intake")
    monkeypatch.setattr(broker, "CONFIRM_S", 0.0)
    with pytest.raises(NotPublished, match="confirm-timeout"):
        relay.run_once()
    assert unsent(installation) == 1

    monkeypatch.undo()
    assert relay.run_once() == 1


def test_a_crash_between_publish_and_mark_repeats_and_the_inbox_absorbs(installation: Installation) -> None:
    number = installation.submit(installation.citizen()).number
    relay = installation.relay("intake")
    # Inside the database handing on and marking are one statement.
    over = installation.broker_url is not None
    faults.plan_faults(f"outbox.{'hand_on.after' if over else 'sent.commit.before'}:1:raise")
    with pytest.raises(InjectedFault):
        relay.run_once()
    assert unsent(installation) == 1
    assert relay.run_once() == 1

    url = installation.broker_url
    if url is not None:
        channel = channel_of(installation)
        state = channel.queue_declare(queue_name("materials"), passive=True)
        assert state.method.message_count == 2
        channel.connection.close()
    else:
        inbox = installation.inbox("materials")
        settle(installation, "materials", inbox)
        assert installation.handled("materials") == 1
        assert installation.states("materials") == {}
        assert installation.value("SELECT count(*) FROM materials.cases WHERE number = :n", n=number) == 1


def test_a_second_relay_is_busy_while_the_first_hands_on(installation: Installation) -> None:
    installation.submit(installation.citizen())
    context = installation.context("intake")
    relay = installation.relay("intake")
    with transaction(context.engine, "test.lock") as connection:
        connection.execute(text("SELECT 1 FROM intake.locks WHERE name = 'relay' FOR UPDATE"))
        assert relay.run_once() == BUSY
    assert relay.run_once() == 1


def test_no_other_role_can_hold_back_a_relay_or_its_housekeeping(db_installation: Installation) -> None:
    """Advisory locks are open to every role of a database, so none is taken; and rows are closed."""
    db_installation.submit(db_installation.citizen())
    advisory = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    calls = (
        "SELECT ours FROM intake.claim_outbox(1)",
        "SELECT ours FROM intake.relay(1)",
        "SELECT intake.turn_outbox(statement_timestamp())",
    )
    for statement in calls:
        with transaction(db_installation.context("intake").engine, "test.lock") as connection:
            connection.execute(text(statement))
            assert connection.execute(text(advisory)).scalar_one() == 0, statement
    take = text("SELECT 1 FROM intake.locks FOR UPDATE")
    for service in SUBSCRIBERS:
        engine = db_installation.context(service).engine
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            transaction(engine, "x") as connection,
        ):
            connection.execute(take)


def test_a_relay_that_finds_nothing_writes_nothing(db_installation: Installation) -> None:
    with transaction(db_installation.context("intake").engine, "test.idle") as connection:
        connection.execute(text("SELECT ours FROM intake.claim_outbox(1)"))
        connection.execute(text("SELECT ours FROM intake.relay(1)"))
        assert connection.execute(text("SELECT pg_current_xact_id_if_assigned()")).scalar_one() is None


def test_two_relays_never_reorder_a_case(installation: Installation) -> None:
    number = installation.submit(installation.citizen()).number
    context = installation.context("intake")
    count = 500
    with unit_of(context, "test.say") as unit:
        event = unit.connection.execute(text("SELECT event FROM intake.outbox")).scalar_one()
        unit.connection.execute(
            text(
                "INSERT INTO intake.outbox (case_no, event, emitted_at, slot) SELECT :number, "
                "jsonb_set(jsonb_set(CAST(:event AS jsonb), '{id}', to_jsonb(gen_random_uuid()::text)), "
                "'{sequence}', to_jsonb(n::text)), :at, intake.outbox_slot(:at) "
                "FROM generate_series(2, :count) AS n"
            ),
            {"number": number, "event": json.dumps(event), "at": unit.wall, "count": count},
        )
    relays = [installation.relay("intake") for _ in range(2)]

    def run(relay: Any) -> None:
        while relay.run_once() != 0:
            continue

    threads = [threading.Thread(target=run, args=(relay,)) for relay in relays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert unsent(installation) == 0
    assert _sequences(installation) == list(range(1, count + 1))


def _sequences(installation: Installation) -> list[int]:
    if installation.broker_url is None:
        messages = installation.rows("SELECT facts FROM materials.messages ORDER BY id")
        assert {len(message.facts) for message in messages} <= set(range(1, 101))
        return [int(fact["sequence"]) for message in messages for fact in message.facts]
    channel = channel_of(installation)
    found: list[int] = []
    while True:
        method, properties, body = channel.basic_get(queue_name("materials"), auto_ack=True)
        if method is None:
            channel.connection.close()
            return found
        facts = facts_in(properties.headers, properties.content_type, body)
        assert len(facts) <= BATCH_FACTS
        found += [int(fact["sequence"]) for fact in facts]


def confirm(installation: Installation) -> None:
    """Every subscriber has heard what intake said so far."""
    installation.change(
        "INSERT INTO intake.confirmations SELECT subscriber, clock_timestamp() FROM onestop.subscriptions "
        "WHERE speaker = 'intake'"
    )


def turn(installation: Installation, days: int) -> bool:
    """What the owner's housekeeping answers so many days from now."""
    with unit_of(installation.context("intake"), "keeping") as unit:
        at = {"at": unit.wall + timedelta(days)}
        turned: bool = unit.connection.execute(text("SELECT intake.turn_outbox(:at)"), at).scalar_one()
        return turned


def test_the_outbox_is_a_ring_of_days_and_keeps_what_is_not_sent(db_installation: Installation) -> None:
    db_installation.submit(db_installation.citizen())
    kept = "SELECT count(*) FROM intake.outbox"
    assert not turn(db_installation, 15), "the day comes round again, and not all of it is sent"
    db_installation.relay("intake").run_once()
    confirm(db_installation)
    for day in range(15):
        assert turn(db_installation, day)
        assert db_installation.value(kept) == 1, f"gone after {day} days"
    assert turn(db_installation, 15)
    assert db_installation.value(kept) == 0


def test_turning_the_outbox_waits_for_nobody(db_installation: Installation) -> None:
    db_installation.submit(db_installation.citizen())
    db_installation.relay("intake").run_once()
    confirm(db_installation)
    with db_installation.admin.begin() as reader:
        reader.execute(text("SELECT count(*) FROM intake.outbox"))
        assert not turn(db_installation, 15)
    assert turn(db_installation, 15)
