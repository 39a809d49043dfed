"""dramatiq as a contender: python -m tests.bench.dramatiq_worker SERVICE.

Messages are acknowledged when their actor has ended, retried with backoff by its Retries middleware, and
enqueued with confirms (dramatiq, User Guide, "Message Retries"; API Reference, `RabbitmqBroker`,
`confirm_delivery`). Eight threads a process, as its command starts by default, and the prefetch that comes
with them (API Reference, `Worker`). It knows no quorum queues; its queues are declared as such here, as they
are for the others.
"""

import signal
import sys
import threading
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import Retries

from deploy.services import SERVICES
from shared.bus.topology import broker_url
from shared.privacy.secret_files import MIGRATE
from shared.settings import Settings
from tests.bench.peer import QUORUM, Peer, Stored, hearers, queue_of

ACTOR = "hear"
THREADS = 8


class QuorumBroker(RabbitmqBroker):
    """Its broker, with quorum queues."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return {**super()._build_queue_arguments(queue_name), **QUORUM}  # type: ignore[no-untyped-call]


def make_broker(url: str) -> QuorumBroker:
    """For workers and for the bench."""
    return QuorumBroker(url=url, confirm_delivery=True, middleware=[Retries(min_backoff=1000)])


def message_to(service: str, stored: Stored) -> dramatiq.Message[Any]:
    """A fact as a message to one that hears it."""
    return dramatiq.Message(
        queue_name=queue_of(service), actor_name=ACTOR, args=(stored,), kwargs={}, options={}
    )


def declare(url: str) -> None:
    """The queues of all services."""
    broker = make_broker(url)
    for service in SERVICES:
        broker.declare_queue(queue_of(service), ensure=True)
    broker.close()


def main(service: str) -> None:
    """Run one worker until SIGTERM."""
    settings = Settings()
    url = broker_url(settings, MIGRATE)
    assert url
    broker = make_broker(url)
    peer, hear_what = Peer(settings, service, connections=THREADS), hearers()

    def hear(stored: Stored) -> None:
        for event in peer.handle(stored):
            for hearer in hear_what.get(event["type"], ()):
                broker.enqueue(message_to(hearer, event))

    dramatiq.actor(actor_name=ACTOR, queue_name=queue_of(service), broker=broker, max_retries=1000)(hear)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    worker = dramatiq.Worker(broker, queues={queue_of(service)}, worker_threads=THREADS)
    worker.start()
    stop.wait()
    worker.stop()
    broker.close()


if __name__ == "__main__":
    main(sys.argv[1])
