"""Secrets lie in files that nobody else may read, and each is named when it cannot be used."""

from pathlib import Path

import pytest

from deploy.secret_files import init_secrets
from shared.privacy.secret_files import MASTER_KEY, SecretUnusable, load_secret
from shared.sections import DbSettings
from shared.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(db=DbSettings(host="/x"), secrets_dir=tmp_path / "secrets")


def test_a_missing_file_is_named_with_the_command_that_makes_it(settings: Settings) -> None:
    with pytest.raises(SecretUnusable) as caught:
        load_secret(settings, "intake", MASTER_KEY)
    assert str(settings.secrets_dir / "intake" / "master.key") in str(caught.value)
    assert "onestop secrets init" in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_may_read_is_refused(settings: Settings, mode: int) -> None:
    init_secrets(settings.secrets_dir)
    path = settings.secrets_dir / "intake" / MASTER_KEY
    path.chmod(mode)
    with pytest.raises(SecretUnusable, match=f"chmod 600 {path}"):
        load_secret(settings, "intake", MASTER_KEY)


@pytest.mark.parametrize("content", ["", "abcd", "not hex at all", "00" * 31, "密钥"])
def test_other_contents_are_refused_and_not_repeated(settings: Settings, content: str) -> None:
    init_secrets(settings.secrets_dir)
    (settings.secrets_dir / "intake" / MASTER_KEY).write_text(content)
    with pytest.raises(SecretUnusable) as caught:
        load_secret(settings, "intake", MASTER_KEY)
    assert not content or content not in str(caught.value)
