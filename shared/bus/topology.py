"""What the broker holds: one topic exchange, one quorum queue per service, one for what dies; beside it an
exchange for foreign subscribers, each with a queue of its own.

Declared by one idempotent tool (`onestop topology apply`, also part of `onestop migrate`), never by a
consumer that happens to start. Only features that RabbitMQ 3.10 and 4.x share are used.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker

from shared.errors import Conflict, Unavailable
from shared.privacy.secret_files import BROKER_PASSWORD, load_password

if TYPE_CHECKING:
    from shared.settings import Settings

EXCHANGE = "onestop.facts"
PARK_EXCHANGE = "onestop.park"
PARK_QUEUE = "onestop.park"
PUBLIC_EXCHANGE = "onestop.public"
"""Single facts for foreign subscribers; our own services are not bound to it."""
PUBLIC_FACTS = 100_000
PUBLIC_BYTES = 128 * 1024 * 1024
"""What the queue of a foreign subscriber holds at most."""

DELIVERY_LIMIT = 1000
"""A back-stop only: attempts are counted in the inbox. One death adds 1 to all that was prefetched, so a low
limit would throw out healthy messages."""

_INTERNAL_ERROR = 541
"""AMQP 0-9-1, section 1.2: reply code of a broker that failed itself."""


class BrokerUnavailable(Unavailable):
    code = "broker.unavailable"
    title_zh = "消息服务暂时不可用"
    title_en = "The message broker cannot be reached"


class NotHollow(Conflict):
    """Nothing is taken away that may hold messages."""

    code = "broker.queue-not-hollow"
    title_zh = "该队列可正常读取，不能重建"
    title_en = "The queue can be read; it is not made anew"


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue as the broker has it."""

    name: str
    messages: int
    consumers: int


def queue_name(service: str) -> str:
    """The one queue of a service."""
    return f"onestop.{service}"


def user_name(owner: str) -> str:
    """The user as whom a service, or `migrate`, logs in at the broker."""
    return f"onestop-{owner}"


def broker_url(settings: "Settings", owner: str) -> str | None:
    """The broker with the log-in of a service, or of `migrate`; None when the database delivers.

    A secret: never log it. Raises SecretUnusable when this process has not been given the password.
    """
    if settings.broker_url is None:
        return None
    parts = urlsplit(settings.broker_url)
    log_in = f"{user_name(owner)}:{quote(load_password(settings, owner, BROKER_PASSWORD), safe='')}"
    return parts._replace(netloc=f"{log_in}@{parts.netloc}").geturl()


def public_name(subscriber: str) -> str:
    """The one queue of a foreign subscriber."""
    return f"{PUBLIC_EXCHANGE}.{subscriber}"


def routing_pattern(speaker: str) -> str:
    """Binds all facts of a speaker; routing keys are CloudEvents types."""
    return f"onestop.{speaker}.#"


def queue_arguments() -> dict[str, Any]:
    """Replicated, durable, never dropping: a full queue refuses, and what dies too often is kept apart."""
    return {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": PARK_EXCHANGE,
        "x-dead-letter-strategy": "at-least-once",
    }


def public_queue_arguments() -> dict[str, Any]:
    """Replicated and durable, and with an end: who stays away for long loses its oldest facts, and neither
    fills the disk nor keeps a publisher from being confirmed, as a queue that refuses would."""
    return {
        "x-queue-type": "quorum",
        "x-overflow": "drop-head",
        "x-max-length": PUBLIC_FACTS,
        "x-max-length-bytes": PUBLIC_BYTES,
        "x-delivery-limit": DELIVERY_LIMIT,
    }


