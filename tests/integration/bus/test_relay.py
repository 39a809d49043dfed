"""The relay: nothing is marked before the other side has it, and no case is reordered."""

import json
import threading
from datetime import date, timedelta
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
from shared.db.transaction import transaction
from shared.faults import InjectedFault
from tests.support.installation import Installation, settle

SUBSCRIBERS = ("materials", "approval", "notify")


def unsent(installation: Installation) -> int:
    return int(installation.value("SELECT count(*) FROM intake.outbox WHERE sent_at IS NULL"))


def channel_of(installation: Installation) -> Any:
    assert installation.settings.broker_url
    return pika.BlockingConnection(pika.URLParameters(installation.settings.broker_url)).channel()


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
    over = installation.settings.broker_url is not None
    faults.plan_faults(f"outbox.{'hand_on.after' if over else 'sent.commit.before'}:1:raise")
    with pytest.raises(InjectedFault):
        relay.run_once()
    assert unsent(installation) == 1
    assert relay.run_once() == 1

    url = installation.settings.broker_url
    if url is not None:
        channel = channel_of(installation)
        state = channel.queue_declare(queue_name("materials"), passive=True)
        assert state.method.message_count == 2
        channel.connection.close()
    else:
        inbox = installation.inbox("materials")
        settle(installation, "materials", inbox)
        assert list(installation.states("materials").values()) == ["done"]
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
        "SELECT intake.keep_outbox(current_date)",
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
                "INSERT INTO intake.outbox (case_no, event, emitted_at, emitted_on) SELECT :number, "
                "jsonb_set(jsonb_set(CAST(:event AS jsonb), '{id}', to_jsonb(gen_random_uuid()::text)), "
                "'{sequence}', to_jsonb(n::text)), :at, CAST(:at AS timestamptz)::date "
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
    if installation.settings.broker_url is None:
        # Within one delivery the door sorts by id; between deliveries the order of arrival stands.
        rows = installation.rows(
            "SELECT sequence, xmin::text::bigint AS tx FROM materials.inbox ORDER BY position"
        )
        batches: dict[int, list[int]] = {}
        for row in rows:
            batches.setdefault(row.tx, []).append(row.sequence)
        return [sequence for batch in batches.values() for sequence in sorted(batch)]
    channel = channel_of(installation)
    found: list[int] = []
    while True:
        method, properties, _ = channel.basic_get(queue_name("materials"), auto_ack=True)
        if method is None:
            channel.connection.close()
            return found
        found.append(int(properties.headers["ce-sequence"]))


def keep(installation: Installation, today: date) -> set[str]:
    """The partitions after the owner's housekeeping of one day."""
    with unit_of(installation.context("intake"), "keeping") as unit:
        unit.connection.execute(text("SELECT intake.keep_outbox(CAST(:today AS date))"), {"today": today})
    rows = installation.rows(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'intake' AND c.relkind = 'r' AND c.relname ~ '^outbox_[0-9]{8}$'"
    )
    return {row.relname for row in rows}


def test_partitions_are_made_ahead_and_only_sent_old_ones_dropped(db_installation: Installation) -> None:
    db_installation.submit(db_installation.citizen())
    today: date = db_installation.value("SELECT emitted_on FROM intake.outbox")
    name = f"outbox_{today:%Y%m%d}"
    assert {f"outbox_{today + timedelta(n):%Y%m%d}" for n in range(4)} <= keep(db_installation, today)
    assert db_installation.value(f"SELECT count(*) FROM intake.{name}") == 1

    later = today + timedelta(8)
    assert name in keep(db_installation, today + timedelta(7)), "a week is kept"
    assert name in keep(db_installation, later), "what is not sent is kept"

    db_installation.relay("intake").run_once()
    assert name not in keep(db_installation, later)
    assert f"outbox_{later + timedelta(3):%Y%m%d}" in keep(db_installation, later)


def test_a_day_without_a_partition_loses_nothing(db_installation: Installation) -> None:
    today: date = db_installation.value("SELECT CAST(clock_timestamp() AS date)")
    db_installation.change(f"DROP TABLE intake.outbox_{today:%Y%m%d}")
    db_installation.submit(db_installation.citizen())
    assert db_installation.value("SELECT count(*) FROM intake.outbox_other") == 1

    keep(db_installation, today)

    assert db_installation.relay("intake").run_once() == 1
