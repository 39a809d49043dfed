"""The command: light to start, data on standard output only, exit codes that mean something."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.commands.app import run

KEEPS_OUT = (
    "sqlalchemy",
    "psycopg2",
    "alembic",
    "pydantic",
    "httpx",
    "joserfc",
    "prometheus_client",
    "services",
)
HEAVY = ("sqlalchemy", "fastapi", "eventlet", "nameko", "pika", "psycopg2", "uvicorn", "kombu")


def onestop(*arguments: str, data_dir: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with an empty environment."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", *arguments],
        env={"PATH": "/usr/bin:/bin", "ONESTOP_DATA_DIR": str(data_dir), **settings},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_nothing_heavy_is_imported_before_a_command_needs_it() -> None:
    script = f"import sys, deploy.commands.app; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


def test_who_only_keeps_processes_holds_nothing_of_what_they_do(tmp_path: Path) -> None:
    """The supervisor lives as long as they do: what it imports is held twice all that time."""
    script = (
        "import sys; from pathlib import Path; import deploy.commands.app; "
        "from deploy.installation import Installation, InstallationOptions; "
        f"Installation(InstallationOptions(Path({str(tmp_path)!r}))).supervisor(); "
        f"print([name for name in {KEEPS_OUT!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["run", "web", "--service", "kitchen"],
        ["up", "--scale", "kitchen=3"],
        ["up", "--scale", "approval=many"],
        ["up", "--broker", "redis://x"],
        ["case", "show"],
    ],
)
def test_wrong_usage_ends_with_2_and_leaves_standard_output_empty(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "--help" in printed.err


@pytest.mark.parametrize("command", ["ps", "down"])
def test_nothing_running_is_not_found(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--data-dir", str(tmp_path)]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "onestop up" in printed.err


def test_a_folder_that_one_may_only_pass_through_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert run(["ps", "--data-dir", str(tmp_path)]) == 3


def test_missing_settings_end_with_2_and_say_what_to_set(tmp_path: Path) -> None:
    done = onestop("config", "show", data_dir=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "ONESTOP_DB" in done.stderr


def test_a_database_that_is_away_ends_with_5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESTOP_DB__HOST", str(tmp_path))
    monkeypatch.setenv("ONESTOP_SECRETS_DIR", str(tmp_path / "secrets"))
    assert run(["secrets", "init"]) == 0
    assert run(["trouble", "list"]) == 5


def test_secrets_are_made_once_and_private(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["secrets", "init", "--json", str(tmp_path)]) == 0
    made = json.loads(capsys.readouterr().out)["made"]
    assert f"{tmp_path}/notify/db.password" in made
    assert run(["secrets", "init", "--json", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["made"] == []


def test_config_check_needs_the_secrets_of_the_services_named_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONESTOP_DB__HOST", str(tmp_path))
    monkeypatch.setenv("ONESTOP_SECRETS_DIR", str(tmp_path / "secrets"))
    assert run(["secrets", "init"]) == 0
    assert run(["config", "check"]) == 2
    assert "ONESTOP_WITNESS_DIR" in capsys.readouterr().err
    monkeypatch.setenv("ONESTOP_WITNESS_DIR", str(tmp_path / "witness"))
    assert run(["config", "check"]) == 0
    shutil.rmtree(tmp_path / "secrets" / "migrate")
    assert run(["config", "check"]) == 2
    assert run(["config", "check", "--service", "notify"]) == 0


def test_the_matters_of_the_project_pass_the_lint(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["matter", "lint", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []


def test_a_broken_matter_file_ends_with_1_and_names_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("code: x\nnonsense: 1\n", encoding="utf-8")
    assert run(["matter", "lint", str(file)]) == 1
    assert f"{file}:2:1:" in capsys.readouterr().out


def test_config_show_masks_what_is_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONESTOP_DB__HOST", "db")
    monkeypatch.setenv("ONESTOP_CHANNELS__SMS__ACCESS_KEY_SECRET", "hunter-one")
    monkeypatch.setenv("ONESTOP_BROKER_URL", "amqp://mq:5672/")
    monkeypatch.setenv("ONESTOP_SECRETS_DIR", str(tmp_path))
    assert run(["config", "show"]) == 0
    printed = capsys.readouterr().out
    assert "hunter" not in printed
    assert json.loads(printed)["broker_url"] == "amqp://mq:5672/"


def test_a_password_in_the_address_of_the_broker_is_refused_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONESTOP_DB__HOST", "db")
    monkeypatch.setenv("ONESTOP_BROKER_URL", "amqp://someone:hunter-two@mq:5672/")
    monkeypatch.setenv("ONESTOP_SECRETS_DIR", str(tmp_path))
    assert run(["config", "show"]) == 2
    printed = capsys.readouterr()
    assert "ONESTOP_BROKER_URL" in printed.err
    assert "hunter" not in printed.err + printed.out


@pytest.mark.parametrize("kind", ["web", "worker"])
def test_in_production_services_share_no_process_untold(kind: str, tmp_path: Path) -> None:
    assert run(["secrets", "init", str(tmp_path)]) == 0
    settings = {"ONESTOP_DB__HOST": str(tmp_path), "ONESTOP_SECRETS_DIR": str(tmp_path)}
    for arguments in ([], ["--service", "intake", "--service", "notify"]):
        done = onestop("run", kind, *arguments, data_dir=tmp_path, **settings)
        assert done.returncode == 2, done.stderr
        assert "ONESTOP_SERVICES_SHARE_PROCESS" in done.stderr


def test_doctor_says_what_is_there_on_an_empty_machine(tmp_path: Path) -> None:
    done = onestop("doctor", "--json", data_dir=tmp_path)
    checks = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["python"]["ok"] is True
    assert checks["postgresql programs"]["ok"] is True
    assert checks["settings"]["found"] == "no installation yet"
    assert all(check["fix"] for check in checks.values() if check["ok"] is False)
