"""A consumer that is told to stop in the midst of a backlog hands nothing back: not what it holds, and not
what is on its way to it."""

import threading
from collections.abc import Callable

import pika
import pytest

from shared.bus.consumer import QueueConsumer
from shared.bus.topology import queue_name
from tests.integration.bus.history import Stage, post

BACKLOG = 120
PREFETCH = 20
ROUNDS = 6


def consume(stage: Stage, told_after: int) -> None:
    """A consumer that is told to stop after so many batches; until it has ended."""
    url = stage.installation.broker_url
    assert url

    told = threading.Event()
    ended: list[None] = []

    def run_batch(work: Callable[[], None]) -> None:
        work()
        ended.append(None)
        if len(ended) == told_after:
            # Told while the broker answers the last acknowledgement with the next deliveries.
            threading.Thread(target=stop).start()

    consumer = QueueConsumer(
        url,
        stage.service,
        stage.installation.inbox(stage.service),
        batch=PREFETCH // 2,
        prefetch=PREFETCH,
        linger_s=0.01,
        run_batch=run_batch,
    )

    def stop() -> None:
        told.set()
        consumer.stop(10)

    threads = [threading.Thread(target=run) for run in (consumer.run_reader, consumer.run_batches)]
    for thread in threads:
        thread.start()
    if told_after:
        assert told.wait(10)
    else:
        stop()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def left_in_queue(stage: Stage) -> list[bool]:
    """Takes what lies there; for each message whether it had been on its way to somebody."""
    found: list[bool] = []
    connection = pika.BlockingConnection(pika.URLParameters(str(stage.installation.broker_url)))
    try:
        channel = connection.channel()
        while True:
            method, _, _ = channel.basic_get(queue_name(stage.service), auto_ack=True)
            if method is None:
                return found
            found.append(method.redelivered)
    finally:
        connection.close()


@pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)
def test_nothing_is_delivered_to_a_consumer_that_has_gone(stage: Stage) -> None:
    facts = [stage.new_case()[1][0] for _ in range(BACKLOG)]
    for told_after in [1, 2, 3, 4] * ROUNDS:
        post(stage.installation, stage.service, facts)
        consume(stage, told_after)
        left = left_in_queue(stage)
        assert 0 < len(left) < BACKLOG, "it stopped in the midst"
        assert not any(left)


@pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)
def test_one_that_is_told_before_it_is_connected_hands_nothing_back(stage: Stage) -> None:
    post(stage.installation, stage.service, [stage.new_case()[1][0] for _ in range(BACKLOG)])
    consume(stage, told_after=0)
    assert not any(left_in_queue(stage))
