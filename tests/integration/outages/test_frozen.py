"""The server freezes, as a virtual machine that is moved: it keeps every connection and says nothing."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.postgres import PostgresServer
from deploy.processes import children_of
from tests.integration.outages.walk import FULL_LENGTH, go_through
from tests.support.system import ProxiedSystem

FROZEN_S = 40.0 if FULL_LENGTH else 3.0


@contextmanager
def frozen(postgres: PostgresServer) -> Iterator[None]:
    """Every process of the server stands still."""
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGSTOP)
    stopped = [*children_of(postgres.pid), postgres.pid]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def test_the_server_is_frozen(proxied: ProxiedSystem, postgres: PostgresServer) -> None:
    go_through(proxied.system, frozen(postgres), answer_s=10.0, lasts_s=FROZEN_S)


def test_the_network_swallows_everything(proxied: ProxiedSystem) -> None:
    go_through(proxied.system, proxied.proxy.swallowing(), answer_s=10.0, lasts_s=FROZEN_S)
