"""Processes that are started while the database is away wait for it: nobody starts them again and again."""

from pathlib import Path

import pytest

from deploy.postgres import PostgresServer
from shared.settings import Settings
from tests.support.installation import Delivery, make_installation, wait_for
from tests.support.proxy import Proxy
from tests.support.system import start_system

READY_S = 10.0


@pytest.mark.parametrize("delivery", ["database", "rabbitmq"])
def test_the_database_is_away_at_the_start(
    delivery: Delivery,
    postgres: PostgresServer,
    template_settings: Settings,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue("node").url if delivery == "rabbitmq" else None
    proxy = Proxy(postgres.port)
    with make_installation(postgres, template_settings, tmp_path, url) as made:
        environment = {"ONESTOP_DB__HOST": "127.0.0.1", "ONESTOP_DB__PORT": str(proxy.port)}
        with proxy.refused():
            system = start_system(made, environment)
            pids = system.pids()
            wait_for(system.all_alive, "all are alive", 30, of=made)
            assert system.all_unready()
            assert system.apply("at-the-start").status_code == 503
        wait_for(system.all_ready, f"all ready: {system.readiness()}", READY_S, of=made)
        system.apply_until_taken("at-the-start")
        system.wait_until_complete()
        assert system.pids() == pids
        system.client.close()
    proxy.close()
