"""The three secrets that live in files beside the database, never in it and never in the environment."""

import os
import secrets
import stat
from pathlib import Path

from shared.errors import AppError
from shared.settings import Settings

MASTER_KEY = "master.key"
SESSION_KEY = "session.key"
SERVICE_TOKEN = "service.token"
_NAMES = (MASTER_KEY, SESSION_KEY, SERVICE_TOKEN)
_KEY_BYTES = 32
_REMEDY = "`onestop secrets init` makes those that are missing"


class SecretUnusable(AppError):
    """A secret file is missing, readable by others, or holds something else."""

    code = "settings.secret-unusable"
    title_zh = "密钥文件不可用"
    title_en = "A secret file cannot be used"


def load_secret(settings: Settings, name: str) -> bytes:
    """The 32 bytes of one secret.

    Raises SecretUnusable, which names the file and the command that mends it.
    """
    path = settings.secrets_dir / name
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
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != _KEY_BYTES:
        raise _unusable(
            path, "内容有误", "it does not hold 32 bytes in hex", f"restore it, or remove it: {_REMEDY}"
        )
    return secret


def init_secrets(directory: Path) -> list[Path]:
    """Make the secrets that are missing, each 0600, and return their paths. What is there is never replaced:
    a new master key would make everything sealed under the old one unreadable.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = []
    for name in _NAMES:
        path = directory / name
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        made.append(path)
    return made


def _unusable(path: Path, wrong_zh: str, wrong_en: str, remedy: str) -> SecretUnusable:
    return SecretUnusable(
        f"{path}：{wrong_zh}。处理办法：{remedy}", f"{path}: {wrong_en}. To mend it: {remedy}"
    )
