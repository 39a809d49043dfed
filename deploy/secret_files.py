"""Makes the secret files of an installation: `onestop secrets init`, and `onestop up` at its first start.

    <service>/  db.password  broker.password  master.key  service.token     session.pub  askers.json
    intake/     session.key                                             session.next.key and session.old.pub
                                                                        while it is changed (session_keys)
    migrate/    db_admin.password  broker.password                          roles.json
    broker/       subscribers.json (hashes)                                 definitions.json

A process is given the folders of its services and no others; `migrate/` is for `onestop migrate` alone, and
`broker/` for RabbitMQ. What stands on the right follows from secrets of others: it checks a log-in, an asker
or a session and makes none.
"""

import json
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.asks import SIGNER, askers_of
from deploy.broker_definitions import definitions
from deploy.password_hashes import (
    broker_hash,
    broker_hash_matches,
    is_scram_verifier,
    scram_matches,
    scram_verifier,
)
from deploy.services import SERVICES
from shared.auth.key_pair import public_key_of
from shared.bus.topology import user_name
from shared.db.roles import app_role
from shared.durable import make_private_file, replace_private
from shared.peers import peer_token, token_hash
from shared.privacy.secret_files import (
    ADMIN_PASSWORD,
    ASKERS,
    BROKER_PASSWORD,
    COMING_SESSION_KEY,
    DB_PASSWORD,
    LEAVING_SESSION_PUBLIC_KEY,
    MASTER_KEY,
    MIGRATE,
    SERVICE_TOKEN,
    SESSION_KEY,
    SESSION_PUBLIC_KEY,
    SecretUnusable,
    load_json,
    load_password,
    load_public_keys,
    load_secret,
    read_private,
)

if TYPE_CHECKING:
    from shared.settings import Settings

ROLES = "roles.json"
"""Role -> what PostgreSQL checks its password with."""
BROKER = "broker"
DEFINITIONS = "definitions.json"
"""Users and permissions, as RabbitMQ reads them when it boots."""
SUBSCRIBERS = "subscribers.json"
"""Foreign subscriber -> what RabbitMQ checks its password with."""
_KEY_BYTES = 32


def init_secrets(root: Path) -> list[Path]:
    """Make what is missing, each file in a 0700 folder, 0600 but for the definitions; return the paths.

    No secret is ever replaced: a new master key would make all that is sealed under the old one unreadable.
    What follows from secrets is written again when they have changed.
    """
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for owner in (*SERVICES, MIGRATE, BROKER):
        (root / owner).mkdir(exist_ok=True, mode=0o700)
    made = [path for path, content in _secrets(root).items() if make_private_file(path, content)]
    follow: dict[Path, Callable[[Path, str | None], str]] = {
        **{root / service / SESSION_PUBLIC_KEY: _session_public_keys for service in SERVICES},
        **{root / service / ASKERS: partial(_askers, owner=service) for service in SERVICES},
        root / MIGRATE / ROLES: _roles,
        root / BROKER / DEFINITIONS: _definitions,
    }
    for path, content in follow.items():
        before = path.read_text(encoding="ascii").strip() if path.exists() else None
        after = content(root, before)
        if after != before:
            replace_private(path, after + "\n")
            made.append(path)
    # RabbitMQ's own user reads it in a container, where the closed folders around it are not.
    (root / BROKER / DEFINITIONS).chmod(0o644)
    return made


def check_secrets(settings: "Settings", services: Sequence[str], *, whole: bool) -> None:
    """Raises SecretUnusable unless the processes of these services can read all that they need; `whole` also
    looks for what `onestop migrate` needs."""
    for service in services:
        for name in (DB_PASSWORD, BROKER_PASSWORD):
            load_password(settings, service, name)
        for name in (MASTER_KEY, SERVICE_TOKEN):
            load_secret(settings, service, name)
        load_public_keys(settings, service)
        load_json(settings, service, ASKERS)
        if service == SIGNER:
            load_secret(settings, service, SESSION_KEY)
    if whole:
        for name in (ADMIN_PASSWORD, BROKER_PASSWORD):
            load_password(settings, MIGRATE, name)
        role_verifiers(settings)


