"""The fixtures of a whole installation, and one case's history."""

from pathlib import Path

import pytest

from deploy.postgres import PostgresServer
from shared.settings import Settings
from tests.integration.bus.history import History, record_history
from tests.support.installation import (
    db_installation,
    delivery,
    installation,
    make_installation,
    secrets_dir,
    template_settings,
)

__all__ = ["db_installation", "delivery", "installation", "secrets_dir", "template_settings"]


@pytest.fixture(scope="session")
def history(
    postgres: PostgresServer, template_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> History:
    """A case with everything in it, recorded once."""
    folder: Path = tmp_path_factory.mktemp("history")
    with make_installation(postgres, template_settings, folder, None) as made:
        return record_history(made)
