"""The broker holds what it should: kinds, arguments and queues, not names only."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pika
import pytest

from deploy.rabbitmq import RabbitNode
from deploy.services import SERVICES
from shared.bus.topology import (
    EXCHANGE,
    NotHollow,
    apply_topology,
    deviations,
    forget_hollow,
    queue_arguments,
    queue_name,
)
from tests.support.installation import Installation, empty_broker

pytestmark = pytest.mark.parametrize("delivery", ["rabbitmq"], indirect=True)
QUEUE = queue_name("notify")


@pytest.fixture
def broker(installation: Installation) -> Iterator[str]:
    url = installation.broker_url
    assert url is not None
    yield url
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        connection.channel().exchange_delete(EXCHANGE)
        connection.channel().queue_delete(QUEUE)
    empty_broker(url)


def queue_like(**arguments: Any) -> Callable[[Any], None]:
    def change(channel: Any) -> None:
        channel.queue_delete(QUEUE)
        channel.queue_declare(QUEUE, durable=True, arguments=arguments)

    return change


def other_exchange(channel: Any) -> None:
    channel.exchange_delete(EXCHANGE)
    channel.exchange_declare(EXCHANGE, exchange_type="direct", durable=True)


CHANGES: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "a classic queue": (queue_like(), QUEUE, "inequivalent arg"),
    "a queue that drops": (
        queue_like(**{**queue_arguments(), "x-overflow": "drop-head"}),
        QUEUE,
        "x-overflow",
    ),
    "a queue that parks nothing": (
        queue_like(**{k: v for k, v in queue_arguments().items() if "dead-letter" not in k}),
        QUEUE,
        "x-dead-letter",
    ),
    "no queue": (lambda channel: channel.queue_delete(QUEUE), QUEUE, "no queue"),
    "another exchange": (other_exchange, EXCHANGE, "inequivalent arg"),
    "no exchange": (lambda channel: channel.exchange_delete(EXCHANGE), EXCHANGE, "no exchange"),
}


def test_what_is_as_it_should_be_has_nothing_to_tell_and_is_not_changed(broker: str) -> None:
    assert deviations(broker, SERVICES) == []
    assert deviations(broker, SERVICES) == []


@pytest.mark.parametrize("what", CHANGES)
def test_what_differs_is_named_with_the_reason_and_left_alone(broker: str, what: str) -> None:
    change, name, reason = CHANGES[what]
    with closing(pika.BlockingConnection(pika.URLParameters(broker))) as connection:
        change(connection.channel())

    [line] = deviations(broker, SERVICES)

    assert name in line
    assert reason in line
    assert deviations(broker, SERVICES) == [line], "looking mends nothing"


HOLLOW_OUT = f"""
    {{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{QUEUE}">>)),
    {{Log, Node}} = amqqueue:get_pid(Queue),
    ra:force_delete_server(quorum_queues, {{Log, Node}}).
"""
"""What is left of a quorum queue when the broker is killed soon after it was made: its name."""


@pytest.mark.parametrize("name", [QUEUE, "onestop.nobody"])
def test_a_queue_that_may_hold_messages_is_not_made_anew(broker: str, name: str) -> None:
    with pytest.raises(NotHollow):
        forget_hollow(broker, name)


def test_a_queue_that_is_only_a_name_is_told_and_made_anew(broker: str, rabbitmq: RabbitNode) -> None:
    rabbitmq.ctl("eval", HOLLOW_OUT)

    [line] = deviations(broker, SERVICES)
    assert QUEUE in line
    forget_hollow(broker, QUEUE)
    apply_topology(broker, SERVICES, {"notify": ["intake"]})

    assert deviations(broker, SERVICES) == []
    with closing(pika.BlockingConnection(pika.URLParameters(broker))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(EXCHANGE, "onestop.intake.case-submitted.v1", b"{}", mandatory=True)
        assert channel.basic_get(QUEUE, auto_ack=True)[2] == b"{}"
