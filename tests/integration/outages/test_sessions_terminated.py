"""Somebody ends every session of the services at once, again and again."""

from collections.abc import Iterator
from contextlib import contextmanager

from deploy.postgres import PostgresServer
from tests.integration.outages.sessions import terminate
from tests.integration.outages.walk import go_through
from tests.support.system import ProxiedSystem


def test_all_sessions_are_terminated_at_once(proxied: ProxiedSystem, postgres: PostgresServer) -> None:
    database = proxied.system.made.settings.db.name

    def once_more() -> bool:
        terminate(postgres, database)
        return True

    @contextmanager
    def again_and_again() -> Iterator[None]:
        for _ in range(5):
            once_more()
            proxied.system.apply("terminated-again")
        yield

    go_through(proxied.system, again_and_again(), answer_s=2.0, refuses_all=False, noticed=once_more)
