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


@pytest.mark.parametrize("answered", [True, False], ids=["refused", "unanswered"])
def test_the_name_is_gone(proxied: ProxiedSystem, answered: bool) -> None:
    names, proxy = proxied.names, proxied.proxy
    if names is None:
        pytest.skip("only root may give processes a table of names of their own")

    @contextmanager
    def nameless() -> Iterator[None]:
        with names.without(HOST) if answered else names.without_answer(HOST):
            proxy.cut()
            yield

    answer_s, lasts_s = (2.0, 1.0) if answered else (5.0, 5.0)
    go_through(proxied.system, nameless(), answer_s=answer_s, lasts_s=lasts_s)


def test_there_are_too_many_connections(proxied: ProxiedSystem, postgres: PostgresServer) -> None:
    database = proxied.system.made.settings.db.name
    go_through(proxied.system, connection_limit(postgres, database, 0), answer_s=1.0)
