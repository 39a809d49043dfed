"""Celery as a contender: python -m tests.bench.celery_worker SERVICE.

Set up as its pages on quorum queues and on many short tasks say: quorum queues, confirms, acks_late, a
prefetch of 64, retries by native delayed delivery; no gossip, mingle, heartbeat, events or results.
"""

import sys
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from deploy.services import SERVICES
from shared.bus.inbox import NotYet
from shared.bus.topology import broker_url
from shared.privacy.secret_files import MIGRATE
from shared.settings import Settings
from tests.bench.peer import EXCHANGE, QUORUM, Peer, Stored, hearers, queue_of

TASK = "bench.hear"


def make_app(broker: str) -> Any:
    """The Celery application, for workers and for the bench."""
    app = Celery("bench", broker=broker)
    exchange = Exchange(EXCHANGE, type="topic")
    app.conf.update(
        task_queues=[
            Queue(queue_of(service), exchange, routing_key=queue_of(service), queue_arguments=QUORUM)
            for service in SERVICES
        ],
        task_default_queue=queue_of(SERVICES[0]),
        task_default_queue_type="quorum",
        task_default_exchange=EXCHANGE,
        task_default_exchange_type="topic",
        task_acks_late=True,
        task_ignore_result=True,
        broker_transport_options={"confirm_publish": True},
        broker_connection_retry_on_startup=True,
        worker_detect_quorum_queues=True,
        worker_concurrency=1,
        worker_prefetch_multiplier=64,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
    )
    return app


def main(service: str) -> None:
    """Run one worker until SIGTERM."""
    settings = Settings()
    url = broker_url(settings, MIGRATE)
    assert url
    app = make_app(url)
    peer, hear_what = Peer(settings, service, connections=1), hearers()

    @app.task(bind=True, name=TASK, max_retries=None)  # type: ignore[untyped-decorator]
    def hear(self: Any, stored: Stored) -> None:
        try:
            said = peer.handle(stored)
        except NotYet as error:
            raise self.retry(countdown=1) from error
        for event in said:
            for hearer in hear_what.get(event["type"], ()):
                app.send_task(TASK, (event,), queue=queue_of(hearer))

    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING")
    app.worker_main(["worker", "--pool=solo", f"--queues={queue_of(service)}", *quiet])


if __name__ == "__main__":
    main(sys.argv[1])
