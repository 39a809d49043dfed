"""The secrets of the services: files beside the database, never in it and never in the environment.

Each service has a folder of its own below `secrets_dir`, and a process needs the folders of its services
only. What only `onestop migrate` may know lies in `migrate/`. `deploy.secret_files` makes the files.
"""

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import AppError

if TYPE_CHECKING:
    from shared.settings import Settings

MASTER_KEY = "master.key"
COMING_MASTER_KEY = "master.key.new"
"""There while `onestop keys rewrap` is under way: data keys may be wrapped under either."""
SERVICE_TOKEN = "service.token"
SESSION_KEY = "session.key"
"""Signs session tokens: intake's alone."""
SESSION_PUBLIC_KEY = "session.pub"
"""One a line: several while the key is changed."""
COMING_SESSION_KEY = "session.next.key"
LEAVING_SESSION_PUBLIC_KEY = "session.old.pub"
ASKERS = "askers.json"
"""Asker -> hash of what it shows when it asks this service."""
DB_PASSWORD = "db.password"
BROKER_PASSWORD = "broker.password"
ADMIN_PASSWORD = "db_admin.password"
MIGRATE = "migrate"
"""The owner of what creates roles, schemas, exchanges and queues."""

_KEY_BYTES = 32
_REMEDY = "`onestop secrets init` makes those that are missing"


class SecretUnusable(AppError):
    """A secret file is missing, readable by others, or holds something else."""

    code = "settings.secret-unusable"
    title_zh = "密钥文件不可用"
    title_en = "A secret file cannot be used"


def load_secret(settings: "Settings", owner: str, name: str) -> bytes:
    """The 32 bytes of a key or token of one service.

    Raises SecretUnusable, which names the file and the command that mends it.
    """
    path = settings.secrets_dir / owner / name
    try:
        secret = bytes.fromhex(read_private(path))
    except ValueError:
        secret = b""
    if len(secret) != _KEY_BYTES:
        raise _unusable(
            path, "内容有误", "it does not hold 32 bytes in hex", f"restore it, or remove it: {_REMEDY}"
        )
    return secret


def load_master_keys(settings: "Settings", service: str) -> list[bytes]:
    """The master key of one service, and the coming one where there is one. Raises SecretUnusable."""
    coming = settings.secrets_dir / service / COMING_MASTER_KEY
    found = []
    if coming.exists():
        try:
            found.append(load_secret(settings, service, COMING_MASTER_KEY))
        except SecretUnusable:
            if coming.exists():
                raise
    # Read last: when the coming one has just taken its place, this is it.
    return [load_secret(settings, service, MASTER_KEY), *found]


def load_public_keys(settings: "Settings", owner: str) -> list[bytes]:
    """The keys that check what intake signs, one a line: two while a new one takes the place of an old one.

    Raises SecretUnusable.
    """
    path = settings.secrets_dir / owner / SESSION_PUBLIC_KEY
    try:
        keys = [bytes.fromhex(line) for line in read_private(path).split()]
    except ValueError:
        keys = []
    if not keys or any(len(key) != _KEY_BYTES for key in keys):
        raise _unusable(path, "内容有误", "it does not hold public keys in hex", f"remove it: {_REMEDY}")
    return keys


def load_password(settings: "Settings", owner: str, name: str) -> str:
    """A password of one service, or of `migrate`. Raises SecretUnusable."""
    path = settings.secrets_dir / owner / name
    password = read_private(path)
    if not password:
        raise _unusable(path, "内容为空", "it is empty", f"restore it, or remove it: {_REMEDY}")
    return password


def load_json(settings: "Settings", owner: str, name: str) -> dict[str, str]:
    """A JSON object of texts. Raises SecretUnusable."""
    path = settings.secrets_dir / owner / name
    try:
        found = json.loads(read_private(path))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _unusable(path, "内容有误", "it is not what was written", f"remove it: {_REMEDY}")
    return found


def read_private(path: Path) -> str:
    """The text of a file that nobody else may read, without blanks around it. Raises SecretUnusable."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise _unusable(path, "文件不存在", "it does not exist", _REMEDY) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise _unusable(path, "无法读取", reason, "give it to the user that runs onestop") from None
    if mode & 0o077:
        raise _unusable(path, "权限过宽", f"others may read it (mode {mode:04o})", f"chmod 600 {path}")
    return text


def _unusable(path: Path, wrong_zh: str, wrong_en: str, remedy: str) -> SecretUnusable:
    return SecretUnusable(
        f"{path}：{wrong_zh}。处理办法：{remedy}", f"{path}: {wrong_en}. To mend it: {remedy}"
    )
