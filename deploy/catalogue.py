"""Publishing matter files into the database."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from shared.catalogue.loader import load_matter
from shared.catalogue.published import publish
from shared.clock import read_clock
from shared.db.engine import database_url
from shared.db.transaction import transaction
from shared.settings import Settings


def publish_matters(settings: Settings, files: Sequence[Path]) -> list[dict[str, Any]]:
    """Publish all files or none: [{"code", "version", "new"}]; `new` is False for what was there already.

    Raises MatterFileError, and VersionFrozen when a published version would change.
    """
    matters = [load_matter(path) for path in files]
    engine = create_engine(
        database_url(settings, settings.db.admin_user), poolclass=NullPool, hide_parameters=True
    )
    with transaction(engine, "publish") as connection:
        at = read_clock(connection).wall
        return [
            {"code": matter.code, "version": matter.version, "new": publish(connection, matter, at)}
            for matter in matters
        ]
