"""Servers of our own to break, and one system on each transport that goes through all of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.postgres import PostgresServer
from deploy.rabbitmq import RabbitNode
from shared.settings import Settings
from tests.support.installation import Delivery, make_installation, secrets_dir, template_settings
from tests.support.proxy import Proxy
from tests.support.servers import a_node, a_server, keep_declared
from tests.support.system import HOST, Names, ProxiedSystem, System, open_system

__all__ = ["secrets_dir", "template_settings"]


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """All of them start processes."""
    for item in items:
        if "integration/outages" in str(item.path):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def postgres(server_secrets: Path) -> Iterator[PostgresServer]:
    """A server of our own: the other tests keep theirs."""
    with a_server(server_secrets) as server:
        yield server


@pytest.fixture(scope="module")
def node(server_secrets: Path) -> Iterator[RabbitNode]:
    """A broker of our own, to be killed."""
    with a_node(server_secrets) as made:
        yield made


@pytest.fixture(scope="package")
def steady_node(server_secrets: Path) -> Iterator[RabbitNode]:
    """The broker of the system that goes through the outages of the database."""
    with a_node(server_secrets) as made:
        yield made


@contextmanager
def open_proxied(
    postgres: PostgresServer,
    template: Settings,
    scratch: Path,
    broker_url: str | None,
    *,
    tablespace: str = "pg_default",
) -> Iterator[ProxiedSystem]:
    """Everything started; here a commit must be on disk, since plugs are pulled."""
    names = Names(scratch) if Names.are_possible() else None
    proxy = Proxy(postgres.port)
    try:
        with make_installation(postgres, template, scratch, broker_url, tablespace=tablespace) as made:
            postgres.psql(f"ALTER DATABASE {made.settings.db.name} RESET synchronous_commit")
            made.keep_witnesses()
            if names is not None:
                names.add(HOST)
            environment = {
                "ONESTOP_DB__HOST": HOST if names is not None else "127.0.0.1",
                "ONESTOP_DB__PORT": str(proxy.port),
            }
            system = open_system(made, environment, names.wrap if names is not None else ())
            yield ProxiedSystem(system, proxy, names)
            system.client.close()
    finally:
        proxy.close()


@pytest.fixture(scope="package", params=["database", "rabbitmq"])
def proxied(
    request: pytest.FixtureRequest,
    postgres: PostgresServer,
    template_settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProxiedSystem]:
    """One system for all outages of the database, on both ways of delivery: none may need a new one."""
    delivery: Delivery = request.param
    url = request.getfixturevalue("steady_node").url if delivery == "rabbitmq" else None
    with open_proxied(postgres, template_settings, tmp_path_factory.mktemp(delivery), url) as opened:
        yield opened


@pytest.fixture
def brokered(
    postgres: PostgresServer, template_settings: Settings, node: RabbitNode, tmp_path: Path
) -> Iterator[System]:
    """A system of its own over the broker."""
    with open_proxied(postgres, template_settings, tmp_path, node.url) as opened:
        keep_declared(node)
        yield opened.system


@pytest.fixture
def brokerless(postgres: PostgresServer, template_settings: Settings, tmp_path: Path) -> Iterator[System]:
    """A system of its own with delivery inside the database."""
    with open_proxied(postgres, template_settings, tmp_path, None) as opened:
        yield opened.system
