"""`onestop keys rewrap`: the data keys of a service under a new master key.

    1  master.key.new is written. Whoever reads master keys reads it, too.
    2  All data keys are wrapped anew, in one transaction.
    3  master.key gets a second name, master.key.old-<…>, then master.key.new takes its place.

Killed anywhere, everything opens: before 2 under the one, after it under the other. The next run goes on.
"""

import os
import secrets
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path

import structlog
from sqlalchemy import text

from deploy.migrate import admin_engine
from deploy.processes import Identity
from shared.db.sealing import lock_keys, read_keys
from shared.db.transaction import transaction
from shared.durable import locked, replace_private, sync_folder
from shared.faults import fault_point
from shared.privacy.keys import KeyState, Wrapping
from shared.privacy.secret_files import COMING_MASTER_KEY, MASTER_KEY, load_master_keys, load_secret
from shared.settings import Settings

_log = structlog.get_logger()
_KEY_BYTES = 32


def prepare_rewrap(settings: Settings, service: str) -> Path:
    """Make the coming master key, unless it is there; where it lies. Raises SecretUnusable."""
    with _alone(settings.secrets_dir / service):
        return _prepared(settings, service)


def rewrap(settings: Settings, service: str, by: str) -> Path:
    """Put a new master key in the place of the old one; where the old one lies now.

    Raises SecretUnusable, ForeignMasterKey when a data key was wrapped with neither, DatabaseAway.
    """
    folder = settings.secrets_dir / service
    with _alone(folder):
        coming = _prepared(settings, service)
        _wrap_anew(settings, service)
        current = folder / MASTER_KEY
        kept = folder / f"{MASTER_KEY}.old-{_name_of(load_secret(settings, service, MASTER_KEY))}"
        fault_point("keys.rewrap.keep.before")
        if not kept.exists():
            os.link(current, kept)
            sync_folder(folder)
        fault_point("keys.rewrap.replace.before")
        coming.replace(current)
        fault_point("keys.rewrap.replace.after")
        sync_folder(folder)
    _log.info("master_key_replaced", service=service, by=by)
    return kept


def _prepared(settings: Settings, service: str) -> Path:
    load_secret(settings, service, MASTER_KEY)
    coming = settings.secrets_dir / service / COMING_MASTER_KEY
    if not coming.exists():
        status = (settings.secrets_dir / service / MASTER_KEY).stat()
        # Those who read the old one must be able to read this one, whoever gives the command.
        owner = Identity(status.st_uid, status.st_gid) if status.st_uid != os.geteuid() else None
        fault_point("keys.rewrap.make.before")
        replace_private(coming, secrets.token_hex(_KEY_BYTES) + "\n", owner)
        fault_point("keys.rewrap.make.after")
    return coming


def _wrap_anew(settings: Settings, service: str) -> None:
    wrapping = Wrapping(service, load_master_keys(settings, service))
    update = text(f"UPDATE {service}.data_keys SET wrapped = :wrapped WHERE key_id = :key_id")
    with transaction(admin_engine(settings), "keys.rewrap") as connection:
        lock_keys(connection, service)
        for row in read_keys(connection, service):
            if row.state is not KeyState.RETIRED:
                anew = wrapping.wrap_anew(row)
                connection.execute(update, {"wrapped": anew.wrapped, "key_id": anew.key_id})


def _name_of(key: bytes) -> str:
    """Tells old master keys apart and says nothing of them."""
    return sha256(b"onestop/master-key-name" + key).hexdigest()[:8]


def _alone(folder: Path) -> AbstractContextManager[None]:
    """One at a time on this machine; the database holds off those on others."""
    return locked(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
