"""What a drill does to an installation: each fault is one line of a table, and leaves things so that they can
mend themselves."""

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pika
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from deploy.services import SERVICES, subscriptions
from shared.bus.topology import (
    EXCHANGE,
    apply_topology,
    forget_hollow,
    hollow_queues,
    queue_name,
    routing_pattern,
)
from shared.db.engine import database_url
from tests.drills.installation import ROOT, Installation, Process
from tests.support.copies import bring_back, take_copy

Fault = Callable[[Installation, random.Random], None]


def faults(h: Installation, chance: random.Random) -> dict[str, Callable[[], None]]:
    """Name -> do it: those of the tables that fit its delivery, and for each process its death."""
    table = FAULTS | (OF_THE_BROKER if h.rabbitmq is not None else OF_THE_DATABASE)
    found: dict[str, Callable[[], None]] = {name: partial(do, h, chance) for name, do in table.items()}
    for name, process in h.processes.items():
        found[name] = partial(_restart_process, process)
    return found


def _restart_process(process: Process) -> None:
    process.kill()
    process.start()


def _restart_broker(h: Installation, _: random.Random) -> None:
    assert h.rabbitmq is not None
    h.rabbitmq.kill()
    h.rabbitmq.start()
    # A queue that was made just before may be left as a name only: operators are told, and make it anew.
    url = h.rabbitmq.admin_url
    for name in hollow_queues(url, map(queue_name, SERVICES)):
        h.hollow.append(name)
        h.hostile.forget(name.rpartition(".")[2])
        forget_hollow(url, name)
    apply_topology(url, SERVICES, subscriptions())


def _restart_database(h: Installation, _: random.Random) -> None:
    h.postgres.kill()
    h.postgres.start()


def _lose_binding(h: Installation, chance: random.Random) -> None:
    subscriber = chance.choice(SERVICES)
    speaker = chance.choice(subscriptions()[subscriber])
    with _channel(h) as channel:
        channel.queue_unbind(queue_name(subscriber), EXCHANGE, routing_pattern(speaker))
    _let_facts_get_lost(h, chance)


def _lose_queue(h: Installation, chance: random.Random) -> None:
    subscriber = chance.choice(SERVICES)
    with _channel(h) as channel:
        channel.queue_delete(queue_name(subscriber))
    h.hostile.forget(subscriber)
    _let_facts_get_lost(h, chance)


def _let_facts_get_lost(h: Installation, chance: random.Random) -> None:
    assert h.rabbitmq is not None
    threading.Event().wait(chance.uniform(0.2, 1.5))
    apply_topology(h.rabbitmq.admin_url, SERVICES, subscriptions())


def _lose_messages(h: Installation, chance: random.Random) -> None:
    subscriber = chance.choice(SERVICES)
    engine = create_engine(database_url(h.settings, h.settings.db.admin_user), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(f"DELETE FROM {subscriber}.messages WHERE holder IS NULL"))
    h.hostile.forget(subscriber)


def _send_hostile_messages(h: Installation, chance: random.Random) -> None:
    h.hostile.send(h.settings, chance)


def _bring_back_notify(h: Installation, chance: random.Random) -> None:
    """All that notify does follows from facts, so nothing of it may be lost for good."""
    engine = create_engine(database_url(h.settings, h.settings.db.admin_user), poolclass=NullPool)
    copy = take_copy(engine, "notify")
    threading.Event().wait(chance.uniform(1.5, 4.0))
    of_notify = [process for name, process in h.processes.items() if name.split(".")[0] in ("web", "notify")]
    for process in of_notify:
        process.kill()
    bring_back(engine, copy)
    h.brought_back.add("notify")
    h.hostile.forget("notify")
    command = [sys.executable, "-m", "deploy.cli", "restored", "--service", "notify", "--json"]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    for process in of_notify:
        process.start()


def _break_off_a_rotation(h: Installation, chance: random.Random) -> None:
    """Whoever seals everything under a new key is killed: the workers go on."""
    command = [sys.executable, "-m", "deploy.cli", "keys", "rotate", "--service", chance.choice(SERVICES)]
    unheard = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, stdout=unheard, stderr=unheard) as rotating:
        threading.Event().wait(chance.uniform(1.0, 4.0))
        rotating.kill()


FAULTS: dict[str, Fault] = {
    "postgres": _restart_database,
    "hostile messages": _send_hostile_messages,
    "a copy": _bring_back_notify,
    "a rotation": _break_off_a_rotation,
}
OF_THE_BROKER: dict[str, Fault] = {
    "rabbitmq": _restart_broker,
    "a binding": _lose_binding,
    "a queue": _lose_queue,
}
OF_THE_DATABASE: dict[str, Fault] = {
    "waiting messages": _lose_messages,
}


@contextmanager
def _channel(h: Installation) -> Iterator[Any]:
    assert h.rabbitmq is not None
    connection = pika.BlockingConnection(pika.URLParameters(h.rabbitmq.admin_url))
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()
