"""The disk of the tables is full for a while; the server itself goes on."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.postgres import PostgresServer
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
