"""A fact that is lost on its way is noticed by its subscriber and said again: on both transports."""

from contextlib import closing
from datetime import timedelta

import pika
import pytest

from deploy.migrate import admin_engine
from deploy.services import SERVICES
from deploy.subscribing import subscribed
from shared.bus.comparison import EVERY, SETTLE, Comparison, Found
from shared.bus.topology import EXCHANGE, apply_topology, queue_name, routing_pattern
from tests.integration.bus.history import open_line
from tests.support.installation import (
    Installation,
    delivery,
    installation,
    secrets_dir,
    settle,
    template_settings,
)

__all__ = ["delivery", "installation", "secrets_dir", "template_settings"]

SPEAKER, SUBSCRIBER = "intake", "notify"


@pytest.fixture
def made(installation: Installation) -> Installation:
    """Every service of the test's process can ask the others."""
    for service in SERVICES:
        installation.context(service)
    installation.change("UPDATE onestop.subscriptions SET since = since - interval '1 day'")
    return installation


def lose_binding(made: Installation) -> None:
    url = made.broker_url
    if url is None:
        made.change(
            f"DELETE FROM onestop.subscriptions WHERE speaker = '{SPEAKER}' AND subscriber = '{SUBSCRIBER}'"
        )
        return
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        connection.channel().queue_unbind(queue_name(SUBSCRIBER), EXCHANGE, routing_pattern(SPEAKER))


def return_to_binding(made: Installation) -> None:
    """As `onestop topology apply` does; inside the database the row stands for the binding."""
    url = made.broker_url
    if url is not None:
        apply_topology(url, SERVICES, subscribed(admin_engine(made.settings)))
        return
    made.change(
        "INSERT INTO onestop.subscriptions (speaker, subscriber, urgent, since, seeded_to) "
        f"VALUES ('{SPEAKER}', '{SUBSCRIBER}', '{{}}', clock_timestamp() - interval '1 day', NULL) "
        "ON CONFLICT (speaker, subscriber) DO UPDATE SET since = EXCLUDED.since"
    )


def say(made: Installation, count: int) -> list[str]:
    numbers = [made.submit(made.citizen()).number for _ in range(count)]
    relay = made.relay(SPEAKER)
    while relay.run_once() > 0:
        continue
    return numbers


def hear(made: Installation) -> None:
    """Handle all that is there."""
    inbox = made.inbox(SUBSCRIBER)
    url = made.broker_url
    with open_line(made, SUBSCRIBER, inbox) as line:
        if url is not None:
            with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
                waiting = connection.channel().queue_declare(queue_name(SUBSCRIBER), passive=True)
                line.sent = waiting.method.message_count  # type: ignore[attr-defined]
        line.take()
    settle(made, SUBSCRIBER, inbox)


def compare(made: Installation, *, caught_up: bool = True) -> Found:
    """What the subscriber finds when all has had time to come."""
    ago = (SETTLE + timedelta(seconds=1)).total_seconds()
    for schema, table in ((SPEAKER, "said_tally"), (SUBSCRIBER, "heard_tally")):
        made.change(f"UPDATE {schema}.{table} SET added_at = added_at - make_interval(secs => :s)", s=ago)
    made.change(
        f"UPDATE {SUBSCRIBER}.comparisons SET checked_at = checked_at - make_interval(secs => :s), "
        "compared_to = compared_to - make_interval(secs => :s)",
        s=max(ago, EVERY.total_seconds()),
    )
    found = Comparison(made.context(SUBSCRIBER), [SPEAKER], lambda moment: caught_up).run()
    assert len(found) == 1
    return found[0]


def knows(made: Installation) -> set[str]:
    return {row.number for row in made.rows(f"SELECT number FROM {SUBSCRIBER}.cases")}


def test_when_all_was_heard_nothing_is_missing_and_it_is_confirmed(made: Installation) -> None:
    numbers = say(made, 3)
    hear(made)

    assert compare(made) == Found(SPEAKER, 0, 0)
    assert compare(made) == Found(SPEAKER, 0, 0)
    assert knows(made) == set(numbers)
    sent = made.value(f"SELECT max(sent_at) FROM {SPEAKER}.outbox")
    confirmed = made.value(f"SELECT through FROM {SPEAKER}.confirmations WHERE subscriber = :s", s=SUBSCRIBER)
    assert confirmed > sent - SETTLE * 4, "later than the day before, when the subscription began"


def test_what_a_lost_binding_swallowed_is_said_again(made: Installation) -> None:
    heard = say(made, 2)
    hear(made)
    lose_binding(made)
    lost = say(made, 3)
    hear(made)
    return_to_binding(made)
    assert knows(made) == set(heard)

    assert compare(made) == Found(SPEAKER, 3, 0)
    assert made.value(f"SELECT missing FROM {SUBSCRIBER}.comparisons WHERE speaker = '{SPEAKER}'") == 3
    say(made, 0)
    hear(made)

    assert knows(made) == {*heard, *lost}
    assert compare(made) == Found(SPEAKER, 0, 0)
    assert made.value(f"SELECT missing FROM {SUBSCRIBER}.comparisons WHERE speaker = '{SPEAKER}'") == 0


def test_a_fact_whose_id_is_of_a_later_minute_than_its_row_is_said_again(made: Installation) -> None:
    lose_binding(made)
    lost = say(made, 1)
    made.change(f"UPDATE {SPEAKER}.outbox SET emitted_at = emitted_at - interval '2 minutes'")
    return_to_binding(made)

    assert compare(made) == Found(SPEAKER, 1, 0)
    say(made, 0)
    hear(made)
    assert knows(made) == set(lost)
    assert compare(made) == Found(SPEAKER, 0, 0)


