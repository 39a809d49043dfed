"""Secrets lie in files that nobody else may read, and are never replaced."""

import stat
from pathlib import Path

import pytest

from shared.privacy.secret_files import MASTER_KEY, SecretUnusable, init_secrets, load_secret
from shared.settings import DbSettings, Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(db=DbSettings(host="/x"), secrets_dir=tmp_path / "secrets")


def test_a_missing_file_is_named_with_the_command_that_makes_it(settings: Settings) -> None:
    with pytest.raises(SecretUnusable) as caught:
        load_secret(settings, MASTER_KEY)
    assert str(settings.secrets_dir / "master.key") in str(caught.value)
    assert "onestop secrets init" in str(caught.value)


def test_init_makes_what_is_missing_and_replaces_nothing(settings: Settings) -> None:
    made = init_secrets(settings.secrets_dir)
    assert sorted(path.name for path in made) == ["master.key", "service.token", "session.key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}
    master = load_secret(settings, MASTER_KEY)
    assert len(master) == 32
    (settings.secrets_dir / "session.key").unlink()
    assert [path.name for path in init_secrets(settings.secrets_dir)] == ["session.key"]
    assert load_secret(settings, MASTER_KEY) == master


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_may_read_is_refused(settings: Settings, mode: int) -> None:
    init_secrets(settings.secrets_dir)
    path = settings.secrets_dir / MASTER_KEY
    path.chmod(mode)
    with pytest.raises(SecretUnusable, match=f"chmod 600 {path}"):
        load_secret(settings, MASTER_KEY)


@pytest.mark.parametrize("content", ["", "abcd", "not hex at all", "00" * 31, "密钥"])
def test_other_contents_are_refused_and_not_repeated(settings: Settings, content: str) -> None:
    init_secrets(settings.secrets_dir)
    (settings.secrets_dir / MASTER_KEY).write_text(content)
    with pytest.raises(SecretUnusable) as caught:
        load_secret(settings, MASTER_KEY)
    assert not content or content not in str(caught.value)
