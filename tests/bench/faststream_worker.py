"""FastStream as a contender: python -m tests.bench.faststream_worker SERVICE.

Messages are acknowledged when their handler has ended and come again when it failed (FastStream, RabbitMQ,
"Acknowledgement": `NACK_ON_ERROR`); as many are worked on at a time as are prefetched (`prefetch_count` of
`Channel`); what is published is persistent and confirmed (`persist`, `publisher_confirms`). Its subscriber of
RabbitMQ takes no batches.
"""

import asyncio
import signal
import sys

import anyio.to_thread
from faststream import AckPolicy
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.schemas.queue import QueueType

from shared.bus.topology import broker_url
from shared.privacy.secret_files import MIGRATE
from shared.settings import Settings
from tests.bench.peer import EXCHANGE, Peer, Stored, hearers, queue_of

AT_A_TIME = 10


async def serve(service: str) -> None:
    """Run one worker until SIGTERM."""
    settings = Settings()
    peer, hear_what = Peer(settings, service, connections=AT_A_TIME), hearers()
    exchange = RabbitExchange(EXCHANGE, type=ExchangeType.TOPIC)
    broker = RabbitBroker(
        broker_url(settings, MIGRATE), default_channel=Channel(prefetch_count=AT_A_TIME), logger=None
    )
    queue = RabbitQueue(
        queue_of(service), queue_type=QueueType.QUORUM, durable=True, routing_key=queue_of(service)
    )

    @broker.subscriber(queue, exchange, ack_policy=AckPolicy.NACK_ON_ERROR)
    async def hear(stored: Stored) -> None:
        for event in await anyio.to_thread.run_sync(peer.handle, stored):
            for hearer in hear_what.get(event["type"], ()):
                await broker.publish(event, exchange=exchange, routing_key=queue_of(hearer), persist=True)

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await broker.start()
    await stop.wait()
    await broker.stop()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
