"""The disk is full for a while: that of the tables, while the server itself goes on; or the server's own,
with everything that we keep beside it."""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from deploy.errors import NotStarted
from deploy.postgres import PostgresServer
from deploy.processes import wait_until
from deploy.supervisor import Supervisor
from deploy.supervisor_state import read_state
from shared.settings import Settings
from tests.integration.outages.conftest import open_proxied
from tests.integration.outages.walk import go_through
from tests.support.installation import Delivery
from tests.support.servers import fill, scratch_folder, small_disk


@pytest.fixture
def disk(postgres: PostgresServer) -> Iterator[Path]:
    """A small disk with a tablespace of the server."""
    with scratch_folder() as folder, small_disk(folder):
        place = folder / "tablespace"
        place.mkdir()
        owner = postgres.data_dir.stat()
        shutil.chown(place, owner.st_uid, owner.st_gid)
        postgres.psql(f"CREATE TABLESPACE small LOCATION '{place}'")
        yield folder
        postgres.psql("DROP TABLESPACE small")


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """No space is left."""
    ballast = disk / "ballast"
    fill(ballast)
    try:
        yield
    finally:
        ballast.unlink()


@pytest.mark.parametrize("delivery", ["database", "rabbitmq"])
def test_the_disk_is_full(
    delivery: Delivery,
    disk: Path,
    postgres: PostgresServer,
    template_settings: Settings,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue("node").url if delivery == "rabbitmq" else None
    with open_proxied(postgres, template_settings, tmp_path, url, tablespace="small") as proxied:
        # What fits on a page that has room is taken even so.
        go_through(proxied.system, filled(disk), answer_s=2.0, lasts_s=5.0, refuses_all=False)


def test_the_servers_own_disk_is_full() -> None:
    with scratch_folder() as folder, small_disk(folder):
        server = PostgresServer(folder / "data")
        ballast = folder / "ballast"
        said: list[str] = []

        def answers() -> bool:
            try:
                return server.psql("SELECT 1", "onestop") == "1\n"
            except NotStarted:
                return False

        def write_until_it_breaks() -> bool:
            with suppress(NotStarted):
                server.psql(
                    "SELECT count(pg_logical_emit_message(false, 'test', repeat('x', 1000000))) "
                    "FROM generate_series(1, 20)"
                )
            return restarts() > 0

        def restarts() -> int:
            return sum("starting again" in line for line in said)

        def is_running() -> bool:
            return bool(read_state(folder)["processes"][0]["state"] == "running")

        async def main() -> int:
            fill(ballast)
            assert await asyncio.to_thread(wait_until, write_until_it_breaks, 20)
            assert await asyncio.to_thread(wait_until, lambda: restarts() > 1, 20), "it does not come up"
            ballast.unlink()
            assert await asyncio.to_thread(wait_until, answers, 20)
            assert await asyncio.to_thread(wait_until, is_running, 20)
            return 0

        keeping = Supervisor([server], folder, main=main, say=lambda _, line: said.append(line))
        assert asyncio.run(keeping.run()) == 0
