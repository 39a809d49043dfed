"""What an administrator of the database does to the services' sessions."""

from collections.abc import Iterator
from contextlib import contextmanager

from deploy.postgres import PostgresServer
from deploy.services import SERVICES
from shared.db.roles import app_role


def terminate(postgres: PostgresServer, database: str) -> None:
    """All sessions of the services end at once."""
    postgres.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{database}' AND usename LIKE 'onestop%app'"
    )


@contextmanager
def connection_limit(postgres: PostgresServer, database: str, limit: int) -> Iterator[None]:
    """So many sessions of each service are too many; those that there are end."""
    for service in SERVICES:
        postgres.psql(f"ALTER ROLE {app_role(service)} CONNECTION LIMIT {limit}")
    terminate(postgres, database)
    try:
        yield
    finally:
        for service in SERVICES:
            postgres.psql(f"ALTER ROLE {app_role(service)} CONNECTION LIMIT -1")


@contextmanager
def setting(postgres: PostgresServer, database: str, name: str, value: str) -> Iterator[None]:
    """A setting for all sessions of the services."""
    for service in SERVICES:
        postgres.psql(f"ALTER ROLE {app_role(service)} IN DATABASE {database} SET {name} = '{value}'")
    terminate(postgres, database)
    try:
        yield
    finally:
        for service in SERVICES:
            postgres.psql(f"ALTER ROLE {app_role(service)} IN DATABASE {database} RESET {name}")
        terminate(postgres, database)
