"""The key that signs log-ins is changed while people work: at no step is a good log-in refused."""

import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from deploy.errors import TokensStillGood
from deploy.secret_files import check_secrets, init_secrets
from deploy.services import SERVICES
from deploy.session_keys import Step, turn_session_key
from shared.auth.principal import Principal, PrincipalKind
from shared.auth.signatures import PublicKeys, SigningKey
from shared.auth.tokens import LONGEST_SESSION, TokenInvalid, TokenReader, Tokens
from shared.durable import replace_private
from shared.privacy.secret_files import (
    LEAVING_SESSION_PUBLIC_KEY,
    SESSION_KEY,
    load_public_keys,
    load_secret,
)
from shared.sections import DbSettings
from shared.settings import Settings

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
WHO = Principal(PrincipalKind.OFFICER, "officer-1", session=UUID(int=1))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    init_secrets(tmp_path)
    return Settings(environment="test", db=DbSettings(host="/nowhere"), secrets_dir=tmp_path)


def readers(settings: Settings) -> dict[str, TokenReader]:
    """Every service, started now."""
    return {
        service: TokenReader(PublicKeys(load_public_keys(settings, service)), lambda: NOW)
        for service in SERVICES
    }


def token(settings: Settings) -> str:
    """Of intake, started now."""
    key = SigningKey(load_secret(settings, "intake", SESSION_KEY))
    return Tokens(key, PublicKeys(load_public_keys(settings, "intake")), lambda: NOW).issue(WHO, 600)


def let_all_end(folder: Path) -> None:
    leaving = folder / "intake" / LEAVING_SESSION_PUBLIC_KEY
    long_ago = leaving.stat().st_mtime - LONGEST_SESSION.total_seconds() - 1
    os.utime(leaving, (long_ago, long_ago))


def test_whoever_was_started_before_a_step_works_with_whoever_was_started_after(
    settings: Settings, tmp_path: Path
) -> None:
    old = token(settings)
    for step in (Step.PUBLISHED, Step.SIGNS, Step.RETIRED):
        before, made_before = readers(settings), token(settings)
        if step is Step.RETIRED:
            let_all_end(tmp_path)
        assert turn_session_key(tmp_path) is step
        check_secrets(settings, SERVICES, whole=False)
        for reader in (*before.values(), *readers(settings).values()):
            assert reader.verify(token(settings)) == WHO
            assert reader.verify(made_before) == WHO
    for reader in readers(settings).values():
        with pytest.raises(TokenInvalid):
            reader.verify(old)
    # The next change begins again.
    assert turn_session_key(tmp_path) is Step.PUBLISHED


def test_the_old_key_stays_as_long_as_its_log_ins(settings: Settings, tmp_path: Path) -> None:
    turn_session_key(tmp_path)
    turn_session_key(tmp_path)
    with pytest.raises(TokensStillGood):
        turn_session_key(tmp_path)
    assert len(load_public_keys(settings, "notify")) == 2


@pytest.mark.parametrize("dies_at", ["replace_private", "between", "init_secrets"])
def test_a_step_that_was_broken_off_is_done_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    turn_session_key(tmp_path)
    good = token(settings)
    with monkeypatch.context() as patch:
        if dies_at == "between":
            patch.setattr("deploy.session_keys.replace_private", _writes_and_dies)
        else:
            patch.setattr(f"deploy.session_keys.{dies_at}", _dies)
        with pytest.raises(KeyboardInterrupt):
            turn_session_key(tmp_path)
    for reader in readers(settings).values():
        assert reader.verify(good) == WHO
        assert reader.verify(token(settings)) == WHO
    step = turn_session_key(tmp_path) if dies_at != "init_secrets" else _init(tmp_path)
    assert step is Step.SIGNS
    for reader in readers(settings).values():
        assert reader.verify(good) == WHO
        assert reader.verify(token(settings)) == WHO


def _init(folder: Path) -> Step:
    init_secrets(folder)
    return Step.SIGNS


def _writes_and_dies(path: Path, content: str) -> None:
    replace_private(path, content)
    raise KeyboardInterrupt


def _dies(*arguments: object) -> None:
    raise KeyboardInterrupt
