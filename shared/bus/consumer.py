"""Consuming from RabbitMQ in batches: whatever is there, up to a batch.

Messages are acknowledged after the commit of their batch and never otherwise. What the broker delivers again
after a death is stored and acknowledged, and handled alone from the inbox.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import amqp
import kombu
import structlog
from kombu.exceptions import OperationalError as BrokerAway

from shared import metrics
from shared.bus.inbox import Inbox
from shared.bus.topology import queue_name
from shared.bus.wire import Undecodable, Unreadable, from_json, from_message
from shared.db.outages import DatabaseAway
from shared.describe import kind_of
from shared.events.fact import Event
from shared.faults import fault_point

_log = structlog.get_logger()
_HEARTBEAT_S = 10
_READ_S = 0.25
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)

RunBatch = Callable[[Callable[[], None]], None]
"""Runs the work of one batch as a nameko worker and returns or raises with it."""


@dataclass(frozen=True, slots=True)
class _Delivery:
    tag: int
    body: bytes
    headers: dict[str, Any]
    content_type: str | None
    again: bool


class QueueConsumer:
    """One connection, one queue; `prefetch` is twice the batch, so that the next one is at hand.

    An urgent fact is handled at once, with all that lies there; others linger up to `linger_s`.
    """

    def __init__(
        self, url: str, service: str, inbox: Inbox, *, batch: int, linger_s: float, run_batch: RunBatch
    ) -> None:
        self._url = url
        self._service = service
        self._inbox = inbox
        self._batch = batch
        self._linger_s = linger_s
        self._run_batch = run_batch
        self._connection: Any = None
        self._channel: Any = None
        self._deliveries: deque[_Delivery] = deque()
        self._arrived = threading.Event()
        self._write = threading.Lock()
        self._settled = threading.Event()
        self._cancelling = threading.Event()
        self._cancelled = threading.Event()
        self._stopping = threading.Event()
        self._generation = 0

    @property
    def connected(self) -> bool:
        """The queue is being consumed."""
        return self._channel is not None

    def run_reader(self) -> None:
        """Keep a connection, read deliveries and send heartbeats until `stop` and the last ack."""
        tries = 0
        while not self._stopping.is_set() and not self._cancelling.is_set():
            try:
                self._connect()
                tries = 0
                self._read()
            except (OSError, amqp.AMQPError, BrokerAway) as error:
                if not self._stopping.is_set():
                    _log.warning("broker_lost", service=self._service, error=type(error).__name__)
            finally:
                self._disconnect()
            self._stopping.wait(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)])
            tries += 1

    def run_batches(self) -> None:
        """Handle batches until stopped and nothing is at hand any more."""
        while True:
            self._arrived.wait(self._linger_s)
            self._arrived.clear()
            while self._deliveries:
                self._handle_some()
            if self._stopping.is_set() and not self._deliveries:
                return

    def stop(self, drain_s: float) -> None:
        """Take no more; finish and acknowledge all that was delivered, within `drain_s` seconds."""
        until = time.monotonic() + drain_s
        self._cancelling.set()
        # Only the reader may wait for the broker's answer: two readers of one socket would steal frames.
        while self._channel is not None and not self._cancelled.is_set() and time.monotonic() < until:
            self._cancelled.wait(0.05)
        while self._deliveries and time.monotonic() < until:
            self._arrived.set()
            self._settled.wait(0.05)
            self._settled.clear()
        self._stopping.set()
        self._arrived.set()

    def _connect(self) -> None:
        connection = kombu.Connection(self._url, heartbeat=_HEARTBEAT_S, connect_timeout=5)
        connection.ensure_connection(max_retries=1, timeout=5)
        channel = connection.default_channel
        channel.basic_qos(0, self._batch * 2, False)
        with self._write:
            self._deliveries.clear()
            self._generation += 1
            self._connection, self._channel = connection, channel
        channel.basic_consume(
            queue_name(self._service), consumer_tag=self._service, callback=self._on_message
        )
        metrics.BROKER_CONNECTED.labels(self._service).set(1)

    def _disconnect(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        metrics.BROKER_CONNECTED.labels(self._service).set(0)
        if connection is not None:
            try:
                connection.close()
            except (OSError, amqp.AMQPError):
                return

    def _read(self) -> None:
        while not self._stopping.is_set():
            assert self._connection is not None
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=_READ_S)
            with self._write:
                self._connection.heartbeat_check()
                if self._cancelling.is_set() and not self._cancelled.is_set():
                    self._channel.basic_cancel(self._service)
                    self._cancelled.set()

    def _on_message(self, message: Any) -> None:
        headers = message.headers or {}
        count = headers.get("x-delivery-count", 0)
        again = bool(message.delivery_info.get("redelivered")) or (isinstance(count, int) and count > 0)
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        self._deliveries.append(
            _Delivery(message.delivery_tag, body, headers, message.properties.get("content_type"), again)
        )
        urgent = self._inbox.is_urgent(str(headers.get("ce-type")))
        if urgent or len(self._deliveries) >= self._batch:
            self._arrived.set()

    def _handle_some(self) -> None:
        generation = self._generation
        some = [self._deliveries[n] for n in range(min(self._batch, len(self._deliveries)))]
        if not some:
            return
        tries = 0
        while generation == self._generation:
            try:
                self._run_batch(lambda: self._decide(some))
                break
            except DatabaseAway as error:
                _log.warning("batch_repeats", service=self._service, error=kind_of(error))
                if self._stopping.wait(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)]) and tries > 0:
                    return
                tries += 1
        if self._ack(some[-1].tag, generation):
            for _ in some:
                self._deliveries.popleft()
        self._settled.set()

    def _decide(self, deliveries: list[_Delivery]) -> None:
        """When this returns, every delivery is durable in the database: handled, stored or parked."""
        first: list[Event] = []
        again: list[Event] = []
        for delivery in deliveries:
            try:
                event = from_json(from_message(delivery.headers, delivery.content_type, delivery.body))
                (again if delivery.again else first).append(event)
            except Unreadable as unreadable:
                self._inbox.park_unreadable(unreadable)
            except Undecodable as error:
                self._inbox.park_undecodable(hashlib.sha256(delivery.body).hexdigest(), delivery.body, error)
        if again:
            self._inbox.store_suspects(again)
        if first:
            self._inbox.receive(first)

    def _ack(self, tag: int, generation: int) -> bool:
        """Everything up to `tag`: batches are taken in the order of delivery. False when the connection that
        delivered it is gone; on another one the same tag would be somebody else's."""
        try:
            fault_point("consume.ack.before")
            with self._write:
                if generation != self._generation or self._channel is None:
                    return False
                self._channel.basic_ack(tag, multiple=True)
            fault_point("consume.ack.after")
        except (OSError, amqp.AMQPError) as error:
            # It comes again, is recognised in the inbox and acknowledged then.
            _log.warning("ack_failed", service=self._service, error=type(error).__name__)
        return generation == self._generation