def test_after_a_clock_was_put_back_it_is_compared_at_once(made: Installation) -> None:
    say(made, 1)
    hear(made)
    assert compare(made) == Found(SPEAKER, 0, 0)
    lose_binding(made)
    lost = say(made, 2)
    return_to_binding(made)
    made.change(
        f"UPDATE {SUBSCRIBER}.comparisons SET checked_at = clock_timestamp() + interval '3 hours', "
        "compared_to = clock_timestamp() + interval '3 hours'"
    )
    made.change(f"UPDATE {SPEAKER}.confirmations SET through = clock_timestamp() + interval '3 hours'")

    assert compare(made) == Found(SPEAKER, 2, 0)
    assert not made.rows(f"SELECT 1 FROM {SPEAKER}.confirmations WHERE through > clock_timestamp()")
    assert not made.rows(
        f"SELECT 1 FROM {SUBSCRIBER}.comparisons WHERE speaker = '{SPEAKER}' "
        "AND compared_to > clock_timestamp()"
    )
    say(made, 0)
    hear(made)
    assert compare(made) == Found(SPEAKER, 0, 0)
    assert set(lost) <= knows(made)


def test_until_the_binding_is_back_it_stays_an_alarm(made: Installation) -> None:
    lose_binding(made)
    say(made, 2)
    if made.broker_url is None:
        # A service that is not subscribed compares with nobody; the row was there when comparing began.
        return_to_binding(made)
        assert compare(made).missing == 2
        lose_binding(made)
    assert compare(made).missing == 2
    say(made, 0)
    hear(made)
    assert compare(made).missing == 2
    return_to_binding(made)
    assert compare(made).missing == 2
    say(made, 0)
    hear(made)
    assert compare(made) == Found(SPEAKER, 0, 0)


def test_a_backlog_is_no_loss(made: Installation) -> None:
    say(made, 3)
    assert compare(made, caught_up=False) == Found(SPEAKER, 0, 0)
    assert made.value(f"SELECT count(*) FROM {SPEAKER}.outbox WHERE again") == 0
    hear(made)
    assert compare(made) == Found(SPEAKER, 0, 0)


@pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)
def test_facts_in_a_queue_that_somebody_deleted_are_said_again(made: Installation) -> None:
    url = made.broker_url
    assert url is not None
    numbers = say(made, 9)
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        connection.channel().queue_delete(queue_name(SUBSCRIBER))
    return_to_binding(made)
    hear(made)
    assert knows(made) == set()

    assert compare(made) == Found(SPEAKER, 9, 0)
    say(made, 0)
    hear(made)

    assert knows(made) == set(numbers)
    assert compare(made) == Found(SPEAKER, 0, 0)


def test_a_repetition_is_dropped_by_those_who_heard_it(made: Installation) -> None:
    say(made, 2)
    hear(made)
    handled = made.handled(SUBSCRIBER)
    counted = made.value(f"SELECT sum(facts) FROM {SUBSCRIBER}.heard_tally")
    made.change(f"UPDATE {SPEAKER}.outbox SET sent_at = NULL, again = true")
    say(made, 0)
    hear(made)

    assert (made.handled(SUBSCRIBER), made.states(SUBSCRIBER)) == (handled, {})
    assert made.value(f"SELECT sum(facts) FROM {SUBSCRIBER}.heard_tally") == counted
    assert made.value(f"SELECT sum(facts) FROM {SPEAKER}.said_tally") == 2
    assert compare(made) == Found(SPEAKER, 0, 0)


def test_what_was_heard_and_never_said_is_told(made: Installation) -> None:
    """A speaker that was restored from an older copy, or a fact that somebody forged."""
    say(made, 3)
    hear(made)
    made.change(f"DELETE FROM {SPEAKER}.said_tally")
    made.change(f"DELETE FROM {SPEAKER}.outbox")

    found = compare(made)

    assert (found.missing, found.above) == (0, 3)
    assert compare(made).above == 3, "until somebody looks"


def test_a_day_of_the_outbox_goes_only_when_everybody_has_confirmed_it(made: Installation) -> None:
    say(made, 1)
    turn = f"SELECT {SPEAKER}.turn_outbox(clock_timestamp() + interval '15 days')"
    assert made.value(turn) is False
    for subscriber in ("approval", "materials", SUBSCRIBER):
        assert made.value(f"SELECT count(*) FROM {SPEAKER}.outbox") == 1
        made.change(f"INSERT INTO {SPEAKER}.confirmations VALUES (:s, clock_timestamp())", s=subscriber)
        made.value(turn)
    assert made.value(f"SELECT count(*) FROM {SPEAKER}.outbox") == 0


def test_folding_changes_no_sum(made: Installation) -> None:
    for _ in range(3):
        say(made, 2)
    made.change(f"UPDATE {SPEAKER}.said_tally SET added_at = added_at - interval '2 hours'")
    sums = f"SELECT minute, sum(facts), bit_xor(tails) FROM {SPEAKER}.said_tally GROUP BY 1 ORDER BY 1"
    before, rows = made.rows(sums), made.value(f"SELECT count(*) FROM {SPEAKER}.said_tally")
    made.value(f"SELECT {SPEAKER}.fold_tallies(clock_timestamp())")

    assert made.rows(sums) == before
    assert made.value(f"SELECT count(*) FROM {SPEAKER}.said_tally") == len(before) <= rows
