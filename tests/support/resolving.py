"""python -m tests.support.resolving WHAT HOST: connects to something by name, as a worker does.

Prints a JSON object: the error's class, how long it took, and the longest time for which other green threads
stood still meanwhile.
"""

import json
import smtplib
import sys
import time
from collections.abc import Callable

from deploy import worker  # before all else: it patches the standard library

import eventlet  # isort: skip
import httpx  # isort: skip
import kombu  # isort: skip
import pika  # isort: skip
from sqlalchemy import create_engine, event  # isort: skip
from shared.db.engine import resolve_first  # isort: skip
from shared.db.waiting import connections_within  # isort: skip

_TICK_S = 0.02


def database(host: str) -> None:
    """As `engine_for` connects."""
    made = create_engine(
        f"postgresql+psycopg2://nobody@{host}:5432/nothing",
        connect_args={"connection_factory": connections_within(5, 5)},
    )
    event.listen(made, "do_connect", resolve_first)
    with made.connect():
        pass


def broker_consumer(host: str) -> None:
    """kombu and py-amqp."""
    with kombu.Connection(f"amqp://{host}:5672//", connect_timeout=5) as connection:
        connection.connect()


def broker_publisher(host: str) -> None:
    """pika."""
    pika.BlockingConnection(pika.URLParameters(f"amqp://{host}:5672/?socket_timeout=5"))


def peer(host: str) -> None:
    """What services ask one another, and what goes to an SMS gateway."""
    with httpx.Client(timeout=5, trust_env=False) as client:
        client.post(f"http://{host}:8601/")


def mail(host: str) -> None:
    """A mail server."""
    smtplib.SMTP(host, 25, timeout=5)


WAYS: dict[str, Callable[[str], None]] = {
    way.__name__: way for way in (database, broker_consumer, broker_publisher, peer, mail)
}


def main(what: str, host: str) -> None:
    """Connect, and watch whether the others go on."""
    assert eventlet.patcher.is_monkey_patched("socket"), worker.__name__
    longest = [0.0]

    def tick() -> None:
        last = time.monotonic()
        while True:
            eventlet.sleep(_TICK_S)
            last, gap = time.monotonic(), time.monotonic() - last
            longest[0] = max(longest[0], gap)

    ticking = eventlet.spawn(tick)
    eventlet.sleep(_TICK_S)
    began, error = time.monotonic(), None
    try:
        WAYS[what](host)
    except Exception as found:
        error = type(found).__name__
    took_s = time.monotonic() - began
    eventlet.sleep(2 * _TICK_S)
    ticking.kill()
    sys.stdout.write(json.dumps({"error": error, "took_s": took_s, "stood_still_s": longest[0]}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
