"""The database cannot be reached: it refuses, its name is gone, or it has too many connections."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.postgres import PostgresServer
from tests.integration.outages.sessions import connection_limit
from tests.integration.outages.walk import go_through
from tests.support.system import HOST, ProxiedSystem


def test_connections_are_refused(proxied: ProxiedSystem) -> None:
    go_through(proxied.system, proxied.proxy.refused(), answer_s=1.0)


def test_the_name_is_gone(proxied: ProxiedSystem) -> None:
    names, proxy = proxied.names, proxied.proxy
    if names is None:
        pytest.skip("only root may give processes a table of names of their own")

    @contextmanager
    def nameless() -> Iterator[None]:
        with names.without(HOST):
            proxy.cut()
            yield

    go_through(proxied.system, nameless(), answer_s=2.0)


def test_there_are_too_many_connections(proxied: ProxiedSystem, postgres: PostgresServer) -> None:
    database = proxied.system.made.settings.db.name
    go_through(proxied.system, connection_limit(postgres, database, 0), answer_s=1.0)
