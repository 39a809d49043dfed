"""Settings come from the environment and files; what is broken is said in one message."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.sections import Section
from shared.settings import Settings, SettingsError, read_sections

SMS = {
    "ONESTOP_CHANNELS__SMS__ENDPOINT": "https://sms.example",
    "ONESTOP_CHANNELS__SMS__ACCESS_KEY_ID": "0123",
}
NEEDED = {"ONESTOP_DB__HOST": "/run/onestop", "ONESTOP_SECRETS_DIR": "/etc/onestop"}


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ONESTOP_")]:
        monkeypatch.delenv(name)


def given(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in {**NEEDED, **variables}.items():
        monkeypatch.setenv(name, value)


def broken(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    given(monkeypatch, **variables)
    with pytest.raises(SettingsError) as caught:
        Settings()
    return caught.value.detail_en


def test_nested_names_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    given(
        monkeypatch,
        ONESTOP_WEB__PORT="9000",
        ONESTOP_PEERS__INTAKE="http://intake",
        ONESTOP_WORKER__BATCH="7",
    )
    settings = Settings()
    assert settings.web.port == 9000
    assert settings.peers == {"intake": "http://intake"}
    assert settings.worker.batch == 7
    assert settings.environment == "production"


def test_what_is_missing_is_named_with_what_it_is_for() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert "ONESTOP_DB__HOST (host name" in caught.value.detail_en
    assert "ONESTOP_SECRETS_DIR: it is not set" in caught.value.detail_en


def test_every_broken_variable_is_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    message = broken(monkeypatch, ONESTOP_WEB__PORT="many", ONESTOP_LOG_FORMAT="xml", ONESTOP_WEB__PROT="1")
    assert "ONESTOP_WEB__PORT: should be a valid integer" in message
    assert "for example ONESTOP_WEB__PORT=8600" in message
    assert "ONESTOP_LOG_FORMAT: should be 'json' or 'console'" in message
    assert "ONESTOP_WEB__PROT: there is no such setting; known here: host, port" in message


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ONESTOP_LOG_FORMT", "did you mean ONESTOP_LOG_FORMAT?"),
        ("ONESTOP_WEBB__PORT", "did you mean ONESTOP_WEB?"),
        ("ONESTOP_ZZZ__PORT", "known: "),
    ],
)
def test_a_misspelt_name_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    assert hint in broken(monkeypatch, **{name: "1"})


def test_names_that_kubernetes_makes_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, ONESTOP_WEB_PORT="tcp://10.0.0.1:80", ONESTOP_WEB_SERVICE_HOST="10.0.0.1")
    assert Settings().web.port == 8600


def test_a_secret_may_lie_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("s3cret\n")
    given(monkeypatch, **SMS, ONESTOP_CHANNELS__SMS__ACCESS_KEY_SECRET_FILE=str(tmp_path / "pw"))
    settings = Settings()
    assert settings.channels["sms"]["access_key_secret"].get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in settings.model_dump_json()


class Example(Section):
    login: str
    secret: SecretStr
    other: SecretStr | None = None


def read_example(settings: Settings) -> Section:
    return read_sections({"sms": Example}, settings, "channels")["sms"]


@pytest.mark.parametrize(
    "variables",
    [
        {"ONESTOP_CHANNELS__SMS__LOGIN": "x", "ONESTOP_CHANNELS__SMS__SECRET": "hunter2"},
        {"ONESTOP_CHANNELS": '{"sms": {"login": "x", "secret": "hunter2"}}'},
    ],
)
def test_a_secret_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """What stands there can be read in /proc for as long as the process lives."""
    given(monkeypatch, **variables)
    settings = Settings()
    assert "hunter2" not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        read_example(settings)
    assert "ONESTOP_CHANNELS__SMS__SECRET: a secret; give it as ..._SECRET_FILE" in str(caught.value)
    assert "LOGIN" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_secret_in_a_file_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("s3cret\n")
    given(
        monkeypatch,
        ONESTOP_CHANNELS__SMS__LOGIN="x",
        ONESTOP_CHANNELS__SMS__SECRET_FILE=str(tmp_path / "one"),
        ONESTOP_CHANNELS__SMS__OTHER_FILE=str(tmp_path / "one"),
    )
    found = read_example(Settings())
    assert isinstance(found, Example)
    assert found.secret.get_secret_value() == "s3cret"


def test_what_a_channel_is_given_stays_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the channel knows whether 0123 is a number."""
    given(monkeypatch, **SMS, ONESTOP_CHANNELS__EMAIL__PASSWORD="true")
    texts = {
        (channel, name): text.get_secret_value()
        for channel, own in Settings().channels.items()
        for name, text in own.items()
    }
    assert texts == {
        ("sms", "endpoint"): "https://sms.example",
        ("sms", "access_key_id"): "0123",
        ("email", "password"): "true",
    }


def test_a_secret_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    message = broken(monkeypatch, **SMS, ONESTOP_CHANNELS__SMS__ACCESS_KEY_SECRET_FILE=str(tmp_path / "none"))
    assert "ONESTOP_CHANNELS__SMS__ACCESS_KEY_SECRET_FILE" in message
    assert str(tmp_path / "none") in message


def test_value_and_file_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    message = broken(monkeypatch, ONESTOP_BROKER_URL="amqp://a", ONESTOP_BROKER_URL_FILE="/x")
    assert "ONESTOP_BROKER_URL and ONESTOP_BROKER_URL_FILE are both set" in message


def test_a_message_never_repeats_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hunter2" not in broken(monkeypatch, ONESTOP_DB__PORT="hunter2", ONESTOP_CHANNELS="hunter2")


@pytest.mark.parametrize("name", ["ONESTOP_DEV_IDENTITY", "ONESTOP_CLOCK_OFFSET_ALLOWED"])
def test_what_is_for_tests_is_refused_in_production(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert name in broken(monkeypatch, **{name: "true"})
    monkeypatch.setenv("ONESTOP_ENVIRONMENT", "demo")
    assert Settings().environment == "demo"


def test_no_dotenv_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given(monkeypatch)
    (tmp_path / ".env").write_text("ONESTOP_WEB__PORT=1\n")
    monkeypatch.chdir(tmp_path)
    assert Settings().web.port == 8600
