"""Random passwords of the database roles, for an installation whose database is reached over the network."""

import os
import secrets
from pathlib import Path

from deploy.registry import DB_ADMIN_PASSWORD, DB_PASSWORD


def init_passwords(directory: Path) -> list[Path]:
    """Make the password files that are missing, each 0600, and return their paths; none is ever replaced."""
    made = []
    for name in (DB_PASSWORD, DB_ADMIN_PASSWORD):
        path = directory / name
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        made.append(path)
    return made