def role_verifiers(settings: "Settings") -> dict[str, str]:
    """What PostgreSQL checks the services' passwords with, by role. Raises SecretUnusable."""
    found = load_json(settings, MIGRATE, ROLES)
    if not all(is_scram_verifier(found.get(app_role(service), "")) for service in SERVICES):
        path = settings.secrets_dir / MIGRATE / ROLES
        raise SecretUnusable(
            f"{path}：内容有误。处理办法：删除后执行 `onestop secrets init`",
            f"{path}: it does not name every role. To mend it: remove it, then `onestop secrets init`",
        )
    return found


def _secrets(root: Path) -> dict[Path, Callable[[], str]]:
    found: dict[Path, Callable[[], str]] = {}
    for service in SERVICES:
        found[root / service / DB_PASSWORD] = _password
        found[root / service / BROKER_PASSWORD] = _password
        found[root / service / MASTER_KEY] = new_key
        found[root / service / SERVICE_TOKEN] = new_key
    found[root / SIGNER / SESSION_KEY] = new_key
    found[root / MIGRATE / ADMIN_PASSWORD] = _password
    found[root / MIGRATE / BROKER_PASSWORD] = _password
    return found


def _session_public_keys(root: Path, before: str | None) -> str:
    folder = root / SIGNER
    keys = [
        public_key_of(bytes.fromhex(read_private(folder / name))).hex()
        for name in (SESSION_KEY, COMING_SESSION_KEY)
        if (folder / name).exists()
    ]
    leaving = folder / LEAVING_SESSION_PUBLIC_KEY
    return "\n".join([*keys, read_private(leaving)] if leaving.exists() else keys)


def _askers(root: Path, before: str | None, *, owner: str) -> str:
    tokens = {asker: bytes.fromhex(read_private(root / asker / SERVICE_TOKEN)) for asker in askers_of(owner)}
    return json.dumps({asker: token_hash(peer_token(token, owner)) for asker, token in tokens.items()})


def _roles(root: Path, before: str | None) -> str:
    passwords = {app_role(service): read_private(root / service / DB_PASSWORD) for service in SERVICES}
    known: dict[str, str] = json.loads(before) if before else {}
    # The salt is random, so what fits stays.
    return json.dumps(
        {
            role: known[role]
            if role in known and scram_matches(known[role], password)
            else scram_verifier(password)
            for role, password in passwords.items()
        }
    )


def _definitions(root: Path, before: str | None) -> str:
    passwords = {owner: read_private(root / owner / BROKER_PASSWORD) for owner in (*SERVICES, MIGRATE)}
    users = json.loads(before)["users"] if before else []
    known: dict[str, str] = {user["name"]: user["password_hash"] for user in users}
    hashes = {
        owner: known[user_name(owner)]
        if user_name(owner) in known and broker_hash_matches(known[user_name(owner)], password)
        else broker_hash(password)
        for owner, password in passwords.items()
    }
    return json.dumps(definitions(hashes, SERVICES, foreign=foreign_hashes(root)), indent=1)


def foreign_hashes(root: Path) -> dict[str, str]:
    """What the broker checks the passwords of foreign subscribers with, by name."""
    path = root / BROKER / SUBSCRIBERS
    found: dict[str, str] = json.loads(read_private(path)) if path.exists() else {}
    return found


def keep_foreign_hash(root: Path, subscriber: str, password_hash: str | None) -> None:
    """Let the broker know a foreign subscriber, from when it reads its definitions; None takes it out."""
    found = {name: known for name, known in foreign_hashes(root).items() if name != subscriber}
    if password_hash is not None:
        found[subscriber] = password_hash
    replace_private(root / BROKER / SUBSCRIBERS, json.dumps(found, indent=1) + "\n")
    init_secrets(root)


def new_key() -> str:
    """32 random bytes, as they stand in a file."""
    return secrets.token_hex(_KEY_BYTES) + "\n"


def _password() -> str:
    return secrets.token_urlsafe(_KEY_BYTES) + "\n"
