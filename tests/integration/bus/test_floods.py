"""Many messages that are no facts, a large one, the same one again: what they take is bounded, and sound
facts do not wait for them."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from shared.bus.topology import queue_name, read_queues
from shared.bus.undecodable import MOST_KEPT
from tests.integration.bus.history import BrokerLine, Stage, open_line, post
from tests.integration.bus.test_statements import counted
from tests.support.installation import Installation, Worker, wait_for
from tests.support.messages import BODY, hash_of, sound
from tests.support.raw_amqp import RawPublisher, property_list

pytestmark = pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)

FLOOD = 10_000
LARGE = 120_000_000


@pytest.fixture
def publisher(installation: Installation) -> Iterator[RawPublisher]:
    assert installation.broker_url
    publisher = RawPublisher(installation.broker_url)
    yield publisher
    publisher.close()


def flood(publisher: RawPublisher, count: int) -> None:
    """So many different messages that are no facts."""
    properties = property_list(sound())
    messages = [(properties, b"no fact, the %d. of them" % n) for n in range(count)]
    assert publisher.publish(messages, queue_name("notify").encode())


def processor_s(worker: Worker) -> float:
    """How many seconds of a processor a process has had so far."""
    used = psutil.Process(worker.pid).cpu_times()
    return float(used.user + used.system)


def in_park_queue(installation: Installation) -> int:
    assert installation.broker_url
    return read_queues(installation.broker_url, [])[-1].messages


def started(installation: Installation) -> Worker:
    worker = installation.worker("notify")
    wait_for(lambda: "worker_started" in worker.output(), "its start", of=installation)
    return worker


def test_a_flood_delays_nobody_and_is_kept_as_a_sample_and_a_count(
    stage: Stage, publisher: RawPublisher
) -> None:
    made = stage.installation
    flood(publisher, FLOOD)
    number, facts = stage.new_case()
    post(made, "notify", facts)

    worker = started(made)
    began, before = time.monotonic(), processor_s(worker)
    wait_for(lambda: stage.outcome(number) != [], "the facts behind it", 60, of=made)
    took, work = time.monotonic() - began, processor_s(worker) - before
    assert worker.terminate() == 0, worker.output()[-3000:]

    # On a machine that has other things to do, a second on the clock is not a second of work.
    assert work < 1.0
    assert took < 15
    assert made.value("SELECT count(*) FROM notify.undecodable") == MOST_KEPT
    assert made.rows("SELECT reason, sum(count) FROM notify.undecodable_counts GROUP BY reason") == [
        ("body: not a JSON object", FLOOD)
    ]
    wait_for(lambda: in_park_queue(made) == FLOOD - MOST_KEPT, "the rest is in the park queue", of=made)
    lines = [line for line in worker.output().splitlines() if '"level": "error"' in line]
    assert 1 <= len(lines) <= 3
    assert sum("messages_undecodable" in line for line in lines) == len(lines)


def test_a_batch_of_them_is_one_statement_and_none_once_the_sample_is_full(
    stage: Stage, publisher: RawPublisher
) -> None:
    made = stage.installation
    with open_line(made, "notify", made.inbox("notify")) as line:
        assert isinstance(line, BrokerLine)
        with counted(made.context("notify").engine) as seen:
            flood(publisher, 2 * MOST_KEPT)
            line.sent = 2 * MOST_KEPT
            line.take()
    # Deliveries come a few at a time; what is only counted is written down once a second.
    assert len(seen) < MOST_KEPT / 10


def test_a_large_message_is_not_held_and_what_stands_behind_it_is_handled(
    stage: Stage, publisher: RawPublisher
) -> None:
    made = stage.installation
    worker = started(made)
    first, facts = stage.new_case()
    post(made, "notify", facts)
    wait_for(lambda: stage.outcome(first) != [], "it is at work", of=made)
    before = peak_memory(worker)

    properties, body = sound(), b"x" * LARGE
    assert publisher.publish([(property_list(properties), body)], queue_name("notify").encode())
    began = time.monotonic()
    number, facts = stage.new_case()
    post(made, "notify", facts)
    wait_for(lambda: stage.outcome(number) != [], "the facts behind it", 60, of=made)
    took = time.monotonic() - began

    assert took < 15
    assert peak_memory(worker) - before < 50_000_000
    [row] = made.rows("SELECT sha256, size, sealed, reason, times FROM notify.undecodable")
    assert row == (hash_of(properties, body), LARGE, None, "message: larger than what is kept", 1)
    wait_for(lambda: in_park_queue(made) == 1, "it is in the park queue", of=made)
    assert worker.terminate() == 0


def peak_memory(worker: Worker) -> int:
    """The most that a process has held so far, in bytes."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_a_message_that_comes_again_is_the_same_message(
    installation: Installation, publisher: RawPublisher
) -> None:
    """Its process died when it was parked and not yet acknowledged; the broker tells so in a header."""
    properties = sound((b"z", b"V", b""), (b"a", b"V", b""), id="no UUID")
    assert publisher.publish([(property_list(properties), BODY)], queue_name("notify").encode())
    parked = "SELECT sum(times) FROM notify.undecodable WHERE sha256 = :hash"

    def is_parked(times: int) -> bool:
        return bool(installation.value(parked, hash=hash_of(properties, BODY)) == times)

    for times in (1, 2):
        with open_line(installation, "notify", installation.inbox("notify"), mute=True):
            wait_for(partial(is_parked, times), "it is parked", of=installation)
    assert len(installation.rows("SELECT 1 FROM notify.undecodable")) == 1
