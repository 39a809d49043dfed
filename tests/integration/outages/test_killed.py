"""The server is killed and stays away for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from deploy.postgres import PostgresServer
from tests.integration.outages.walk import FULL_LENGTH, go_through
from tests.support.system import ProxiedSystem

AWAY_S = 20.0 if FULL_LENGTH else 3.0


def test_the_server_is_killed(proxied: ProxiedSystem, postgres: PostgresServer) -> None:
    @contextmanager
    def killed() -> Iterator[None]:
        postgres.kill()
        try:
            yield
        finally:
            # Pooled connections of this very process died with the server as well.
            proxied.system.made.admin.dispose()
            postgres.start()

    go_through(proxied.system, killed(), answer_s=1.0, lasts_s=AWAY_S)
