"""Statements do not get through in time: the tables that every command writes are locked."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import text

from deploy.postgres import PostgresServer
from deploy.services import SERVICES
from shared.db.transaction import transaction
from tests.integration.outages.sessions import setting
from tests.integration.outages.walk import go_through
from tests.support.installation import Installation
from tests.support.system import Road


@contextmanager
def locked(made: Installation, tables: list[str]) -> Iterator[None]:
    """Somebody holds these tables."""
    with transaction(made.admin, "test") as connection:
        connection.execute(text(f"LOCK TABLE {', '.join(tables)}"))
        yield


@pytest.mark.parametrize("limit", ["statement_timeout", "lock_timeout"])
def test_statements_time_out(road: Road, postgres: PostgresServer, limit: str) -> None:
    made = road.system.made

    @contextmanager
    def timing_out() -> Iterator[None]:
        with ExitStack() as both:
            both.enter_context(setting(postgres, made.settings.db.name, limit, "200ms"))
            both.enter_context(locked(made, [f"{service}.outbox" for service in SERVICES]))
            yield

    go_through(road.system, timing_out(), answer_s=2.0)
