"""Consuming from RabbitMQ in batches: whatever is there, up to a batch of facts.

Messages are acknowledged after the commit of their batch and never otherwise. What the broker delivers again
after a death is stored and acknowledged, and handled apart from the others from the inbox. What is no fact is
kept as a sample and acknowledged, or rejected into the broker's park queue.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import amqp
import kombu
import structlog
from amqp.spec import Basic
from kombu.exceptions import OperationalError as BrokerAway

from shared import metrics
from shared.bus.boundary import Delivery, Undecoded, open_delivery
from shared.bus.frames import RawDelivery, ReadingTransport, raw_frame_handler
from shared.bus.inbox import Inbox
from shared.bus.topology import queue_name
from shared.bus.wire import Unreadable
from shared.db.outages import DatabaseAway
from shared.describe import kind_of
from shared.events.fact import Event
from shared.faults import fault_point

_log = structlog.get_logger()
_HEARTBEAT_S = 10
_READ_S = 0.25
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)

_AT_HAND_BYTES = 20_000_000
_PAUSE_S = 2.0

_QUIET_S = 0.25
_CANCEL_S = 3.0
_CANCEL_READ_S = 0.02

_ON_ITS_WAY_S = 5.0
"""Within this time the broker has handed us what came to the queue, where it may hand us more."""

RunBatch = Callable[[Callable[[], None]], None]
"""Runs the work of one batch as a nameko worker and returns or raises with it."""


@dataclass(slots=True)
class _Facts:
    """Those that this release can read, and the others."""

    events: list[Event] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    def add(self, fact: Event | Unreadable) -> None:
        if isinstance(fact, Unreadable):
            self.unreadable.append(fact)
        else:
            self.events.append(fact)

    def __bool__(self) -> bool:
        return bool(self.events or self.unreadable)


@dataclass(slots=True)
class _Work:
    """What is in some deliveries and not durable yet: to repeat after an outage does nothing twice."""

    first: _Facts = field(default_factory=_Facts)
    again: _Facts = field(default_factory=_Facts)
    undecoded: list[Undecoded] = field(default_factory=list)
    kept: frozenset[str] = frozenset()

    @classmethod
    def of(cls, deliveries: Iterable[Delivery]) -> "_Work":
        work = cls()
        for delivery in deliveries:
            for found in delivery.facts():
                if isinstance(found, Undecoded):
                    work.undecoded.append(found)
                else:
                    (work.again if delivery.deliveries else work.first).add(found)
        return work

    def is_kept(self, delivery: Delivery) -> bool:
        """Nothing of it is needed at the broker any more."""
        lost = (found for found in delivery.facts() if isinstance(found, Undecoded))
        return all(self.kept and found.body is not None and found.sha256 in self.kept for found in lost)


class _AtHand(NamedTuple):
    """A delivery that is not settled, and when it came."""

    delivery: Delivery
    came: float


class QueueConsumer:
    """One connection, one queue, at most `prefetch` messages at hand; `batch` facts in one transaction.

    An urgent fact is handled at once, with all that lies there; others linger up to `linger_s`.
    """

    def __init__(
        self,
        url: str,
        service: str,
        inbox: Inbox,
        *,
        batch: int,
        prefetch: int,
        linger_s: float,
        run_batch: RunBatch,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._service = service
        self._inbox = inbox
        self._batch = batch
        self._prefetch = prefetch
        self._linger_s = linger_s
        self._run_batch = run_batch
        self._clock = clock
        self._connection: Any = None
        self._channel: Any = None
        self._generation = 0
        self._inflight = metrics.INFLIGHT.labels(service)
        self._at_hand: deque[_AtHand] = deque()
        self._full_at = 0.0
        self._unsettled = 0
        self._bytes_at_hand = 0
        self._moved_at = 0.0
        self._withheld: list[Callable[[], None]] = []
        self._arrived = threading.Event()
        self._write = threading.Lock()
        self._settled = threading.Event()
        self._relieved = threading.Event()
        self._cancelling = threading.Event()
        self._cancelled = threading.Event()
        self._stopping = threading.Event()
        self._caught_up_to = 0.0

    @property
    def connected(self) -> bool:
        """The queue is being consumed."""
        return self._channel is not None

    def caught_up_to(self) -> float:
        """Seconds since 1970: whatever had come to the queue by then was handled, however much comes on."""
        with self._write:
            if self._channel is not None:
                # What came before the oldest at hand is settled. While we were full, what came waited in the
                # queue, so that what is at hand can be older than its arrival tells.
                moment = (self._at_hand[0].came if self._at_hand else self._clock()) - _ON_ITS_WAY_S
                if self._full_at < moment:
                    self._caught_up_to = max(self._caught_up_to, moment)
            return self._caught_up_to

    def run_reader(self) -> None:
        """Keep a connection, read deliveries and send heartbeats until `stop` and the last ack."""
        tries = 0
        while not self._cancelling.is_set():
            try:
                self._connect()
                tries = 0
                self._read()
            except (OSError, amqp.AMQPError, BrokerAway) as error:
                if not self._stopping.is_set():
                    _log.warning("broker_lost", service=self._service, error=type(error).__name__)
            finally:
                self._disconnect()
            self._cancelling.wait(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)])
            tries += 1
        self._cancelled.set()

    def run_batches(self) -> None:
        """Handle batches until stopped and nothing is at hand any more."""
        while True:
            if not self._arrived.wait(self._linger_s) and not self._at_hand and self.connected:
                self._caught_up_to = max(self._caught_up_to, self._clock())
            self._arrived.clear()
            while self._at_hand:
                self._handle_some()
                self.caught_up_to()
            ending = self._stopping.is_set()
            self._tell(at_once=ending)
            if ending and not self._at_hand:
                return

    def stop(self, drain_s: float) -> None:
        """Take no more; finish and acknowledge all that was delivered, within `drain_s` seconds."""
        until = time.monotonic() + drain_s
        self._cancelling.set()
        # Only the reader may wait for the broker's answer: two readers of one socket would steal frames.
        while not self._cancelled.wait(0.05) and time.monotonic() < until:
            continue
        while self._at_hand and time.monotonic() < until:
            self._arrived.set()
            self._settled.wait(0.05)
            self._settled.clear()
        self._stopping.set()
        self._arrived.set()

    def _connect(self) -> None:
        frames = raw_frame_handler(partial(self._on_delivery, self._generation), on_dropped=_let_others_run)
        connection = kombu.Connection(
            self._url,
            heartbeat=_HEARTBEAT_S,
            connect_timeout=5,
            transport=ReadingTransport,
            transport_options={"frame_handler": frames},
        )
        connection.ensure_connection(max_retries=1, timeout=5)
        channel = connection.default_channel
        channel.basic_qos(0, self._prefetch, False)
        with self._write:
            self._connection, self._channel = connection, channel
            self._full_at = self._clock()
        channel.basic_consume(queue_name(self._service), consumer_tag=self._service)
        metrics.BROKER_CONNECTED.labels(self._service).set(1)

    def _disconnect(self) -> None:
        with self._write:
            connection, self._connection, self._channel = self._connection, None, None
            # All of it is the broker's again; on another connection the same tags are somebody else's.
            self._generation += 1
            self._at_hand.clear()
            self._withheld.clear()
            self._unsettled = self._bytes_at_hand = 0
        metrics.BROKER_CONNECTED.labels(self._service).set(0)
        self._inflight.set(0)
        if connection is not None:
            try:
                connection.close()
            except (OSError, amqp.AMQPError):
                return

    def _read(self) -> None:
        cancel_until = 0.0
        while not self._stopping.is_set():
            assert self._connection is not None
            cancelling = self._cancelling.is_set() and not self._cancelled.is_set()
            if self._bytes_at_hand >= _AT_HAND_BYTES:
                # A frame now and then is read all the same: among them are the broker's heartbeats.
                self._relieved.wait(_PAUSE_S)
                self._relieved.clear()
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=_CANCEL_READ_S if cancelling else _READ_S)
            with self._write:
                self._connection.heartbeat_check()
            if cancelling:
                cancel_until = cancel_until or time.monotonic() + _CANCEL_S
                if self._nothing_is_on_its_way() or time.monotonic() >= cancel_until:
                    self._cancel()

    def _nothing_is_on_its_way(self) -> bool:
        """No delivery can be between the queue and us.

        A quorum queue counts a delivery that meets a cancelled consumer as a failed one and hands it on to
        somebody else, who must then think that somebody died of it. So no settlement is sent any more once we
        are told to stop, which stops the queue when `prefetch` messages are out; or the queue is empty, when
        nothing has come for a while.
        """
        with self._write:
            return self._unsettled >= self._prefetch or time.monotonic() - self._moved_at >= _QUIET_S

    def _cancel(self) -> None:
        self._channel.basic_cancel(self._service)
        with self._write:
            for settle in self._withheld:
                settle()
            self._withheld.clear()
            self._cancelled.set()

    def _on_delivery(self, generation: int, raw: RawDelivery) -> None:
        delivery = open_delivery(raw)
        with self._write:
            if generation != self._generation or self._channel is None:
                return
            self._at_hand.append(_AtHand(delivery, self._clock()))
            self._unsettled += 1
            self._bytes_at_hand += len(raw.body or b"")
            self._note_full()
            self._inflight.set(self._unsettled)
            self._moved_at = time.monotonic()
        full = self._unsettled >= self._prefetch or len(self._at_hand) >= self._batch
        if full or any(map(self._inbox.is_urgent, delivery.types)):
            self._arrived.set()

    def _note_full(self) -> None:
        """Until now, more may lie in the queue than we are given."""
        if self._unsettled >= self._prefetch or self._bytes_at_hand >= _AT_HAND_BYTES:
            self._full_at = self._clock()

    def _handle_some(self) -> None:
        generation = self._generation
        some = self._next_batch()
        work = _Work.of(some)
        tries = 0
        while generation == self._generation:
            try:
                self._run_batch(lambda: self._decide(work))
                break
            except DatabaseAway as error:
                _log.warning("batch_repeats", service=self._service, error=kind_of(error))
                if self._stopping.wait(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)]) and tries > 0:
                    return
                tries += 1
        self._settle(some, [d for d in some if not work.is_kept(d)], generation)
        self._settled.set()

    def _next_batch(self) -> list[Delivery]:
        """Messages from the front, until they hold a batch of facts."""
        some: list[Delivery] = []
        count = 0
        for delivery, _ in list(self._at_hand):
            count += len(delivery.facts())
            if some and count > self._batch:
                break
            some.append(delivery)
        return some

    def _decide(self, work: _Work) -> None:
        """When this returns, every fact is durable in the database: handled, stored or parked."""
        if work.undecoded:
            work.kept = self._inbox.park_undecodable(work.undecoded)
            work.undecoded = []
        if work.again:
            self._inbox.store_suspects(work.again.events, work.again.unreadable)
            work.again = _Facts()
        if work.first:
            self._inbox.receive(work.first.events, work.first.unreadable)
            work.first = _Facts()

    def _settle(self, some: Sequence[Delivery], rejected: Sequence[Delivery], generation: int) -> None:
        """Acknowledge these, the foremost at hand, and reject some of them into the park queue; on no other
        connection than the one that delivered them."""
        with self._write:
            if generation != self._generation or self._channel is None:
                return
            self._note_full()
            for delivery in some:
                self._at_hand.popleft()
                self._bytes_at_hand -= len(delivery.raw.body or b"")
            self._relieved.set()
            settle = partial(self._send_settlement, self._channel, some, rejected)
            if self._cancelling.is_set() and not self._cancelled.is_set():
                self._withheld.append(settle)
            else:
                settle()

    def _send_settlement(self, channel: Any, some: Sequence[Delivery], rejected: Sequence[Delivery]) -> None:
        away = {delivery.raw.tag for delivery in rejected}
        try:
            for reject, run in groupby(sorted(d.raw.tag for d in some), away.__contains__):
                *_, last = run
                # All below are settled already: each of these is for a run of them.
                if reject:
                    fault_point("consume.reject.before")
                    channel.send_method(Basic.Nack, "Lbb", (last, True, False))
                    fault_point("consume.reject.after")
                else:
                    fault_point("consume.ack.before")
                    channel.basic_ack(last, multiple=True)
                    fault_point("consume.ack.after")
        except (OSError, amqp.AMQPError) as error:
            # It comes again, is recognised in the inbox and acknowledged then.
            _log.warning("ack_failed", service=self._service, error=type(error).__name__)
        self._unsettled -= len(some)
        self._inflight.set(self._unsettled)
        self._moved_at = time.monotonic()

    def _tell(self, *, at_once: bool) -> None:
        try:
            self._inbox.undecodables.tell(at_once=at_once)
        except DatabaseAway as error:
            _log.warning("count_waits", service=self._service, error=kind_of(error))


def _let_others_run() -> None:
    """A large body can take all the time of a process that shares it in turns."""
    time.sleep(0)
