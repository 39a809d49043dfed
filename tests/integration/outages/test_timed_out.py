"""Statements do not get through in time: somebody holds the tables that every command writes, or one table of
one service."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import pytest
from sqlalchemy import text

from deploy.postgres import PostgresServer
from deploy.processes import wait_until
from deploy.services import SERVICES
from shared.db.transaction import transaction
from tests.integration.outages.sessions import setting
from tests.integration.outages.walk import FULL_LENGTH, go_through
from tests.support.installation import Installation, wait_for
from tests.support.system import ProxiedSystem

LOCKED_S = 80.0 if FULL_LENGTH else 4.0


@contextmanager
def locked(made: Installation, tables: list[str]) -> Iterator[None]:
    """Somebody holds these tables."""
    with transaction(made.admin, "test") as connection:
        connection.execute(text(f"LOCK TABLE {', '.join(tables)}"))
        yield


@pytest.mark.parametrize("limit", ["statement_timeout", "lock_timeout"])
def test_statements_time_out(proxied: ProxiedSystem, postgres: PostgresServer, limit: str) -> None:
    made = proxied.system.made

    @contextmanager
    def timing_out() -> Iterator[None]:
        with ExitStack() as both:
            both.enter_context(setting(postgres, made.settings.db.name, limit, "200ms"))
            both.enter_context(locked(made, [f"{service}.outbox" for service in SERVICES]))
            yield

    go_through(proxied.system, timing_out(), answer_s=2.0)


def test_one_table_is_locked_for_long(proxied: ProxiedSystem, postgres: PostgresServer) -> None:
    system, made = proxied.system, proxied.system.made
    pids = system.pids()

    def one_more() -> bool:
        system.apply_until_taken(str(uuid4()))
        return False

    with ExitStack() as both:
        # So the facts meet as many time-outs in seconds as otherwise in a minute and a half.
        both.enter_context(setting(postgres, made.settings.db.name, "lock_timeout", "200ms"))
        wait_for(system.all_ready, "ready with the new setting", 10)
        both.enter_context(locked(made, ["approval.tasks"]))
        wait_until(one_more, LOCKED_S, every_s=LOCKED_S / 20)
    system.wait_until_complete()
    assert system.pids() == pids, "a process died of the outage"
    deaths = "SELECT sum(deaths) + sum(attempts) FROM approval.inbox"
    assert not made.value(deaths)
