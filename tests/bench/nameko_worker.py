"""Plain nameko as a contender: python -m tests.bench.nameko_worker SERVICE.

`nameko.messaging.consume` on a quorum queue, its own Publisher with confirms, its default number of workers.
"""

import warnings

warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated.*")

import eventlet  # noqa: E402  (the warning must be silenced first)

eventlet.monkey_patch()

import signal  # noqa: E402  (everything below must see the patched modules)
import sys  # noqa: E402
from typing import Any  # noqa: E402

from kombu import Exchange, Queue, binding  # noqa: E402
from nameko.constants import DEFAULT_MAX_WORKERS  # noqa: E402
from nameko.messaging import Publisher, consume  # noqa: E402
from nameko.runners import ServiceRunner  # noqa: E402

from shared.bus.topology import broker_url  # noqa: E402
from shared.privacy.secret_files import MIGRATE  # noqa: E402
from shared.settings import Settings  # noqa: E402
from tests.bench.peer import EXCHANGE, QUORUM, Peer, Stored, hearers, queue_of  # noqa: E402


def service_class(service: str, peer: Peer) -> type[Any]:
    """The nameko service: it hears what it has a handler for; a fact goes out under its type."""
    exchange = Exchange(EXCHANGE, type="direct")
    heard = [type_ for type_, services in hearers().items() if service in services]
    bindings = [binding(exchange, routing_key=type_) for type_ in heard]
    queue = Queue(queue_of(service), bindings=bindings, queue_arguments=QUORUM)

    class Contender:
        name = service
        publish = Publisher(exchange=exchange, use_confirms=True)

        @consume(queue, requeue_on_error=True)  # type: ignore[untyped-decorator]
        def hear(self, stored: Stored) -> None:
            for event in peer.handle(stored):
                self.publish(event, routing_key=event["type"])

    return Contender


def main(service: str) -> None:
    """Run one worker until SIGTERM."""
    settings = Settings()
    peer = Peer(settings, service, connections=DEFAULT_MAX_WORKERS)
    runner = ServiceRunner({"AMQP_URI": broker_url(settings, MIGRATE)})
    runner.add_service(service_class(service, peer))
    stop = eventlet.event.Event()
    signal.signal(signal.SIGTERM, lambda *_: eventlet.spawn_n(stop.send))
    runner.start()
    stop.wait()
    runner.stop()


if __name__ == "__main__":
    main(sys.argv[1])
