"""How each contender is run: its workers, when they are ready, and how the held submissions are let go."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from subprocess import Popen
from typing import Any, Protocol
from uuid import uuid4

import amqp
import kombu
from kombu.serialization import dumps

from deploy.installation import free_ports
from deploy.probe import is_ready
from deploy.services import SERVICES, subscriptions
from shared.bus.hints import outbox_hint
from shared.bus.topology import apply_topology
from tests.bench import celery_worker
from tests.bench.dramatiq_worker import declare, message_to
from tests.bench.peer import CRASH_POINT, EXCHANGE, QUORUM, hearers, queue_of
from tests.bench.servers import Place

Release = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process; `ready` asks whether it takes messages."""

    process: Popen[bytes]
    ready: Callable[[], bool]


class Contender(Protocol):
    """One way of bringing cases through the four services."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    @property
    def crash_point(self) -> str:
        """Passed after the commit of a case and before its facts are published."""

    def prepare(self, place: Place) -> None:
        """Before the workers start."""

    def start_worker(self, place: Place, service: str, more: Mapping[str, str] | None = None) -> Worker:
        """Start the worker of one service."""

    def release(self, place: Place, held: Sequence[int]) -> Release:
        """Everything that can be done before the clock runs; calling what is returned lets the cases go."""


class Onestop:
    """The real workers; their relay takes the held rows."""

    name = "onestop"
    crash_point = "outbox.hand_on.before"

    def prepare(self, place: Place) -> None:
        """Exchange and queues."""
        if place.broker:
            apply_topology(place.broker, SERVICES, subscriptions())

    def start_worker(self, place: Place, service: str, more: Mapping[str, str] | None = None) -> Worker:
        """`onestop run worker`."""
        (port,) = free_ports(1, set())
        health = {"ONESTOP_WORKER__HEALTH_PORT": str(port)}
        command = ["-m", "deploy.cli", "run", "worker", "--service", service]
        return Worker(place.start(command, {**health, **(more or {})}), partial(answers, port))

    def release(self, place: Place, held: Sequence[int]) -> Release:
        """Unmark the rows and hint, as a submission does."""

        def go() -> None:
            place.ask("UPDATE intake.outbox SET sent_at = NULL WHERE id = ANY(:ids)", ids=list(held))
            place.ask(f"SELECT pg_notify('{outbox_hint('intake')}', '')")

        return go


@dataclass(frozen=True, slots=True)
class PeerContender:
    """Somebody else's library: the bench publishes what was submitted. `messages` makes one fact's messages,
    for `exchange`; `declare` makes the queues."""

    name: str
    module: str
    messages: Callable[[dict[str, Any]], list[tuple[str, Any]]]
    exchange: str = EXCHANGE
    declare: Callable[[str], None] = field(default=lambda url: _declare(url))
    crash_point: str = CRASH_POINT

    def prepare(self, place: Place) -> None:
        """The queues: Celery's delayed delivery wants all of them before its first worker starts."""
        assert place.broker
        self.declare(place.broker)

    def start_worker(self, place: Place, service: str, more: Mapping[str, str] | None = None) -> Worker:
        """A worker of ours around the peer's library."""
        child = place.start(["-m", self.module, service], more)
        return Worker(child, lambda: _is_consumed(place, service))

    def release(self, place: Place, held: Sequence[int]) -> Release:
        """Made and serialized beforehand, sent in one go: the peers pay nothing for the submissions."""
        found = place.ask(
            "SELECT array_agg(event::text ORDER BY id) FROM intake.outbox WHERE id = ANY(:ids)",
            ids=list(held),
        )
        place.ask("UPDATE intake.outbox SET sent_at = clock_timestamp() WHERE id = ANY(:ids)", ids=list(held))
        made = [message for event in found[0] for message in self.messages(json.loads(event))]

        def go() -> None:
            assert place.broker
            _publish(place.broker, self.exchange, made)

        return go


def answers(port: int) -> bool:
    """Is the process with this port ready?"""
    try:
        return is_ready(port)
    except OSError:
        return False


def _celery_messages(event: dict[str, Any]) -> list[tuple[str, Any]]:
    app = celery_worker.make_app("memory://")
    made = []
    for service in hearers()[event["type"]]:
        task = app.amqp.as_task_v2(str(uuid4()), celery_worker.TASK, (event,))
        content_type, encoding, body = dumps(task.body, serializer="json")
        made.append(
            (
                queue_of(service),
                amqp.Message(
                    body,
                    content_type=content_type,
                    content_encoding=encoding,
                    application_headers=task.headers,
                    delivery_mode=2,
                    **task.properties,
                ),
            )
        )
    return made


def _nameko_messages(event: dict[str, Any]) -> list[tuple[str, Any]]:
    content_type, encoding, body = dumps(event, serializer="json")
    message = amqp.Message(body, content_type=content_type, content_encoding=encoding, delivery_mode=2)
    return [(event["type"], message)]


def _faststream_messages(event: dict[str, Any]) -> list[tuple[str, Any]]:
    body = json.dumps(event)
    message = amqp.Message(body, content_type="application/json", delivery_mode=2)
    return [(queue_of(service), message) for service in hearers()[event["type"]]]


def _dramatiq_messages(event: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        (queue_of(service), amqp.Message(message_to(service, event).encode(), delivery_mode=2))
        for service in hearers()[event["type"]]
    ]


def _declare(broker: str) -> None:
    with kombu.Connection(broker) as connection:
        for service in SERVICES:
            kombu.Queue(queue_of(service), queue_arguments=QUORUM).bind(connection).queue_declare()


def _publish(broker: str, exchange: str, messages: Sequence[tuple[str, Any]]) -> None:
    """All in one go, the confirms awaited at the end: a quorum queue drops what a channel that closes early
    still had in its pipeline."""
    open_tags = set(range(1, len(messages) + 1))

    def on_ack(delivery_tag: int, multiple: bool) -> None:
        through = range(1, delivery_tag + 1) if multiple else (delivery_tag,)
        open_tags.difference_update(through)

    with kombu.Connection(broker) as connection:
        channel = connection.default_channel
        channel.confirm_select()
        channel.events["basic_ack"].add(on_ack)
        for routing_key, message in messages:
            channel.basic_publish(message, exchange=exchange, routing_key=routing_key, mandatory=True)
        while open_tags:
            connection.drain_events(timeout=30)


def _is_consumed(place: Place, service: str) -> bool:
    with kombu.Connection(place.broker) as connection:
        try:
            found = connection.default_channel.queue_declare(queue_of(service), passive=True)
        except amqp.NotFound:
            return False
        return bool(found.consumer_count)


CONTENDERS: tuple[Contender, ...] = (
    Onestop(),
    PeerContender("celery", "tests.bench.celery_worker", _celery_messages),
    PeerContender("nameko", "tests.bench.nameko_worker", _nameko_messages),
    PeerContender("faststream", "tests.bench.faststream_worker", _faststream_messages),
    PeerContender(
        "dramatiq", "tests.bench.dramatiq_worker", _dramatiq_messages, exchange="", declare=declare
    ),
)