def apply_topology(
    url: str,
    services: Iterable[str],
    bindings: Mapping[str, Sequence[str]],
    public: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Declare exchanges and the queues of all services, and bind subscriber -> speakers.

    `public`: foreign subscriber -> binding keys. A service that begins to hear a speaker is bound by `bind`,
    at a moment that is noted; here those that hear it already get a lost binding back. Raises
    BrokerUnavailable, naming what differs when a queue does.
    """
    with _channel(url) as channel:
        channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
        channel.exchange_declare(PARK_EXCHANGE, exchange_type="fanout", durable=True)
        channel.exchange_declare(PUBLIC_EXCHANGE, exchange_type="topic", durable=True)
        channel.queue_declare(PARK_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind(PARK_QUEUE, PARK_EXCHANGE)
        for service in sorted(services):
            channel.queue_declare(queue_name(service), durable=True, arguments=queue_arguments())
        for subscriber in sorted(bindings):
            for speaker in bindings[subscriber]:
                channel.queue_bind(queue_name(subscriber), EXCHANGE, routing_pattern(speaker))
        for foreign, keys in sorted((public or {}).items()):
            _declare_public(channel, foreign, keys)


def forget_hollow(url: str, name: str) -> None:
    """Take away a queue that is only a name any more, to be declared anew; what was in it is missed and said
    again. Raises NotHollow for any other, BrokerUnavailable."""
    if name not in hollow_queues(url, [name]):
        raise NotHollow(detail_en=f"{name} is read like any other, or is not there")
    with _channel(url) as channel:
        channel.queue_delete(name)


def declare_public_queue(url: str, subscriber: str, keys: Sequence[str]) -> None:
    """The queue of a foreign subscriber, bound by these keys, and the exchange. Raises BrokerUnavailable."""
    with _channel(url) as channel:
        channel.exchange_declare(PUBLIC_EXCHANGE, exchange_type="topic", durable=True)
        _declare_public(channel, subscriber, keys)


def _declare_public(channel: Any, subscriber: str, keys: Sequence[str]) -> None:
    channel.queue_declare(public_name(subscriber), durable=True, arguments=public_queue_arguments())
    for key in keys:
        channel.queue_bind(public_name(subscriber), PUBLIC_EXCHANGE, key)


def delete_public_queue(url: str, subscriber: str) -> None:
    """Take away the queue of a foreign subscriber, with all in it; nothing when there is none. Raises
    BrokerUnavailable."""
    with _channel(url) as channel:
        channel.queue_delete(public_name(subscriber))


def deviations(url: str, services: Iterable[str], public: Iterable[str] = ()) -> list[str]:
    """What the broker does not hold, or holds otherwise than it should: a line each, with the broker's
    reason.

    AMQP has no question for bindings; a lost one shows in what was said and not heard
    (`onestop_facts_missing`). Raises BrokerUnavailable.
    """
    parked = {"x-queue-type": "quorum"}
    queues = {PARK_QUEUE: parked, **{queue_name(service): queue_arguments() for service in services}}
    queues |= {public_name(foreign): public_queue_arguments() for foreign in public}
    with _connection(url) as connection:
        found = [
            _deviation(connection, f"exchange {name}", partial(_declare_exchange, name, kind))
            for name, kind in ((EXCHANGE, "topic"), (PARK_EXCHANGE, "fanout"), (PUBLIC_EXCHANGE, "topic"))
        ] + [
            _deviation(connection, f"queue {name}", partial(_declare_queue, name, arguments))
            for name, arguments in sorted(queues.items())
        ]
    return [line for line in found if line is not None] + [
        f"queue {name}: the broker has its name and not the queue; run: onestop topology apply --renew {name}"
        for name in hollow_queues(url, sorted(queues))
    ]


def hollow_queues(url: str, names: Iterable[str]) -> list[str]:
    """Those that the broker has the names of and nothing else: it was killed soon after they were made (seen
    with RabbitMQ 3.10). Nobody can consume from them, and what is routed to them is not kept.

    Only queues that seem empty and idle are asked for a message; one that has come just now goes back. Raises
    BrokerUnavailable.
    """
    found = []
    for name in names:
        with _connection(url) as connection:
            try:
                queue = connection.channel().queue_declare(name, passive=True).method
                if queue.message_count == 0 and queue.consumer_count == 0:
                    channel = connection.channel()
                    got, _, _ = channel.basic_get(name)
                    if got is not None:
                        channel.basic_nack(got.delivery_tag, requeue=True)
            except ChannelClosedByBroker:
                continue  # There is none.
            except ConnectionClosedByBroker as error:
                if error.reply_code != _INTERNAL_ERROR or "noproc" not in error.reply_text:
                    raise BrokerUnavailable(detail_en=f"queue {name}: {error.reply_text}") from None
                found.append(name)
    return found


def _deviation(connection: Any, what: str, declare: Callable[[Any, bool], None]) -> str | None:
    """What the broker says to a declaration: passively, so that nothing is made, then in full, which changes
    nothing when all is equal."""
    try:
        for passive in (True, False):
            declare(connection.channel(), passive)
    except ChannelClosedByBroker as error:
        return f"{what}: {error.reply_text}"
    return None


def _declare_exchange(name: str, kind: str, channel: Any, passive: bool) -> None:
    channel.exchange_declare(name, exchange_type=kind, durable=True, passive=passive)


def _declare_queue(name: str, arguments: Mapping[str, Any], channel: Any, passive: bool) -> None:
    channel.queue_declare(name, durable=True, arguments=dict(arguments), passive=passive)


def bind(url: str, subscriber: str, speaker: str) -> None:
    """Let a service's queue get what a speaker says from now on. Raises BrokerUnavailable."""
    with _channel(url) as channel:
        channel.queue_bind(queue_name(subscriber), EXCHANGE, routing_pattern(speaker))


@contextmanager
def _channel(url: str) -> Iterator[Any]:
    with _connection(url) as connection:
        try:
            yield connection.channel()
        except ChannelClosedByBroker as error:
            raise BrokerUnavailable(
                detail_en=f"the broker holds something else: {error.reply_text}"
            ) from None


@contextmanager
def _connection(url: str) -> Iterator[Any]:
    try:
        connection = pika.BlockingConnection(_parameters(url))
    except (AMQPError, OSError) as error:
        raise BrokerUnavailable(detail_en=f"connecting failed: {type(error).__name__}") from None
    try:
        yield connection
    finally:
        if connection.is_open:
            connection.close()


def read_queues(url: str, services: Sequence[str]) -> list[QueueState]:
    """Depth and consumers of the services' queues and of the park queue. Raises BrokerUnavailable."""
    return _states(url, (*(queue_name(service) for service in services), PARK_QUEUE))


def read_public_queues(url: str, subscribers: Sequence[str]) -> list[QueueState]:
    """The same of foreign subscribers, in their order. Raises BrokerUnavailable."""
    return _states(url, tuple(map(public_name, subscribers)))


def _states(url: str, names: Sequence[str]) -> list[QueueState]:
    found = []
    with _connection(url) as connection:
        for name in names:
            try:
                answer = connection.channel().queue_declare(name, passive=True)
            except ChannelClosedByBroker as error:
                raise BrokerUnavailable(
                    detail_en=f"queue {name} is not there ({error.reply_text}); run: onestop topology apply"
                ) from None
            found.append(QueueState(name, answer.method.message_count, answer.method.consumer_count))
    return found


def unheard(queues: Iterable[QueueState], subscribers: Iterable[str]) -> list[str]:
    """The queues of these services from which nobody takes anything."""
    own = {queue_name(service) for service in subscribers}
    return [queue.name for queue in queues if queue.name in own and queue.consumers == 0]


def _parameters(url: str) -> pika.URLParameters:
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = 5
    parameters.blocked_connection_timeout = 10
    return parameters
