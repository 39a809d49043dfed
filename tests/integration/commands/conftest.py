"""One installation for all commands: each test has people and cases of its own."""

from collections.abc import Iterator

import pytest

from deploy.postgres import PostgresServer
from shared.settings import Settings
from tests.support.installation import Installation, make_installation, secrets_dir, template_settings

__all__ = ["secrets_dir", "template_settings"]


@pytest.fixture(scope="session")
def made(
    postgres: PostgresServer, template_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """All schemas, the built-in matters, and nobody who hands facts on."""
    with make_installation(
        postgres, template_settings, tmp_path_factory.mktemp("commands"), None
    ) as installation:
        yield installation
