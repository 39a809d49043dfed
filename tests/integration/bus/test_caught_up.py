"""Until when a consumer has handled what came to its queue: also while more comes all the time, and never
later than what may still lie in the queue."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from shared.bus.consumer import QueueConsumer
from tests.integration.bus.history import Stage, kind, post
from tests.support.installation import wait_for

pytestmark = pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)
LONG_S = 60.0
"""Longer than any of these tests waits: the queue is never quiet for so long."""
PREFETCH = 100


class Clock:
    """Stands still until the test moves it."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@contextmanager
def consuming(stage: Stage, clock: Clock) -> Iterator[QueueConsumer]:
    assert stage.installation.broker_url

    def run(work: Callable[[], None]) -> None:
        work()

    consumer = QueueConsumer(
        stage.installation.broker_url,
        stage.service,
        stage.installation.inbox(stage.service),
        batch=PREFETCH,
        prefetch=PREFETCH,
        linger_s=LONG_S,
        run_batch=run,
        clock=clock,
    )
    threads = [threading.Thread(target=run) for run in (consumer.run_reader, consumer.run_batches)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: consumer.connected, "the consumer")
        yield consumer
    finally:
        consumer.stop(0)
        for thread in threads:
            thread.join(10)


def test_steady_traffic_keeps_nobody_from_knowing_until_when_all_was_handled(stage: Stage) -> None:
    facts = stage.new_case()[1]
    urgent = next(n for n, fact in enumerate(facts) if kind(fact) == "correction-required")
    lingers = stage.new_case()[1][:1]
    clock = Clock()
    with consuming(stage, clock) as consumer:
        clock.at = 1003
        assert consumer.caught_up_to() == 0, "what lies in the queue may still be on its way"
        clock.at = 1010
        post(stage.installation, stage.service, facts[: urgent + 1])
        wait_for(lambda: stage.installation.handled(stage.service) == urgent + 1, "the batch")
        wait_for(lambda: consumer.caught_up_to() == 1005, "what was handled")

        clock.at = 1020
        post(stage.installation, stage.service, lingers)
        wait_for(lambda: bool(consumer._at_hand), "the message")
        clock.at = 1100
        assert consumer.caught_up_to() == 1015, "before the oldest at hand came"


def test_what_was_at_hand_when_no_more_was_given_says_nothing_about_the_queue(stage: Stage) -> None:
    submitted = [stage.new_case()[1][0] for _ in range(PREFETCH)]
    clock = Clock()
    with consuming(stage, clock) as consumer:
        clock.at = 1100
        post(stage.installation, stage.service, submitted[:-1])
        wait_for(lambda: len(consumer._at_hand) == PREFETCH - 1, "the messages")
        before = consumer.caught_up_to()
        post(stage.installation, stage.service, submitted[-1:])
        wait_for(lambda: stage.installation.handled(stage.service) == PREFETCH, "the batch")
        wait_for(lambda: not consumer._at_hand, "the settlement")
        clock.at = 1104
        assert consumer.caught_up_to() == before == 1095
        clock.at = 1106
        assert consumer.caught_up_to() == 1101
