"""The database turns read-only, as at a failover, and its sessions are cut; later it is back."""

from collections.abc import Iterator
from contextlib import contextmanager

from deploy.postgres import PostgresServer
from tests.integration.outages.sessions import terminate
from tests.integration.outages.walk import go_through
from tests.support.system import ProxiedSystem


@contextmanager
def read_only(postgres: PostgresServer, database: str) -> Iterator[None]:
    """Sessions that begin meanwhile take no writes, and nobody cuts those afterwards."""
    postgres.psql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    terminate(postgres, database)
    try:
        yield
    finally:
        postgres.psql(f"ALTER DATABASE {database} RESET default_transaction_read_only")


def test_the_database_is_read_only_for_a_while(proxied: ProxiedSystem, postgres: PostgresServer) -> None:
    go_through(proxied.system, read_only(postgres, proxied.system.made.settings.db.name), answer_s=1.0)
