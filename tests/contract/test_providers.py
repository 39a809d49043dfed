"""One file is one identity provider: it holds to what `identity.provider` says, and knows no other."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import iter_route_contexts

from deploy.generated import ROOT
from deploy.pages import environment
from deploy.secret_files import init_secrets
from services.intake.identity.provider import (
    PARTS,
    LogInDesk,
    Way,
    provider_file,
    provider_names,
    providers_on,
)
from shared.context import build_context
from shared.http.context import WebContext
from shared.sections import DbSettings, Section
from shared.settings import Settings, SettingsError

FOLDER = ROOT / "services" / "intake" / "identity"
GIVEN: dict[str, dict[str, str]] = {
    "client_credentials": {"public_url": "https://hall.example.org"},
    "development": {},
    "one_time_code": {"kinds": "phone,email"},
    "openid_connect": {
        "public_url": "https://hall.example.org",
        "citizens__issuer": "https://login.example.org",
        "citizens__client_id": "hall",
        "citizens__client_secret": "secret",
        "officers__issuer": "https://sso.example.org",
        "officers__client_id": "hall",
        "officers__client_secret": "secret",
    },
}
"""Settings with which each provider is on."""
FOR_PROGRAMS = {"client_credentials"}
"""What lets no people in, and verifies nothing of theirs."""


def settings(folder: Path, environment: str = "test", **more: object) -> Settings:
    return Settings.model_validate(
        {"environment": environment, "db": DbSettings(host="/nowhere"), "secrets_dir": folder, **more}
    )


def all_on(folder: Path) -> Settings:
    given = {name: values for name, values in GIVEN.items() if values}
    return settings(folder, dev_identity=True, identity=given)


def test_every_file_of_the_folder_is_a_part_or_a_provider() -> None:
    files = {path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_")}
    assert set(provider_names()) == files - PARTS == set(GIVEN)
    assert files > PARTS


@pytest.mark.parametrize("name", GIVEN)
def test_a_provider_has_what_providers_have(name: str, tmp_path: Path) -> None:
    init_secrets(tmp_path)
    file = provider_file(name)
    assert file.__doc__
    assert name == file.NAME
    assert issubclass(file.SETTINGS, Section)
    on = providers_on(all_on(tmp_path))
    ways = file.ways(on[name][1])
    assert bool(ways) + bool(file.verifies(on[name][1])) == (name not in FOR_PROGRAMS)
    for way in ways:
        assert isinstance(way, Way)
        assert way.path.startswith("/")
        assert way.zh
        assert way.en
    context = WebContext(build_context(all_on(tmp_path), "intake"), environment())
    router = file.router(LogInDesk(context, on[name][1]))
    assert isinstance(router, APIRouter)
    paths = [
        re.compile(re.sub(r"\{\w+\}", "[^/]+", str(found.path)))
        for found in iter_route_contexts(router.routes)
    ]
    for way in ways:
        assert any(path.fullmatch(way.path) for path in paths), way


def test_no_provider_is_on_by_itself(tmp_path: Path) -> None:
    for kind in ("production", "demo", "test"):
        assert providers_on(settings(tmp_path, kind)) == {}


@pytest.mark.parametrize("name", GIVEN)
def test_no_provider_knows_another_and_nobody_knows_a_provider_by_name(name: str) -> None:
    module = f"services.intake.identity.{name}"
    importing = []
    for path in (ROOT / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            named += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if module in named:
                importing.append(path)
    assert importing == []


def test_settings_are_read_from_the_environment_and_broken_ones_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "client.secret"
    secret.write_text("s3cret\n", encoding="ascii")
    given = {
        "DB__HOST": "/nowhere",
        "SECRETS_DIR": str(tmp_path),
        "IDENTITY__OPENID_CONNECT__PUBLIC_URL": "https://hall.example.org/",
        "IDENTITY__OPENID_CONNECT__CITIZENS__ISSUER": "https://login.example.org",
        "IDENTITY__OPENID_CONNECT__CITIZENS__CLIENT_ID": "hall",
        "IDENTITY__OPENID_CONNECT__CITIZENS__CLIENT_SECRET_FILE": str(secret),
    }
    for name, value in given.items():
        monkeypatch.setenv(f"ONESTOP_{name}", value)
    own: Any = providers_on(Settings())["openid_connect"][1]
    assert own.public_url == "https://hall.example.org"
    assert own.citizens.client_secret.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(Settings())
    assert own.officers is None
    monkeypatch.setenv("ONESTOP_IDENTITY__OPENID_CONNECT__OFFICERS__ISSUER", "https://sso.example.org")
    monkeypatch.setenv("ONESTOP_IDENTITY__OPENID_CONNECT__CITIZENS__CLIENT_SECERT", "x")
    monkeypatch.setenv("ONESTOP_IDENTITY__NOBODY__KEY", "x")
    with pytest.raises(SettingsError) as refused:
        providers_on(Settings())
    for variable in (
        "ONESTOP_IDENTITY__NOBODY",
        "OPENID_CONNECT__OFFICERS__CLIENT_ID",
        "OPENID_CONNECT__CITIZENS__CLIENT_SECERT",
    ):
        assert variable in str(refused.value)


def test_no_secret_of_a_provider_stands_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ONESTOP_DB__HOST", "/nowhere")
    monkeypatch.setenv("ONESTOP_SECRETS_DIR", str(tmp_path))
    for name, value in GIVEN["openid_connect"].items():
        monkeypatch.setenv(f"ONESTOP_IDENTITY__OPENID_CONNECT__{name.upper()}", value)
    with pytest.raises(SettingsError) as refused:
        providers_on(Settings())
    variable = "ONESTOP_IDENTITY__OPENID_CONNECT__CITIZENS__CLIENT_SECRET"
    assert f"{variable}: a secret; give it as ...".casefold() in str(refused.value).casefold()
