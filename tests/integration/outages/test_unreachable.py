"""The database cannot be reached: it refuses, its name is gone, or it has too many connections."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from deploy.postgres import PostgresServer
from shared.http.capacity import PATIENCE_S
from shared.sections import WebSettings
from tests.integration.outages.sessions import connection_limit
from tests.integration.outages.walk import READY_S, check_answers, go_through
from tests.support.installation import wait_for
from tests.support.system import HOST, ProxiedSystem, System


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


def test_whoever_waits_for_a_turn_is_told_at_once(proxied: ProxiedSystem) -> None:
    """The requests that are worked on hang in the database, many more stand in line; then it is gone."""
    system, keys = proxied.system, [str(uuid4()) for _ in range(WebSettings().at_once + 16)]
    with ThreadPoolExecutor(len(keys)) as people, system.made.admin.connect() as locking:
        locking.execute(text("LOCK TABLE intake.idempotency_keys IN EXCLUSIVE MODE"))
        asked = [people.submit(system.apply, key) for key in keys]
        wait_for(lambda: _waiting(system) == 16, "sixteen wait")
        with proxied.proxy.refused():
            answers = [one.result(PATIENCE_S / 2) for one in asked]
        locking.rollback()
    check_answers(answers, refuses_all=True)
    wait_for(system.all_ready, "all ready again", READY_S)
    for key in keys:
        system.apply_until_taken(key)
    system.wait_until_complete()


def _waiting(system: System) -> int:
    measured = httpx.get(f"http://127.0.0.1:{system.health_ports[0]}/metrics", trust_env=False).text
    [found] = re.findall(r"^onestop_http_waiting (\S+)$", measured, re.MULTILINE)
    return int(float(found))
