"""SIGTERM ends every process in order, whatever is away."""

from uuid import uuid4

from deploy.postgres import PostgresServer
from deploy.rabbitmq import RabbitNode
from deploy.services import SERVICES
from tests.support.system import System

STOP_S = 30.0


def finish(system: System) -> None:
    """Let new workers do what the old ones left."""
    for service in SERVICES:
        system.made.worker(service)
    system.wait_until_complete()


def test_sigterm_ends_in_order(brokered: System) -> None:
    brokered.apply(str(uuid4()))
    brokered.stop_within(STOP_S)
    finish(brokered)


def test_sigterm_during_a_broker_outage_ends_in_order(brokered: System, node: RabbitNode) -> None:
    node.kill()
    try:
        for _ in range(3):
            brokered.apply(str(uuid4()))
        brokered.stop_within(STOP_S)
    finally:
        node.start()
    assert len(brokered.numbers) == 3
    finish(brokered)


def test_sigterm_during_a_database_outage_ends_in_order(brokerless: System, postgres: PostgresServer) -> None:
    postgres.kill()
    try:
        brokerless.stop_within(STOP_S)
    finally:
        brokerless.made.admin.dispose()
        postgres.start()
