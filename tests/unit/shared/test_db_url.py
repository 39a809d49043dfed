"""How a role reaches the database: where the settings say, with the password of its own service."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine

from deploy.secret_files import init_secrets
from shared.db.engine import database_url
from shared.privacy.secret_files import SecretUnusable
from shared.sections import DbSettings
from shared.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    init_secrets(tmp_path)
    return Settings(db=DbSettings(host="/run/onestop", port=6543), secrets_dir=tmp_path)


def dsn(settings: Settings, role: str) -> dict[str, object]:
    """What the driver is called with; nothing connects."""
    url = database_url(settings, role)
    return dict(create_engine(url).dialect.create_connect_args(url)[1])


def test_a_socket_directory_becomes_the_host(settings: Settings) -> None:
    found = dsn(settings, "onestop_intake_app")
    del found["password"]
    assert found == {
        "user": "onestop_intake_app",
        "dbname": "onestop",
        "host": "/run/onestop",
        "port": 6543,
        "connect_timeout": "2",
    }


def test_each_role_has_its_own_password(settings: Settings) -> None:
    roles = {
        "onestop_intake_app": "intake/db.password",
        "onestop_notify_app": "notify/db.password",
        "onestop_admin": "migrate/db_admin.password",
    }
    found = {role: dsn(settings, role)["password"] for role in roles}
    assert found == {role: (settings.secrets_dir / file).read_text().strip() for role, file in roles.items()}
    assert len(set(found.values())) == len(roles)


def test_a_process_that_was_not_given_a_folder_cannot_log_in_as_its_service(settings: Settings) -> None:
    (settings.secrets_dir / "notify" / "db.password").unlink()
    with pytest.raises(SecretUnusable, match=r"notify/db\.password"):
        database_url(settings, "onestop_notify_app")
