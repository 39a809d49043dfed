"""The fixtures of a whole installation, and one case's history."""

from pathlib import Path

import pytest

from deploy.postgres import PostgresServer
from shared.settings import Settings
from tests.integration.bus.history import History, Stage, events, make_stage, record_history
from tests.support.installation import (
    Installation,
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


@pytest.fixture(scope="session")
def history_of_a_withdrawal(
    postgres: PostgresServer, template_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> History:
    """The same, with a consent that is taken back and given again while the case is examined."""
    folder: Path = tmp_path_factory.mktemp("withdrawal")
    with make_installation(postgres, template_settings, folder, None) as made:
        return record_history(made, withdraws=True)


@pytest.fixture
def stage(installation: Installation, history: History) -> Stage:
    """Notify, which hears three speakers."""
    return make_stage(installation, "notify", history)


@pytest.fixture
def expected(stage: Stage) -> list[str]:
    """What a case comes to when nothing goes wrong."""
    number, facts = stage.new_case()
    stage.installation.inbox("notify").receive(events(facts))
    return stage.outcome(number)
