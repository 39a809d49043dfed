"""The database cannot be reached: it refuses, its name is gone, or it has too many connections."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.postgres import PostgresServer
from tests.integration.outages.sessions import connection_limit
from tests.integration.outages.walk import go_through
from tests.support.system import HOST, Road


def test_connections_are_refused(road: Road) -> None:
    go_through(road.system, road.proxy.refused(), answer_s=1.0)


def test_the_name_is_gone(road: Road) -> None:
    names, proxy = road.names, road.proxy
    if names is None:
        pytest.skip("only root may give processes a table of names of their own")

    @contextmanager
    def nameless() -> Iterator[None]:
        with names.without(HOST):
            proxy.cut()
            yield

    go_through(road.system, nameless(), answer_s=2.0)


def test_there_are_too_many_connections(road: Road, postgres: PostgresServer) -> None:
    database = road.system.made.settings.db.name
    go_through(road.system, connection_limit(postgres, database, 0), answer_s=1.0)
