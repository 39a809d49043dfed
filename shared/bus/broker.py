"""Publishing to RabbitMQ: persistent, confirms in a pipeline matched by delivery tag.

py-amqp's own confirm mode waits for any ack and never compares tags, so the confirms are counted here. After
any doubt (nack, return, time-out, error) the connection is closed and nothing counts as published.
"""

import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

import amqp
import kombu
from kombu.exceptions import OperationalError as BrokerAway

from shared import metrics
from shared.bus.topology import EXCHANGE
from shared.bus.wire import Message
from shared.faults import fault_point

CONFIRM_S = 10.0
"""Below the database's idle_in_transaction limit of 15 s, in whose transaction the relay waits."""


class NotPublished(Exception):
    """The broker did not take everything; the text is a code without content."""


class BrokerPublisher:
    """Publishes messages to an exchange. With `mandatory` somebody must be bound; else a fact that nobody
    wants goes nowhere."""

    def __init__(self, url: str, exchange: str = EXCHANGE, *, mandatory: bool = True) -> None:
        self._url = url
        self._exchange = exchange
        self._mandatory = mandatory
        # The broker compares it with the log-in, and consumers with the speaker.
        self._user = unquote(urlsplit(url).username or "")
        self._connection: Any = None
        self._channel: Any = None
        self._next_tag = 1
        self._open: set[int] = set()
        self._trouble: str | None = None

    def publish(self, messages: Iterable[Message]) -> None:
        """Publish and wait for the confirms. Raises NotPublished, OSError or an AMQP error; then none
        counts."""
        try:
            self._publish(messages)
        except NotPublished as refused:
            metrics.PUBLISH_REFUSED.labels(str(refused).partition(":")[0]).inc()
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection without asking the broker."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            try:
                connection.collect(socket_timeout=1)
            except (OSError, amqp.AMQPError):
                return

    def _publish(self, messages: Iterable[Message]) -> None:
        channel = self._channel or self._connect()
        self._open.clear()
        self._trouble = None
        for message in messages:
            self._open.add(self._next_tag)
            self._next_tag += 1
            fault_point("publish.before")
            channel.basic_publish(
                amqp.Message(
                    message.body,
                    content_type=message.content_type,
                    application_headers=message.headers,
                    delivery_mode=2,
                    user_id=self._user,
                    **({"message_id": message.id} if message.id is not None else {}),
                ),
                exchange=self._exchange,
                routing_key=message.routing_key,
                mandatory=self._mandatory,
            )
            fault_point("publish.after")
        self._await_confirms()
        fault_point("confirm.after")

    def _await_confirms(self) -> None:
        assert self._connection is not None
        until = time.monotonic() + CONFIRM_S
        while self._open and self._trouble is None:
            left = until - time.monotonic()
            if left <= 0:
                raise NotPublished("confirm-timeout")
            self._connection.drain_events(timeout=left)
        if self._trouble is not None:
            raise NotPublished(self._trouble)

    def _connect(self) -> Any:
        self._connection = kombu.Connection(self._url, heartbeat=0, connect_timeout=5)
        self._connection.ensure_connection(max_retries=1, timeout=5)
        channel = self._connection.default_channel
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        self._next_tag = 1
        self._channel = channel
        return channel

    def _on_ack(self, delivery_tag: int, multiple: bool) -> None:
        if multiple:
            self._open = {tag for tag in self._open if tag > delivery_tag}
        else:
            self._open.discard(delivery_tag)

    def _on_nack(self, delivery_tag: int, multiple: bool) -> None:
        self._trouble = "nack: the broker refused (a queue is full or its leader is away)"

    def _on_return(self, *returned: Any) -> None:
        self._trouble = "returned: no queue is bound; run: onestop topology apply"


TRANSPORT_ERRORS = (NotPublished, OSError, amqp.AMQPError, BrokerAway)
"""What a broker that is away or unwilling raises; the relay waits and tries again."""
