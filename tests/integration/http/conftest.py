"""The doors of one installation for all of these tests; each makes its own people and looks at its own cases.

`untouched` compares every table, so that "refused" means that nothing was written either. A test that counts
rows or takes the first of a list has an installation of its own, `fresh_hall`. Every answer of the API that
any of them gets is compared with the OpenAPI document.
"""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from deploy.catalogue import publish_matters
from deploy.postgres import PostgresServer
from deploy.services import SERVICES
from deploy.web import build
from shared.settings import Settings
from tests.support.agents import more_matters
from tests.support.contacts import can_send_codes
from tests.support.contract import check_answer
from tests.support.hall import Hall, Headers, application
from tests.support.installation import (
    Citizen,
    Installation,
    db_installation,
    make_installation,
    secrets_dir,
    template_settings,
)

__all__ = ["db_installation", "secrets_dir", "template_settings"]

CODES = {
    "one_time_code": {"kinds": SecretStr("phone,email")},
    "client_credentials": {"public_url": SecretStr("https://hall.test")},
}
"""With every door of the OpenAPI document."""


@pytest.fixture(scope="session")
def hall(
    postgres: PostgresServer, template_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hall]:
    """The hall, with two more matters, as browsers reach it: over TLS."""
    scratch = tmp_path_factory.mktemp("http")
    with make_installation(postgres, template_settings, scratch, None) as made:
        made.keep_witnesses()
        publish_matters(made.settings, more_matters(scratch))
        can_send_codes(made, "phone", "email")
        settings = made.settings.model_copy(update={"dev_identity": True, "identity": CODES})
        apps = build(settings, SERVICES)
        with TestClient(apps.public, "https://hall.test", raise_server_exceptions=False) as client:
            client.event_hooks = {"response": [check_answer]}
            yield Hall(made, client, TestClient(apps.internal, raise_server_exceptions=False))


@pytest.fixture(scope="session")
def anybody(hall: Hall) -> tuple[Citizen, Headers]:
    """Somebody for the tests in which nothing comes of what is sent."""
    return hall.citizen()


@pytest.fixture(scope="module")
def open_task(hall: Hall) -> str:
    """A task that waits for an officer of xihu-community."""
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    return str(hall.installation.value("SELECT id FROM approval.tasks WHERE case_no = :n", n=number))


@pytest.fixture(autouse=True)
def no_cookies(hall: Hall) -> Iterator[None]:
    """A browser of one's own for each test."""
    yield
    hall.client.cookies.clear()


@pytest.fixture
def fresh_lookups(hall: Hall) -> Iterator[None]:
    """Misses of one test do not count in another: all of them come from one address."""
    hall.installation.change("DELETE FROM intake.lookup_misses")
    yield
    hall.installation.change("DELETE FROM intake.lookup_misses")


@pytest.fixture
def fresh_hall(db_installation: Installation) -> Iterator[Hall]:
    """An installation of a test's own, over plain HTTP."""
    can_send_codes(db_installation, "phone", "email")
    web = db_installation.settings.web.model_copy(update={"cookie_secure": False})
    settings = db_installation.settings.model_copy(
        update={"dev_identity": True, "identity": CODES, "web": web}
    )
    apps = build(settings, SERVICES)
    with TestClient(apps.public, raise_server_exceptions=False) as client:
        client.event_hooks = {"response": [check_answer]}
        yield Hall(db_installation, client, TestClient(apps.internal))
