"""Who is woken at once, and what lingers: a fact that nobody waits for is handled with one that
somebody waits for, and never later than it may linger."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from shared.bus.consumer import QueueConsumer
from shared.bus.hints import inbox_hint, linger_hint
from tests.integration.bus.history import Stage, kind, post
from tests.support.installation import Installation, wait_for

LONG_S = 60.0
"""Longer than any of these tests waits."""


@contextmanager
def consuming(stage: Stage, linger_s: float) -> Iterator[list[int]]:
    """A consumer of the stage's queue; yields how many facts were handled when each of its batches ended."""
    assert stage.installation.broker_url
    ended: list[int] = []

    def run(work: Callable[[], None]) -> None:
        work()
        ended.append(stage.installation.handled(stage.service))

    inbox = stage.installation.inbox(stage.service)
    consumer = QueueConsumer(
        stage.installation.broker_url,
        stage.service,
        inbox,
        batch=100,
        prefetch=100,
        linger_s=linger_s,
        run_batch=run,
    )
    threads = [threading.Thread(target=run) for run in (consumer.run_reader, consumer.run_batches)]
    for thread in threads:
        thread.start()
    try:
        yield ended
    finally:
        consumer.stop(0)
        for thread in threads:
            thread.join(10)


@pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)
def test_what_nobody_waits_for_is_handled_with_what_somebody_waits_for(stage: Stage) -> None:
    facts = stage.new_case()[1]
    urgent = next(n for n, fact in enumerate(facts) if kind(fact) == "correction-required")
    assert urgent > 0, "something comes before it"

    with consuming(stage, LONG_S) as ended:
        for fact in facts[: urgent + 1]:
            post(stage.installation, stage.service, [fact])
        wait_for(lambda: bool(ended), "the batch")

    assert ended == [urgent + 1], "all in one batch"


@pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)
def test_lingering_ends(stage: Stage) -> None:
    submitted = stage.new_case()[1][:1]
    assert kind(submitted[0]) == "case-submitted"

    with consuming(stage, 0.05) as ended:
        post(stage.installation, stage.service, submitted)
        wait_for(lambda: bool(ended), "the batch")

    assert ended == [1]


@pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)
def test_a_full_batch_waits_for_nobody(stage: Stage) -> None:
    submitted = [stage.new_case()[1][0] for _ in range(100)]

    with consuming(stage, LONG_S) as ended:
        post(stage.installation, stage.service, submitted)
        wait_for(lambda: sum(ended[-1:]) == 100, "the batch")


@pytest.mark.parametrize("delivery", ["database"], indirect=True)
def test_the_relay_wakes_at_once_only_for_whom_a_fact_is_urgent(installation: Installation) -> None:
    channels = [hint(s) for s in ("materials", "approval", "notify") for hint in (inbox_hint, linger_hint)]
    with installation.admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for channel in channels:
            connection.execute(text(f"LISTEN {channel}"))
        installation.submit(installation.citizen())
        assert installation.relay("intake").run_once() == 1
        connection.execute(text("SELECT 1"))
        heard = [notify.channel for notify in connection.connection.driver_connection.notifies]  # type: ignore[union-attr]

    # Only matching begins with the submission; approval and notify have to remember it.
    assert sorted(heard) == sorted([inbox_hint("materials"), linger_hint("approval"), linger_hint("notify")])
