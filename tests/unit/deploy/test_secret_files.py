"""The secrets of an installation: a folder a service, made once, of which nobody can make another one's."""

import json
import re
import stat
from functools import partial
from pathlib import Path

import psycopg2
import pytest

from deploy.asks import MAY_ASK, SIGNER
from deploy.password_hashes import is_scram_verifier, scram_matches, scram_verifier
from deploy.postgres import PostgresServer
from deploy.secret_files import (
    BROKER,
    DEFINITIONS,
    ROLES,
    check_secrets,
    init_secrets,
    keep_foreign_hash,
    role_verifiers,
)
from deploy.services import SERVICES
from shared.peers import Peers, peer_token
from shared.privacy.secret_files import (
    ADMIN_PASSWORD,
    ASKERS,
    BROKER_PASSWORD,
    DB_PASSWORD,
    MASTER_KEY,
    MIGRATE,
    SERVICE_TOKEN,
    SESSION_KEY,
    SESSION_PUBLIC_KEY,
    SecretUnusable,
    load_json,
    load_secret,
)
from shared.sections import DbSettings
from shared.settings import Settings

OF_EVERY_SERVICE = {DB_PASSWORD, BROKER_PASSWORD, MASTER_KEY, SERVICE_TOKEN, SESSION_PUBLIC_KEY, ASKERS}
SECRET = (DB_PASSWORD, BROKER_PASSWORD, MASTER_KEY, SERVICE_TOKEN, SESSION_KEY, ADMIN_PASSWORD)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(db=DbSettings(host="/x"), secrets_dir=tmp_path / "secrets")
    init_secrets(settings.secrets_dir)
    return settings


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_each_service_has_a_folder_of_its_own_and_only_one_signs_sessions(settings: Settings) -> None:
    found = {path.name: {file.name for file in path.iterdir()} for path in settings.secrets_dir.iterdir()}
    assert found == {
        **dict.fromkeys(SERVICES, OF_EVERY_SERVICE),
        SIGNER: OF_EVERY_SERVICE | {SESSION_KEY},
        MIGRATE: {ADMIN_PASSWORD, BROKER_PASSWORD, ROLES},
        BROKER: {DEFINITIONS},
    }
    check_secrets(settings, SERVICES, whole=True)


def test_nobody_else_may_look_in(settings: Settings) -> None:
    for path in (settings.secrets_dir, *settings.secrets_dir.rglob("*")):
        mode = 0o700 if path.is_dir() else 0o644 if path.name == DEFINITIONS else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == mode, path


def test_no_secret_stands_in_two_places(settings: Settings) -> None:
    found = contents(settings.secrets_dir)
    secret = {name: text.strip() for name, text in found.items() if name.rpartition("/")[2] in SECRET}
    assert len(secret) == 4 * len(SERVICES) + 3
    for name, text in secret.items():
        assert [other for other, content in found.items() if text in content] == [name]


def test_a_second_init_changes_nothing_and_one_that_finds_a_file_missing_makes_only_that(
    settings: Settings,
) -> None:
    before = contents(settings.secrets_dir)
    assert init_secrets(settings.secrets_dir) == []
    assert contents(settings.secrets_dir) == before
    (settings.secrets_dir / "notify" / MASTER_KEY).unlink()
    assert init_secrets(settings.secrets_dir) == [settings.secrets_dir / "notify" / MASTER_KEY]


def test_what_follows_from_a_secret_follows_a_new_one(settings: Settings) -> None:
    old = role_verifiers(settings)
    for name in (DB_PASSWORD, BROKER_PASSWORD, SERVICE_TOKEN):
        (settings.secrets_dir / "notify" / name).unlink()
    made = {str(path.relative_to(settings.secrets_dir)) for path in init_secrets(settings.secrets_dir)}
    asked = {f"{owner}/askers.json" for owner in SERVICES if owner != "notify"}
    own = {f"notify/{name}" for name in (DB_PASSWORD, BROKER_PASSWORD, SERVICE_TOKEN)}
    assert made == own | {"migrate/roles.json", "broker/definitions.json"} | asked
    new = role_verifiers(settings)
    assert [role for role in old if old[role] != new[role]] == ["onestop_notify_app"]
    shown = peer_token(load_secret(settings, "notify", SERVICE_TOKEN), "intake")
    assert Peers(load_json(settings, "intake", ASKERS)).asker_of(f"Bearer {shown}") == "notify"


def test_an_owner_knows_those_who_may_ask_it_and_nobody_else(settings: Settings) -> None:
    for owner in SERVICES:
        askers = {asker for who in MAY_ASK.get(owner, {}).values() for asker in who}
        assert load_json(settings, owner, ASKERS).keys() == askers


def test_a_role_without_a_verifier_is_told_with_what_mends_it(settings: Settings) -> None:
    path = settings.secrets_dir / MIGRATE / ROLES
    path.write_text('{"onestop_intake_app": "x\'; DROP ROLE onestop_admin"}')
    with pytest.raises(SecretUnusable, match="onestop secrets init"):
        role_verifiers(settings)


def test_a_verifier_lets_its_own_password_in(postgres: PostgresServer) -> None:
    verifier = scram_verifier("right one")
    assert is_scram_verifier(verifier)
    assert scram_matches(verifier, "right one")
    assert not scram_matches(verifier, "wrong one")
    postgres.psql(f"CREATE ROLE tried LOGIN PASSWORD '{verifier}'")
    try:
        log_in = partial(
            psycopg2.connect, host=postgres.host, port=postgres.port, user="tried", dbname="postgres"
        )
        log_in(password="right one").close()
        for wrong in ("wrong one", verifier):
            with pytest.raises(psycopg2.OperationalError, match="password"):
                log_in(password=wrong)
    finally:
        postgres.psql("DROP ROLE tried")


def test_a_foreign_subscriber_is_among_the_brokers_users_until_it_is_removed(settings: Settings) -> None:
    root = settings.secrets_dir
    file = root / BROKER / DEFINITIONS
    before = json.loads(file.read_text())
    keep_foreign_hash(root, "archive", "its hash")
    init_secrets(root)
    after = json.loads(file.read_text())
    [user] = [user for user in after["users"] if user not in before["users"]]
    assert (user["name"], user["password_hash"], user["tags"]) == ("onestop-public-archive", "its hash", [])
    [permission] = [one for one in after["permissions"] if one not in before["permissions"]]
    assert (permission["configure"], permission["write"]) == ("^$", "^$")
    assert re.fullmatch(permission["read"], "onestop.public.archive")
    assert not re.fullmatch(permission["read"], "onestop.public.archives")
    keep_foreign_hash(root, "archive", None)
    assert json.loads(file.read_text()) == before
